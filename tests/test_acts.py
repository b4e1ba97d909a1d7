"""What people do with films: the table, the seconds until it leaves, many at once, and the way back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from acting_films import (
    TEN_S,
    all_gone,
    at_destination,
    copy_of,
    decided,
    held,
    hold_films,
    note_of,
    undone,
    wish,
)
from ledger_films import NOW, PASS, WITHHELD, claimed, ledger, received

from gateway.ledger import Ledger
from gateway.ledger.acting.auditing import Audited
from gateway.ledger.acting.records import Meant
from gateway.ledger.acting.table import TABLE, DoneBy, FilmState, may
from gateway.ledger.records import HoldState
from gateway.ledger.tables import MACHINES

__all__ = ["ledger"]
SOON, LATER = NOW + timedelta(seconds=9), NOW + TEN_S


# --- what leaves, and when ------------------------------------------------------------------------


def test_a_release_leaves_after_its_seconds_and_not_before(ledger: Ledger) -> None:
    """No courier is given it sooner, and an ordinary delivery waits for nothing."""
    (meant,) = hold_films(ledger, 1)
    (acted,) = decided(ledger, DoneBy.RELEASE, [meant])
    assert (acted.ok, acted.state, acted.until) == (True, FilmState.GOING_OUT, LATER)
    assert ledger.due_destinations(SOON) == {"archive": 1}
    assert all_gone(ledger, "ai", SOON) == []
    assert len(all_gone(ledger, "ai", LATER)) == 1
    assert ledger.standings([meant])[0].state is FilmState.RELEASED


def test_what_waits_to_leave_is_owed_and_not_tried_yet(ledger: Ledger) -> None:
    """Lists say `pending`, as of everything that is owed."""
    decided(ledger, DoneBy.RELEASE, hold_films(ledger, 1))
    assert at_destination(ledger, "ai") == ["pending"]
    assert [(one.destination, one.state, one.count) for one in ledger.undone("ai")] == [("ai", "pending", 1)]
    assert ledger.counts()["owed"] == 2


def test_the_seconds_stand_in_the_ledger(ledger: Ledger) -> None:
    """Another process, later, lets it go: nothing was kept in memory."""
    decided(ledger, DoneBy.RELEASE, hold_films(ledger, 1))
    other = Ledger.open(str(ledger._engine.url))
    assert (other.let_go(SOON), other.let_go(LATER)) == (0, 1)
    other.close()
    assert ledger.due_destinations(LATER)["ai"] == 1


def test_a_clock_that_was_set_back_keeps_nothing_waiting(ledger: Ledger) -> None:
    decided(ledger, DoneBy.RELEASE, hold_films(ledger, 1))
    assert ledger.let_go(NOW - timedelta(hours=1)) == 1


def test_a_release_without_a_delay_is_due_at_once(ledger: Ledger) -> None:
    (acted,) = decided(ledger, DoneBy.RELEASE, hold_films(ledger, 1), delay=timedelta(0))
    assert (acted.state, acted.until) == (FilmState.RELEASED, None)
    assert ledger.due_destinations(NOW)["ai"] == 1


def test_a_key_object_stops_what_has_not_left(ledger: Ledger) -> None:
    """Whoever takes a film back within the seconds, it does not leave: as gating again does."""
    (meant,) = hold_films(ledger, 1)
    decided(ledger, DoneBy.RELEASE, [meant])
    ledger.gate_again(1, by="bob", now=NOW)
    ledger.judge(claimed(ledger), WITHHELD, now=NOW)
    assert all_gone(ledger, "ai", LATER) == []


# --- the way back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [DoneBy.RELEASE, DoneBy.ACCEPT, DoneBy.CORRECT])
def test_undone_within_the_seconds_nobody_ever_got_it(ledger: Ledger, act: DoneBy) -> None:
    """The hold is open as it was, with its proposal, and nothing goes out, then or later."""
    (meant,) = hold_films(ledger, 1, proposal=True)
    before = ledger.open_hold(1)
    made = {1: copy_of(7)} if act is DoneBy.CORRECT else {}
    (acted,) = decided(ledger, act, [meant], made=made, copies_to=("archive",))
    (back,) = undone(ledger, acted.act_id, at=SOON)
    assert (back.ok, back.state) == (True, FilmState.PROPOSED)
    assert ledger.open_hold(1) == before
    assert [all_gone(ledger, name, LATER) for name in ("ai", "archive")] == [[], [ledger.open_hold(1).digest]]
    (again,) = decided(ledger, DoneBy.ACCEPT, [meant], at=LATER)
    assert again.ok
    assert all_gone(ledger, "ai", LATER + TEN_S) == [before.proposal]


def test_what_left_cannot_be_called_back_and_that_is_said(ledger: Ledger) -> None:
    (meant,) = hold_films(ledger, 1)
    (acted,) = decided(ledger, DoneBy.RELEASE, [meant])
    all_gone(ledger, "ai", LATER)
    (back,) = undone(ledger, acted.act_id, at=LATER)
    assert not back.ok
    assert "left for ai and cannot be called back" in back.error
    assert "Reject" in back.error
    assert ledger.holds() == []


def test_a_release_that_nobody_could_be_sent_yet_can_still_be_undone(ledger: Ledger) -> None:
    """The AI is down: its seconds are over, and nothing has left."""
    (meant,) = hold_films(ledger, 1)
    (acted,) = decided(ledger, DoneBy.RELEASE, [meant])
    ledger.let_go(LATER)
    assert undone(ledger, acted.act_id, at=LATER + TEN_S)[0].ok
    assert at_destination(ledger, "ai") == ["cancelled"]


def test_a_release_that_is_on_the_wire_is_not_undone(ledger: Ledger) -> None:
    """Not even in part: of two destinations one is being sent it."""
    (meant,) = hold_films(ledger, 1)
    (acted,) = decided(ledger, DoneBy.RELEASE, [meant], to=("ai", "ai2"))
    ledger.let_go(LATER)
    ledger.claim_deliveries("ai2", 1, LATER)
    assert not undone(ledger, acted.act_id, at=LATER)[0].ok
    assert (at_destination(ledger, "ai"), at_destination(ledger, "ai2")) == (["pending"], ["sending"])


def test_a_note_that_has_not_left_is_stopped_with_the_rejection(ledger: Ledger) -> None:
    """The archive never hears of it, and is sent nothing again."""
    (meant,) = hold_films(ledger, 1)
    all_gone(ledger, "archive")
    (acted,) = decided(ledger, DoneBy.REJECT, [meant], notes={1: note_of(1)}, reason="111210")
    assert (acted.state, acted.until) == (FilmState.REJECTED, LATER)
    (back,) = undone(ledger, acted.act_id, at=SOON)
    assert (back.ok, back.state) == (True, FilmState.HELD)
    assert all_gone(ledger, "archive", LATER) == []


def test_a_note_that_left_is_answered_by_the_object_itself(ledger: Ledger) -> None:
    """An archive that hid or removed what was rejected is sent it again, byte for byte."""
    (meant,) = hold_films(ledger, 1)
    (original,) = all_gone(ledger, "archive")
    (acted,) = decided(ledger, DoneBy.REJECT, [meant], notes={1: note_of(1)})
    assert all_gone(ledger, "archive", LATER) == [note_of(1).digest]
    (back,) = undone(ledger, acted.act_id, at=LATER)
    assert (back.ok, back.state) == (True, FilmState.HELD)
    assert all_gone(ledger, "archive", LATER) == [original]
    assert all_gone(ledger, "archive", LATER + TEN_S) == []


def test_an_archive_that_never_got_the_film_from_us_is_sent_it_after_all(ledger: Ledger) -> None:
    """It passed the film to us itself, and was told that it is rejected."""
    ledger.record([received()])
    ledger.judge(claimed(ledger), held(), now=NOW)
    (acted,) = decided(ledger, DoneBy.REJECT, [Meant(1)], notes={1: note_of(1)})
    all_gone(ledger, "archive", LATER)
    undone(ledger, acted.act_id, at=LATER)
    assert all_gone(ledger, "archive", LATER) == [ledger.open_hold(1).digest]


def test_while_a_note_is_on_the_wire_the_undo_waits(ledger: Ledger) -> None:
    """Else the object could be there before the note that hides it."""
    (meant,) = hold_films(ledger, 1)
    all_gone(ledger, "archive")
    (acted,) = decided(ledger, DoneBy.REJECT, [meant], notes={1: note_of(1)})
    ledger.let_go(LATER)
    (sending,) = ledger.claim_deliveries("archive", 1, LATER)
    assert "on its way to archive" in undone(ledger, acted.act_id, at=LATER)[0].error
    ledger.delivered(sending.id, LATER)
    assert undone(ledger, acted.act_id, at=LATER)[0].ok


def test_a_film_that_went_out_is_rejected_and_the_undo_of_that_leaves_it_released(ledger: Ledger) -> None:
    """One of two AIs is away: it is sent nothing; undone, it is owed again."""
    (meant,) = hold_films(ledger, 1)
    (released,) = decided(ledger, DoneBy.RELEASE, [meant], to=("ai", "ai2"), note="fine")
    all_gone(ledger, "ai", LATER)
    (rejected,) = decided(ledger, DoneBy.REJECT, [meant], at=LATER, by="bob")
    assert rejected.ok, rejected.error
    assert (at_destination(ledger, "ai"), at_destination(ledger, "ai2")) == (["delivered"], ["cancelled"])
    assert "bob rejected it after that" in undone(ledger, released.act_id, at=LATER)[0].error
    (back,) = undone(ledger, rejected.act_id, by="bob", at=LATER)
    assert (back.ok, back.state) == (True, FilmState.RELEASED)
    (hold,) = ledger.holds(None)
    assert (hold.state, hold.closed_by, hold.note) == (HoldState.RELEASED, "ann", "fine")
    assert at_destination(ledger, "ai2") == ["pending"]


def test_an_act_is_undone_once_by_who_did_it_or_by_an_admin(ledger: Ledger) -> None:
    one, other = hold_films(ledger, 2)
    first, second = decided(ledger, DoneBy.REJECT, [one, other])
    assert "ann did this" in undone(ledger, first.act_id, by="bob")[0].error
    assert undone(ledger, first.act_id, by="bob", anybodys=True)[0].ok
    assert "bob undid this" in undone(ledger, first.act_id)[0].error
    twice, missing = undone(ledger, second.act_id, second.act_id)[1], undone(ledger, 4711)[0]
    assert (twice.ok, missing.ok) == (False, False)


def test_what_was_examined_again_since_stays_as_it_is(ledger: Ledger) -> None:
    """A decision that nobody undid unseen."""
    (meant,) = hold_films(ledger, 1)
    (acted,) = decided(ledger, DoneBy.REJECT, [meant])
    ledger.gate_again(1, by="bob", now=NOW, rejected=True)
    ledger.judge(claimed(ledger), PASS, now=NOW)
    (back,) = undone(ledger, acted.act_id)
    assert not back.ok
    assert "examined again" in back.error
    assert ledger.film(1).decision == "pass"


# --- notes, labels, sending and gating again ------------------------------------------------------


def test_a_note_that_is_undone_is_marked_and_not_erased(ledger: Ledger) -> None:
    meant = hold_films(ledger, 1)
    (acted,) = ledger.ask(wish(DoneBy.NOTE, note="seen by the ward"), meant)
    assert undone(ledger, acted.act_id)[0].ok
    noted, undoing = ledger.acts_on(1)
    assert (noted.note, noted.undone_by, undoing.act) == ("seen by the ward", "ann", DoneBy.UNDO)
    assert not ledger.ask(wish(DoneBy.NOTE, note=" "), meant)[0].ok


def test_verdicts_teach_and_an_undo_takes_the_lesson_back(ledger: Ledger) -> None:
    """A release says that the film, held as turned, is not."""
    meant = hold_films(ledger, 1)
    (acted,) = decided(ledger, DoneBy.RELEASE, meant)
    assert [(one.what, one.value, one.by) for one in ledger.labels_of(1)] == [("turned", "0", "ann")]
    undone(ledger, acted.act_id)
    assert ledger.labels_of(1) == []


def test_what_was_delivered_is_sent_once_more_to_whom_it_is_named(ledger: Ledger) -> None:
    ledger.record([received()], always=("archive",))
    ledger.judge(claimed(ledger), PASS, now=NOW)
    sent = all_gone(ledger, "ai"), all_gone(ledger, "archive")
    (acted,) = ledger.ask(wish(DoneBy.RESEND, to=("ai",)), [Meant(1)])
    assert acted.ok, acted.error
    assert (all_gone(ledger, "ai"), all_gone(ledger, "archive")) == (sent[0], [])
    nothing = (
        ledger.ask(wish(DoneBy.RESEND), [Meant(1)])[0],
        ledger.ask(wish(DoneBy.RESEND, to=("x",)), [Meant(1)])[0],
    )
    assert not any(one.ok for one in nothing)


def test_what_ai_shall_not_have_any_more_is_not_sent_again(ledger: Ledger) -> None:
    """It passed, was delivered, and is held by now."""
    ledger.record([received()], always=("archive",))
    ledger.judge(claimed(ledger), PASS, now=NOW)
    all_gone(ledger, "ai")
    ledger.ask(wish(DoneBy.GATE_AGAIN), [Meant(1)])
    ledger.judge(claimed(ledger), held(), now=NOW)
    (acted,) = ledger.ask(wish(DoneBy.RESEND, to=("ai",)), [Meant(1)])
    assert not acted.ok
    assert "not for AI any more" in acted.error
    assert all_gone(ledger, "ai") == []


def test_a_film_is_gated_again_once(ledger: Ledger) -> None:
    meant = hold_films(ledger, 1)
    assert ledger.ask(wish(DoneBy.GATE_AGAIN), meant)[0].state is FilmState.UNDECIDED
    assert ledger.ready_jobs() == 1
    again = ledger.ask(wish(DoneBy.GATE_AGAIN), meant)[0]
    assert "being examined already" in again.error


# --- many films, and the table --------------------------------------------------------------------


def test_each_of_many_films_has_its_own_answer(ledger: Ledger) -> None:
    """One that changed since, one that does not exist, and one named twice stop no other."""
    one, other, third = hold_films(ledger, 3)
    seen = replace(other, decision=99)
    answers = decided(ledger, DoneBy.RELEASE, [one, seen, Meant(4711), third, one])
    assert [acted.ok for acted in answers] == [True, False, False, True, False]
    assert "no longer held as you saw it" in answers[1].error
    assert "there is no such film" in answers[2].error
    assert [hold.film_id for hold in ledger.holds()] == [2]


def test_more_films_than_a_transaction_takes_are_decided_on(ledger: Ledger) -> None:
    meant = hold_films(ledger, 40)
    many = [*meant, *(Meant(film) for film in range(1000, 1600))]
    answers = decided(ledger, DoneBy.REJECT, many)
    assert sum(acted.ok for acted in answers) == 40
    assert [acted.film for acted in answers] == [one.film for one in many]
    assert len({acted.act_id for acted in answers if acted.ok}) == 40


def test_a_film_that_no_ai_takes_is_not_sent_nowhere(ledger: Ledger) -> None:
    ledger.record([received()])
    ledger.judge(claimed(ledger), replace(held(), takers=()), now=NOW)
    (acted,) = decided(ledger, DoneBy.RELEASE, [Meant(1)])
    assert not acted.ok
    assert "no AI destination takes such a film" in acted.error
    assert decided(ledger, DoneBy.RELEASE, [Meant(1)], to=("ai",))[0].ok


def test_a_film_that_is_held_twice_is_named_by_its_hold(ledger: Ledger) -> None:
    ledger.record([received()])
    ledger.judge(claimed(ledger), held(), now=NOW)
    ledger.record([received(digest="b")])
    ledger.judge(claimed(ledger), held(), now=NOW)
    assert "name one of h1, h2" in decided(ledger, DoneBy.REJECT, [Meant(1)])[0].error
    assert decided(ledger, DoneBy.REJECT, [Meant(1, hold=1)])[0].ok
    assert [hold.id for hold in ledger.holds()] == [2]


def in_state(ledger: Ledger, state: FilmState) -> Meant:
    """One film in this state."""
    match state:
        case FilmState.UNDECIDED:
            ledger.record([received()])
        case FilmState.PASSED | FilmState.WITHHELD | FilmState.OBSERVED:
            judged = WITHHELD if state is FilmState.WITHHELD else PASS
            ledger.record([received()])
            mode = "observe" if state is FilmState.OBSERVED else "enforce"
            ledger.judge(claimed(ledger), replace(judged, mode=mode), now=NOW)
        case FilmState.FAILED:
            ledger.record([received()])
            ledger.fail(claimed(ledger), error="boom", max_attempts=1, now=NOW)
        case _:
            (meant,) = hold_films(ledger, 1, proposal=state is FilmState.PROPOSED)
            act = {FilmState.GOING_OUT: DoneBy.RELEASE, FilmState.RELEASED: DoneBy.RELEASE}.get(state)
            act = DoneBy.REJECT if state is FilmState.REJECTED else act
            if act:
                decided(ledger, act, [meant])
            if state is FilmState.RELEASED:
                all_gone(ledger, "ai", LATER)
    return Meant(1)


STATES = (
    FilmState.UNDECIDED,
    FilmState.OBSERVED,
    FilmState.PASSED,
    FilmState.WITHHELD,
    FilmState.HELD,
    FilmState.PROPOSED,
    FilmState.FAILED,
    FilmState.GOING_OUT,
    FilmState.RELEASED,
    FilmState.REJECTED,
)


@pytest.mark.parametrize("state", STATES)
def test_the_core_does_what_the_table_has_and_nothing_else(ledger: Ledger, state: FilmState) -> None:
    """In each state all acts that the table lacks are refused, and change nothing."""
    meant = in_state(ledger, state)
    assert ledger.standings([meant])[0].state is state
    for act in set(DoneBy) - {DoneBy.UNDO, DoneBy.RESEND, DoneBy.NOTE, DoneBy.RELABEL}:
        if may(state, act):
            continue
        do = ledger.ask if act is DoneBy.GATE_AGAIN else ledger.decide
        made = {1: copy_of(7)} if act is DoneBy.CORRECT else {}
        (acted,) = do(wish(act, made=made, to=("ai",)), [meant])
        assert not acted.ok, act
        assert "Nothing was changed" in acted.error or "stays held" in acted.error
    assert ledger.standings([meant])[0].state is state


def test_every_state_can_be_noted_and_no_pair_is_unknown() -> None:
    assert all(may(state, DoneBy.NOTE) for state in FilmState)
    assert set(product(FilmState, DoneBy)) > TABLE


# --- the audit ------------------------------------------------------------------------------------


def test_the_audit_has_what_people_did_and_not_what_machines_did(ledger: Ledger) -> None:
    one, other = hold_films(ledger, 2)
    (released,) = decided(ledger, DoneBy.RELEASE, [one], note="upright")
    decided(ledger, DoneBy.REJECT, [other], by="bob", reason="111210")
    undone(ledger, released.act_id)
    rows = ledger.audit(Audited(), limit=10)
    assert [(row.who, row.what, row.film) for row in rows] == [
        ("ann", "undone", 1),
        ("bob", "hold rejected", 2),
        ("ann", "hold released", 1),
    ]
    assert rows[1].detail["reason"] == "111210"
    assert not {row.who for row in rows} & set(MACHINES)
    assert [row.film for row in ledger.audit(Audited(who="bob"), limit=10)] == [2]
    assert [row.who for row in ledger.audit(Audited(film=1, before=rows[0].id), limit=10)] == ["ann"]
    assert ledger.audit(Audited(since=LATER), limit=10) == []
    assert ledger.audited_words() == (["ann", "bob"], ["hold rejected", "hold released", "undone"])


def test_ones_own_acts_are_walked_newest_first(ledger: Ledger) -> None:
    meant = hold_films(ledger, 3)
    decided(ledger, DoneBy.REJECT, meant[:2])
    decided(ledger, DoneBy.REJECT, meant[2:], by="bob")
    second, first = ledger.acts_by("ann")
    assert (second.film, first.film) == (2, 1)
    assert [one.film for one in ledger.acts_by("ann", before=second.id)] == [1]


def test_the_manual_shows_the_table_of_the_core() -> None:
    """docs/console.md has a row a state and a column an act."""
    text = (Path(__file__).parents[1] / "docs" / "console.md").read_text()
    lines = text.partition("<!-- acts -->")[2].partition("<!-- /acts -->")[0].strip().splitlines()
    (_, *acts), _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    shown = {(row[0], act) for row in rows for act, cell in zip(acts, row[1:], strict=True) if cell == "yes"}
    assert shown == {(state.value, act.value) for state, act in TABLE}
    assert [row[0] for row in rows] == [state.value for state in FilmState]
