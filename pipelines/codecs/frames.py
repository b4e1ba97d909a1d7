"""Frames: stored values, and the bytes of an uncompressed Pixel Data element that holds the same ones."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom.uid import RLELossless

from pipelines.codecs.codestream import from_codestream
from pipelines.codecs.fragments import all_frames, first_frame
from pipelines.codecs.jpeg import JPEG_LS, bound, decode_jpeg, start_of_frame
from pipelines.codecs.jpeg2000 import coding_style, decode_jpeg2000
from pipelines.codecs.jpegxl import decode_jpegxl
from pipelines.codecs.layout import Layout, Pixels, placed, settle
from pipelines.codecs.native import check_native, native_bytes, shaped
from pipelines.codecs.rle import decode_rle, framed
from pipelines.codecs.syntaxes import (
    JPEG2000_FAMILY,
    JPEG_FAMILY,
    JPEGXL_FAMILY,
    JPEGXL_LOSSLESS,
    LOSSY,
    NATIVE_FRAMES,
)
from pipelines.film import Reason
from pipelines.instance.first_elements import UNDEFINED_LENGTH
from pipelines.instance.part10 import FLOAT_PIXEL_DATA, Part10, Undecodable


def stored_frame(part: Part10, layout: Layout, *, shrink: int = 1) -> Pixels:
    """The first frame's stored values, high bits outside Bits Stored removed and the sign extended.

    `decoded_photometric` says what they mean. With `shrink`, a codec that can may give a smaller picture,
    halved some times, to 1 / `shrink` at the least; the shape tells. Raises Undecodable.
    """
    if part.pixel_length != UNDEFINED_LENGTH:
        check_native(part, layout)
        held = native_bytes(part, layout, 0, (layout.frame_bits + 7) // 8)
        return settle(shaped(held, layout), layout)
    return _stored(part, layout, first_frame(part, layout), shrink)


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
        return start_of_frame(first_frame(part, layout)).lossy
    if syntax in JPEG2000_FAMILY:
        return coding_style(first_frame(part, layout)).transforms_colour
    return syntax in JPEGXL_FAMILY and syntax != JPEGXL_LOSSLESS


def is_lossy(part: Part10, layout: Layout) -> bool:
    """Whether the codestream shows that its encoder threw something away.

    JPEG-LS with a bound of 0 and the reversible wavelet lose nothing, in whatever transfer syntax they come.
    """
    syntax = part.transfer_syntax
    if part.pixel_length != UNDEFINED_LENGTH:
        return False
    if syntax in JPEG_FAMILY:
        codestream = first_frame(part, layout)
        start = start_of_frame(codestream)
        return start.lossy or (start.marker == JPEG_LS and bound(codestream) > 0)
    if syntax in JPEG2000_FAMILY:
        return not coding_style(first_frame(part, layout)).reversible
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
            words = placed(stored, layout)
            held = np.ascontiguousarray(words, words.dtype.newbyteorder("<")).data.cast("B")
        if layout.allocated == 1:
            bits = np.concatenate([left, np.frombuffer(held, np.uint8)])
            whole = len(bits) if number == layout.frames else len(bits) // 8 * 8
            held, left = np.packbits(bits[:whole], bitorder="little").tobytes(), bits[whole:]
        yield stored, held


def _held_frames(part: Part10, layout: Layout) -> Iterator[tuple[Pixels, bytes | memoryview | None]]:
    """Values as they stand in Bits Allocated bits, with their bytes; or what a codec gave, without."""
    if part.pixel_length != UNDEFINED_LENGTH:
        check_native(part, layout)
        for number in range(layout.frames):
            begin, end = number * layout.frame_bits, (number + 1) * layout.frame_bits
            held = native_bytes(part, layout, begin // 8, (end + 7) // 8)
            yield shaped(held, layout, skip_bits=begin % 8), held
        return
    for codestream in all_frames(part, layout):
        if part.transfer_syntax in NATIVE_FRAMES:
            native = framed(codestream, layout, part.transfer_syntax)
            yield shaped(native, layout), native
        elif part.transfer_syntax == RLELossless:
            values = decode_rle(codestream, layout)
            yield values, np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data.cast("B")
        else:
            yield _stored(part, layout, codestream, 1), None


def check_there(part: Part10) -> None:
    """Raises Undecodable when there are no pixels, or floating point ones."""
    if part.pixel_tag in FLOAT_PIXEL_DATA:
        raise Undecodable(Reason.UNSUPPORTED, "floating point pixel data")
    if not part.pixel_tag or part.pixel_length == 0:
        raise Undecodable(Reason.NO_PIXELS)


def _stored(part: Part10, layout: Layout, codestream: bytes, shrink: int) -> Pixels:
    """One frame's stored values."""
    syntax = part.transfer_syntax
    if syntax in JPEG_FAMILY:
        return from_codestream(decode_jpeg(codestream, layout), layout, syntax)
    if syntax in JPEG2000_FAMILY:
        return decode_jpeg2000(codestream, layout, syntax, shrink)
    if syntax in JPEGXL_FAMILY:
        return from_codestream(decode_jpegxl(codestream, layout), layout, syntax)
    if syntax == RLELossless:
        return settle(decode_rle(codestream, layout), layout)
    return settle(shaped(framed(codestream, layout, syntax), layout), layout)
