"""An association that only holds the line ends; one that gets on, however slowly, does not."""

from __future__ import annotations

import struct
import threading
import time
from pathlib import Path

import pytest
from dicom_peers import (
    EMPTY_PDU,
    RawPeer,
    echo_rq,
    encoded,
    files,
    film,
    listening,
    pdata,
    store_rq,
)
from polling import until


def test_silence_and_slowness_in_an_association_end_it(tmp_path: Path) -> None:
    """An idle timeout between PDUs, a deadline within one; the part file goes too."""
    with listening(tmp_path, idle_timeout_s=0.3, pdu_timeout_s=0.3) as listener:
        with RawPeer(listener.port) as silent:
            assert silent.associate().pdu()[0] == 7
        with RawPeer(listener.port) as slow:
            slow.associate().say(pdata(store_rq("1.2.3"), command=True), pdata(bytes(5000))[:3000])
            assert slow.pdu()[0] == 7
        assert files(tmp_path / "incoming") == []


COMMAND_BEGINS = pdata(store_rq("1.2.3")[:20], command=True, last=False)
NO_DATASET = (struct.pack("<HHLH", 0, 0x0800, 2, 1), struct.pack("<HHLH", 0, 0x0800, 2, 0x0101))
CANCEL = pdata(store_rq("1.2.3", field=0x0FFF).replace(*NO_DATASET), command=True)
HOLDING = {
    "PDUs without a value": ((), EMPTY_PDU),
    "a command in empty fragments": ((COMMAND_BEGINS,), pdata(b"", command=True, last=False)),
    "a dataset in empty fragments": ((pdata(store_rq("1.2.3"), command=True),), pdata(b"", last=False)),
    "a dataset in drops": ((pdata(store_rq("1.2.3"), command=True),), pdata(b"x", last=False)),
    "cancels of nothing": ((), CANCEL),
}


@pytest.mark.parametrize("how", HOLDING)
def test_who_only_holds_the_line_is_dropped(tmp_path: Path, how: str) -> None:
    """PDUs come all the time and carry nothing of use: they do not move the clock of the idle."""
    begin, again = HOLDING[how]
    with listening(tmp_path, idle_timeout_s=0.3) as listener, RawPeer(listener.port, timeout=0.02) as peer:
        peer.socket.settimeout(10)
        peer.associate().say(*begin)
        peer.socket.settimeout(0.02)
        assert _kept_up_until_aborted(peer, again)
        assert until(lambda: listener.associations() == 0)
        assert files(tmp_path / "incoming") == []


@pytest.mark.parametrize("how", [how for how in HOLDING if how != "a dataset in drops"])
def test_a_torrent_of_nothing_is_dropped_too(tmp_path: Path, how: str) -> None:
    """As fast as the wire takes them, so that we never wait for the peer: they are counted."""
    begin, again = HOLDING[how]
    with listening(tmp_path) as listener, RawPeer(listener.port) as peer:
        try:
            peer.associate().say(*begin, *[again * 100] * 200)
        except ConnectionError:
            return
        assert peer.pdu()[0] in (7, -1)


def test_echoes_for_ever_end_as_well(tmp_path: Path) -> None:
    """A line that only verifies is kept up for longer than a silent one, and not without end."""
    with listening(tmp_path, idle_timeout_s=0.2) as listener, RawPeer(listener.port) as peer:
        peer.associate()
        peer.socket.settimeout(0.02)
        began = time.monotonic()
        assert _kept_up_until_aborted(peer, pdata(echo_rq(), command=True, context=3))
        assert time.monotonic() - began > 5 * 0.2


def test_a_slow_sender_that_gets_on_is_waited_for(tmp_path: Path) -> None:
    """64 KiB now and then, for longer in all than a silence may last: 0x0000."""
    one = film(size_bytes=320_000)
    data = encoded(one)
    with listening(tmp_path, idle_timeout_s=1.5) as listener, RawPeer(listener.port) as peer:
        peer.associate().say(pdata(store_rq(one.SOPInstanceUID), command=True))
        for at in range(0, len(data), 70_000):
            peer.say(pdata(data[at : at + 70_000], last=at + 70_000 >= len(data)))
            threading.Event().wait(0.35)
        assert peer.status() == 0x0000


def _kept_up_until_aborted(peer: RawPeer, again: bytes) -> bool:
    """Say the same again and again, and read what comes, until an A-ABORT or the end of the connection."""
    end = time.monotonic() + 20
    heard = b""
    while time.monotonic() < end:
        try:
            peer.say(again)
            heard += (more := peer.socket.recv(65536))
            if not more or struct.pack(">BxL", 7, 4) in heard:
                return True
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False
