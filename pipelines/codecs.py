"""Pixel Data to stored values: native and every transfer syntax of CR and DX (PS3.5 section 8, Annex A).

The one decoder, for the gates and for what is sent: `stored_frame` and `stored_frames` give values,
`native_frames` also the bytes of an uncompressed Pixel Data element that holds the same ones.

Never a guess: sizes in the header, in the codestream and of the data must agree, and a codestream says its
size before anything is decoded.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
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
    JPEG2000MC,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEG2000MCLossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from pipelines import codestreams
from pipelines.film import Reason
from pipelines.header import first, integer, upper
from pipelines.part10 import FLOAT_PIXEL_DATA, UNDEFINED_LENGTH, Part10, Undecodable

Pixels = NDArray[Any]  # (rows, columns) or (rows, columns, samples), an integer type

NATIVE = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
# Not named by pydicom 3.0 (PS3.6 table A-1)
JPEGXL_LOSSLESS = "1.2.840.10008.1.2.4.110"
JPEGXL_RECOMPRESSION = "1.2.840.10008.1.2.4.111"  # of a JPEG codestream, which can be had back
JPEGXL = "1.2.840.10008.1.2.4.112"
UNCOMPRESSED_FRAMES = "1.2.840.10008.1.2.1.98"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"

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
JPEG2000_FAMILY = frozenset(
    {
        JPEG2000Lossless,
        JPEG2000,
        JPEG2000MCLossless,
        JPEG2000MC,
        HTJ2KLossless,
        HTJ2KLosslessRPCL,
        HTJ2K,
    }
)
HTJ2K_FAMILY = frozenset({HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K})
JPEGXL_FAMILY = frozenset({JPEGXL_LOSSLESS, JPEGXL_RECOMPRESSION, JPEGXL})
NATIVE_FRAMES = frozenset({DEFLATED_FRAMES, UNCOMPRESSED_FRAMES})  # native values, a fragment a frame
ENCAPSULATED = JPEG_FAMILY | JPEG2000_FAMILY | JPEGXL_FAMILY | NATIVE_FRAMES | {RLELossless}
END = b"\xff\xd9"  # EOI of JPEG and JPEG-LS, EOC of JPEG 2000
PADDING = b"\x00\xff"  # what stands behind the end of a codestream, or of native pixels
# Of these a decoder may give values above Bits Stored; the lossless ones are what the encoder was given.
LOSSY = frozenset(
    {
        JPEGBaseline8Bit,
        JPEGExtended12Bit,
        "1.2.840.10008.1.2.4.53",
        "1.2.840.10008.1.2.4.55",
        JPEGLSNearLossless,
        JPEG2000,
        JPEG2000MC,
        HTJ2K,
        JPEGXL_RECOMPRESSION,
        JPEGXL,
    }
)

CONTAINERS: dict[int, np.dtype[Any]] = {
    1: np.dtype("u1"),
    8: np.dtype("u1"),
    16: np.dtype("u2"),
    32: np.dtype("u4"),
}
OVERLAY_BIT_POSITION, OVERLAY_DATA = 0x0102, 0x3000  # elements of the groups 6000 to 601E
MAX_FRAGMENTS = 2**20
MOST_PADDING = 2**20  # bytes behind native pixels
MAX_SAMPLES = 2**28  # values in one frame; the largest stitched films have 2**25
GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
COLOUR = frozenset(
    {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB"}
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
    tags = {(tag >> 16, tag & 0xFFFF) for tag in map(int, ds.keys()) if 0x6000_0000 <= tag < 0x6020_0000}
    named = {group for group, element in tags if element == OVERLAY_BIT_POSITION and group % 2 == 0}
    positions = {
        ds[group, OVERLAY_BIT_POSITION].value for group in named if (group, OVERLAY_DATA) not in tags
    }
    return sum(1 << position for position in positions if isinstance(position, int) and 0 < position < 64)


def stored_frame(part: Part10, layout: Layout, *, shrink: int = 1) -> Pixels:
    """The first frame's stored values, high bits outside Bits Stored removed and the sign extended.

    `decoded_photometric` says what they mean. With `shrink`, a codec that can may give a smaller picture,
    halved some times, to 1 / `shrink` at the least; the shape tells. Raises Undecodable.
    """
    if part.pixel_length != UNDEFINED_LENGTH:
        _check_native(part, layout)
        held = _native_bytes(part, layout, 0, (layout.frame_bits + 7) // 8)
        return settle(_shaped(held, layout), layout)
    return _stored(part, layout, _first_frame(part, layout), shrink)


def stored_frames(part: Part10, layout: Layout) -> Iterator[Pixels]:
    """As `stored_frame`, of each frame; as many as Number of Frames says. Raises Undecodable."""
    return (stored for stored, _ in native_frames(part, layout))


def decoded_photometric(part: Part10, layout: Layout) -> str:
    """The Photometric Interpretation of decoded values (PS3.5 8.2): codecs undo their colour transforms."""
    if layout.samples == 1:
        return layout.photometric
    if layout.photometric in ("YBR_ICT", "YBR_RCT", "XYB") or _turned_to_rgb(part, layout):
        return "RGB"
    return "YBR_FULL" if layout.photometric == "YBR_FULL_422" else layout.photometric


def _turned_to_rgb(part: Part10, layout: Layout) -> bool:
    """Whether the codec makes RGB of what the header calls otherwise; the codestream tells."""
    syntax = part.transfer_syntax
    if part.pixel_length != UNDEFINED_LENGTH:
        return False
    if syntax in JPEG_FAMILY:
        return _start_of_frame(_first_frame(part, layout)).lossy
    if syntax in JPEG2000_FAMILY:
        return _coding_style(_first_frame(part, layout)).transforms_colour
    return syntax in JPEGXL_FAMILY and syntax != JPEGXL_LOSSLESS


def is_lossy(part: Part10, layout: Layout) -> bool:
    """Whether the codestream shows that its encoder threw something away.

    JPEG-LS with a bound of 0 and the reversible wavelet lose nothing, in whatever transfer syntax they come.
    """
    syntax = part.transfer_syntax
    if part.pixel_length != UNDEFINED_LENGTH:
        return False
    if syntax in JPEG_FAMILY:
        codestream = _first_frame(part, layout)
        start = _start_of_frame(codestream)
        return start.lossy or (start.marker == JPEG_LS and _bound(codestream) > 0)
    if syntax in JPEG2000_FAMILY:
        return not _coding_style(_first_frame(part, layout)).reversible
    return syntax in JPEGXL_FAMILY and syntax in LOSSY


def native_frames(part: Part10, layout: Layout) -> Iterator[tuple[Pixels, bytes | memoryview]]:
    """As `stored_frames`, each with its piece of a native, little endian Pixel Data value (PS3.5 8.1, 8.2).

    Values that are not coded keep their bits, overlays beside Bits Stored included; what a codec gave is put
    where Bits Stored and High Bit say, samples of a pixel side by side. Raises Undecodable.
    """
    left = np.empty(0, np.uint8)  # frames of single bits are not padded to whole bytes (PS3.5 8.1.1)
    for number, (values, held) in enumerate(_held_frames(part, layout), 1):
        stored = settle(values, layout) if held is not None else values
        if held is None or layout.allocated == 1:
            placed = _placed(stored, layout)
            held = np.ascontiguousarray(placed, placed.dtype.newbyteorder("<")).data.cast("B")
        if layout.allocated == 1:
            bits = np.concatenate([left, np.frombuffer(held, np.uint8)])
            whole = len(bits) if number == layout.frames else len(bits) // 8 * 8
            held, left = np.packbits(bits[:whole], bitorder="little").tobytes(), bits[whole:]
        yield stored, held


def _held_frames(part: Part10, layout: Layout) -> Iterator[tuple[Pixels, bytes | memoryview | None]]:
    """Values as they stand in Bits Allocated bits, with their bytes; or what a codec gave, without."""
    if part.pixel_length != UNDEFINED_LENGTH:
        _check_native(part, layout)
        for number in range(layout.frames):
            begin, end = number * layout.frame_bits, (number + 1) * layout.frame_bits
            held = _native_bytes(part, layout, begin // 8, (end + 7) // 8)
            yield _shaped(held, layout, skip_bits=begin % 8), held
        return
    for codestream in _all_frames(part, layout):
        if part.transfer_syntax in NATIVE_FRAMES:
            framed = _framed(codestream, layout, part.transfer_syntax)
            yield _shaped(framed, layout), framed
        elif part.transfer_syntax == RLELossless:
            values = _rle(codestream, layout)
            yield values, np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data.cast("B")
        else:
            yield _stored(part, layout, codestream, 1), None


def _placed(stored: Pixels, layout: Layout) -> Pixels:
    """Stored values where they stand in Bits Allocated bits; a sign is extended."""
    wide = np.dtype(f"{'i' if layout.signed else 'u'}{layout.container.itemsize}")
    placed: Pixels = stored.astype(wide) << (layout.high + 1 - layout.stored)
    return placed.view(layout.container)


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


def _native_size(layout: Layout) -> int:
    """Bytes that all frames need."""
    return (layout.frames * layout.frame_bits + 7) // 8


def _check_native(part: Part10, layout: Layout) -> None:
    if part.transfer_syntax not in NATIVE:
        reason = Reason.PIXELS_MISMATCH if part.transfer_syntax in ENCAPSULATED else Reason.UNSUPPORTED
        raise Undecodable(reason, "the transfer syntax asks for encapsulated pixels, these are not")
    expected = _native_size(layout)
    held = min(part.pixel_length, len(part.buffer) - part.pixel_at)
    if held != part.pixel_length or held < expected or not _is_padding(part, layout, expected):
        raise Undecodable(Reason.PIXELS_MISMATCH, f"{held} bytes of pixels where {expected} are expected")


def _is_padding(part: Part10, layout: Layout, expected: int) -> bool:
    """Whether what stands behind the pixels is padding, rather than a sign that the header lies.

    A row or a column more than the header says can be told by the length; so less than either may be
    anything. More must be blank, and no whole number of rows or columns.
    """
    extra = part.pixel_length - expected
    row, column = (max(1, layout.frame_bits // 8 // length) for length in (layout.rows, layout.columns))
    if extra <= expected % 2 or extra < min(row, column):
        return True
    if extra > MOST_PADDING:
        return False
    behind = bytes(part.buffer[part.pixel_at + expected : part.pixel_at + part.pixel_length])
    return bool(extra % row and extra % column) and not behind.strip(PADDING)


def _native_bytes(part: Part10, layout: Layout, begin: int, end: int) -> memoryview:
    """Little endian bytes `begin` to `end` of the value; words of big endian are turned, and OW are words."""
    at, view = part.pixel_at, memoryview(part.buffer)
    word = max(layout.container.itemsize, 2 if part.pixel_vr == "OW" else 1)
    if part.transfer_syntax != ExplicitVRBigEndian or word == 1:
        return view[at + begin : at + end]
    first, last = begin // word * word, -(-end // word) * word
    held = view[at + first : at + last]
    if len(held) < last - first:  # the last word has no end
        held = memoryview(held.tobytes().ljust(last - first, b"\0"))
    turned = np.frombuffer(held, f"u{word}").byteswap()
    return turned.data.cast("B")[begin - first : end - first]


def _shaped(held: bytes | memoryview, layout: Layout, *, skip_bits: int = 0) -> Pixels:
    """Values of one frame, samples last whatever Planar Configuration; of 4:2:2 each pixel gets chroma."""
    if layout.allocated == 1:
        packed = np.frombuffer(held, np.uint8)
        bits = np.unpackbits(packed, bitorder="little")[skip_bits:][: layout.frame_bits]
        return bits.reshape(layout.shape)
    flat = np.frombuffer(held, layout.container.newbyteorder("<"), layout.frame_bits // layout.allocated)
    if layout.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        if layout.columns % 2:
            raise Undecodable(Reason.PIXELS_MISMATCH, "4:2:2 with an odd number of columns")
        pairs = flat.reshape(-1, 4)
        both = np.stack([pairs[:, [0, 2, 3]], pairs[:, [1, 2, 3]]], axis=1)
        return both.reshape(layout.rows, layout.columns, 3)
    if layout.samples > 1 and layout.planar:
        return flat.reshape(layout.samples, layout.rows, layout.columns).transpose(1, 2, 0)
    return flat.reshape(layout.shape)


# Encapsulated


def _stored(part: Part10, layout: Layout, codestream: bytes, shrink: int) -> Pixels:
    """One frame's stored values."""
    syntax = part.transfer_syntax
    if syntax in JPEG_FAMILY:
        return _from_codestream(_jpeg(codestream, layout), layout, syntax)
    if syntax in JPEG2000_FAMILY:
        return _jpeg2000(codestream, layout, syntax, shrink)
    if syntax in JPEGXL_FAMILY:
        return _from_codestream(_jpegxl(codestream, layout), layout, syntax)
    if syntax == RLELossless:
        return settle(_rle(codestream, layout), layout)
    return settle(_shaped(_framed(codestream, layout, syntax), layout), layout)


