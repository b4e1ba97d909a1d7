"""A ledger, a store and a courier whose destinations do as a test says."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from storage_peers import DX, WAIT_S

from gateway.destinations import Destination
from gateway.dispatcher.courier import Courier
from gateway.ledger import Ledger
from gateway.ledger.records import Delivery, Received
from gateway.settings import RetrySettings
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


def assert_set(event: threading.Event) -> None:
    assert event.wait(WAIT_S)


def told(logs: list[Any]) -> list[str]:
    return [entry["event"] for entry in logs]
