"""Real peers that fail in every way at once: each waits alone, nothing is given up, all of it is revived."""

from __future__ import annotations

import gc
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from storage_peers import DX, WAIT_S, Script, accept, answer, answers, raw_peer, storage_scp, take_pdu
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.destinations import build
from gateway.dispatcher import courier as module
from gateway.dispatcher.courier import Courier
from gateway.errors import Trouble
from gateway.ledger import Ledger
from gateway.ledger.records import DeliveryState, Received, Undelivered
from gateway.settings import DicomDestination, RetrySettings
from gateway.store import Store

EXPLICIT = "1.2.840.10008.1.2.1"
TOO_SLOW = ("hanging", "crawling")  # given up soon; all others may take their time
QUICK = RetrySettings(first_s=0.02, longest_s=0.05)
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class Line:
    """A ledger and a store, and a courier to peers on this machine."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.ledger = Ledger.open(f"sqlite:///{state}/ledger.sqlite", busy_timeout_s=5, migrate_first=True)
        self.store = Store(state, 0)

    def owe(self, *names: str, count: int, first: int = 0, size: int = 8) -> None:
        rows = []
        for number in range(first, first + count):
            incoming = self.store.begin(DX, f"1.2.{number}", EXPLICIT)
            incoming.write(f"{number}".encode().ljust(size))
            kept = incoming.finish()
            rows.append(Received(DX, f"1.2.{number}", EXPLICIT, kept.digest, kept.size_bytes, None, NOW))
        self.ledger.record(rows, always=names)

    @contextmanager
    def sending(self, retry: RetrySettings = QUICK, **ports: int) -> Iterator[Courier]:
        """`archive=11112`: to an SCP of the AE title ARCHIVE at this port."""
        found = {}
        for name, port in ports.items():
            timeout_s = 0.3 if name in TOO_SLOW else WAIT_S
            block = DicomDestination(ae_title="ARCHIVE", port=port, timeout_s=timeout_s)
            found[name] = build(name, block, "FILMGATE")
        courier = Courier(self.ledger, self.store, found, dict.fromkeys(found, retry), rng=Random(1))
        courier.start()
        try:
            yield courier
        finally:
            courier.stop(drain_s=WAIT_S)

    def until(self, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not ready():
            assert time.monotonic() < end, self.ledger.undone()
            threading.Event().wait(0.01)

    def count(self, name: str, *states: DeliveryState) -> int:
        return sum(one.count for one in self.ledger.undone(name) if one.state in states)

    def command(self, *words: str) -> Result:
        config = self.state / "filmgate.yaml"
        config.write_text("destinations: {archive: {ae_title: ARCHIVE, port: 104}}\n")
        where = ["--config", str(config), "--state", str(self.state)]
        return CliRunner().invoke(app, [*words, *where])


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setattr(module, "LOOK_S", 0.005)
    line = Line(tmp_path)
    yield line
    line.ledger.close()


def a_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def rejects(connection: socket.socket) -> None:
    """Calling AE title not recognised, for good (PS3.8 table 9-21)."""
    take_pdu(connection)
    connection.sendall(bytes((3, 0, 0, 0, 0, 4, 0, 1, 1, 3)))


def hangs(connection: socket.socket) -> None:
    """Takes all of the object, and says nothing."""
    accept(connection)
    while connection.recv(1 << 16):
        pass


def crawls(connection: socket.socket) -> None:
    """Takes a byte at a time, until we have broken it off."""
    accept(connection)
    for _ in range(20):
        connection.recv(1)
        threading.Event().wait(0.02)
    while connection.recv(1 << 16):  # to its end, or the next association waits
        pass


def taking() -> tuple[list[int], Script]:
    """How many objects it took, and the script of an archive."""
    taken: list[int] = []

    def success(number: int) -> int:
        taken.append(number)
        return 0

    return taken, answers(success)


SCRIPTS: dict[str, Script] = {"stranger": rejects, "hanging": hangs, "crawling": crawls}
STATUSES = {"full": 0xA700, "puzzled": 0xC000, "misled": 0x0122, "closed": 0x0124, "gone_by": 0xFE00}
TROUBLES = {
    "away": "unreachable",
    "stranger": "association-rejected",
    "hanging": "timed-out",
    "crawling": "timed-out",
    "full": "out-of-resources",
    "puzzled": "declined",
    "misled": "declined",
    "closed": "declined",
    "gone_by": "declined",
}


def test_each_peer_that_fails_waits_alone_and_loses_nothing(line: Line) -> None:
    """Refused, rejected, 0xA700, 0xC000, 0x0122, hanging, crawling: the archive has it all meanwhile.

    None of the films is given up while the peer takes nothing at all.
    """
    names = ["archive", *TROUBLES]
    with ExitStack() as peers:
        ports = {"away": a_port()}
        archive, takes = taking()
        scripts = SCRIPTS | {"archive": takes}
        scripts |= {name: answers(lambda _, status=status: status) for name, status in STATUSES.items()}
        ports |= {name: peers.enter_context(raw_peer(script)) for name, script in scripts.items()}
        line.owe(*names, count=3, size=100_000)
        retry = RetrySettings(first_s=0.05, longest_s=0.2, give_up_h=1e-9)
        with line.sending(retry, **ports) as courier:
            line.until(lambda: len(archive) == 3)
            line.until(lambda: all(courier.health()[name]["state"] == "failing" for name in TROUBLES))
            line.owe(*names, count=3, first=3)
            line.until(lambda: len(archive) == 6)
            assert courier.health()["archive"]["state"] == "ok"
        told = {name: {one.trouble for one in line.ledger.undone(name)} for name in TROUBLES}
    assert [name for name, trouble in TROUBLES.items() if trouble not in told[name]] == []
    assert {name: line.count(name, DeliveryState.FAILED) for name in TROUBLES} == dict.fromkeys(TROUBLES, 0)


@pytest.mark.parametrize("full", [False, True])
def test_hundreds_of_refusals_leave_no_trace(line: Line, full: bool) -> None:
    """Association after association rejected, or object after object answered 0xA700: all is flat."""
    seen: list[int] = []

    def rejected(connection: socket.socket) -> None:
        seen.append(1)
        rejects(connection)

    def refused(number: int) -> int:
        seen.append(number)
        return 0xA700

    archive, takes = taking()
    with raw_peer(takes) as port, raw_peer(answers(refused) if full else rejected) as other:
        line.owe("archive", "poor", count=20)
        with line.sending(RetrySettings(first_s=1e-4, longest_s=1e-3), archive=port, poor=other):
            line.until(lambda: len(archive) == 20 and len(seen) >= 20)
            gc.collect()
            before = (threading.active_count(), len([*Path("/proc/self/fd").iterdir()]))
            line.until(lambda: len(seen) >= 120)
            gc.collect()
            after = (threading.active_count(), len([*Path("/proc/self/fd").iterdir()]))
            line.owe("archive", count=5, first=20)
            line.until(lambda: len(archive) == 25)
    assert all(later <= earlier + 3 for later, earlier in zip(after, before, strict=True))
    assert line.count("poor", DeliveryState.FAILED) == 0
    assert line.count("poor", DeliveryState.PENDING, DeliveryState.RETRY) == 20


def test_an_object_that_an_archive_can_never_take_slows_nobody(line: Line) -> None:
    """0xA700 for ever to one of many: held against it, and the others go as if it were not there."""
    taken: list[bytes] = []
    refused: list[bytes] = []

    def script(connection: socket.socket) -> None:
        accept(connection)
        while True:
            kind, command = take_pdu(connection)
            if kind != 4:
                return
            bad = b"1.2.0\0" in command
            message_id = command[command.index(bytes.fromhex("0000100102000000")) + 8 :][:2]
            take_pdu(connection)
            (refused if bad else taken).append(command)
            answer(connection, message_id, 0xA700 if bad else 0)

    def of_it() -> Undelivered:
        (row,) = line.ledger.undelivered([DeliveryState.RETRY, DeliveryState.SENDING], "archive")
        return row

    line.owe("archive", count=1)
    with raw_peer(script) as port, line.sending(archive=port) as courier:
        for number in range(1, 4):
            line.until(lambda number=number: len(refused) >= number)
            line.owe("archive", count=1, first=number)
            line.until(lambda number=number: len(taken) == number)
            before = len(refused)
            line.until(lambda before=before: len(refused) > before)
        line.until(lambda: of_it().tries >= 2)
        assert courier.health()["archive"]["state"] == "ok"
    bad = of_it()
    assert (bad.sop_instance_uid, bad.trouble) == ("1.2.0", "out-of-resources")
    told = line.command("doctor", "--json")
    (check,) = [one for one in json.loads(told.stdout) if one["what"] == "deliveries to archive"]
    assert check["result"] == "warning"
    assert "1 wait: out-of-resources" in check["detail"]
    assert f"one was refused {bad.tries} times while others were accepted" in check["detail"]


def test_what_was_sent_before_a_kill_is_delivered(line: Line, free_port: int) -> None:
    """The archive kept it, the gateway died before the answer; now it says 0x0111."""
    line.owe("archive", "ai", count=1)
    for name in ("archive", "ai"):
        assert line.ledger.claim_deliveries(name, 1, datetime.now(UTC))  # by a courier that was killed
    with storage_scp(free_port) as peer:
        peer.status = 0x0111
        with line.sending(archive=free_port, ai=free_port):
            line.until(lambda: line.ledger.undone() == [])
    happened = [event["what"] for event in line.ledger.events(1)]
    assert happened.count("delivered") == 2
    assert happened.count("delivery unanswered") == 2


def test_another_version_that_the_archive_does_not_take_is_for_a_person(line: Line, free_port: int) -> None:
    """New bytes under the same UID and 0x0111: what the archive has is the old one."""
    line.owe("archive", count=1)
    with storage_scp(free_port) as peer, line.sending(archive=free_port):
        line.until(lambda: len(peer.uids) == 1)
        peer.status = 0x0111
        line.owe("archive", count=1, size=12)
        line.until(lambda: line.count("archive", DeliveryState.FAILED) == 1)
    (failed,) = line.ledger.undelivered([DeliveryState.FAILED])
    assert failed.trouble == "duplicate"


def test_what_failed_is_counted_listed_and_revived_together(
    line: Line, free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By destination and reason, with who and why; other reasons stay failed."""
    monkeypatch.setattr("gateway.ledger.reviewing._AT_ONCE", 3)
    line.owe("archive", count=10)
    for number, owed in enumerate(line.ledger.claim_deliveries("archive", 10, NOW)):
        trouble = Trouble.DECLINED if number < 8 else Trouble.REFUSED
        line.ledger.fail_delivery(owed.id, error=f"the peer said {trouble}", now=NOW, trouble=trouble)
    groups = json.loads(line.command("deliveries", "summary", "--json").stdout)
    assert [(one["reason"], one["state"], one["count"]) for one in groups] == [
        ("declined", "failed", 8),
        ("refused", "failed", 2),
    ]
    (one, *others) = json.loads(
        line.command("deliveries", "list", "--failed", "--reason", "refused", "--json").stdout
    )
    assert (one["object"], one["sop_instance_uid"], len(others)) == ("original", "1.2.8", 1)
    table = line.command("deliveries", "list", "--limit", "2").stdout
    assert "the peer said declined" in table
    assert "the oldest 2 of 10" in table
    again = ("deliveries", "retry", "--destination", "archive", "--reason", "declined")
    assert "8 objects would be queued; nothing was changed" in line.command(*again, "--dry-run").stdout
    assert line.count("archive", DeliveryState.FAILED) == 10
    assert line.command(*again, "--by", "ann", "--note", "table mended").stdout == "8 objects queued\n"
    assert line.count("archive", DeliveryState.FAILED) == 2
    event = line.ledger.events(1)[-1]
    assert (event["what"], event["who"], event["note"]) == ("send again", "ann", "table mended")
    nothing = line.command(*again)
    assert nothing.exit_code == 1
    assert "8 objects wait for it" in str(nothing.exception)
    assert "archive failed (original, refused)" in line.command("films", "list").stdout
    assert line.command("deliveries", "retry", "--destination", "archive", "--reason", "x").exit_code == 2
    for words in (("summary",), ("list",), ("retry", "--by", "ann")):
        slip = line.command("deliveries", *words, "--destination", "archiv")
        assert "no destination 'archiv'" in str(slip.exception)
    with storage_scp(free_port) as peer, line.sending(archive=free_port):
        line.until(lambda: len(peer.uids) == 8)


def test_what_is_refused_again_and_again_goes_last(line: Line) -> None:
    """New ones first, then what failed as it falls due, then what was held back while others went."""
    line.owe("archive", count=3)
    often, once, new = line.ledger.claim_deliveries("archive", 3, NOW)
    for _ in range(2):
        again = {"error": "no", "at": NOW, "now": NOW}
        line.ledger.retry_delivery(often.id, **again, trouble=Trouble.DECLINED, counted=True)
        line.ledger.claim_deliveries("archive", 1, NOW)
    line.ledger.retry_delivery(often.id, **again, trouble=Trouble.DECLINED)
    line.ledger.retry_delivery(once.id, **again, trouble=Trouble.INTERRUPTED, counted=True)
    line.ledger.put_back(new.id, NOW)
    claimed = [line.ledger.claim_deliveries("archive", 1, NOW)[0] for _ in range(3)]
    assert [one.id for one in claimed] == [new.id, once.id, often.id]
    assert [one.tries for one in claimed] == [0, 1, 2]
