"""Bytes to Film: parse up to the pixels, decode, shrink by averaging, show as a viewer would.

`decode_film` is for the gates: a preview. `stored_pixels` is for corrected copies: every stored value.
`file_digest` says whether two files show the same.
numpy and codecs only; whoever takes bytes from the network runs this in a limited child.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL, JPEGLSLossless, JPEGLSNearLossless

from pipelines.codecs import (
    GREY,
    JPEG2000_FAMILY,
    JPEG_FAMILY,
    JPEGXL_FAMILY,
    Layout,
    Pixels,
    check_there,
    decoded_photometric,
    is_lossy,
    pixels_end,
    stored_frame,
    stored_frames,
)
from pipelines.damage import damage
from pipelines.display import displayed
from pipelines.film import PREVIEW_PX, Film, Reason
from pipelines.header import integer, numbers, quietly, text
from pipelines.part10 import UNDEFINED_LENGTH, Part10, Source, Undecodable, parse
from pipelines.percentiles import outer_percentiles

__all__ = ["Undecodable", "decode_film", "file_digest", "pixel_digest", "stored_pixels"]

LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as PS3.3 C.7.6.3.1.2 uses it
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
METHODS = (  # Lossy Image Compression Method, PS3.3 C.7.6.1.1.5.1
    ({JPEGLSLossless, JPEGLSNearLossless}, "ISO_14495_1"),
    ({HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K}, "ISO_15444_15"),
    (JPEG_FAMILY, "ISO_10918_1"),
    (JPEG2000_FAMILY, "ISO_15444_1"),
    (JPEGXL_FAMILY, "ISO_18181_1"),
)
MAX_COMPARED = 2**25  # pixels of all frames that are decoded to compare them: a few seconds of JPEG 2000
MOST_IN_FULL = 2**25  # pixels; stitched films are larger, and take half a minute of JPEG 2000
FOUR_LANES = np.uint64(0x0001_0001_0001_0001)  # times it, a word of four 16-bit values has their sum on top
SANE_ASPECT = (0.1, 10.0)  # a spacing ratio beyond this is a typing error, not a detector


def decode_film(source: Source, *, long_side: int = PREVIEW_PX) -> Film:
    """The film as displayed, square pixels, long side at most `long_side`. Raises Undecodable.

    Of several frames the first is shown. Padding is left out of the averages and shown black.
    """
    part = parse(source)
    with _header_in_errors(part):
        check_there(part)
        layout = Layout.of(part.ds)
        large = layout.rows * layout.columns > MOST_IN_FULL
        stored = stored_frame(part, layout, shrink=_shrink(part.ds, layout, long_side) if large else 1)
        coded = part.pixel_length == UNDEFINED_LENGTH
        wavelets = coded and part.transfer_syntax in JPEG2000_FAMILY
        blocks = coded and part.transfer_syntax in JPEG_FAMILY and is_lossy(part, layout)
        film = film_of(part, layout, stored, long_side=long_side)
        return replace(film, damage=damage(stored, wavelets=wavelets, blocks=blocks))


def film_of(part: Part10, layout: Layout, stored: Pixels, *, long_side: int = PREVIEW_PX) -> Film:
    """The film that these stored values of its first frame show. Raises Undecodable."""
    layout = replace(layout, photometric=decoded_photometric(part, layout))
    values, empty = _shrunk(_grey(stored, part.ds, layout), part.ds, layout, long_side)
    pixels = displayed(values, part.ds, layout) if layout.photometric in GREY else _plain(values, layout)
    if empty is not None:
        pixels[empty] = 0.0
    return Film(
        header=part.header,
        pixels=np.ascontiguousarray(pixels),
        scale=(layout.rows / pixels.shape[0], layout.columns / pixels.shape[1]),
        stored_range=_stored_range(values if empty is None else values[~empty], layout),
    )


def stored_pixels(source: Source) -> tuple[Dataset, Pixels]:
    """The dataset without its pixel data, and all stored values of the one frame.

    (rows, columns), or (rows, columns, samples) in colour. What decoding changed is told by the dataset:
    Photometric Interpretation, and that values were compressed with loss.

    Raises Undecodable, MULTI_FRAME included.
    """
    part = parse(source)
    with _header_in_errors(part):
        check_there(part)
        layout = Layout.of(part.ds)
        if layout.frames > 1:
            raise Undecodable(Reason.MULTI_FRAME)
        pixels = stored_frame(part, layout)
        part.ds.update(lossy_attributes(part, layout))
        if layout.samples > 1:
            part.ds.PhotometricInterpretation = decoded_photometric(part, layout)
        return part.ds, pixels


def pixel_digest(pixels: Pixels, ds: Dataset) -> str:
    """sha256 (hex) of shape, bits, signedness and values; the transfer syntax makes no difference."""
    return _digest([pixels], Layout.of(ds), ds)


def frames_digest(part: Part10, layout: Layout) -> str:
    """`pixel_digest` of all frames; of one frame it is the same. Raises Undecodable."""
    return values_digest(part, layout, stored_frames(part, layout))


def values_digest(part: Part10, layout: Layout, frames: Iterable[Pixels]) -> str:
    """`frames_digest`, of frames that are at hand."""
    return _digest(frames, replace(layout, photometric=decoded_photometric(part, layout)), part.ds)


def file_digest(source: Source) -> str:
    """`frames_digest` of a file or, where there are no values to be had, the sha256 of the pixels' bytes.

    So two versions of a report have the same pixels: none. Of a long cine it is that of the bytes too, for
    decoding it takes longer than a decoder has. Raises Undecodable when it is not DICOM.
    """
    part = parse(source)
    try:
        with quietly():
            check_there(part)
            layout = Layout.of(part.ds)
            if layout.frames == 1 or layout.frames * layout.rows * layout.columns <= MAX_COMPARED:
                return frames_digest(part, layout)
    except Undecodable:
        pass
    return _bytes_digest(part)


def _bytes_digest(part: Part10) -> str:
    end = len(part.buffer) if part.pixel_length == UNDEFINED_LENGTH else part.pixel_at + part.pixel_length
    return hashlib.sha256(memoryview(part.buffer)[part.pixel_at : end]).hexdigest()


def _digest(frames: Iterable[Pixels], layout: Layout, ds: Dataset) -> str:
    """Of colours, those that the values stand for count too: a palette, or luminance and chroma."""
    digest = hashlib.sha256()
    size = 1 if layout.stored <= 8 else 2 if layout.stored <= 16 else 4
    for number, pixels in enumerate(frames):
        if not number:
            digest.update(repr((pixels.shape, layout.stored, layout.signed)).encode())
        digest.update(np.ascontiguousarray(pixels, dtype=f"<{'i' if layout.signed else 'u'}{size}").data)
    if layout.photometric == "PALETTE COLOR":
        with suppress(Undecodable):  # a broken palette shows nothing, but its indices are there
            digest.update(_palette_colours(ds).data)
    elif layout.photometric.startswith("YBR_FULL"):
        digest.update(b"YBR_FULL")
    return digest.hexdigest()


def lossy_attributes(part: Part10, layout: Layout) -> Dataset:
    """What must be said of decoded pixels that were compressed with loss (PS3.3 C.7.6.1.1.5), and is not yet.

    Empty where nothing was lost, as far as the codestream shows.
    """
    said = Dataset()
    if not is_lossy(part, layout):
        return said
    said.LossyImageCompression = "01"
    if not text(part.ds, "LossyImageCompressionRatio"):
        ratio = layout.frames * layout.frame_bits / 8 / (pixels_end(part) - part.pixel_at)
        said.LossyImageCompressionRatio = f"{ratio:.4g}"
    if not text(part.ds, "LossyImageCompressionMethod"):
        said.LossyImageCompressionMethod = next(
            name for family, name in METHODS if part.transfer_syntax in family
        )
    return said


@contextmanager
def _header_in_errors(part: Part10) -> Iterator[None]:
    try:
        with quietly():
            yield
    except Undecodable as error:
        error.header = part.header
        raise


# Colour to grey


def _grey(stored: Pixels, ds: Dataset, layout: Layout) -> Pixels:
    """One value a pixel; colour is reduced to its luminance."""
    if layout.photometric == "PALETTE COLOR":
        index = stored.astype(np.int32) - layout.lowest
        grey: Pixels = _palette(ds)[index.clip(0, 65535)]
        return grey
    if layout.samples == 1:
        return stored
    native_ybr = layout.photometric.startswith("YBR") and layout.photometric not in ("YBR_ICT", "YBR_RCT")
    return stored[..., 0] if native_ybr else (stored @ LUMINANCE).astype(np.float32)


def _palette(ds: Dataset) -> NDArray[np.float32]:
    """Index -> grey in [0, 1], 65,536 entries (C.7.9.2)."""
    return _palette_colours(ds) @ LUMINANCE


def _palette_colours(ds: Dataset) -> NDArray[np.float32]:
    channels = [_palette_channel(ds, colour) for colour in ("Red", "Green", "Blue")]
    return np.stack(channels, axis=1)


def _palette_channel(ds: Dataset, colour: str) -> NDArray[np.float32]:
    descriptor = numbers(ds, f"{colour}PaletteColorLookupTableDescriptor")
    raw = ds.get(f"{colour}PaletteColorLookupTableData")
    if len(descriptor) != 3 or not isinstance(raw, bytes) or not raw:
        raise Undecodable(Reason.UNSUPPORTED, "a palette without its plain lookup tables")
    entries, start, bits = int(descriptor[0]) % 65536 or 65536, int(descriptor[1]), int(descriptor[2])
    if len(raw) < 2 * entries:  # 8-bit entries, packed
        table, top = np.frombuffer(raw, np.uint8), 255
    else:
        table = np.frombuffer(raw, _word(ds), len(raw) // 2)
        top = 65535 if bits > 8 and int(table.max()) > 255 else 255
    index = (np.arange(65536) - start).clip(0, min(entries, len(table)) - 1)
    channel: NDArray[np.float32] = table[index].astype(np.float32) / np.float32(top)
    return channel.clip(0.0, 1.0)


def _word(ds: Dataset) -> str:
    """The byte order of OW values as they were read."""
    return ">u2" if ds.original_encoding[1] is False else "<u2"


def _plain(values: NDArray[np.float32], layout: Layout) -> NDArray[np.float32]:
    """Colour has no window: luminance over its full range."""
    top = 1.0 if layout.photometric == "PALETTE COLOR" else float(layout.highest)
    return (values / np.float32(top)).clip(0.0, 1.0)


# Shrinking


def _shrink(ds: Dataset, layout: Layout, long_side: int) -> int:
    """How much smaller a codec may make the picture; 1 (not at all) where overlays lie in its values."""
    embedded = any((group, 0x0102) in ds for group in range(0x6000, 0x6020, 2))  # Overlay Bit Position
    return 1 if embedded else max(1, int(_squared(layout, ds, long_side)[2]))


def _shrunk(
    stored: Pixels, ds: Dataset, layout: Layout, long_side: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Average down to square pixels and `long_side`; also where only padding is, None without any."""
    height, width = _target(stored.shape, layout, ds, long_side)
    padding = _padding(ds, layout)
    if padding is None:
        return _averaged(stored, height, width, most=layout.highest), None
    film = (stored < padding[0]) | (stored > padding[1])
    if stored.shape != layout.shape:
        film, stored = _unmixed(stored, film, padding)
    share = _averaged(film.view(np.uint8), height, width, most=1)
    values = _averaged(np.where(film, stored, 0), height, width, most=layout.highest)
    empty = share < 0.5
    values = np.where(empty, values[~empty].min(initial=np.inf), values / np.maximum(share, 0.5))
    return np.nan_to_num(values, posinf=0.0).astype(np.float32), empty


