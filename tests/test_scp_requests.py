"""Who may have an association: titles, and items of a request that we do not use."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from dicom_peers import (
    DX,
    EXPLICIT,
    VERIFICATION,
    MemoryLedger,
    RawPeer,
    associate_rq,
    associate_rq_of,
    context_item,
    item,
    listening,
    pdata,
    sender,
    store_rq,
)
from pynetdicom import AE, build_context, build_role
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from scp_objects import header_of

from gateway.listener.scp import caller_rejection
from gateway.settings import GatewaySettings, Peer
from gateway.upper_layer import acceptor

ECHOSCU = "/usr/bin/echoscu"
MAX_LENGTH = item(0x51, struct.pack(">L", 16384))


@pytest.mark.parametrize(
    ("called", "calling", "reason", "text"),
    [
        ("ELSEWHERE", "ROOM1", 7, "called AE title not recognised"),
        ("FILMGATE", "ROOM9", 3, "calling AE title not recognised"),
        ("FILMGATE", "ROOM2", 1, "this address may not send here"),
    ],
)
def test_who_is_not_allowed_is_rejected_with_the_standards_reason(
    tmp_path: Path, called: str, calling: str, reason: int, text: str
) -> None:
    """Permanent, by the service user, the reason of PS3.8 table 9-21; and an audit row."""
    allow = (
        Peer(ae_title="ROOM1", from_="127.0.0.0/8"),
        Peer(ae_title="ROOM2", from_="10.1.0.0/16"),
    )
    ledger = MemoryLedger()
    with listening(tmp_path, ledger, allow=allow) as listener:
        with RawPeer(listener.port) as peer:
            peer.say(associate_rq(called=called, calling=calling))
            assert peer.pdu() == (3, bytes((0, 1, 1, reason)))
        assert ledger.wait(lambda: ledger.refused)
        with sender(listener.port, calling="ROOM1") as association:
            assert association.is_established
    (row,) = ledger.refused
    assert (row["calling"], row["called"], row["reason"]) == (calling, called, text)


@pytest.mark.parametrize(
    ("calling", "named"),
    [
        (b"ROOM1".ljust(16, b"\0"), "ROOM1"),
        (b"ROOM1\0\x7f\1garbage\xff", "ROOM1"),
        (b"  ROOM1".ljust(16), "ROOM1"),
        (b"room1".ljust(16), "room1"),
        ("RÖNTGEN".encode("latin-1").ljust(16), "RÖNTGEN"),
        ("RÖNTGEN".encode().ljust(16), "RÖNTGEN"),
        (b"A\x01\x1b[2J\xa0B".ljust(16), "A??[2J?B"),
        (b"../../etc/x".ljust(16), "../../etc/x"),
        (b"A\\B".ljust(16), "A\\B"),
        (b" " * 16, ""),
        (b"\0" * 16, ""),
    ],
)
def test_an_odd_calling_ae_title_is_a_title(tmp_path: Path, calling: bytes, named: str) -> None:
    """Where any may send it is welcome, and its film is kept; the answer repeats it byte for byte."""
    titles, reserved = b"FILMGATE".ljust(16, b"\0") + calling, bytes(range(32))
    ledger = MemoryLedger()
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        peer.say(associate_rq_of(context_item(), titles=titles, reserved=reserved))
        kind, body = peer.pdu()
        assert (kind, body[4:68]) == (2, titles + reserved)
        assert peer.store("1.2.3", header_of("1.2.3")) == 0x0000
    assert ledger.associations[0]["calling"] == named
    assert {one.name for one in tmp_path.iterdir()} <= {"incoming", "store"}


@pytest.mark.parametrize(
    ("titles", "reason", "text"),
    [
        (b"FILMGATE".ljust(16) + b"ROOM\xd6".ljust(16), 3, "calling AE title not recognised"),
        (b"FILMGATE".ljust(16) + b"\0" * 16, 3, "calling AE title not recognised"),
        (b"FILMGATE".ljust(16) + b" " * 16, 3, "calling AE title not recognised"),
        (b"FILMGATE".ljust(16) + b"..".ljust(16), 3, "calling AE title not recognised"),
        (b"FILMGATE".ljust(16) + b"room1".ljust(16), 3, "calling AE title not recognised"),
        (b"F\xdcLMGATE".ljust(16) + b"ROOM1".ljust(16), 7, "called AE title not recognised"),
        (b"filmgate".ljust(16) + b"ROOM1".ljust(16), 7, "called AE title not recognised"),
        (b" " * 16 + b"ROOM1".ljust(16), 7, "called AE title not recognised"),
    ],
)
def test_an_odd_ae_title_that_is_not_known_is_rejected(
    tmp_path: Path, titles: bytes, reason: int, text: str
) -> None:
    """As any other: the reason of PS3.8 table 9-21, and an audit row."""
    ledger = MemoryLedger()
    allow = (Peer(ae_title="ROOM1", from_="127.0.0.0/8"),)
    with listening(tmp_path, ledger, allow=allow) as listener, RawPeer(listener.port) as peer:
        peer.say(associate_rq_of(context_item(), titles=titles))
        assert peer.pdu() == (3, bytes((0, 1, 1, reason)))
        assert ledger.wait(lambda: ledger.refused)
    assert ledger.refused[0]["reason"] == text


def test_a_title_with_an_umlaut_can_be_allowed(tmp_path: Path) -> None:
    """Settings take it, so a sender that writes it must get in."""
    allow = (Peer(ae_title="RÖNTGEN1", from_="127.0.0.0/8"),)
    with listening(tmp_path, allow=allow) as listener, RawPeer(listener.port) as peer:
        titles = b"FILMGATE".ljust(16) + "RÖNTGEN1".encode("latin-1").ljust(16)
        assert peer.say(associate_rq_of(context_item(), titles=titles)).pdu()[0] == 2


@pytest.mark.skipif(not Path(ECHOSCU).exists(), reason="needs DCMTK's echoscu")
@pytest.mark.parametrize("title", ["..", "room 1", "RÖNTGEN", "a/b"])
def test_dcmtk_with_an_odd_title_is_answered(tmp_path: Path, title: str) -> None:
    with listening(tmp_path) as listener:
        command = [ECHOSCU, "-aet", title, "-aec", "FILMGATE", "127.0.0.1", str(listener.port)]
        done = subprocess.run(command, capture_output=True, timeout=30)
        assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    "items",
    [
        pytest.param((item(0x99, b"abc"), context_item(), item(0x50, MAX_LENGTH)), id="unknown item"),
        pytest.param((context_item(), item(0x00), item(0xFF)), id="unknown items of no length"),
        pytest.param((context_item(kind=0x21), item(0x40, b"1.2"), context_item()), id="not of a request"),
        pytest.param((item(0x50, MAX_LENGTH), context_item()), id="unusual order"),
        pytest.param(
            (context_item(1, item(0x77, b"z"), item(0x40, EXPLICIT.encode()), item(0x30, DX.encode())),),
            id="unknown sub-item of a context, syntax first",
        ),
        pytest.param((context_item(reserved=255),), id="reserved bytes"),
        pytest.param(
            (context_item(1, item(0x30, DX.encode() + b"\0"), item(0x40, EXPLICIT.encode() + b"\0\0")),),
            id="padded UIDs",
        ),
    ]
    + [
        pytest.param((context_item(), item(0x50, user)), id=name)
        for name, user in {
            "no user information": b"",
            "unknown sub-items": item(0x5A, b"odd") + item(0x00) + MAX_LENGTH,
            "no limit": item(0x51, bytes(4)),
            "a limit of no length": item(0x51),
            "version name in Latin-1": MAX_LENGTH + item(0x55, "Gerät".encode("latin-1")),
            "version name too long": MAX_LENGTH + item(0x55, b"X" * 40),
            "implementation class that is no UID": MAX_LENGTH + item(0x52, b"\xff" * 80),
            "implementation class of no length": item(0x52) + MAX_LENGTH,
            "user identity with an answer wanted": item(0x58, b"\1\1\0\4user\0\0"),
            "user identity of no length": item(0x58),
            "user identity that lies inside": item(0x58, b"\1\1\xff\xffuser"),
            "role of an unknown class": item(0x54, b"\0\5" + b"1.2.3" + b"\7\7"),
            "sub-items of no length": b"".join(map(item, range(0x53, 0x5A))),
        }.items()
    ],
)
def test_items_that_we_do_not_use_are_skipped(tmp_path: Path, items: tuple[bytes, ...]) -> None:
    """Ignored and skipped (PS3.8 section 9.3.1): DX in explicit VR is accepted, and an object stored."""
    ledger = MemoryLedger()
    with listening(tmp_path, ledger) as listener, RawPeer(listener.port) as peer:
        kind, body = peer.say(associate_rq_of(*items)).pdu()
        assert kind == 2
        assert context_item(1, item(0x40, EXPLICIT.encode()), kind=0x21) in body
        assert peer.store("1.2.3", header_of("1.2.3")) == 0x0000
    assert len(ledger.received) == 1


@pytest.mark.parametrize(
    ("other", "result"),
    [
        (context_item(3, item(0x30), item(0x40, EXPLICIT.encode())), 3),
        (context_item(3, item(0x40, EXPLICIT.encode())), 3),
        (context_item(3, item(0x30, b"..\xff"), item(0x40, EXPLICIT.encode())), 3),
        (context_item(3, item(0x30, b"1" * 80), item(0x40, EXPLICIT.encode())), 3),
        (context_item(3, item(0x30, DX.encode())), 4),
        (context_item(3, item(0x30, DX.encode()), item(0x40), item(0x40, b"..\xff")), 4),
    ],
)
def test_a_context_that_nobody_can_read_is_not_accepted(tmp_path: Path, other: bytes, result: int) -> None:
    """Its own result says so (PS3.8 table 9-18); the context beside it is as good as ever."""
    with listening(tmp_path) as listener, RawPeer(listener.port) as peer:
        kind, body = peer.say(associate_rq_of(other, context_item(1))).pdu()
    assert kind == 2
    assert struct.pack(">BxBx", 3, result) in body
    assert context_item(1, item(0x40, EXPLICIT.encode()), kind=0x21) in body


def test_pynetdicom_with_all_it_can_negotiate_is_served(tmp_path: Path) -> None:
    """Role selection, user identity with an answer wanted, asynchronous operations, extended negotiation."""
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.primary_field = 1, b"user"
    identity.positive_response_requested = True
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = DX, b"\1\0\2"
    ae = AE("ROOM1")
    ae.requested_contexts = [build_context(VERIFICATION, EXPLICIT)]
    wishes = [identity, window, extended, build_role(DX, scu_role=True, scp_role=True)]
    with listening(tmp_path) as listener:
        association = ae.associate("127.0.0.1", listener.port, ae_title="FILMGATE", ext_neg=wishes)
        assert association.send_c_echo().Status == 0x0000
        association.release()


@pytest.mark.parametrize(
    "lie",
    [
        (context_item(), b"\x99\0\xff\xff"),
        (context_item(), item(0x50, MAX_LENGTH + b"\x5a\0\xff\xff")),
        (context_item(1, item(0x30, DX.encode()), b"\x40\0\0\xff1.2"),),
        (context_item(), b"\0"),
        (context_item(), item(0x50, item(0x5A) * 2000)),
        (context_item(1, item(0x30, DX.encode()), *[item(0x40, b"1")] * 200),),
        (item(0x20, b"\1"),),
    ],
)
def test_items_that_do_not_fit_are_aborted(tmp_path: Path, lie: tuple[bytes, ...]) -> None:
    """An item longer than what holds it, or far too many of them: A-ABORT by the provider."""
    with listening(tmp_path) as listener, RawPeer(listener.port) as peer:
        kind, body = peer.say(associate_rq_of(*lie)).pdu()
        assert (kind, body[2:]) == (7, bytes((2, 6)))


def test_addresses_of_both_families_are_compared() -> None:
    """An IPv4 peer of a dual-stack socket is the same peer; an address range is what counts, not its text."""
    allow = GatewaySettings(allow=(Peer(from_="10.1.0.0/16"), Peer(ae_title="V6", from_="fd00::/8")))
    assert caller_rejection("ANY", "::ffff:10.1.2.3", allow) is None
    assert caller_rejection("ANY", "10.2.2.3", allow) is acceptor.NOT_ALLOWED
    assert caller_rejection("V6", "fd00::1%eth0", allow) is None


def test_an_error_comment_says_why(tmp_path: Path) -> None:
    """The response carries (0000,0902), without a UID in it."""
    with listening(tmp_path) as listener, RawPeer(listener.port) as peer:
        peer.associate().say(pdata(store_rq("1.2.3"), command=True), pdata(b"no dataset, this"))
        assert b"the dataset is not DICOM" in peer.pdu()[1]