def _frames(part: Part10, layout: Layout) -> Iterator[bytes]:
    """The codestream of each frame, put together from its fragments (PS3.5 A.4)."""
    syntax = part.transfer_syntax
    if syntax in NATIVE:
        raise Undecodable(Reason.PIXELS_MISMATCH, "encapsulated pixels in a transfer syntax for native ones")
    if syntax not in ENCAPSULATED:
        raise Undecodable(Reason.UNSUPPORTED, f"transfer syntax {syntax.name}")
    (table_at, table_size), *fragments = _fragments(part)
    offsets = _offsets(part, bytes(part.buffer[table_at : table_at + table_size]))
    for group in _grouped(part, layout, fragments, offsets):
        yield b"".join(bytes(part.buffer[at : at + length]) for at, length in group)


def _first_frame(part: Part10, layout: Layout) -> bytes:
    """b"" where there is none, which no decoder takes."""
    return next(_frames(part, layout), b"")


def _all_frames(part: Part10, layout: Layout) -> Iterator[bytes]:
    """Raises Undecodable where there are more or fewer than Number of Frames says."""
    found = 0
    for found, codestream in enumerate(_frames(part, layout), 1):
        if found <= layout.frames:
            yield codestream
    if found != layout.frames:
        raise Undecodable(Reason.PIXELS_MISMATCH, f"{found} frames where {layout.frames} are expected")