def _target(shape: tuple[int, ...], layout: Layout, ds: Dataset, long_side: int) -> tuple[int, int]:
    """Rows and columns of the preview; the longer pixel side sets the grid, nothing is enlarged."""
    tall, wide, shrink = _squared(layout, ds, long_side)
    height, width = round(tall / shrink), round(wide / shrink)
    return min(max(1, height), shape[0]), min(max(1, width), shape[1])


def _squared(layout: Layout, ds: Dataset, long_side: int) -> tuple[float, float, float]:
    """Rows and columns in units of the longer pixel side, and how much they shrink to fit `long_side`.

    That side shrinks so much, the other one no less.
    """
    row_mm, column_mm = _spacing(ds)
    pitch = max(row_mm, column_mm)
    tall, wide = layout.rows * row_mm / pitch, layout.columns * column_mm / pitch
    return tall, wide, max(1.0, max(tall, wide) / long_side)


def _spacing(ds: Dataset) -> tuple[float, float]:
    """Distance between rows and between columns; only the ratio counts (PS3.3 10.7.1.3, C.7.6.3.1.7)."""
    for keyword in SPACINGS:
        spacing = numbers(ds, keyword)
        if len(spacing) == 2 and all(isfinite(value) and value > 0 for value in spacing):
            sane = SANE_ASPECT[0] <= spacing[0] / spacing[1] <= SANE_ASPECT[1]
            return (spacing[0], spacing[1]) if sane else (1.0, 1.0)
    return 1.0, 1.0


