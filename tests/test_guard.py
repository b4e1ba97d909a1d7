"""Strangers at the door: silent, slow, lying, broken or many, none keeps an honest peer waiting."""

from __future__ import annotations

import random
import resource
import socket
import ssl
import struct
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from dicom_peers import (
    DX,
    EMPTY_PDU,
    MemoryLedger,
    RawPeer,
    associate_rq,
    echo,
    echo_rq,
    encoded,
    files,
    film,
    listener_process,
    listening,
    pdata,
    sender,
    store_rq,
)
from polling import until
from structlog.testing import capture_logs

from gateway.destinations import scu
from gateway.listener.door import MOST_WAITING_BYTES, Door
from gateway.listener.receive import neighbourhood
from gateway.logs.limiter import LogLimiter
from gateway.settings import GatewaySettings

OPENSSL = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"


def threads_of_the_listener() -> int:
    """Association threads that live now."""
    return sum(thread.name == "association" for thread in threading.enumerate())


@pytest.mark.parametrize("first", [b"", b"\1\0\0", b"\1\0\0\0\1\0", associate_rq()[:-1]])
def test_who_does_not_ask_in_time_is_dropped(tmp_path: Path, first: bytes) -> None:
    """Silence after 0, 3 or 6 bytes, or one byte short of a request, ends at the deadline."""
    with listening(tmp_path, association_timeout_s=0.3) as listener, RawPeer(listener.port) as peer:
        assert peer.say(first).closed()
        assert listener.associations() == 0


def test_a_request_in_drops_is_late(tmp_path: Path) -> None:
    """The deadline is for the whole request: a byte now and then does not move it."""
    with (
        listening(tmp_path, association_timeout_s=0.4) as listener,
        RawPeer(listener.port, timeout=0.05) as peer,
    ):
        closed = False
        for byte in associate_rq():
            try:
                peer.say(bytes([byte]))
                closed = peer.socket.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                closed = True
            if closed:
                break
        assert closed  # before the request was whole: it would have been answered


