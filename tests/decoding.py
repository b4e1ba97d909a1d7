"""Films as bytes, in every lossless codec, and what decoding makes of them."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
import pytest
from dicom_files import change, dx, part10, ramp
from pydicom import Dataset, uid
from pydicom.uid import (
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pipelines.decode import Undecodable, decode_film


def shown(ds: Dataset, syntax: str = uid.ExplicitVRLittleEndian) -> np.ndarray:
    return decode_film(part10(ds, syntax)).pixels


def refused(data: bytes) -> Undecodable:
    with pytest.raises(Undecodable) as caught:
        decode_film(data)
    return caught.value


def colour(values: np.ndarray, photometric: str, **attributes) -> Dataset:
    attributes = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PlanarConfiguration": 0} | attributes
    ds = dx(np.ascontiguousarray(values), PhotometricInterpretation=photometric, **attributes)
    return change(ds, SamplesPerPixel=3, WindowCenter=None, WindowWidth=None)


def rle(values: np.ndarray) -> bytes:
    """PS3.5 Annex G: the high bytes, then the low bytes, as literal runs."""
    segments = []
    for plane in (values >> 8, values & 0xFF):
        raw = plane.astype("u1").tobytes()
        pieces = [raw[i : i + 128] for i in range(0, len(raw), 128)]
        runs = b"".join(bytes([len(piece) - 1]) + piece for piece in pieces)
        segments.append(runs + b"\0" * (len(runs) % 2))
    offsets = [2, 64, 64 + len(segments[0]), *[0] * 13]
    return struct.pack("<16I", *offsets) + b"".join(segments)


CODECS = {
    JPEGLosslessSV1: lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12),
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEG2000Lossless: lambda a: imagecodecs.jpeg2k_encode(a, level=0, codecformat="j2k", bitspersample=12),
    HTJ2KLossless: imagecodecs.htj2k_encode,
    RLELossless: rle,
}


def padded(data: bytes, behind: bytes, size: int = 2400) -> bytes:
    """A native film whose Pixel Data element is longer than its pixels."""
    at = len(data) - size
    assert data[at - 4 : at] == struct.pack("<I", size)
    return data[: at - 4] + struct.pack("<I", size + len(behind)) + data[at:] + behind


def head(ds: Dataset | None = None, syntax: str = uid.ExplicitVRLittleEndian) -> bytes:
    """A whole file without pixels, to be continued."""
    return part10(change(ds or dx(ramp()), PixelData=None), syntax)
