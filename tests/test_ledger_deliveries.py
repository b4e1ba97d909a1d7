"""What is owed to peers: states, order, versions, and what AI shall not have any more."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import pytest
from ledger_films import HELD, NOW, PASS, SR, WITHHELD, claimed, ledger, received, state_at

from gateway.ledger import Ledger
from gateway.ledger.records import (
    CopyMade,
    CopyState,
)
from gateway.ledger.routing import GO_LAST

__all__ = ["ledger"]


def test_what_failed_for_good_is_owed_anew_when_it_is_sent_again(ledger: Ledger) -> None:
    """0x0000 for a resend means safe: the archive gets it after all."""
    ledger.record([received()], always=("archive",))
    (one,) = ledger.claim_deliveries("archive", 5, NOW)
    ledger.retry_delivery(one.id, error="refused", at=NOW, now=NOW, counted=True)
    (one,) = ledger.claim_deliveries("archive", 5, NOW)
    ledger.fail_delivery(one.id, error="refused", now=NOW)
    ledger.record([received(received_at=NOW + timedelta(days=9))], always=("archive",))
    (again,) = ledger.claim_deliveries("archive", 5, NOW)
    assert (one.tries, again.tries, again.created_at) == (1, 0, NOW + timedelta(days=9))


def test_a_person_sends_failed_deliveries_again(ledger: Ledger) -> None:
    """Their time to give up starts anew, whatever zone the person's clock is in."""
    ledger.record([received()], always=("archive",))
    (one,) = ledger.claim_deliveries("archive", 5, NOW)
    ledger.fail_delivery(one.id, error="refused", now=NOW)
    later = (NOW + timedelta(days=9)).astimezone(timezone(timedelta(hours=9)))
    assert ledger.send_again(1, by="ann", now=later) == 1
    assert ledger.send_again(1, by="ann", now=later) == 0
    (again,) = ledger.claim_deliveries("archive", 5, NOW)
    assert again.created_at == later


def test_a_clock_set_back_delays_no_new_delivery(ledger: Ledger) -> None:
    ledger.record([received()], always=("archive",))
    assert ledger.due_destinations(NOW - timedelta(hours=3)) == {"archive": 1}


def test_a_version_is_not_sent_back_to_where_it_came_from(ledger: Ledger) -> None:
    """An archive that changes what it reflects would otherwise be sent its changes without end."""
    ledger.record([received()], always=("archive",))
    ledger.record([received(digest="b", came_from=("archive",))], always=("archive", "backup"))
    assert ledger.due_destinations(NOW) == {"archive": 1, "backup": 1}


def test_a_delivery_goes_through_its_states(ledger: Ledger) -> None:
    """Pending, sending, retry at its time, delivered; what a dead courier held goes back."""
    ledger.record([received()], always=("archive",))
    (one,) = ledger.claim_deliveries("archive", 5, NOW)
    ledger.retry_delivery(one.id, error="away", at=NOW + timedelta(minutes=1))
    assert ledger.claim_deliveries("archive", 5, NOW) == []
    (again,) = ledger.claim_deliveries("archive", 5, NOW + timedelta(minutes=2))
    assert again.attempts == 2
    assert ledger.requeue_sending() == 1
    (last,) = ledger.claim_deliveries("archive", 5, NOW + timedelta(minutes=2))
    ledger.delivered(last.id, NOW)
    assert ledger.film(1).deliveries[0]["state"] == "delivered"


def test_a_clock_set_back_by_a_day_delays_no_retry(ledger: Ledger) -> None:
    ledger.record([received()], always=("archive",))
    (one,) = ledger.claim_deliveries("archive", 5, NOW)
    ledger.retry_delivery(one.id, error="away", at=NOW + timedelta(minutes=1))
    assert ledger.due_destinations(NOW - timedelta(days=1)) == {"archive": 1}