def test_five_hundred_silent_peers_keep_nobody_out(tmp_path: Path) -> None:
    """With two associations allowed and 500 half-sent headers open, an echo is answered."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    with listening(tmp_path, max_associations=2) as listener:
        crowd = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(500)]
        try:
            for one in crowd:
                one.sendall(b"\1\0\0")
            for _ in range(3):
                # not pynetdicom's requestor: its select() takes no file descriptor above 1,023
                scu.echo("127.0.0.1", listener.port, "FILMGATE", timeout_s=20)
                # The peer is through a moment before its association is over here.
                assert until(lambda: threads_of_the_listener() < 2)
        finally:
            for one in crowd:
                one.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_greediest_address_makes_room() -> None:
    """When too many wait, the newest comes in and the address with most connections loses its oldest."""
    served = threading.Event()

    def welcome(connection: socket.socket, address: str, request: bytes) -> None:
        connection.close()
        served.set()

    door = Door(welcome, request_timeout_s=30, log_limiter=LogLimiter(), most_waiting=4)
    port = door.open("127.0.0.1", 0)
    try:
        with RawPeer(port) as honest:
            crowd = [RawPeer(port) for _ in range(4)]
            assert honest.closed()  # all from one address: its oldest went
            with RawPeer(port) as late:
                late.say(associate_rq())
                assert served.wait(20)
            for one in crowd:
                one.socket.close()
    finally:
        door.close()


@pytest.mark.parametrize(
    "lie",
    [
        struct.pack(">BxL", 1, 0xFFFFFFFF),
        struct.pack(">BxL", 1, 0),
        struct.pack(">BxL", 4, 12),
        b"\0\0\0\0\0\4abcd",
        b"\x08\0\0\0\0\4abcd",
        b"\xff\0\0\0\0\4abcd",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_no_request_is_aborted_and_closed(tmp_path: Path, lie: bytes) -> None:
    """A 4 GiB length, a wrong or unknown PDU type, HTTP: A-ABORT, and the connection ends."""
    with listening(tmp_path) as listener, RawPeer(listener.port) as peer:
        peer.say(lie)
        assert peer.pdu()[0] == 7
        assert peer.closed()


@pytest.mark.parametrize(
    "lie",
    [
        struct.pack(">BxL", 4, 0xFFFFFFFF),
        struct.pack(">BxLLBB", 4, 6, 0xFFFFFFFF, 1, 3),
        struct.pack(">BxLLBB", 4, 6, 1, 1, 3),
        pdata(b"x", context=77),
        pdata(b"no command at all", command=True),
        pdata(b"a dataset without a command"),
        pdata(store_rq("1.2.3"), command=True) + pdata(store_rq("1.2.3"), command=True),
        associate_rq(),
        b"\x08\0\0\0\0\4abcd",
    ],
)
def test_a_broken_pdu_in_an_association_is_aborted(tmp_path: Path, lie: bytes) -> None:
    """Lengths that do not fit, contexts nobody accepted, things out of order (PS3.8 section 9.2, AA-8)."""
    with listening(tmp_path) as listener, RawPeer(listener.port) as peer:
        peer.associate().say(lie)
        kind, body = peer.pdu()
        assert (kind, body[2]) == (7, 2)
        assert peer.closed()
        assert files(tmp_path / "incoming") == []


def test_one_address_never_has_all_associations(tmp_path: Path) -> None:
    """Three of four, then local limit exceeded (PS3.8 table 9-21); another address is served at once."""
    ledger = MemoryLedger()
    with listening(tmp_path, ledger, max_associations=4) as listener:
        greedy = [RawPeer(listener.port) for _ in range(4)]
        for one in greedy[:3]:
            one.associate()
        assert greedy[3].say(associate_rq()).pdu() == (3, b"\0\2\3\2")
        with RawPeer(listener.port, source="127.0.0.2") as honest:
            assert honest.associate().echo() == 0x0000
        assert ledger.wait(lambda: ledger.refused)
        assert "from this address" in ledger.refused[0]["reason"]
        greedy[0].socket.close()
        assert until(lambda: listener.associations() < 3)
        assert echo(listener.port)
        for one in greedy[1:]:
            one.socket.close()


def test_the_share_of_an_address_is_told_or_three_quarters() -> None:
    """All where there are too few to share; an IPv6 peer is its whole /64."""
    shares = [GatewaySettings(max_associations=n).most_of_one_address for n in (1, 2, 3, 4, 10, 100)]
    assert shares == [1, 2, 3, 3, 8, 75]
    assert GatewaySettings(max_associations_per_address=7).most_of_one_address == 7
    assert neighbourhood("2001:db8::1%eth0") == neighbourhood("2001:db8::2:3")
    assert neighbourhood("2001:db8::1") != neighbourhood("2001:db8:0:1::1")
    assert neighbourhood("::ffff:10.0.0.1") == neighbourhood("10.0.0.1")


def test_a_full_house_of_silent_associations_keeps_nobody_out(tmp_path: Path) -> None:
    """One address holds all it may have; an echo from another is answered all the while."""
    with listening(tmp_path, max_associations=40) as listener:
        crowd = [RawPeer(listener.port).associate() for _ in range(30)]
        for one in crowd:
            one.say(EMPTY_PDU, pdata(store_rq("1.2.3"), command=True), pdata(b"", last=False))
        for _ in range(5):
            with RawPeer(listener.port, source="127.0.0.2") as honest:
                assert honest.associate().echo() == 0x0000
        for one in crowd:
            one.socket.close()


def test_long_uids_stay_nowhere(tmp_path: Path) -> None:
    """Hundreds of UIDs of 60 kB: 0xA900 or an echo's answer, and none of them stays in memory."""
    with listener_process(tmp_path) as (child, port), RawPeer(port) as peer:
        process = psutil.Process(child.pid)
        peer.associate()

        def names(first: int, last: int) -> None:
            for number in range(first, last):
                name = f"1.2.{number}." + "1" * 60_000
                assert peer.store(name, b"\x08\0\x16\0", sop_class=DX) == 0xA900
                assert peer.say(pdata(echo_rq(name), command=True, context=3)).status() == 0x0000

        names(0, 20)
        before = process.memory_info().rss
        names(20, 220)
        assert process.memory_info().rss - before < 8 << 20  # all of them are 24 MB


