"""A storage SCP as destination: the bytes that it gets, and what its statuses mean."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from dicom_destination import SYNTAXES, Connect, connect, encoded, serve_pdus
from dicom_files import dx, ramp
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
)
from storage_peers import (
    DX,
    dataset_of,
    dcmtk_storescp,
    kept,
    raw_peer,
    storage_scp,
)

from gateway.destinations.dicom import OutOfResources
from gateway.errors import (
    Declined,
    DeliveryError,
    Refused,
)

__all__ = ["connect"]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_bytes_go_out_as_they_lie(connect: Connect, free_port: int, tmp_path: Path, syntax: str) -> None:
    """Nobody parses the dataset on the way: it need not even be one."""
    data = bytes(np.random.default_rng(1).integers(0, 256, 300_002, dtype=np.uint8))
    path, delivery = kept(tmp_path, data, syntax=syntax)
    with storage_scp(free_port, {DX: SYNTAXES}) as peer:
        connect(free_port).deliver(path, delivery)
    assert (peer.datasets, peer.syntaxes, peer.uids) == ([data], [syntax], [delivery.sop_instance_uid])


@pytest.mark.dcmtk
def test_dcmtk_keeps_what_the_modality_sent(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """storescp in bit-preserving mode has the same dataset, though pydicom would write it otherwise."""
    sequence = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + bytes.fromhex(
        "feffdde000000000"
    )
    plain = encoded(dx(ramp(500, 400)), ExplicitVRLittleEndian)
    cut = plain.index(struct.pack("<HH", 0x0008, 0x2218))  # AnatomicRegionSequence
    path, delivery = kept(tmp_path, plain[:cut] + sequence + plain[cut:])
    with dcmtk_storescp(free_port, tmp_path / "out", "+B") as out:
        connect(free_port).deliver(path, delivery)
        (stored,) = out.iterdir()
        assert dataset_of(stored) == dataset_of(path)


@pytest.mark.dcmtk
@pytest.mark.parametrize("size", [999, 1 << 20, (1 << 20) + 1, (1 << 21) - 1])
def test_an_odd_dataset_ends_with_a_nul(connect: Connect, free_port: int, tmp_path: Path, size: int) -> None:
    """A deflated dataset may have an odd length, a fragment may not: DCMTK aborts over one."""
    data = bytes(number % 251 + 1 for number in range(size))
    path, delivery = kept(tmp_path, data, syntax=DeflatedExplicitVRLittleEndian)
    with dcmtk_storescp(free_port, tmp_path / "out", "+B", "+xd") as out:
        connect(free_port).deliver(path, delivery)
        (stored,) = out.iterdir()
        assert dataset_of(stored) == data + bytes(size % 2)


@pytest.mark.parametrize("max_pdu", [512, 4097, 16382, 0])
def test_no_pdu_is_longer_than_the_peer_takes(
    connect: Connect, free_port: int, tmp_path: Path, max_pdu: int
) -> None:
    """P-DATA-TF PDUs keep to the maximum length of the A-ASSOCIATE-AC (PS3.8 D.1); 0 is any."""
    data = bytes(range(256)) * 1000
    path, delivery = kept(tmp_path, data)
    with storage_scp(free_port, max_pdu=max_pdu) as peer:
        connect(free_port).deliver(path, delivery)
    assert peer.datasets == [data]
    assert max(peer.pdu_lengths) <= (max_pdu or 256 * 1024 + 6)


def test_memory_does_not_grow_with_the_object(connect: Connect, tmp_path: Path) -> None:
    """64 MB go out through one block of 1 MB."""
    path, delivery = kept(tmp_path, bytes(64 << 20))
    with raw_peer(lambda c: serve_pdus(c)) as port:
        destination = connect(port)
        tracemalloc.start()
        destination.deliver(path, delivery)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 6 << 20


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007])
def test_success_and_warnings_are_delivered(
    connect: Connect, free_port: int, tmp_path: Path, status: int
) -> None:
    with storage_scp(free_port) as peer:
        peer.status = status
        connect(free_port).deliver(*kept(tmp_path, b"12"))
    assert len(peer.datasets) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0xA700, OutOfResources),
        (0xA7FF, OutOfResources),
        (0x0110, OutOfResources),
        (0x0213, OutOfResources),
        (0xA900, Refused),
        (0x0106, Refused),
        (0x0117, Refused),
        (0xC000, Declined),
        (0xCFFF, Declined),
        (0x0122, Declined),
        (0x0124, Declined),
        (0x0211, Declined),
        (0xFE00, Declined),
        (0xA800, Declined),
    ],
)
def test_failures_by_class(
    connect: Connect, free_port: int, tmp_path: Path, status: int, error: type[DeliveryError]
) -> None:
    """What may pass, or may be the peer's, is tried again; the rest is for a person."""
    with storage_scp(free_port) as peer:
        destination = connect(free_port)
        peer.status = status
        with pytest.raises(DeliveryError, match=f"0x{status:04X}") as raised:
            destination.deliver(*kept(tmp_path, b"12"))
        peer.status = 0
        destination.deliver(*kept(tmp_path, b"12"))
    assert type(raised.value) is error
    assert raised.value.retry is (error is not Refused)
    assert peer.accepted == 1


def test_patients_stay_out_of_a_refusal(connect: Connect, free_port: int, tmp_path: Path) -> None:
    """The peer's comment is quoted without what looks like a name or number."""
    answer = Dataset()
    answer.Status, answer.ErrorComment = 0xC123, "bad date for DOE^JANE id 1234567 in 1.2.3.4.5"
    with storage_scp(free_port) as peer:
        peer.status = answer
        with pytest.raises(Refused) as raised:
            connect(free_port).deliver(*kept(tmp_path, b"12"))
    assert str(raised.value) == "the peer refuses it: 0xC123 cannot understand (bad date for … id … in …)"
