"""Pixel Data to stored values: native and every transfer syntax of CR and DX (PS3.5 section 8, Annex A).

Never a guess: sizes in the header, in the codestream and of the data must agree, and a codestream says its
size before anything is decoded.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from pipelines.film import Reason
from pipelines.header import first, integer, upper
from pipelines.part10 import FLOAT_PIXEL_DATA, UNDEFINED_LENGTH, Part10, Undecodable

Pixels = NDArray[Any]  # (rows, columns) or (rows, columns, samples), an integer type

NATIVE = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
JPEG_FAMILY = frozenset(
    {
        JPEGBaseline8Bit,
        JPEGExtended12Bit,
        "1.2.840.10008.1.2.4.53",  # spectral selection, retired
        "1.2.840.10008.1.2.4.55",  # full progression, retired
        JPEGLossless,
        JPEGLosslessSV1,
        JPEGLSLossless,
        JPEGLSNearLossless,
    }
)
JPEG2000_FAMILY = frozenset({JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K})
END = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
LOSSY_JPEG = frozenset(
    {JPEGBaseline8Bit, JPEGExtended12Bit, "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55"}
)
LOSSY = LOSSY_JPEG | {JPEGLSNearLossless, JPEG2000, HTJ2K}  # may overshoot Bits Stored

CONTAINERS: dict[int, np.dtype[Any]] = {
    1: np.dtype("u1"),
    8: np.dtype("u1"),
    16: np.dtype("u2"),
    32: np.dtype("u4"),
}
OVERLAY_BIT_POSITION, OVERLAY_DATA = 0x0102, 0x3000  # elements of the groups 6000 to 601E
MAX_SAMPLES = 2**28  # values in one frame; the largest stitched films have 2**25
GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
COLOUR = frozenset(
    {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT"}
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The Image Pixel attributes (PS3.3 C.7.6.3), checked against each other."""

    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    planar: bool
    embedded: int = 0  # mask of the bits in which overlays lie
    padding: int | None = None  # PixelPaddingValue, as it stands in a container

    @classmethod
    def of(cls, ds: Dataset) -> Layout:
        """Raises Undecodable when attributes are missing, disagree or are not supported."""
        stored = integer(ds, "BitsStored") or 0
        high = integer(ds, "HighBit")
        layout = cls(
            rows=integer(ds, "Rows") or 0,
            columns=integer(ds, "Columns") or 0,
            samples=integer(ds, "SamplesPerPixel") or 1,
            frames=max(1, integer(ds, "NumberOfFrames") or 1),
            allocated=integer(ds, "BitsAllocated") or 0,
            stored=stored,
            high=stored - 1 if high is None else high,
            signed=integer(ds, "PixelRepresentation") == 1,
            photometric=first(upper(ds, "PhotometricInterpretation")),
            planar=integer(ds, "PlanarConfiguration") == 1,
            embedded=_embedded(ds),
            padding=integer(ds, "PixelPaddingValue"),
        )
        layout._check()
        return layout

    def _check(self) -> None:
        if min(self.rows, self.columns) < 1 or self.rows * self.columns * self.samples > MAX_SAMPLES:
            raise Undecodable(Reason.PIXELS_MISMATCH, f"{self.rows} rows of {self.columns} columns")
        wanted = 3 if self.photometric in COLOUR else 1
        if self.photometric not in GREY | COLOUR | {"PALETTE COLOR"} or self.samples != wanted:
            raise Undecodable(
                Reason.UNSUPPORTED, f"photometric interpretation, with {self.samples} samples a pixel"
            )
        if self.allocated not in CONTAINERS:
            raise Undecodable(Reason.UNSUPPORTED, f"{self.allocated} bits allocated")
        if not 1 <= self.stored <= self.high + 1 <= self.allocated:
            raise Undecodable(
                Reason.PIXELS_MISMATCH, f"{self.stored} bits in {self.allocated}, high bit {self.high}"
            )

    @property
    def container(self) -> np.dtype[Any]:
        """The unsigned type that holds one allocated value."""
        return CONTAINERS[self.allocated]

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, columns) or (rows, columns, samples)."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def frame_bits(self) -> int:
        """Native size of one frame; 4:2:2 has two chroma values for two pixels (PS3.3 C.7.6.3.1.2)."""
        samples = 2 if self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") else self.samples
        return self.rows * self.columns * samples * self.allocated

    @property
    def lowest(self) -> int:
        """The smallest value that can be stored."""
        return -(1 << (self.stored - 1)) if self.signed else 0

    @property
    def highest(self) -> int:
        """The largest value that can be stored."""
        return self.lowest + (1 << self.stored) - 1