def test_a_listener_without_memory_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests and associations that need more than there is are refused or dropped, and a film is stored."""
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")  # no thread has address space laid by
    with listener_process(tmp_path, association_timeout_s=30.0) as (child, port):
        assert echo(port)
        used = psutil.Process(child.pid).memory_info().vms
        resource.prlimit(child.pid, resource.RLIMIT_AS, (used + (24 << 20), -1))
        crowd = [RawPeer(port) for _ in range(60)]
        for one in crowd[:30]:  # near-megabyte requests that never end
            with suppress(ConnectionError):
                one.say(struct.pack(">BxL", 1, 1 << 20) + bytes((1 << 20) - 1))
        for one in crowd[30:]:  # associations
            with suppress(ConnectionError):
                one.say(associate_rq())
        answers = []
        for one in crowd[30:]:
            one.socket.settimeout(20)
            with suppress(ConnectionError):
                answers.append(one.pdu()[0])
        assert 2 not in answers or set(answers) - {2}  # there was not enough for all of them
        for one in crowd:
            one.socket.close()
        assert child.poll() is None
        one = film(size_bytes=500_000)

        data = encoded(one)

        def stored() -> bool:  # until all of the crowd is gone it may be refused or aborted
            with suppress(ConnectionError), RawPeer(port) as peer:
                if peer.say(associate_rq()).pdu()[0] == 2:
                    peer.say(pdata(store_rq(one.SOPInstanceUID), command=True))
                    peer.say(
                        *(pdata(data[at : at + 200_000], last=False) for at in range(0, len(data), 200_000))
                    )
                    kind, body = peer.say(pdata(b"")).pdu()
                    return kind == 4 and struct.pack("<HHLH", 0, 0x0900, 2, 0) in body
            return False

        assert until(stored)


@pytest.mark.parametrize("how", ["abort", "reset", "close"])
def test_who_leaves_in_the_middle_leaves_nothing(tmp_path: Path, how: str) -> None:
    """A-ABORT, RST or FIN amid an object: no row, and its part file is gone."""
    ledger = MemoryLedger()
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        peer.associate().say(pdata(store_rq("1.2.3"), command=True), pdata(bytes(5000), last=False))
        if how == "abort":
            peer.say(struct.pack(">BxL4x", 7, 4))
        elif how == "reset":
            peer.reset()
        else:
            peer.socket.shutdown(socket.SHUT_WR)
        assert ledger.wait(lambda: ledger.ended)
        assert ledger.ended[1]["outcome"] == ("aborted" if how == "abort" else "lost")
        assert ledger.received == []
        assert files(tmp_path) == []


def test_a_lying_peer_costs_no_memory(tmp_path: Path) -> None:
    """4 GiB lengths and near-megabyte requests that never end: a few MiB at most."""
    with listener_process(tmp_path) as (child, port):
        process = psutil.Process(child.pid)
        assert echo(port)
        before = process.memory_info().rss
        with RawPeer(port) as one, RawPeer(port) as two, RawPeer(port) as three:
            one.say(struct.pack(">BxL", 1, 0xFFFFFFFF) + bytes(65536))
            two.associate().say(struct.pack(">BxL", 4, 0xFFFFFFFF) + bytes(65536))
            three.say(struct.pack(">BxL", 1, 1 << 20) + bytes(1 << 19))
            assert one.closed()
            assert two.closed()
            assert echo(port)
            assert process.memory_info().rss - before < 5 << 20
    assert MOST_WAITING_BYTES < 64 << 20


def test_mutated_pdus_leave_nothing_behind(tmp_path: Path) -> None:
    """Some hundred broken conversations: threads, log and echo are as before."""
    rng = random.Random(1)
    dataset = encoded(film())
    talk = [
        associate_rq(),
        pdata(store_rq("1.2.3"), command=True),
        pdata(dataset),
        struct.pack(">BxL4x", 5, 4),
    ]
    ledger = MemoryLedger()
    with (
        listening(tmp_path, ledger, idle_timeout_s=0.5, pdu_timeout_s=0.5) as listener,
        capture_logs() as logs,
    ):
        for number in range(1000):
            broken = [bytearray(one) for one in talk]
            for one in broken if number % 2 else broken[:1]:
                for _ in range(rng.randint(1, 6)):
                    one[rng.randrange(min(len(one), rng.choice((12, 80, len(one)))))] = rng.randrange(256)
            with RawPeer(listener.port) as peer:
                try:
                    peer.say(*map(bytes, broken))
                except ConnectionError:
                    continue
        assert until(lambda: listener.associations() == 0)
        assert threads_of_the_listener() == 0
        assert echo(listener.port)
        assert len([one for one in logs if one["log_level"] == "warning"]) < 200
        assert not [one for one in logs if one["log_level"] == "error"]
        assert files(tmp_path / "incoming") == []


def test_the_log_limiter_counts_what_it_keeps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty lines a kind and minute; the first of the next minute says how many were not written."""
    clock = [0.0]
    monkeypatch.setattr("gateway.logs.limiter.time.monotonic", lambda: clock[0])
    log_limiter = LogLimiter(most=2, window_s=60)
    with capture_logs() as logs:
        for _ in range(5):
            log_limiter.warning("knock")
        clock[0] = 61.0
        log_limiter.warning("knock")
    assert [one.get("kept_back", 0) for one in logs] == [0, 0, 3]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [*OPENSSL.split(), "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
    )
    return cert, key


def test_tls_serves_the_honest_while_others_hang(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    """A silent client and one that speaks plain DICOM do not stop a TLS association that stores a film."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    client = ssl.create_default_context(cafile=str(certificate[0]))
    client.check_hostname = False
    ledger = MemoryLedger()
    with (
        listening(tmp_path, ledger, ssl_context=context) as listener,
        RawPeer(listener.port),
        RawPeer(listener.port) as plain,
        RawPeer(listener.port) as honest,
    ):
        assert plain.say(associate_rq()).closed()
        honest.socket = client.wrap_socket(honest.socket)
        one = film(size_bytes=300_000)
        data = encoded(one)
        honest.associate().say(pdata(store_rq(one.SOPInstanceUID), command=True))
        for at in range(0, len(data), 16000):
            honest.say(pdata(data[at : at + 16000], last=at + 16000 >= len(data)))
        assert honest.status() == 0x0000
    assert ledger.received[0].size_bytes == len(data)


def test_more_associations_than_allowed_are_refused_cleanly(tmp_path: Path) -> None:
    """Result 2, source 3, reason 2 (local limit exceeded), an audit row; room again when one ends."""
    ledger = MemoryLedger()
    with listening(tmp_path, ledger, max_associations=1) as listener:
        with sender(listener.port, (DX, "1.2.840.10008.1.2.1")) as first:
            assert first.is_established
            with RawPeer(listener.port) as second:
                assert second.say(associate_rq()).pdu() == (3, b"\0\2\3\2")
            assert ledger.wait(lambda: ledger.refused)
        assert until(lambda: echo(listener.port))
