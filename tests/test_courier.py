"""The courier: what is owed arrives, in order, and nobody waits for another."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from courier_gateway import Fake, Gateway, assert_set, empty_ledger, gateway, running, store
from storage_peers import WAIT_S, storage_scp
from structlog.testing import capture_logs

from gateway.destinations import build
from gateway.dispatcher import courier as courier_module
from gateway.dispatcher import lane as lane_module
from gateway.errors import LedgerBusy
from gateway.ledger.records import Delivery
from gateway.settings import DicomDestination
from gateway.upper_layer.association import Interrupted

__all__ = ["empty_ledger", "gateway", "store"]


def test_all_that_is_owed_arrives_in_order(gateway: Gateway) -> None:
    archive = Fake("archive")
    uids = gateway.owe("archive", count=30)
    with running(gateway, archive) as courier:
        archive.until(lambda: len(archive.done) == 30)
        gateway.until("archive", delivered=30)
    assert courier.health() == {"archive": {"state": "ok", "delivered": 30, "text": "takes films"}}
    assert archive.done == uids
    assert archive.closed.is_set()


def test_from_the_ledger_to_a_real_peer(gateway: Gateway, free_port: int) -> None:
    """No worker and no Redis: a film that becomes due goes to the archive by itself, at the first try."""
    settings = DicomDestination(ae_title="ARCHIVE", port=free_port)
    with storage_scp(free_port) as peer, running(gateway, build("archive", settings, "FILMGATE")):
        gateway.owe("archive")
        gateway.until("archive", delivered=1)
    assert peer.datasets == [b"1.2.0   "]
    assert peer.accepted == 1


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


def test_as_many_at_a_time_as_it_has_associations(gateway: Gateway) -> None:
    """Three deliveries meet; each object is claimed once."""
    together = threading.Barrier(3, timeout=WAIT_S)
    archive = Fake("archive", lambda delivery: wait_for(together))
    archive.associations = 3
    count = 3 * lane_module.BATCH
    gateway.owe("archive", count=count)
    with running(gateway, archive):
        gateway.until("archive", delivered=count)
    assert sorted(archive.done) == sorted(set(archive.tried))


def wait_for(barrier: threading.Barrier) -> None:
    barrier.wait()


def test_rest_when_nothing_is_owed(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "REST_S", 0.01)
    archive = Fake("archive")
    with running(gateway, archive):
        assert archive.rested.wait(WAIT_S)


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
    monkeypatch.setattr(courier_module, "LEDGER_S", 0.01)
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
