"""Held films for tests of what people do with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ledger_films import NOW, claimed, received

from gateway.ledger import Ledger
from gateway.ledger.acting.records import Acted, Meant, Wish
from gateway.ledger.acting.table import DoneBy
from gateway.ledger.records import CopyMade, CopyState, Judged, Made
from pipelines.film import Act, Decision, Reason

EXPLICIT = "1.2.840.10008.1.2.1"
TEN_S = timedelta(seconds=10)
QUARANTINE = Decision(Act.QUARANTINE, (Reason.ROTATED_90,), "turned", "turned 90 degrees")


def copy_of(number: int, state: CopyState = CopyState.PROPOSED) -> CopyMade:
    return CopyMade(f"2.25.{number + 1}", "1.2", EXPLICIT, f"{number:x}" * 4 + "c" * 60, {"turn": 270}, state)


def note_of(number: int, to: tuple[str, ...] = ("archive",)) -> Made:
    return Made(
        "rejection", f"{number:x}" * 4 + "e" * 60, to, "1.2.840.10008.5.1.4.1.1.88.59", f"2.25.9{number}"
    )


def held(number: int = 0, *, proposal: bool = False) -> Judged:
    copy = copy_of(number) if proposal else None
    return Judged(QUARANTINE, (), "enforce", {}, copy=copy, hold=True, takers=("ai",))


def hold_films(ledger: Ledger, count: int, *, proposal: bool = False) -> list[Meant]:
    """So many held films, each as a person sees it; an archive got each."""
    for number in range(count):
        (recorded,) = ledger.record([received(f"1.2.3.{number}", f"{number:x}"[-1:])], always=("archive",))
        ledger.judge(claimed(ledger), held(number, proposal=proposal), now=NOW)
        assert recorded.film_id == number + 1
    return [Meant(one.film_id, one.id, one.decision_id) for one in ledger.holds()]


def wish(act: DoneBy, *, by: str = "ann", at: datetime = NOW, delay: timedelta = TEN_S, **more: Any) -> Wish:
    return Wish(act, by, at, until=at + delay if delay else None, **more)


def decided(ledger: Ledger, act: DoneBy, meant: Sequence[Meant], **more: Any) -> list[Acted]:
    return ledger.decide(wish(act, **more), meant)


def undone(
    ledger: Ledger, *acts: int | None, by: str = "ann", at: datetime = NOW, anybodys: bool = False
) -> list[Acted]:
    return ledger.undo([one for one in acts if one is not None], by=by, anybodys=anybodys, now=at)


def all_gone(ledger: Ledger, destination: str, now: datetime = NOW) -> list[str]:
    """Deliver what is due there now: the digests."""
    ledger.let_go(now)
    sent = []
    for one in ledger.claim_deliveries(destination, 50, now):
        ledger.delivered(one.id, now)
        sent.append(one.digest)
    return sent


def at_destination(ledger: Ledger, destination: str, film: int = 1) -> list[str]:
    return [one["state"] for one in ledger.film(film).deliveries if one["destination"] == destination]
