"""The courier, where a delivery fails: tried again, put behind the others, or given up."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from courier_gateway import QUICK, Fake, Gateway, fails_with, gateway, running, told
from structlog.testing import capture_logs

from gateway.destinations.dicom import Duplicate, NotAccepted, OutOfResources
from gateway.destinations.retry import tries_within
from gateway.dispatcher import courier as courier_module
from gateway.dispatcher import lane as lane_module
from gateway.dispatcher.lane import Lane
from gateway.errors import Busy, Declined, DeliveryError, Refused, Rejected, Unreachable
from gateway.ledger.records import Delivery, DeliveryState
from gateway.settings import RetrySettings
from gateway.upper_layer.association import Interrupted, TimedOut, Unwelcome

__all__ = ["gateway"]


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("dead"),
        Busy("full"),
        Interrupted("broke"),
        OutOfResources("0xA700"),
        Unwelcome("who are you"),
    ],
)
def test_what_may_pass_is_tried_again(gateway: Gateway, error: Exception) -> None:
    archive = Fake("archive", fails_with(error, times=3))
    gateway.owe("archive", count=5)
    with running(gateway, archive):
        gateway.until("archive", delivered=5)
    assert len(archive.tried) == 8


@pytest.mark.parametrize("error", [Refused("0xA900"), Rejected("cannot be decoded"), Duplicate("0x0111")])
def test_what_will_not_pass_is_parked(gateway: Gateway, error: Exception) -> None:
    """Each object once, with the reason; nothing is tried again by itself."""
    archive = Fake("archive", fails_with(error))
    gateway.owe("archive", count=3)
    with running(gateway, archive):
        gateway.until("archive", failed=3)
    assert len(archive.tried) == 3


def test_one_refused_object_holds_up_nobody(gateway: Gateway) -> None:
    archive = Fake("archive", fails_with(Refused("0xA900"), times=1))
    gateway.owe("archive", count=10)
    with running(gateway, archive) as courier:
        gateway.until("archive", failed=1, delivered=9)
        assert courier.health()["archive"]["state"] == "ok"


def test_a_dead_destination_is_probed_not_hammered(gateway: Gateway) -> None:
    """Of fifty films one at a time is tried; it is said once; all go when it is back."""
    back = threading.Event()

    def act(delivery: Delivery) -> None:
        if not back.is_set():
            raise Unreachable("nobody listens")

    archive = Fake("archive", act)
    gateway.owe("archive", count=50)
    with (
        capture_logs() as logs,
        running(gateway, archive, retry=RetrySettings(first_s=0.1, longest_s=0.2)) as courier,
    ):
        archive.until(lambda: len(archive.tried) == 4)
        health = courier.health()["archive"]
        back.set()
        gateway.until("archive", delivered=50)
        assert courier.health()["archive"]["state"] == "ok"
    assert len(archive.tried) <= 56
    assert health["state"] == "failing"
    assert "takes no films since" in health["text"]
    assert "nobody listens" in health["text"]
    events = [entry["event"] for entry in logs]
    assert events.count("destination takes no films") == 1
    assert events.count("destination takes films again") == 1


def test_an_object_that_breaks_the_peer_goes_last(gateway: Gateway) -> None:
    """It fails for ever; the others are delivered all the same, though it is the oldest."""

    def act(delivery: Delivery) -> None:
        if delivery.sop_instance_uid == "1.2.0":
            raise Interrupted("the peer crashed over it")

    archive = Fake("archive", act)
    gateway.owe("archive", count=10)
    with running(gateway, archive):
        gateway.until("archive", delivered=9)
        assert gateway.states("archive")["1.2.0"] in ("retry", "sending")


def test_what_arrived_without_an_answer_is_delivered_by_the_next_courier(gateway: Gateway) -> None:
    """The peer keeps the object and dies before it answers; later it says 0x0111: delivered, not parked."""
    tries: list[Delivery] = []

    def dies_then_has_it(delivery: Delivery) -> None:
        tries.append(delivery)
        if not delivery.unanswered:
            error = Interrupted("no response")
            error.unanswered = True
            raise error

    gateway.owe("archive")
    first = Fake("archive", dies_then_has_it)
    with running(gateway, first):
        first.until(lambda: first.tried != [])
    with running(gateway, Fake("archive", dies_then_has_it)):
        gateway.until("archive", delivered=1)
    assert [one.unanswered for one in tries] == [False, True]
    happened = [event["what"] for event in gateway.ledger.events(1)]
    assert happened.count("delivery unanswered") == 1


def refuses(uid: str, error: Exception) -> Callable[[Delivery], None]:
    """An archive that takes all but one object."""

    def act(delivery: Delivery) -> None:
        if delivery.sop_instance_uid == uid:
            raise error

    return act


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks often, and has patience for few tries."""
    monkeypatch.setattr(courier_module, "LOOK_S", 0.002)
    monkeypatch.setattr(courier_module, "FEW", 4)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [OutOfResources("0xA700"), Declined("0xC000")])
