"""Films in another transfer syntax, and colours to send."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from pipelines.instance.transcode import transcode

TARGETS = [ImplicitVRLittleEndian, ExplicitVRLittleEndian]


def sent(data: bytes, syntax: str = ExplicitVRLittleEndian) -> Dataset:
    """What a peer reads of the film in its syntax."""
    ds = dcmread(BytesIO(transcode(data, syntax).dataset), force=True)
    ds.file_meta.TransferSyntaxUID = syntax
    assert ds.original_encoding == (syntax == ImplicitVRLittleEndian, True)
    return ds


def values(ds: Dataset, dtype: str = "<u2") -> np.ndarray:
    """The native values, as a receiver that masks to Bits Stored has them."""
    shape = [int(ds.get("NumberOfFrames", 1)), ds.Rows, ds.Columns, ds.SamplesPerPixel]
    held = np.frombuffer(ds.PixelData, dtype)[: np.prod(shape)]
    return held.reshape([length for length in shape if length > 1])


def j2k(pixels: np.ndarray, **how: Any) -> bytes:
    return imagecodecs.jpeg2k_encode(pixels, **{"level": 0, "codecformat": "j2k", **how})
