"""A destination that is connected to a peer, and the bytes of an object."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from dicom_files import dx, part10
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
)
from storage_peers import (
    accept,
    answer,
    kept,
    take_message,
)

from gateway.destinations import DicomDestination, build
from gateway.ledger.records import Delivery
from gateway.settings import DicomDestination as DicomSettings
from gateway.store import read_meta

Connect = Callable[..., DicomDestination]
SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEGLosslessSV1,
    JPEG2000Lossless,
    "1.2.826.0.1.3680043.9.9",
]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Makes destinations at a port, and closes them."""
    made: list[DicomDestination] = []

    def connected(port: int, **settings: object) -> DicomDestination:
        block = DicomSettings(ae_title="ARCHIVE", port=port, **settings)  # type: ignore[arg-type]
        destination = build("archive", block, "FILMGATE")
        assert isinstance(destination, DicomDestination)
        made.append(destination)
        return destination

    yield connected
    for one in made:
        one.close()


def encoded(ds: Dataset, syntax: str, frames: list[bytes] | None = None) -> bytes:
    """The dataset bytes that pydicom writes."""
    file = BytesIO(part10(ds, syntax, frames=frames))
    read_meta(file)
    return file.read()


def jpegls(tmp_path: Path, pixels: np.ndarray, uid: str = "1.2.3.4") -> tuple[Path, Delivery]:
    data = encoded(dx(pixels), JPEGLSLossless, [imagecodecs.jpegls_encode(pixels)])
    return kept(tmp_path, data, uid=uid, syntax=JPEGLSLossless)


def serve_pdus(connection: socket.socket) -> None:
    """Accept, then take and answer C-STORE for ever."""
    accept(connection)
    while True:
        message_id = take_message(connection)
        answer(connection, message_id)