def test_an_object_is_given_up_by_its_own_tries(gateway: Gateway, error: DeliveryError) -> None:
    """Refused again and again while others are taken: told of, tried after them, at last for a person."""
    archive = Fake("archive", refuses("1.2.0", error))
    retry = RetrySettings(first_s=1e-4, longest_s=1e-3, give_up_h=0.003 / 3600)
    most = 4 if error.few else tries_within(retry.give_up_h, retry)
    gateway.owe("archive")
    with capture_logs() as logs, running(gateway, archive, retry=retry) as courier:
        for number in range(1, 20 * most):
            tried = archive.tried.count("1.2.0")
            gateway.owe("archive", first=number)
            archive.until(lambda number=number: f"1.2.{number}" in archive.done)
            if gateway.states("archive")["1.2.0"] == "failed":
                break
            archive.until(lambda tried=tried: archive.tried.count("1.2.0") > tried)
        assert courier.health()["archive"]["state"] == "ok"
    (row,) = gateway.ledger.undelivered([DeliveryState.FAILED])
    assert (row.trouble, row.sop_instance_uid) == (error.trouble, "1.2.0")
    assert f"given up after {most} tries of its own, while others were taken: {error}" == row.error
    assert archive.tried.count("1.2.0") > most
    assert told(logs).count("object refused again and again") == (1 if error.few else 0)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("error", [Declined("0x0122"), NotAccepted("no CR"), TimedOut("hangs")])
def test_what_everything_gets_is_the_destinations(gateway: Gateway, error: DeliveryError) -> None:
    """A peer that is set up wrongly for an hour, or full: nothing is given up, all goes when it is mended."""
    mended = threading.Event()

    def act(delivery: Delivery) -> None:
        if not mended.is_set():
            raise error

    archive = Fake("archive", act)
    gateway.owe("archive", count=3)
    quick = RetrySettings(first_s=1e-3, longest_s=2e-3)
    with capture_logs() as logs, running(gateway, archive, retry=quick) as courier:
        archive.until(lambda: min(map(archive.tried.count, gateway.states("archive"))) > 4)
        assert courier.health()["archive"]["state"] == "failing"
        assert {row.tries for row in gateway.ledger.undelivered([DeliveryState.RETRY])} <= {0}
        mended.set()
        gateway.until("archive", delivered=3)
    assert told(logs).count("destination takes no films") == 1


def test_one_object_alone_is_no_outage(gateway: Gateway) -> None:
    """Nobody else has to wait for it."""
    archive = Fake("archive", refuses("1.2.0", OutOfResources("0xA700")))
    gateway.owe("archive")
    slow = RetrySettings(first_s=900, longest_s=900)
    with running(gateway, archive, retry=slow) as courier:
        archive.until(lambda: archive.tried == ["1.2.0"])
        gateway.until("archive", retry=1)
        assert courier.health()["archive"]["state"] == "ok"
        gateway.owe("archive", count=3, first=1)
        gateway.until("archive", delivered=3)