def _embedded(ds: Dataset) -> int:
    """The bits that Overlay Bit Position names, of overlays without data of their own (PS3.3 C.9.2)."""
    groups = [group for group in range(0x6000, 0x6020, 2) if (group, OVERLAY_DATA) not in ds]
    positions = {
        ds[group, OVERLAY_BIT_POSITION].value for group in groups if (group, OVERLAY_BIT_POSITION) in ds
    }
    return sum(1 << position for position in positions if isinstance(position, int) and 0 < position < 64)


def stored_frame(part: Part10, layout: Layout, *, at_least: int = 0) -> Pixels:
    """The first frame's stored values, high bits outside Bits Stored removed and the sign extended.

    With `at_least`, a codec that can may give a smaller picture (halved some times) whose long side has
    still that many pixels; the shape tells. Raises Undecodable.
    """
    if part.pixel_length != UNDEFINED_LENGTH:
        return settle(_native(part, layout), layout)
    return _encapsulated(part, layout, at_least)


def settle(raw: Pixels, layout: Layout) -> Pixels:
    """Container values to stored values: overlays and rubbish beside Bits Stored go (PS3.5 8.1.1).

    Raises Undecodable where values need more bits than are said to be stored: they would come out wrapped.
    """
    width = raw.dtype.itemsize * 8
    shift = layout.high + 1 - layout.stored
    if layout.signed:
        values: Pixels = raw.view(f"i{raw.dtype.itemsize}")
        if layout.stored == width:
            return values
        values = (values << (width - layout.high - 1)) >> (width - layout.stored)
        _check_above(raw, (values << shift).view(raw.dtype), layout)
        return values
    if layout.stored == width or (shift == 0 and int(raw.max()) <= layout.highest):
        return raw
    _check_above(raw, np.zeros((), raw.dtype), layout)
    masked: Pixels = (raw >> shift) & raw.dtype.type(layout.highest)
    return masked


def _check_above(raw: Pixels, extended: Pixels, layout: Layout) -> None:
    """The bits above High Bit may be the sign's (`extended`), an overlay's, or one and the same everywhere.

    Padding may be a value that no pixel has. Raises Undecodable where nothing of that is so.
    """
    width = raw.dtype.itemsize * 8
    above = ((1 << width) - (1 << (layout.high + 1))) & ~layout.embedded
    if not above:
        return
    mask = raw.dtype.type(above)
    found = raw & mask
    if _uniform(found) or _uniform(found ^ (extended & mask)):
        return
    pixels = raw != (-1 if layout.padding is None else layout.padding % (1 << width))
    found, extended = found[pixels], np.broadcast_to(extended, raw.shape)[pixels]
    if not _uniform(found) and not _uniform(found ^ (extended & mask)):
        said = f"pixels have values in bits above the {layout.stored} that are said to be stored"
        raise Undecodable(Reason.PIXELS_MISMATCH, f"{said}, and no overlay explains them")


def _uniform(values: Pixels) -> bool:
    return values.size == 0 or bool(values.min() == values.max())


def check_there(part: Part10) -> None:
    """Raises Undecodable when there are no pixels, or floating point ones."""
    if part.pixel_tag in FLOAT_PIXEL_DATA:
        raise Undecodable(Reason.UNSUPPORTED, "floating point pixel data")
    if not part.pixel_tag or part.pixel_length == 0:
        raise Undecodable(Reason.NO_PIXELS)


# Native