def _averaged(values: Pixels, height: int, width: int, *, most: int | None = None) -> NDArray[np.float32]:
    """Area average to (height, width): whole blocks first, because that is fast, then exactly.

    `most`: what no value exceeds, where that is known.
    """
    rows, columns = values.shape[0] // height, values.shape[1] // width
    small = _block_sums(values, rows, columns, most).astype(np.float32)
    small *= np.float32(1 / (rows * columns))
    return _area(_area(small, height, axis=0), width, axis=1)


def _block_sums(values: Pixels, rows: int, columns: int, most: int | None = None) -> Pixels:
    """Sums of rows x columns blocks; a remainder smaller than a block is left out at the far edges.

    Strided additions read the film once and are ten times as fast as a mean over a reshaped array.
    """
    if rows * columns == 1:
        return values
    if most is None or most * rows >= 2**16:  # what is there is often less, and adds up in narrower words
        most = int(values.max())
    height, width = values.shape[0] // rows, values.shape[1] // columns
    values = values[: height * rows, : width * columns]
    of_lines, of_blocks = (_sum_type(values.dtype, most * count) for count in (rows, rows * columns))
    if rows == 1:
        lines = values.astype(of_lines, order="C")
    else:
        lines = np.add(values[::rows], values[1::rows], dtype=of_lines, order="C")
    for i in range(2, rows):
        lines += values[i::rows]
    return _beside_added(lines, columns, of_blocks)