def test_a_clock_that_is_days_ahead_gives_nothing_up(gateway: Gateway) -> None:
    """Tries are counted, not hours by the wall."""
    archive = Fake("archive", fails_with(Unreachable("dead"), times=5))
    gateway.owe("archive", count=3, at=datetime.now(UTC) - timedelta(days=9))
    with running(gateway, archive, retry=RetrySettings(first_s=0.01, longest_s=0.01, give_up_h=1)):
        gateway.until("archive", delivered=3)


@pytest.mark.usefixtures("quick")
def test_what_this_machine_cannot_do_is_tried_on_but_not_for_ever(gateway: Gateway) -> None:
    """No room in the temporary folder: nobody else's fault, so others are not held up."""
    archive = Fake("archive", refuses("1.2.0", OSError(errno.ENOSPC, "No space left on device")))
    gateway.owe("archive", count=3)
    retry = RetrySettings(first_s=1e-4, longest_s=1e-3, give_up_h=0.01 / 3600)
    with running(gateway, archive, retry=retry):
        gateway.until("archive", delivered=2, failed=1)
    (row,) = gateway.ledger.undelivered([DeliveryState.FAILED])
    assert row.trouble == "ours"
    assert "given up after" in row.error
    assert "No space left" in row.error
    assert archive.tried.count("1.2.0") == tries_within(retry.give_up_h, retry)


def test_ten_thousand_failures_leave_nothing_behind(gateway: Gateway, monkeypatch) -> None:
    """What is remembered of single objects is bounded."""
    monkeypatch.setattr(lane_module, "_MOST_FAILING", 100)
    lane = Lane(Fake("archive"), QUICK, Random(1))
    for delivery_id in range(10_000):
        lane.counts(delivery_id)
        lane.suspects(delivery_id)
        lane.fails(OutOfResources("0xA700"), datetime.now(UTC))
    assert len(lane._taken_then) == 100
    assert len(lane._suspects) == 2


def test_a_file_missing_in_the_store_is_parked(gateway: Gateway) -> None:
    """The others go on."""
    archive = Fake("archive")
    gateway.owe("archive", count=3)
    (row,) = gateway.ledger.claim_deliveries("archive", 1, datetime.now(UTC))
    gateway.store.remove(row.digest)
    with capture_logs() as logs, running(gateway, archive):
        gateway.until("archive", failed=1, delivered=2)
    (parked,) = [entry for entry in logs if entry["event"] == "delivery parked"]
    assert "not in the store" in parked["error"]
    assert "1.2." not in str(parked)


def test_a_fault_of_ours_ends_nothing(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody expected is logged; its object is tried later, the others go on."""
    monkeypatch.setattr(courier_module, "LEDGER_S", 0.01)

    def act(delivery: Delivery) -> None:
        if delivery.sop_instance_uid == "1.2.0":
            raise KeyError("a bug")

    archive = Fake("archive", act)
    gateway.owe("archive", count=5)
    with capture_logs() as logs, running(gateway, archive):
        gateway.until("archive", delivered=4)
    assert "delivery failed inside filmgate" in [entry["event"] for entry in logs]


def test_a_look_that_fails_is_taken_again(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one thread that sees what is due outlives an error that nobody thought of."""
    monkeypatch.setattr(courier_module, "LEDGER_S", 0.01)
    due, faults = gateway.ledger.due_destinations, [RuntimeError("1.2.0")] * 2

    def fails_at_first(now: datetime, **named: int) -> list[str]:
        if faults:
            raise faults.pop()
        return list(due(now, **named))

    monkeypatch.setattr(gateway.ledger, "due_destinations", fails_at_first)
    gateway.owe("archive", count=2)
    with capture_logs() as logs, running(gateway, Fake("archive")):
        gateway.until("archive", delivered=2)
    told = [(entry["event"], entry["failures"]) for entry in logs if entry.get("thread") == "courier look"]
    assert told == [("ledger not readable", 1), ("ledger not readable", 2), ("a thread goes on", 2)]