def _native(part: Part10, layout: Layout) -> Pixels:
    if part.transfer_syntax not in NATIVE:
        known = JPEG_FAMILY | JPEG2000_FAMILY | {RLELossless, DEFLATED_FRAMES}
        reason = Reason.PIXELS_MISMATCH if part.transfer_syntax in known else Reason.UNSUPPORTED
        raise Undecodable(reason, "the transfer syntax asks for encapsulated pixels, these are not")
    expected = (layout.frames * layout.frame_bits + 7) // 8
    held = min(part.pixel_length, len(part.buffer) - part.pixel_at)
    if held != part.pixel_length or held not in (expected, expected + expected % 2):
        raise Undecodable(Reason.PIXELS_MISMATCH, f"{held} bytes of pixels where {expected} are expected")
    if layout.allocated == 1:
        return _unpacked_bits(part.buffer, part.pixel_at, layout)
    return _shaped(_native_values(part, layout), layout)


def _native_values(part: Part10, layout: Layout) -> Pixels:
    """One frame as a flat view of the file; big endian is turned, and so are bytes in OW words."""
    count = layout.frame_bits // layout.allocated
    big = part.transfer_syntax == ExplicitVRBigEndian
    if big and layout.allocated == 8 and part.pixel_vr == "OW":
        words = np.frombuffer(part.buffer, ">u2", part.pixel_length // 2, part.pixel_at)
        return words.astype("<u2").view("u1")[:count]
    stored_as = layout.container.newbyteorder(">" if big else "<")
    values = np.frombuffer(part.buffer, stored_as, count, part.pixel_at)
    return values.astype(layout.container) if big and layout.allocated > 8 else values


def _shaped(flat: Pixels, layout: Layout) -> Pixels:
    """Samples last, whatever Planar Configuration; 4:2:2 keeps luminance alone, three times."""
    if layout.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        luminance = flat.reshape(-1, 4)[:, :2].reshape(layout.rows, layout.columns)
        return np.repeat(luminance[..., None], 3, axis=2)
    if layout.samples > 1 and layout.planar:
        return flat.reshape(layout.samples, layout.rows, layout.columns).transpose(1, 2, 0)
    return flat.reshape(layout.shape)


def _unpacked_bits(buffer: Any, at: int, layout: Layout) -> Pixels:
    count = layout.rows * layout.columns * layout.samples
    packed = np.frombuffer(buffer, np.uint8, (count + 7) // 8, at)
    return np.unpackbits(packed, bitorder="little")[:count].reshape(layout.shape)


# Encapsulated


def _encapsulated(part: Part10, layout: Layout, at_least: int) -> Pixels:
    syntax = part.transfer_syntax
    if syntax in JPEG_FAMILY:
        return _from_codestream(_jpeg(_frame(part, layout), layout), layout, syntax)
    if syntax in JPEG2000_FAMILY:
        return _jpeg2000(_frame(part, layout), layout, syntax, at_least)
    if syntax == RLELossless:
        return settle(_rle(_frame(part, layout), layout), layout)
    if syntax == DEFLATED_FRAMES:
        return settle(_deflated(_frame(part, layout), layout), layout)
    if syntax in NATIVE:
        raise Undecodable(Reason.PIXELS_MISMATCH, "encapsulated pixels in a transfer syntax for native ones")
    raise Undecodable(Reason.UNSUPPORTED, f"transfer syntax {syntax.name}")


def _frame(part: Part10, layout: Layout) -> bytes:
    """The first frame's codestream, put together from its fragments (PS3.5 A.4)."""
    fragments = _fragments(part)
    table = next(fragments, b"")
    offsets = np.frombuffer(table, "<u4", len(table) // 4)
    if layout.frames == 1:
        return b"".join(fragments)
    pieces, size = [], 0
    for fragment in fragments:
        pieces.append(fragment)
        size += 8 + len(fragment)
        ended = (
            size >= offsets[1]
            if len(offsets) > 1
            else END in fragment[-8:] or part.transfer_syntax == RLELossless
        )
        if ended:
            break
    return b"".join(pieces)


def _fragments(part: Part10) -> Iterator[bytes]:
    """The items of the pixel sequence, the basic offset table first; each must lie within the file whole."""
    at, end = part.pixel_at, len(part.buffer)
    while at + 8 <= end:
        group, element, length = struct.unpack_from("<HHI", part.buffer, at)
        at += 8
        if (group, element) == (0xFFFE, 0xE0DD):
            return
        if (group, element) != (0xFFFE, 0xE000) or at + length > end:
            break
        yield part.buffer[at : at + length]
        at += length
    raise Undecodable(Reason.PIXELS_MISMATCH, "the encapsulated pixel data are cut off")


def _from_codestream(found: Pixels, layout: Layout, syntax: str) -> Pixels:
    """What a codec gave, as stored values. Codestreams of signed pixels are mostly marked unsigned."""
    bits = min(layout.stored, found.dtype.itemsize * 8)
    if found.dtype.kind == "i":
        return found.clip(layout.lowest, layout.highest) if syntax in LOSSY else found
    if syntax in LOSSY and not layout.signed:
        clipped: Pixels = np.minimum(found, found.dtype.type((1 << bits) - 1))
        return clipped
    width = found.dtype.itemsize * 8
    plain = replace(layout, allocated=width, stored=bits, high=bits - 1)
    return settle(np.ascontiguousarray(found), plain)


def _check_size(rows: int, columns: int, samples: int, layout: Layout) -> None:
    if (rows, columns, samples) != (layout.rows, layout.columns, layout.samples):
        told = f"{layout.rows}x{layout.columns}x{layout.samples}"
        raise Undecodable(
            Reason.PIXELS_MISMATCH, f"the header says {told}, the codestream {rows}x{columns}x{samples}"
        )


def _check_end(codestream: bytes) -> None:
    """Codecs fill a cut-off picture with grey; so it must end as it should, some padding allowed for."""
    if END not in codestream[-8:]:
        raise Undecodable(Reason.PIXELS_MISMATCH, "the codestream is cut off")


def _decoded(decode: Any, codestream: bytes, **how: Any) -> Pixels:
    try:
        found: Pixels = decode(codestream, **how)
    except (RuntimeError, ValueError, OSError, SyntaxError) as error:  # what imagecodecs and Pillow raise
        raise Undecodable(Reason.DECODE_FAILED, f"{type(error).__name__} in the codec") from error
    return found


# JPEG and JPEG-LS (ISO 10918-1, 14495-1)

START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}


def _jpeg(codestream: bytes, layout: Layout) -> Pixels:
    marker, rows, columns, samples = _start_of_frame(codestream)
    _check_size(rows, columns, samples, layout)
    _check_end(codestream)
    if marker == 0xF7:
        return _decoded(imagecodecs.jpegls_decode, codestream)
    if layout.samples == 1:
        return _decoded(imagecodecs.jpeg8_decode, codestream)  # 8, 12 and 16 bits, lossless too
    if marker == 0xC3:
        return _decoded(imagecodecs.jpegsof3_decode, codestream)
    luminance = _decoded(imagecodecs.jpeg8_decode, codestream, outcolorspace="GRAYSCALE")
    return np.repeat(luminance[..., None], 3, axis=2)


def _start_of_frame(codestream: bytes) -> tuple[int, int, int, int]:
    """SOF marker, rows, columns, components."""
    at = 2
    while at + 10 <= len(codestream) and codestream[at] == 0xFF:
        marker = codestream[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length, _precision, rows, columns, samples = struct.unpack_from(">HBHHB", codestream, at + 2)
        if marker in START_OF_FRAME:
            return marker, rows, columns, samples
        at += 2 + length
    raise Undecodable(Reason.DECODE_FAILED, "no start of frame in the JPEG codestream")


# JPEG 2000 and HTJ2K (ISO 15444-1, 15444-15): both by OpenJPEG, which says so when a codestream is broken

OVERSHOOT = 8  # filters go beyond the range of the values by less than such a part of it
SIZ = b"\xff\x4f\xff\x51"


def _jpeg2000(codestream: bytes, layout: Layout, syntax: str, at_least: int) -> Pixels:
    rows, columns, samples, precision, signed = _siz(codestream)
    _check_size(rows, columns, samples, layout)
    _check_end(codestream)
    # two's complement in a codestream that is marked unsigned cannot be averaged, which a lower resolution is
    if at_least and samples == 1 and precision <= 16 and signed == layout.signed:
        small = _reduced(codestream, max(rows, columns) // at_least, precision, signed)
        # Clipped, as filters overshoot: masking would make white black. What lies far beyond is read in full.
        if small is not None and (syntax in LOSSY or _near(small, layout)):
            return small.clip(layout.lowest, layout.highest)
    return _from_codestream(_decoded(imagecodecs.jpeg2k_decode, codestream), layout, syntax)


def _near(small: Pixels, layout: Layout) -> bool:
    """Whether values lie within Bits Stored, or as little beyond as a filter overshoots."""
    beyond = (layout.highest - layout.lowest) // OVERSHOOT
    return bool(layout.lowest - beyond <= small.min() and small.max() <= layout.highest + beyond)


def _siz(codestream: bytes) -> tuple[int, int, int, int, bool]:
    """Rows, columns, components, precision and signedness; a JP2 wrapper, forbidden but seen, is skipped."""
    at = codestream.find(SIZ, 0, 4096)
    if at < 0 or len(codestream) < at + 44:
        raise Undecodable(Reason.DECODE_FAILED, "no SIZ marker in the JPEG 2000 codestream")
    right, bottom, left, top = struct.unpack_from(">4I", codestream, at + 8)
    samples, depth = struct.unpack_from(">HB", codestream, at + 40)
    return bottom - top, right - left, samples, (depth & 0x7F) + 1, bool(depth & 0x80)


def _reduced(codestream: bytes, shrink: int, precision: int, signed: bool) -> Pixels | None:
    """OpenJPEG at a lower resolution, at most `shrink` times; None where there is none, as rarely happens.

    Through Pillow, which shifts values up to 16 bits and above zero.
    """
    halvings = shrink.bit_length() - 1
    if halvings < 1:
        return None
    try:
        image = Image.open(BytesIO(codestream), formats=("JPEG2000",))
        image.reduce = halvings  # type: ignore[assignment,method-assign] # Pillow's way to ask for it
        values = np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    if values.dtype == np.uint16:
        values = values >> (16 - precision)
    return values.astype(np.int32) - (1 << (precision - 1)) if signed else values


# RLE and deflate


def _rle(codestream: bytes, layout: Layout) -> Pixels:
    """PS3.5 Annex G: a segment a byte of a sample, most significant first; samples come one after another."""
    width = layout.container.itemsize
    size = (layout.rows * layout.columns * min(8, layout.allocated) + 7) // 8
    planes = np.empty((layout.samples, width, size), dtype=np.uint8)
    segments = _rle_segments(codestream, layout.samples * width)
    for plane, segment in zip(planes.reshape(-1, size), segments, strict=True):
        unpacked = _decoded(imagecodecs.packbits_decode, segment)
        if len(unpacked) not in (size, size + size % 2):
            raise Undecodable(Reason.PIXELS_MISMATCH, f"{len(unpacked)} bytes in an RLE segment for {size}")
        plane[:] = np.frombuffer(unpacked, np.uint8, size)
    if layout.allocated == 1:
        return _unpacked_bits(planes, 0, layout)
    values = np.ascontiguousarray(planes[:, ::-1].transpose(0, 2, 1)).view(layout.container.newbyteorder("<"))
    values = values.reshape(layout.samples, layout.rows, layout.columns)
    return values[0] if layout.samples == 1 else values.transpose(1, 2, 0)


def _rle_segments(codestream: bytes, expected: int) -> list[bytes]:
    """The segments that the header names; its offsets must rise and lie inside."""
    count, *offsets = struct.unpack("<16I", codestream[:64].ljust(64, b"\0"))
    bounds = [*offsets[:count], len(codestream)]
    if count != expected or bounds != sorted(bounds) or bounds[0] != 64:
        raise Undecodable(Reason.PIXELS_MISMATCH, f"{count} RLE segments where {expected} are expected")
    return [codestream[start:end] for start, end in itertools.pairwise(bounds)]


def _deflated(codestream: bytes, layout: Layout) -> Pixels:
    """Deflated Image Frame Compression (PS3.5 A.4.13)."""
    size = (layout.frame_bits + 7) // 8
    try:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(codestream, size + 2)
    except zlib.error as error:
        raise Undecodable(Reason.DECODE_FAILED, "the deflated frame is broken") from error
    if len(inflated) not in (size, size + size % 2):
        raise Undecodable(
            Reason.PIXELS_MISMATCH, f"{len(inflated)} bytes of pixels where {size} are expected"
        )
    if layout.allocated == 1:
        return _unpacked_bits(inflated, 0, layout)
    count = layout.rows * layout.columns * layout.samples
    return _shaped(np.frombuffer(inflated, layout.container, count), layout)