Fragment = tuple[int, int]  # where its value is, and how long


def _grouped(
    part: Part10, layout: Layout, fragments: list[Fragment], offsets: list[int]
) -> Iterator[list[Fragment]]:
    """Fragments by frame: all in one, one in each, as a table says, or by the codestreams' ends."""
    if layout.frames == 1:
        yield fragments
        return
    one_each = len(fragments) == layout.frames
    starts = {fragments[0][0] + offset - offsets[0] for offset in offsets} if fragments and offsets else set()
    by_table = len(starts) == layout.frames and starts <= {at for at, _ in fragments}
    by_end = not (one_each or by_table) and part.transfer_syntax in JPEG_FAMILY | JPEG2000_FAMILY
    group: list[Fragment] = []
    for at, length in fragments:
        if group and (one_each or (by_table and at in starts)):
            yield group
            group = []
        group.append((at, length))
        if by_end and _whole(bytes(part.buffer[at : at + length])):
            yield group
            group = []
    if group:
        yield group


def _offsets(part: Part10, table: bytes) -> list[int]:
    """Where frames begin: the Extended Offset Table (PS3.3 C.7.6.3.1.8), or the basic one (PS3.5 A.4)."""
    extended = part.ds.get("ExtendedOffsetTable")
    if isinstance(extended, bytes) and extended and len(extended) % 8 == 0:
        return [int(offset) for offset in np.frombuffer(extended, "<u8")]
    return [int(offset) for offset in np.frombuffer(table, "<u4", len(table) // 4)]


def _fragments(part: Part10) -> list[Fragment]:
    """The items of the pixel sequence, the basic offset table first; each must lie within the file whole."""
    at, end = part.pixel_at, len(part.buffer)
    found: list[Fragment] = []
    while at + 8 <= end:
        group, element, length = struct.unpack_from("<HHI", part.buffer, at)
        at += 8
        if (group, element) == (0xFFFE, 0xE0DD):
            if not found:
                break
            return found
        if (group, element) != (0xFFFE, 0xE000) or at + length > end or len(found) > MAX_FRAGMENTS:
            break
        found.append((at, length))
        at += length
    raise Undecodable(Reason.PIXELS_MISMATCH, "the encapsulated pixel data are cut off")


def pixels_end(part: Part10) -> int:
    """Offset of what follows the Pixel Data element. Raises Undecodable."""
    if part.pixel_length != UNDEFINED_LENGTH:
        return part.pixel_at + part.pixel_length
    at, length = _fragments(part)[-1]
    return at + length + 8  # the sequence delimiter


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


def _whole(codestream: bytes) -> bytes:
    """The codestream without the padding behind its end; b"" where it has no end."""
    if END in codestream[-8:]:
        return codestream
    stripped = codestream.rstrip(PADDING)
    return stripped if stripped.endswith(END) else b""


def _checked_end(codestream: bytes) -> bytes:
    """`_whole`. Codecs fill a cut-off picture with grey; so it must end as it should, padding allowed for."""
    whole = _whole(codestream)
    if not whole:
        raise Undecodable(Reason.PIXELS_MISMATCH, "the codestream is cut off")
    return whole


def _decoded(decode: Any, codestream: bytes, **how: Any) -> Pixels:
    try:
        found: Pixels = decode(codestream, **how)
    except (RuntimeError, ValueError, OSError, SyntaxError) as error:  # what imagecodecs and Pillow raise
        raise Undecodable(Reason.DECODE_FAILED, f"{type(error).__name__} in the codec") from error
    return found


# JPEG and JPEG-LS (ISO 10918-1, 14495-1)

LOSSLESS_JPEG, JPEG_LS = 0xC3, 0xF7  # SOF markers
START_OF_FRAME = frozenset({*range(0xC0, 0xD0), JPEG_LS}) - {0xC4, 0xC8, 0xCC}
START_OF_SCAN = 0xDA


@dataclass(frozen=True, slots=True)
class StartOfFrame:
    """What a JPEG codestream says of itself before its first scan."""

    marker: int
    rows: int
    columns: int
    samples: int
    says_colour: bool  # JFIF or Adobe markers, component names or subsampling tell the colour space

    @property
    def lossy(self) -> bool:
        return self.marker not in (LOSSLESS_JPEG, JPEG_LS)


def _jpeg(codestream: bytes, layout: Layout) -> Pixels:
    start = _start_of_frame(codestream)
    _check_size(start.rows, start.columns, start.samples, layout)
    codestream = _checked_end(codestream)
    if start.marker == JPEG_LS:  # by CharLS, which says so when it is broken
        return _decoded(imagecodecs.jpegls_decode, codestream)
    how: dict[str, Any] = {}  # 8, 12 and 16 bits, lossless too
    if start.samples > 1:
        how = {"outcolorspace": "RGB"}
        if not start.lossy or (layout.photometric == "RGB" and not start.says_colour):
            how["colorspace"] = "RGB"  # as they are
    decode = partial(_decoded, partial(imagecodecs.jpeg8_decode, **how))
    pixels = decode(codestream)
    codestreams.check_jpeg(codestream, pixels, decode)
    return pixels


def _segments(codestream: bytes, at: int = 2) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment up to the first scan, from where the first one begins."""
    while at + 4 <= len(codestream) and codestream[at] == 0xFF:
        marker = codestream[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        (length,) = struct.unpack_from(">H", codestream, at + 2)
        yield marker, codestream[at + 4 : at + 2 + length]
        if marker == START_OF_SCAN:
            return
        at += 2 + length


def _start_of_frame(codestream: bytes) -> StartOfFrame:
    named = False
    for marker, body in _segments(codestream):
        named |= (marker == 0xE0 and body[:4] == b"JFIF") or (marker == 0xEE and body[:5] == b"Adobe")
        if marker in START_OF_FRAME and len(body) >= 6:
            _precision, rows, columns, samples = struct.unpack_from(">BHHB", body)
            sampling = set(body[7::3][:samples])
            return StartOfFrame(
                marker, rows, columns, samples, named or body[6::3][:3] == b"RGB" or len(sampling) > 1
            )
    raise Undecodable(Reason.DECODE_FAILED, "no start of frame in the JPEG codestream")


def _bound(codestream: bytes) -> int:
    """The bound on errors of JPEG-LS, in its start of scan (ISO 14495-1 C.2.3)."""
    scan = next((body for marker, body in _segments(codestream) if marker == START_OF_SCAN), b"")
    return scan[-3] if len(scan) >= 3 else 0


# JPEG 2000 and HTJ2K (ISO 15444-1, 15444-15): both by OpenJPEG, which says so when headers are broken, and of
# HTJ2K when code blocks are. At a lower resolution most of them are not even looked at.

OVERSHOOT = 8  # filters go beyond the range of the values by less than such a part of it
SIZ = b"\xff\x4f\xff\x51"


def _jpeg2000(codestream: bytes, layout: Layout, syntax: str, shrink: int) -> Pixels:
    rows, columns, samples, precision, signed = _siz(codestream)
    _check_size(rows, columns, samples, layout)
    codestream = _checked_end(codestream)
    codestreams.check_jpeg2000(codestream, codestream.find(SIZ, 0, 4096))
    if syntax in HTJ2K_FAMILY:  # it takes no longer than half a JPEG, and tells of every broken code block
        shrink = 1
    # two's complement in a codestream that is marked unsigned cannot be averaged, which a lower resolution is
    if shrink > 1 and samples == 1 and precision <= 16 and signed == layout.signed:
        small = _reduced(codestream, shrink, precision, signed)
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


@dataclass(frozen=True, slots=True)
class CodingStyle:
    """What the COD marker segment says (ISO 15444-1 A.6.1)."""

    transforms_colour: bool = False
    reversible: bool = True


def _coding_style(codestream: bytes) -> CodingStyle:
    at = codestream.find(SIZ, 0, 4096)
    for marker, body in _segments(codestream, at + 2) if at >= 0 else ():
        if marker == 0x52 and len(body) >= 10:
            return CodingStyle(transforms_colour=body[4] == 1, reversible=body[9] == 1)
    return CodingStyle()


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


# JPEG XL (ISO 18181)

JXL_CODESTREAM, JXL_CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
JXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height, by code - 1


def _jpegxl(codestream: bytes, layout: Layout) -> Pixels:
    """By libjxl, which says so when a codestream is cut off."""
    rows, columns = _jxl_size(codestream)
    _check_size(rows, columns, layout.samples, layout)
    found = _decoded(imagecodecs.jpegxl_decode, codestream)
    if found.shape != layout.shape or found.dtype.kind != "u":
        raise Undecodable(Reason.PIXELS_MISMATCH, "the codestream has other samples than the header says")
    return found


def _jxl_size(codestream: bytes) -> tuple[int, int]:
    """Rows and columns of the SizeHeader (ISO 18181-1 D.2), in the codestream itself or in its container."""
    at = 0
    if codestream[:12] == JXL_CONTAINER:
        boxes = (codestream.find(name, 12) for name in (b"jxlc", b"jxlp"))
        begins = min((box + 4 for box in boxes if box > 0), default=len(codestream))
        at = codestream.find(JXL_CODESTREAM, begins, begins + 6)
    if at < 0 or codestream[at : at + 2] != JXL_CODESTREAM:
        raise Undecodable(Reason.DECODE_FAILED, "no JPEG XL codestream")
    bits = _Bits(int.from_bytes(codestream[at + 2 : at + 14], "little"))
    small = bits.take(1)
    rows = (bits.take(5) + 1) * 8 if small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1
    if ratio := bits.take(3):
        wide, high = JXL_RATIOS[ratio - 1]
        return rows, rows * wide // high
    return rows, (bits.take(5) + 1) * 8 if small else bits.take((9, 13, 18, 30)[bits.take(2)]) + 1


class _Bits:
    """Numbers of some bits each, the least significant bit first."""

    def __init__(self, value: int) -> None:
        self._value = value

    def take(self, count: int) -> int:
        taken = self._value & ((1 << count) - 1)
        self._value >>= count
        return taken


# RLE, and native frames in fragments


def _rle(codestream: bytes, layout: Layout) -> Pixels:
    """PS3.5 Annex G: a segment a byte of a sample, most significant first; samples come one after another."""
    width = layout.container.itemsize
    size = (layout.rows * layout.columns * min(8, layout.allocated) + 7) // 8
    placed = np.empty((layout.samples, size, width), dtype=np.uint8)  # bytes of little endian values
    for number, segment in enumerate(_rle_segments(codestream, layout.samples * width)):
        unpacked = _decoded(imagecodecs.packbits_decode, segment)
        if len(unpacked) not in (size, size + size % 2):
            raise Undecodable(Reason.PIXELS_MISMATCH, f"{len(unpacked)} bytes in an RLE segment for {size}")
        sample, byte = divmod(number, width)
        placed[sample, :, width - 1 - byte] = np.frombuffer(unpacked, np.uint8, size)
    if layout.allocated == 1:
        return _shaped(placed.tobytes(), layout)
    values: Pixels = placed.view(layout.container.newbyteorder("<"))
    values = values.reshape(layout.samples, layout.rows, layout.columns)
    return values[0] if layout.samples == 1 else values.transpose(1, 2, 0)


def _rle_segments(codestream: bytes, expected: int) -> list[bytes]:
    """The segments that the header names; its offsets must rise and lie inside."""
    count, *offsets = struct.unpack("<16I", codestream[:64].ljust(64, b"\0"))
    bounds = [*offsets[:count], len(codestream)]
    if count != expected or bounds != sorted(bounds) or bounds[0] != 64:
        raise Undecodable(Reason.PIXELS_MISMATCH, f"{count} RLE segments where {expected} are expected")
    return [codestream[start:end] for start, end in itertools.pairwise(bounds)]


def _framed(codestream: bytes, layout: Layout, syntax: str) -> bytes:
    """The native bytes of one frame: deflated (PS3.5 A.4.13), or as they are (A.4.11)."""
    size = (layout.frame_bits + 7) // 8
    held = codestream if syntax == UNCOMPRESSED_FRAMES else _inflated(codestream, size + 2)
    if len(held) not in (size, size + size % 2):
        raise Undecodable(Reason.PIXELS_MISMATCH, f"{len(held)} bytes of pixels where {size} are expected")
    return held[:size]


def _inflated(codestream: bytes, most: int) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(codestream, most)
    except zlib.error as error:
        raise Undecodable(Reason.DECODE_FAILED, "the deflated frame is broken") from error