def _beside_added(lines: Pixels, columns: int, wide: np.dtype[Any]) -> Pixels:
    """Sums of each `columns` values beside each other, in words so `wide`; 16-bit ones first as the lanes of
    longer words, because contiguous operations are faster than strided ones."""
    if lines.dtype == wide == np.uint16 and columns % 4 == 0:
        lines = lines.view(np.uint64) * FOUR_LANES >> np.uint64(48)  # the highest lane has the sum of all
        columns //= 4
    elif lines.dtype == np.uint16 and columns % 2 == 0:
        words = lines.view(np.uint32)
        lines = (words & np.uint32(0xFFFF)) + (words >> np.uint32(16))
        columns //= 2
    sums = lines[:, ::columns].astype(wide)
    for i in range(1, columns):
        sums += lines[:, i::columns]
    return sums


def _sum_type(values: np.dtype[Any], largest: int) -> np.dtype[Any]:
    """The narrowest type that holds sums of such values, none above `largest`."""
    if values.kind == "f":
        return np.dtype(np.float32)
    if values.kind == "i":
        return np.dtype(np.int64 if values.itemsize > 2 else np.int32)
    return np.dtype(np.uint16 if largest < 2**16 else np.uint32 if largest < 2**32 else np.uint64)


def _area(values: NDArray[np.float32], length: int, *, axis: int) -> NDArray[np.float32]:
    """Exact area average along an axis, to no fewer than half: three values reach into each new one."""
    count = values.shape[axis]
    if count == length:
        return values
    edges = np.linspace(0.0, count, length + 1)
    start = edges[:-1].astype(np.intp)
    averaged: NDArray[np.float32] | None = None
    for tap in range(3):
        overlap = np.minimum(edges[1:], start + tap + 1) - np.maximum(edges[:-1], start + tap)
        weight = (overlap.clip(0.0) * (length / count)).astype(np.float32)
        part = values.take(np.minimum(start + tap, count - 1), axis=axis)
        part *= weight[:, None] if axis == 0 else weight
        averaged = part if averaged is None else np.add(averaged, part, out=averaged)
    assert averaged is not None
    return averaged


