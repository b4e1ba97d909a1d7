"""What became of a film, in plain words: sentences for whoever asks why there is no result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from gateway.console.pages.searching.columns import reason_words
from gateway.errors import Trouble
from gateway.ledger.searching.records import Found
from pipelines.film import Act

Tone = Literal["good", "warn", "bad", "soft"]
Piece = str | datetime

WENT_WRONG: Mapping[str, str] = {  # so that "It could not be delivered to archive: ..." ends well
    Trouble.UNREACHABLE: "nobody answers at its address",
    Trouble.ASSOCIATION_REJECTED: "it rejects our associations",
    Trouble.BUSY: "it is busy",
    Trouble.INTERRUPTED: "the connection broke off",
    Trouble.TIMED_OUT: "it did not answer in time",
    Trouble.OUT_OF_RESOURCES: "it is out of resources",
    Trouble.DECLINED: "it declined the object",
    Trouble.NOT_ACCEPTED: "it takes no objects of this kind",
    Trouble.CANNOT_TRANSCODE: "the film cannot be written in a transfer syntax that it takes",
    Trouble.REFUSED: "it refused the object",
    Trouble.DUPLICATE: "it has another object under this UID",
    Trouble.NOT_IN_STORE: "the object is not in our store any more",
    Trouble.OURS: "something went wrong here",
}
TO_AI = ("ai", "copy")


@dataclass(frozen=True, slots=True)
class Sentence:
    """Words and times in their order; how it stands; and where to go on, with the words of the link."""

    pieces: tuple[Piece, ...]
    tone: Tone
    link: tuple[str, str] | None = None


def _good(*pieces: Piece, link: tuple[str, str] | None = None) -> Sentence:
    return Sentence(pieces, "good", link)


def _waiting(*pieces: Piece, link: tuple[str, str] | None = None) -> Sentence:
    return Sentence(pieces, "warn", link)


def _bad(*pieces: Piece, link: tuple[str, str] | None = None) -> Sentence:
    return Sentence(pieces, "bad", link)


def _quiet(*pieces: Piece, link: tuple[str, str] | None = None) -> Sentence:
    return Sentence(pieces, "soft", link)


_DESTINATIONS = ("/destinations", "Destinations")


def became(found: Found) -> Iterator[Sentence]:
    """What became of a film: the decision first, then each that got it, or did not."""
    if found.decision is None:
        yield _undecided(found)
        return
    yield _decided(found)
    for one in found.deliveries:
        yield from _delivered(one, f"/films/{found.film_id}")
    for one in found.results:
        yield _read(one, f"/films/{found.film_id}")


def _undecided(found: Found) -> Sentence:
    if found.job == "leased":
        return _quiet("It is being examined now.")
    if found.job == "ready":
        error = f" The last try failed: {found.error}" if found.error else ""
        return _waiting("It has waited to be examined since ", found.received_at, f".{error}")
    return _bad("It was received ", found.received_at, " and never decided on.")


def _decided(found: Found) -> Sentence:
    film = f"/films/{found.film_id}"
    held = next((hold for hold in found.holds if hold["state"] == "open"), None)
    if held is not None:
        link = (f"/quarantine?text={found.film_id}", "Decide")
        since = ("It has waited in quarantine since ", held["opened_at"])
        return _waiting(*since, f": {_because(found)}. A person decides.", link=link)
    if (closed := _closed(found.holds)) is not None:
        return closed
    if found.decision == Act.WITHHOLD:
        rule = f"It was withheld from AI by the rule “{found.rule}”: {found.why}."
        return _quiet(rule, link=(film, "What the gates saw"))
    if found.decision == Act.QUARANTINE:  # observing, nothing is held
        said = f"It would have been held: {_because(found)}. The gateway only observes."
        return _quiet(said, link=(film, "What the gates saw"))
    corrected = "It was corrected and passed" if found.decision == Act.CORRECT else "It passed"
    if any(one["kind"] in TO_AI for one in found.deliveries):
        return _good(f"{corrected} the gates at ", found.decided_at or found.received_at, ".")
    return _waiting(f"{corrected} the gates, but no AI was to get it: {found.why}.", link=_DESTINATIONS)


def _because(found: Found) -> str:
    return "; ".join(map(reason_words, found.reasons)) or found.why


def _closed(holds: Iterable[Mapping[str, Any]]) -> Sentence | None:
    """What a person did with it last."""
    words = {"released": "released it", "corrected": "released a corrected copy", "rejected": "rejected it"}
    done = [hold for hold in holds if hold["state"] in words]
    if not done:
        return None
    last = done[-1]
    said = (f"{last['closed_by']} {words[last['state']]} at ", last["closed_at"], ".")
    return _bad(*said) if last["state"] == "rejected" else _good(*said)


def _delivered(one: Mapping[str, Any], film: str) -> Iterator[Sentence]:
    """How it is with one delivery; those of the archive are spoken of only where one failed."""
    name, state, since = one["destination"], one["state"], one["created_at"]
    words = WENT_WRONG.get(one["trouble"] or "", "it could not be read here")
    theirs = f" (“{one['error']}”)" if one["error"] else ""
    if state == "failed":
        failed = (f"It could not be delivered to {name}: {words}{theirs}. It is not tried again since ",)
        yield _bad(*failed, one["ended_at"] or since, ".", link=(film, "Send it again"))
    elif one["kind"] not in TO_AI:
        return
    elif state == "delivered":
        what = "A corrected copy was" if one["kind"] == "copy" else "It was"
        yield _good(f"{what} delivered to {name} at ", one["ended_at"] or since, ".")
    elif state == "retry":
        tried = (f"It is tried at {name} again and again since ", since)
        yield _waiting(*tried, f": {words}{theirs}.", link=_DESTINATIONS)
    elif state == "cancelled":
        yield _quiet(f"What was owed to {name} was taken back.")
    else:
        yield _quiet(f"It is on its way to {name} since ", since, ".")


def _read(one: Mapping[str, Any], film: str) -> Sentence:
    name = one["classifier"]
    if one["not_read"]:
        why = one["why"] or one["not_read"]
        return _waiting(f"{name} did not read it: {why}.", link=(film, "The film"))
    return _good(f"{name} read it at ", one["made_at"], ".", link=(film, "What it found"))