@pytest.mark.parametrize("word", ["held", "withheld", "rejected", "corrected"])
@pytest.mark.parametrize("end", ["retry", "requeue", "failed"])
def test_what_was_on_the_wire_when_ai_lost_its_film_is_not_tried_again(
    ledger: Ledger, end: str, word: str
) -> None:
    """Neither by the courier, nor by its successor, nor by a person's send-again."""
    ledger.record([received()])
    ledger.judge(claimed(ledger), PASS, now=NOW)
    (sending,) = ledger.claim_deliveries("ai", 5, NOW)
    ledger.gate_again(1, by="ann", now=NOW)
    ledger.judge(claimed(ledger), WITHHELD if word == "withheld" else HELD, now=NOW)
    by: dict[str, Any] = {"by": "ann", "note_text": "", "now": NOW}
    if word == "rejected":
        ledger.reject(ledger.open_hold(1), **by)
    elif word == "corrected":
        copy = CopyMade("2.25.7", "1.2", "1.2.840.10008.1.2.1", "c" * 64, {"turn": 90}, CopyState.PROPOSED)
        ledger.correct(ledger.open_hold(1), copy, ("other",), **by)
    if end == "retry":
        ledger.retry_delivery(sending.id, error="away", at=NOW)
    elif end == "requeue":
        ledger.requeue_sending()
    else:
        ledger.fail_delivery(sending.id, error="no", now=NOW)
        assert ledger.send_again(1, by="ann", now=NOW) == 0
    due = {"other": 1} if word == "corrected" else {}
    assert (state_at(ledger, "ai"), ledger.due_destinations(NOW)) == ("cancelled", due)


def test_what_a_person_released_is_tried_again(ledger: Ledger) -> None:
    """Also while the decision on it is that it be held."""
    ledger.record([received()])
    ledger.judge(claimed(ledger), HELD, now=NOW)
    ledger.release(ledger.open_hold(1), ("ai",), by="ann", note_text="", now=NOW)
    (sending,) = ledger.claim_deliveries("ai", 5, NOW)
    ledger.retry_delivery(sending.id, error="away", at=NOW)
    (sending,) = ledger.claim_deliveries("ai", 5, NOW)
    ledger.fail_delivery(sending.id, error="no", now=NOW)
    assert ledger.send_again(1, by="ann", now=NOW) == 1
    assert ledger.due_destinations(NOW) == {"ai": 1}


def test_a_delivery_knows_whether_its_peer_was_sent_another_version(ledger: Ledger) -> None:
    """Under one UID: what the peer says that it has may be either."""
    ledger.record([received()], always=("archive", "backup"))
    (first,) = ledger.claim_deliveries("archive", 5, NOW)
    ledger.delivered(first.id, NOW)
    ledger.record([received(digest="b"), received("1.2.9", "9")], always=("archive", "backup"))
    corrected, other = ledger.claim_deliveries("archive", 5, NOW)
    assert (first.sole, corrected.sole, other.sole) == (True, False, True)
    assert ledger.claim_deliveries("backup", 1, NOW)[0].sole


def test_one_version_under_a_uid_is_in_hand_at_a_time(ledger: Ledger) -> None:
    """What the archive has already could be either; whoever else claims meanwhile gets neither."""
    ledger.record([received(), received(digest="b"), received("1.2.9", "9")], always=("archive",))
    first, other = ledger.claim_deliveries("archive", 5, NOW)
    assert (first.digest[0], other.digest[0], first.sole) == ("a", "9", True)
    assert ledger.claim_deliveries("archive", 5, NOW) == []
    ledger.delivered(first.id, NOW)
    (second,) = ledger.claim_deliveries("archive", 5, NOW)
    assert (second.digest[0], second.sole) == ("b", False)


@pytest.mark.parametrize("end", ["put back", "courier died"])
def test_what_goes_last_goes_last_again(ledger: Ledger, end: str) -> None:
    """It was claimed and not tried, or nobody knows."""
    ledger.record([received()], always=("archive",))
    for _ in range(GO_LAST):
        (one,) = ledger.claim_deliveries("archive", 5, NOW)
        ledger.retry_delivery(one.id, error="no", at=NOW, now=NOW, counted=True)
    (last,) = ledger.claim_deliveries("archive", 5, NOW)
    ledger.put_back(last.id, NOW) if end == "put back" else ledger.requeue_sending(now=NOW)
    ledger.record([received("1.2.9", "9")], always=("archive",))
    claims = [ledger.claim_deliveries("archive", 5, NOW) for _ in range(2)]
    assert [one.digest[0] for claim in claims for one in claim] == ["9", "a"]


def test_a_rejection_note_is_owed_with_the_rejection(ledger: Ledger) -> None:
    ledger.record([received()])
    ledger.judge(claimed(ledger), HELD, now=NOW)
    note = replace(SR, kind="rejection")
    ledger.reject(ledger.open_hold(1), by="ann", note_text="", now=NOW, made=note)
    assert ledger.due_destinations(NOW) == {"archive": 1}