# Padding and range


def _padding(ds: Dataset, layout: Layout) -> tuple[int, int] | None:
    """Lowest and highest padding value (C.7.5.1.1.2), or None."""
    value, limit = integer(ds, "PixelPaddingValue"), integer(ds, "PixelPaddingRangeLimit")
    if value is None or layout.photometric not in GREY:
        return None
    ends = sorted(_as_stored(v, layout) for v in (value, value if limit is None else limit))
    return ends[0], ends[1]


FILTER_REACH = 5  # pixels of a lower resolution that wavelet filters mix across an edge, with some to spare


def _unmixed(
    stored: Pixels, film: NDArray[np.bool_], padding: tuple[int, int]
) -> tuple[NDArray[np.bool_], Pixels]:
    """Film or padding at a lower resolution, where filters have mixed the two along their edges.

    An area of nothing but padding keeps its value. What lies along one is film when it is nearer to the film
    beyond than to the padding, and then takes that film's value where it was drawn towards the padding.
    """
    area = ~_grown(film, 1)
    edge = _grown(area, FILTER_REACH) & ~area
    beyond = _spread(stored.astype(np.float32), ~area & ~edge)
    off_padding = np.abs(stored - stored.clip(*padding).astype(np.float32))
    film_off = np.abs(beyond - beyond.clip(*padding))
    is_film = ~area & (~edge | (np.abs(stored - beyond) < off_padding))  # false where beyond is NaN
    return is_film, np.where(edge & (off_padding < film_off), beyond, stored).astype(np.float32)


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """The mask and `by` pixels round it."""
    for axis in (0, 1):
        grown = mask.copy()
        ahead, behind = grown.swapaxes(0, axis), mask.swapaxes(0, axis)
        for step in range(1, by + 1):
            ahead[step:] |= behind[:-step]
            ahead[:-step] |= behind[step:]
        mask = grown
    return mask


def _spread(values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """`values` where known; within twice FILTER_REACH of there the mean of known neighbours; NaN beyond."""
    total, count = np.where(known, values, 0), known.astype(np.float32)
    for _ in range(2 * FILTER_REACH):
        sums, counts = np.zeros_like(total), np.zeros_like(count)
        for near, far in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
            sums[near] += total[far]
            counts[near] += count[far]
            sums[:, near] += total[:, far]
            counts[:, near] += count[:, far]
        new = (count == 0) & (counts > 0)
        total[new], count[new] = sums[new] / counts[new], 1
    return np.where(count > 0, total, np.nan).astype(np.float32)


def _as_stored(value: int, layout: Layout) -> int:
    """US read as SS, or SS as US, mended."""
    if layout.signed and value > layout.highest:
        return value - (1 << layout.allocated)
    return value + (1 << layout.allocated) if not layout.signed and value < 0 else value


def _stored_range(values: NDArray[np.float32], layout: Layout) -> float:
    """The part of the stored range that the central 98 % of the (averaged) pixels use."""
    if not values.size:
        return 0.0
    low, high = outer_percentiles(values, 1.0, 99.0)
    bits = 0 if layout.photometric == "PALETTE COLOR" else layout.stored
    return float(np.clip((high - low) / max(1, (1 << bits) - 1), 0.0, 1.0))
