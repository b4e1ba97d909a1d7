"""A film in each transfer syntax that pixels travel in: how they are encoded, and the file around them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import imagecodecs
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)


@dataclass(frozen=True, slots=True)
class Codec:
    """A transfer syntax, the bits of its films and how they are encoded."""

    name: str
    syntax: UID
    bits: int
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes], np.ndarray] | None = None  # as it comes, taking what it gets; None: native


def _rle(pixels: np.ndarray) -> bytes:
    """PS3.5 Annex G, by pydicom, without the item around it."""
    ds = dataset(pixels, ExplicitVRLittleEndian, 12, pixels.tobytes())
    ds.compress(RLELossless)
    value = ds.PixelData
    (length,) = struct.unpack_from("<I", value, 12)  # behind an empty offset table
    if struct.unpack_from("<I", value, 4)[0]:
        at = 8 + struct.unpack_from("<I", value, 4)[0]
        (length,) = struct.unpack_from("<I", value, at + 4)
        return value[at + 8 : at + 8 + length]
    return value[16 : 16 + length]


CODECS = (
    Codec("native, explicit little", ExplicitVRLittleEndian, 12, lambda a: a.tobytes()),
    Codec("native, 8 bits", ExplicitVRLittleEndian, 8, lambda a: a.tobytes()),
    Codec("native, implicit, 16 bits", ImplicitVRLittleEndian, 16, lambda a: a.tobytes()),
    Codec("native, big endian", ExplicitVRBigEndian, 12, lambda a: a.astype(">u2").tobytes()),
    Codec("native, deflated", DeflatedExplicitVRLittleEndian, 12, lambda a: a.tobytes()),
    Codec("RLE", RLELossless, 12, _rle),
    Codec(
        "JPEG baseline",
        JPEGBaseline8Bit,
        8,
        lambda a: imagecodecs.jpeg8_encode(a, level=90),
        imagecodecs.jpeg8_decode,
    ),
    Codec(
        "JPEG extended, 12 bits",
        JPEGExtended12Bit,
        12,
        lambda a: imagecodecs.jpeg8_encode(a, level=92, bitspersample=12),
        imagecodecs.jpeg8_decode,
    ),
    Codec(
        "JPEG lossless",
        JPEGLosslessSV1,
        12,
        lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12),
        imagecodecs.jpeg8_decode,
    ),
    Codec(
        "JPEG lossless, 16 bits",
        JPEGLosslessSV1,
        16,
        imagecodecs.ljpeg_encode,
        imagecodecs.jpeg8_decode,
    ),
    Codec("JPEG-LS", JPEGLSLossless, 12, imagecodecs.jpegls_encode, imagecodecs.jpegls_decode),
    Codec(
        "JPEG 2000 lossless",
        JPEG2000Lossless,
        12,
        lambda a: imagecodecs.jpeg2k_encode(a, level=0, codecformat="j2k", bitspersample=12),
        imagecodecs.jpeg2k_decode,
    ),
    Codec(
        "JPEG 2000 lossy",
        JPEG2000,
        12,
        lambda a: imagecodecs.jpeg2k_encode(
            a, level=62, codecformat="j2k", bitspersample=12, reversible=False
        ),
        imagecodecs.jpeg2k_decode,
    ),
    Codec("HTJ2K", HTJ2KLossless, 12, imagecodecs.htj2k_encode, imagecodecs.jpeg2k_decode),
)


def dataset(pixels: np.ndarray, syntax: UID, bits: int, value: bytes) -> Dataset:
    """A DX object, a frontal chest by its header."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.Modality, ds.PhotometricInterpretation, ds.PresentationIntentType = (
        "DX",
        "MONOCHROME2",
        "FOR PRESENTATION",
    )
    ds.BodyPartExamined, ds.ViewPosition, ds.PatientAge = "CHEST", "PA", "050Y"
    ds.WindowCenter, ds.WindowWidth = 1 << (bits - 1), 1 << bits
    ds.Rows, ds.Columns, ds.SamplesPerPixel = *pixels.shape, 1
    ds.BitsAllocated = 8 if bits == 8 else 16
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, 0
    ds.PixelData = value
    ds["PixelData"].VR = "OB" if bits == 8 else "OW"
    return ds


def written(codec: Codec, pixels: np.ndarray, data: bytes) -> bytes:
    """The Part 10 file around the bytes of the pixels, whole or not."""
    native = codec.name.startswith("native")
    if native:
        needed = pixels.nbytes
        data = data[:needed].ljust(needed, b"\0")
    value = data + bytes(len(data) % 2) if native else encapsulate([data])
    ds = dataset(pixels, codec.syntax, codec.bits, value)
    if not native:
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    out = BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()
