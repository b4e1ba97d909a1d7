"""Held once a sender and word: real ledger, store, decoder and header gate; pixels of a clean chest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dicom_peers import listening, sender
from pydicom.dataset import Dataset
from test_tasks import NOW, Says, examine, hip, shell

from gateway.bootstrap import Shell, now
from gateway.errors import StaleLease
from gateway.ledger.records import HoldState, Judged, Received
from gateway.sandbox.decoder import Decoder
from pipelines.film import Act, Answer, Decision, Film, Finding, Reason
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.words.kinds import header_findings


class Looks(Says):
    """The header as it is; of the pixels what the test wants."""

    def look(self, film: Film) -> tuple[Finding, ...]:
        pixels = (finding for finding in super().look(film) if finding.gate != "header")
        return (*header_findings(film.header), *pixels)


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as one:
        yield one


def bone(number: int, word: str = "BONE") -> Dataset:
    """A clean frontal chest whose header has a word."""
    ds = phantom_dx("frontal", number)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "", word]
    return ds


def send(one: Shell, ds: Dataset, tmp_path: Path, ae_title: str = "ROOM3") -> str:
    """Keep and record a film as the listener does; its SOP Instance UID."""
    row = one.ledger.associate(calling=ae_title, called="FILMGATE", address="127.0.0.1", now=NOW)
    path = tmp_path / "sent.dcm"
    ds.save_as(path, enforce_file_format=True)
    kept = one.store.put_file(path)
    syntax = str(ds.file_meta.TransferSyntaxUID)
    received = Received(ds.SOPClassUID, ds.SOPInstanceUID, syntax, kept.digest, kept.size_bytes, row, NOW)
    one.ledger.record([received])
    return str(ds.SOPInstanceUID)


def rule(one: Shell, answer: Answer, by: str = "ann", ae_title: str = "ROOM3") -> tuple[int, ...]:
    return one.ledger.rule(ae_title, "BONE", answer, by=by, note_text="seen them", now=now())


def test_a_word_holds_the_film_and_later_ones_wait_with_it(tmp_path: Path, decoder: Decoder) -> None:
    """Nothing passes, nothing is withheld; one question for all of them."""
    one = shell(tmp_path)
    for number in (1, 2, 3):
        send(one, bone(number), tmp_path)
    send(one, phantom_dx("frontal", 4), tmp_path)
    examine(one, decoder, Looks())
    assert [film.decision for film in one.ledger.films()] == ["pass", *["quarantine"] * 3]
    assert {film.reasons for film in one.ledger.films()} == {(), ("HEADER_WORD",)}
    (question,) = one.ledger.questions()
    assert (question.sender, question.word, question.films) == ("ROOM3", "BONE", (1, 2, 3))
    assert "BONE, sender ROOM3" in one.ledger.open_hold(1).why
    assert one.ledger.due_destinations(NOW) == {"ai": 1}


def test_always_passes_those_that_wait_and_those_that_come(tmp_path: Path, decoder: Decoder) -> None:
    one = shell(tmp_path)
    send(one, bone(1), tmp_path)
    send(one, bone(2), tmp_path)
    examine(one, decoder, Looks())
    assert rule(one, Answer.ALWAYS) == (1, 2)
    send(one, bone(3), tmp_path)
    examine(one, decoder, Looks())
    assert [(film.decision, film.flags) for film in one.ledger.films()] == [("pass", ("HEADER_WORD",))] * 3
    assert one.ledger.due_destinations(now()) == {"ai": 3}
    assert one.ledger.questions() == []
    closed = one.ledger.holds(None)
    assert [(h.state, h.closed_by) for h in closed] == [(HoldState.SUPERSEDED, "ann")] * 2
    assert closed[0].note == "always: BONE. seen them"


def test_never_withholds_those_that_wait_and_those_that_come(tmp_path: Path, decoder: Decoder) -> None:
    """With the name of who said so; a person sees it at the film, at the hold and in the history."""
    one = shell(tmp_path)
    send(one, bone(1), tmp_path)
    examine(one, decoder, Looks())
    rule(one, Answer.NEVER, by="bob")
    send(one, bone(2), tmp_path)
    examine(one, decoder, Looks())
    films = one.ledger.films()
    assert [(film.decision, film.reasons) for film in films] == [("withhold", ("RULED_OUT",))] * 2
    assert all("BONE, sender ROOM3: never, said bob on" in str(film.why) for film in films)
    assert one.ledger.holds() == []
    assert one.ledger.holds(None)[0].closed_by == "bob"
    assert one.ledger.due_destinations(now()) == {}
    asked = [event for event in one.ledger.events(1) if event["what"] == "gate again"]
    assert [(event["who"], event["ruling"]) for event in asked] == [("bob", "never: BONE")]


def test_a_rejection_stands_before_the_ruling_is_carried_out(tmp_path: Path, decoder: Decoder) -> None:
    """The film waits to be examined under "always"; who rejects it meanwhile has the last word."""
    one = shell(tmp_path)
    send(one, bone(1), tmp_path)
    examine(one, decoder, Looks())
    assert rule(one, Answer.ALWAYS) == (1,)
    one.ledger.reject(one.ledger.open_hold(1), by="bob", note_text="", now=now())
    examine(one, decoder, Looks())
    assert one.ledger.film(1).decision == "quarantine"
    assert one.ledger.due_destinations(now()) == {}
    assert "rejected by bob" in one.ledger.rejection(1)


def test_a_release_stands_while_the_ruling_is_carried_out(tmp_path: Path, decoder: Decoder) -> None:
    """A worker that has the film in hand under "never" loses its lease, and takes nothing back."""
    one = shell(tmp_path)
    send(one, bone(1), tmp_path)
    examine(one, decoder, Looks())
    rule(one, Answer.NEVER)
    job = one.ledger.claim("worker")
    assert job is not None
    one.ledger.release(one.ledger.open_hold(1), ("ai",), by="bob", note_text="", now=now())
    decision = Decision(Act.WITHHOLD, (Reason.RULED_OUT,), "a person said never", "")
    with pytest.raises(StaleLease):
        one.ledger.judge(job, Judged(decision, (), "enforce", {}), now=now())
    assert one.ledger.due_destinations(now()) == {"ai": 1}


def test_what_was_taken_back_is_asked_again(tmp_path: Path, decoder: Decoder) -> None:
    """The next film waits; what was decided on stays decided."""
    one = shell(tmp_path)
    rule(one, Answer.ALWAYS)
    first = send(one, bone(1), tmp_path)
    examine(one, decoder, Looks())
    one.ledger.take_back("ROOM3", "BONE", by="ann", note_text="", now=now())
    second = send(one, bone(2), tmp_path)
    examine(one, decoder, Looks())
    assert one.ledger.film(first).decision == "pass"
    assert one.ledger.film(second).reasons == ("HEADER_WORD",)


def test_two_senders_and_two_words_are_answered_by_themselves(tmp_path: Path, decoder: Decoder) -> None:
    one = shell(tmp_path)
    same_room = send(one, bone(1, "TOMO_PROJ"), tmp_path)
    other_room = send(one, bone(2), tmp_path, "ROOM4")
    answered = send(one, bone(3), tmp_path)
    examine(one, decoder, Looks())
    assert rule(one, Answer.ALWAYS) == (one.ledger.film(answered).film_id,)
    examine(one, decoder, Looks())
    assert one.ledger.film(answered).decision == "pass"
    assert one.ledger.film(same_room).decision == one.ledger.film(other_room).decision == "quarantine"
    assert [(q.sender, q.word) for q in one.ledger.questions()] == [
        ("ROOM3", "TOMOSYNTHESIS"),
        ("ROOM4", "BONE"),
    ]


def test_always_releases_nothing_that_is_held_for_more(tmp_path: Path, decoder: Decoder) -> None:
    """It is held on, for what is left; never settles it all the same."""
    one = shell(tmp_path)
    send(one, bone(1), tmp_path)
    mirrored = Looks(("mirror", Reason.MIRROR_SUSPECTED))
    examine(one, decoder, mirrored)
    assert one.ledger.film(1).reasons == ("HEADER_WORD", "MIRROR_SUSPECTED")
    rule(one, Answer.ALWAYS)
    examine(one, decoder, mirrored)
    (hold,) = one.ledger.holds()
    assert (hold.reasons, hold.words) == (("MIRROR_SUSPECTED",), ())
    rule(one, Answer.NEVER)
    assert one.ledger.ready_jobs() == 0  # it does not wait for an answer any more


def test_a_turned_film_is_corrected_once_its_word_is_answered(tmp_path: Path, decoder: Decoder) -> None:
    """No copy is made of what may be no film; afterwards the copy is judged by the same ruling."""

    class Turned(Looks):
        def look(self, film: Film) -> tuple[Finding, ...]:
            upright = film.pixels.shape[0] > film.pixels.shape[1]
            return Looks().look(film) if upright else super().look(film)

    one = shell(tmp_path, correct="auto")
    ds = phantom_dx("frontal", 1, turn=90)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "", "BONE"]
    send(one, ds, tmp_path)
    gates = Turned(("rotation", Reason.ROTATED_90))
    examine(one, decoder, gates)
    assert one.ledger.open_hold(1).proposal is None
    rule(one, Answer.ALWAYS)
    examine(one, decoder, gates)
    assert one.ledger.film(1).decision == "correct"
    assert one.ledger.due_destinations(now()) == {"ai": 1}


def test_observing_holds_nothing(tmp_path: Path, decoder: Decoder) -> None:
    """It is recorded what would have been done, and everything goes where it went before."""
    one = shell(tmp_path, mode="observe")
    send(one, bone(1), tmp_path)
    examine(one, decoder, Looks())
    assert one.ledger.film(1).reasons == ("HEADER_WORD",)
    assert (one.ledger.holds(), one.ledger.questions()) == ([], [])
    assert one.ledger.due_destinations(NOW) == {"ai": 1, "kids": 1}


def test_a_film_of_another_region_waits_for_its_word(tmp_path: Path, decoder: Decoder) -> None:
    """A word says as little of a hip as of a chest: it is not withheld for it."""
    one = shell(tmp_path, accepts={"regions": ["hip"]})
    ds = hip(1)
    ds.SeriesDescription = "Hip AP soft tissue"
    send(one, ds, tmp_path)
    gates = Looks(("anatomy", Reason.OTHER_PART), regions=("hip",))
    examine(one, decoder, gates)
    assert one.ledger.film(1).reasons == ("HEADER_WORD",)
    one.ledger.rule("ROOM3", "SOFT TISSUE", Answer.ALWAYS, by="ann", note_text="", now=now())
    examine(one, decoder, gates)
    assert one.ledger.film(1).rule == "region hip"
    assert one.ledger.due_destinations(now()) == {"kids": 1}


def test_the_sender_is_the_calling_ae_title_of_the_association(tmp_path: Path, decoder: Decoder) -> None:
    """Two films by C-STORE: one waits for a ruling on its sender, the other passes with a flag."""
    one = shell(tmp_path)
    resampled = phantom_dx("frontal", 2)
    resampled.ImageType = ["DERIVED", "SECONDARY", "", "CSA RESAMPLED"]
    with listening(tmp_path, one.ledger) as listener, sender(listener.port) as association:
        for ds in (bone(1), resampled):
            assert association.send_c_store(ds).Status == 0x0000
    examine(one, decoder, Looks())
    passed, held = one.ledger.films()
    assert (passed.decision, set(passed.flags)) == ("pass", {"DERIVED", "SECONDARY"})
    assert (held.decision, held.reasons) == ("quarantine", ("HEADER_WORD",))
    assert [question.sender for question in one.ledger.questions()] == ["SENDER"]
    rule(one, Answer.ALWAYS, ae_title="SENDER")
    examine(one, decoder, Looks())
    assert one.ledger.due_destinations(now()) == {"ai": 2}
