"""The courier: nobody waits for somebody else's destination, nothing is lost, nothing is hammered."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from storage_peers import DX, WAIT_S, storage_scp
from structlog.testing import capture_logs

from gateway.destinations import Destination, build
from gateway.destinations.association import Interrupted, TimedOut, Unwelcome
from gateway.destinations.dicom import Duplicate, NotAccepted, OutOfResources
from gateway.destinations.retry import HORIZON_S, next_delay_s, tries_within
from gateway.dispatcher import courier as module
from gateway.dispatcher.courier import Courier, Lane
from gateway.errors import Busy, Declined, DeliveryError, LedgerBusy, Refused, Rejected, Unreachable
from gateway.ledger import Ledger
from gateway.ledger.records import Delivery, DeliveryState, Received
from gateway.settings import DicomDestination, RetrySettings
from gateway.store import Store

QUICK = RetrySettings(first_s=0.02, longest_s=0.05)
EXPLICIT = "1.2.840.10008.1.2.1"


class Fake:
    """A destination that does what the test says, and tells when it did."""

    def __init__(self, name: str, act: Callable[[Delivery], None] = lambda delivery: None) -> None:
        self.name = name
        self.associations = 1
        self.act = act
        self.tried: list[str] = []
        self.done: list[str] = []
        self.rested = threading.Event()
        self.closed = threading.Event()
        self._changed = threading.Condition()

    def deliver(self, path: Path, delivery: Delivery) -> None:
        with self._changed:
            self.tried.append(delivery.sop_instance_uid)
            self._changed.notify_all()
        with path.open("rb"):
            self.act(delivery)
        with self._changed:
            self.done.append(delivery.sop_instance_uid)
            self._changed.notify_all()

    def rest(self) -> None:
        self.rested.set()

    def close(self) -> None:
        self.closed.set()

    def until(self, ready: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(ready, WAIT_S), f"tried {self.tried}, done {self.done}"


class Gateway:
    """A ledger and a store, with objects owed to destinations."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite", busy_timeout_s=5)
        self.store = store

    def owe(self, *names: str, count: int = 1, first: int = 0, at: datetime | None = None) -> list[str]:
        uids = [f"1.2.{number}" for number in range(first, first + count)]
        rows = []
        for uid in uids:
            incoming = self.store.begin(DX, uid, EXPLICIT)
            incoming.write(uid.encode().ljust(8))
            kept = incoming.finish()
            rows.append(
                Received(DX, uid, EXPLICIT, kept.digest, kept.size_bytes, None, at or datetime.now(UTC))
            )
        self.ledger.record(rows, always=names)
        return uids

    def states(self, name: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for film in self.ledger.films():
            for row in film.deliveries:
                if row["destination"] == name:
                    found[film.sop_instance_uid] = row["state"]
        return found

    def until(self, name: str, **wanted: int) -> None:
        """Wait till this many deliveries have each state."""
        end = time.monotonic() + WAIT_S
        states: list[str] = []
        while time.monotonic() < end:
            states = list(self.states(name).values())
            if all(states.count(state) == count for state, count in wanted.items()):
                return
            threading.Event().wait(0.005)
        raise AssertionError(states)


@pytest.fixture(scope="module")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated ledger to copy: migrating takes longer than most tests here."""
    path = tmp_path_factory.mktemp("empty") / "ledger.sqlite"
    Ledger.open(f"sqlite:///{path}", migrate_first=True).close()
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One for all tests: making its 257 folders takes longer, too."""
    return Store(tmp_path_factory.mktemp("state"), 0)


@pytest.fixture
def gateway(tmp_path: Path, empty_ledger: Path, store: Store) -> Iterator[Gateway]:
    shutil.copy(empty_ledger, tmp_path)
    gateway = Gateway(tmp_path, store)
    yield gateway
    gateway.ledger.close()


@contextmanager
def running(
    gateway: Gateway, *destinations: Destination, retry: RetrySettings = QUICK, **how: Any
) -> Iterator[Courier]:
    by_name = {one.name: one for one in destinations}
    courier = Courier(gateway.ledger, gateway.store, by_name, dict.fromkeys(by_name, retry), **how)
    courier.start()
    try:
        yield courier
    finally:
        courier.stop(drain_s=WAIT_S)


def fails_with(error: Exception, times: int = 1_000_000) -> Callable[[Delivery], None]:
    left = [times]

    def act(delivery: Delivery) -> None:
        if left[0] > 0:
            left[0] -= 1
            raise error

    return act


# Delivering


def test_all_that_is_owed_arrives_in_order(gateway: Gateway) -> None:
    archive = Fake("archive")
    uids = gateway.owe("archive", count=30)
    with running(gateway, archive) as courier:
        archive.until(lambda: len(archive.done) == 30)
        gateway.until("archive", delivered=30)
        assert courier.health() == {"archive": {"state": "ok", "delivered": 30, "text": "takes films"}}
    assert archive.done == uids
    assert archive.closed.is_set()


def test_from_the_ledger_to_a_real_peer_in_little_time(gateway: Gateway, free_port: int) -> None:
    """No worker and no Redis: a film that becomes due is at the archive well within a second."""
    settings = DicomDestination(ae_title="ARCHIVE", port=free_port)
    with storage_scp(free_port) as peer, running(gateway, build("archive", settings, "FILMGATE")):
        began = time.monotonic()
        gateway.owe("archive")
        gateway.until("archive", delivered=1)
        took_s = time.monotonic() - began
    assert peer.datasets == [b"1.2.0   "]
    assert took_s < 2


def test_a_slow_destination_delays_no_other(gateway: Gateway) -> None:
    """One hangs for as long as it likes; the other has everything meanwhile."""
    go_on = threading.Event()
    slow, quick = Fake("slow", lambda delivery: assert_set(go_on)), Fake("quick")
    gateway.owe("slow", "quick", count=20)
    with running(gateway, slow, quick):
        slow.until(lambda: len(slow.tried) == 1)
        gateway.until("quick", delivered=20)
        assert slow.done == []
        go_on.set()
        gateway.until("slow", delivered=20)


def assert_set(event: threading.Event) -> None:
    assert event.wait(WAIT_S)


def test_as_many_at_a_time_as_it_has_associations(gateway: Gateway) -> None:
    """Three deliveries meet; each object is claimed once."""
    together = threading.Barrier(3, timeout=WAIT_S)
    archive = Fake("archive", lambda delivery: wait_for(together))
    archive.associations = 3
    count = 3 * module.BATCH
    gateway.owe("archive", count=count)
    with running(gateway, archive):
        gateway.until("archive", delivered=count)
    assert sorted(archive.done) == sorted(set(archive.tried))


def wait_for(barrier: threading.Barrier) -> None:
    barrier.wait()


def test_rest_when_nothing_is_owed(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REST_S", 0.01)
    archive = Fake("archive")
    with running(gateway, archive):
        assert archive.rested.wait(WAIT_S)


# Failing


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
    monkeypatch.setattr(module, "LOOK_S", 0.002)
    monkeypatch.setattr(module, "FEW", 4)


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
    monkeypatch.setattr(module, "_MOST_FAILING", 100)
    lane = Lane(Fake("archive"), QUICK, Random(1))
    for delivery_id in range(10_000):
        lane.counts(delivery_id)
        lane.suspects(delivery_id)
        lane.fails(OutOfResources("0xA700"), datetime.now(UTC))
    assert len(lane._taken_then) == 100
    assert len(lane._suspects) == 2


def told(logs: list[Any]) -> list[str]:
    return [entry["event"] for entry in logs]


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
    monkeypatch.setattr(module, "LEDGER_S", 0.01)

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
    monkeypatch.setattr(module, "LEDGER_S", 0.01)
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


# Starting, stopping, the ledger


def test_what_a_dead_courier_had_in_hand_is_sent_again(gateway: Gateway) -> None:
    gateway.owe("archive", count=3)
    gateway.ledger.claim_deliveries("archive", 2, datetime.now(UTC))  # by one that was killed
    archive = Fake("archive")
    with running(gateway, archive):
        gateway.until("archive", delivered=3)


def test_stopping_finishes_what_is_under_way_and_no_more(gateway: Gateway) -> None:
    """The rest of the batch goes back to the ledger, not into limbo."""
    go_on = threading.Event()
    archive = Fake("archive", lambda delivery: assert_set(go_on))
    gateway.owe("archive", count=5)
    with running(gateway, archive) as courier:
        archive.until(lambda: len(archive.tried) == 1)
        stopping = threading.Thread(target=courier.stop, args=(WAIT_S,))
        stopping.start()
        assert courier._stopping.wait(WAIT_S)
        go_on.set()
        stopping.join(WAIT_S)
    assert archive.done == ["1.2.0"]
    assert "sending" not in gateway.states("archive").values()


def test_a_hanging_delivery_is_broken_off_at_the_end(gateway: Gateway) -> None:
    """Closing the destination wakes its thread; the object stays owed, and that is nobody's failure."""
    hanging = Fake("archive")

    def act(delivery: Delivery) -> None:
        assert hanging.closed.wait(WAIT_S)
        raise Interrupted("closed")

    hanging.act = act
    gateway.owe("archive")
    with capture_logs() as logs, running(gateway, hanging) as courier:
        hanging.until(lambda: len(hanging.tried) == 1)
        courier.stop(drain_s=0.05)
    assert gateway.states("archive") == {"1.2.0": "retry"}
    assert "destination takes no films" not in [entry["event"] for entry in logs]


@pytest.mark.parametrize("method", ["due_destinations", "claim_deliveries", "delivered", "requeue_sending"])
def test_a_busy_ledger_costs_time_only(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Whatever call it refuses twice: each object is delivered once."""
    monkeypatch.setattr(module, "LEDGER_S", 0.01)
    real = getattr(gateway.ledger, method)
    left = [2]

    def busy(*args: Any, **kwargs: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise LedgerBusy("locked")
        return real(*args, **kwargs)

    monkeypatch.setattr(gateway.ledger, method, busy)
    archive = Fake("archive")
    gateway.owe("archive", count=3)
    with running(gateway, archive):
        gateway.until("archive", delivered=3)
    assert len(archive.tried) == 3
    assert left == [0]


def test_a_destination_that_left_the_settings(gateway: Gateway) -> None:
    """Its films wait, and it is said once."""
    archive = Fake("archive")
    gateway.owe("archive", "gone", count=2)
    with capture_logs() as logs, running(gateway, archive) as courier:
        gateway.until("archive", delivered=2)
        assert courier.health()["gone"]["state"] == "unknown"
    assert [entry["event"] for entry in logs].count("destination not in the settings") == 1
    assert gateway.states("gone") == {"1.2.0": "pending", "1.2.1": "pending"}


def test_what_workers_read_with_a_classifier_is_not_the_couriers(gateway: Gateway) -> None:
    """No lane, no warning, no state of health: it waits for a worker."""
    archive = Fake("archive")
    gateway.owe("archive", "chest14", count=2)
    with capture_logs() as logs, running(gateway, archive, not_sent=("chest14",)) as courier:
        gateway.until("archive", delivered=2)
        assert list(courier.health()) == ["archive"]
    assert "destination not in the settings" not in [entry["event"] for entry in logs]
    assert set(gateway.states("chest14").values()) == {"pending"}


# Delays


def test_delays_grow_within_bounds_and_differ() -> None:
    """Half to whole of first x 2^n, never above the longest."""
    settings = RetrySettings(first_s=2, longest_s=100)
    rng = Random(1)
    for attempt in range(1, 200):
        full_s = min(100, 2 * 2 ** min(attempt - 1, 20))
        delays = [next_delay_s(attempt, settings, rng) for _ in range(50)]
        assert all(full_s / 2 <= delay_s <= full_s for delay_s in delays)
        assert len(set(delays)) > 40


def test_no_delay_reaches_beyond_the_ledgers_horizon() -> None:
    """Further ahead the ledger takes for a clock that was set back."""
    settings = RetrySettings(first_s=2, longest_s=10**9)
    assert next_delay_s(10**6, settings, Random(1)) <= HORIZON_S < 6 * 3600


def test_hours_are_counted_in_tries() -> None:
    """As many as fill them at the mean of the jittered delays."""
    assert tries_within(168, RetrySettings()) == 904
    assert tries_within(1, RetrySettings()) == 14
    assert tries_within(1e-9, RetrySettings()) == 1
    assert tries_within(10**6, RetrySettings(first_s=1e-3, longest_s=1e-3)) == 4_800_000_000_000


def test_failures_at_the_same_time_count_once() -> None:
    """Eight associations that break together are one outage."""
    lane = Lane(Fake("archive"), RetrySettings(first_s=4, longest_s=1000), Random(1))
    now = datetime.now(UTC)
    for _ in range(8):
        left_s = lane.fails(Unreachable("dead"), now)
    assert 1.9 <= left_s <= 4
    assert lane.allowance() == 0


def test_another_reason_is_told_again() -> None:
    """Whoever started the archive again reads in the log that it does not know our AE title now."""
    lane = Lane(Fake("archive"), RetrySettings(first_s=1e-9, longest_s=1e-9), Random(1))
    now = datetime.now(UTC)
    with capture_logs() as logs:
        for error in (Unreachable("dead"), Unreachable("dead still"), Unwelcome("who are you?")):
            lane.fails(error, now)
            lane.fails(error, now)
        lane.takes(1, now)
        lane.fails(Unwelcome("who are you?"), now)
    said = [entry["error"] for entry in logs if entry["event"] == "destination takes no films"]
    assert said == ["dead", "who are you?", "who are you?"]


def test_a_long_delay_does_not_hide_that_it_is_back() -> None:
    """A film may wait for fifteen minutes; the destination is tried every PROBE_S."""
    lane = Lane(Fake("archive"), RetrySettings(first_s=900, longest_s=900), Random(1))
    assert lane.fails(Unreachable("dead"), datetime.now(UTC)) <= module.PROBE_S


def test_one_probe_at_a_time() -> None:
    """When the pause ends, one of many threads tries one object."""
    lane = Lane(Fake("archive"), RetrySettings(first_s=1e-9, longest_s=1e-9), Random(1))
    lane.fails(Unreachable("dead"), datetime.now(UTC))
    assert [lane.allowance() for _ in range(3)] == [1, 0, 0]
    lane.probe_over()
    assert lane.allowance() == 1
    lane.takes(1, datetime.now(UTC))
    assert lane.allowance() == module.BATCH
