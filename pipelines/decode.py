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

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL, JPEGLSLossless, JPEGLSNearLossless

from pipelines.codecs.fragments import pixels_end
from pipelines.codecs.frames import check_there, decoded_photometric, is_lossy, stored_frame, stored_frames
from pipelines.codecs.layout import GREY, Layout, Pixels
from pipelines.codecs.syntaxes import JPEG2000_FAMILY, JPEG_FAMILY, JPEGXL_FAMILY
from pipelines.display import displayed
from pipelines.film import PREVIEW_PX, Film, Reason
from pipelines.header import quietly, text
from pipelines.instance.first_elements import UNDEFINED_LENGTH
from pipelines.instance.part10 import Part10, Source, Undecodable, parse
from pipelines.pixels.colour import grey, luminance, palette_colours
from pipelines.pixels.damage import damage
from pipelines.pixels.percentiles import outer_percentiles
from pipelines.pixels.shrinking import most_shrink, shrunk

__all__ = ["Undecodable", "decode_film", "file_digest", "pixel_digest", "stored_pixels"]

METHODS = (  # Lossy Image Compression Method, PS3.3 C.7.6.1.1.5.1
    ({JPEGLSLossless, JPEGLSNearLossless}, "ISO_14495_1"),
    ({HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K}, "ISO_15444_15"),
    (JPEG_FAMILY, "ISO_10918_1"),
    (JPEG2000_FAMILY, "ISO_15444_1"),
    (JPEGXL_FAMILY, "ISO_18181_1"),
)
MAX_COMPARED = 2**25  # pixels of all frames that are decoded to compare them: a few seconds of JPEG 2000
MOST_IN_FULL = 2**25  # pixels; stitched films are larger, and take half a minute of JPEG 2000


def decode_film(source: Source, *, long_side: int = PREVIEW_PX) -> Film:
    """The film as displayed, square pixels, long side at most `long_side`. Raises Undecodable.

    Of several frames the first is shown. Padding is left out of the averages and shown black.
    """
    part = parse(source)
    with header_in_errors(part):
        layout, stored = first_frame(part, long_side)
        coded = part.pixel_length == UNDEFINED_LENGTH
        wavelets = coded and part.transfer_syntax in JPEG2000_FAMILY
        blocks = coded and part.transfer_syntax in JPEG_FAMILY and is_lossy(part, layout)
        film = film_of(part, layout, stored, long_side=long_side)
        return replace(film, damage=damage(stored, wavelets=wavelets, blocks=blocks))


def shown_film(source: Source, *, long_side: int = PREVIEW_PX) -> Film:
    """The film as displayed, not searched for damage: for people alone. Raises Undecodable."""
    part = parse(source)
    with header_in_errors(part):
        layout, stored = first_frame(part, long_side)
        return film_of(part, layout, stored, long_side=long_side)


def first_frame(part: Part10, long_side: int) -> tuple[Layout, Pixels]:
    """The stored values of the first frame; a codec may make a very large one smaller. Raises Undecodable."""
    check_there(part)
    layout = Layout.of(part.ds)
    large = layout.rows * layout.columns > MOST_IN_FULL
    return layout, stored_frame(part, layout, shrink=most_shrink(part.ds, layout, long_side) if large else 1)


def film_of(part: Part10, layout: Layout, stored: Pixels, *, long_side: int = PREVIEW_PX) -> Film:
    """The film that these stored values of its first frame show. Raises Undecodable."""
    layout = replace(layout, photometric=decoded_photometric(part, layout))
    values, empty = shrunk(grey(stored, part.ds, layout), part.ds, layout, long_side)
    pixels = displayed(values, part.ds, layout) if layout.photometric in GREY else luminance(values, layout)
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
    with header_in_errors(part):
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
            digest.update(palette_colours(ds).data)
    elif layout.photometric.startswith("YBR_FULL"):
        digest.update(b"YBR_FULL")
    return digest.hexdigest()


def lossy_attributes(part: Part10, layout: Layout) -> Dataset:
    """What must be said of decoded pixels that were compressed with loss (PS3.3 C.7.6.1.1.5), and is not yet.

    Empty where nothing was lost, as far as the codestream shows.
    """
    lossy = Dataset()
    if not is_lossy(part, layout):
        return lossy
    lossy.LossyImageCompression = "01"
    if not text(part.ds, "LossyImageCompressionRatio"):
        ratio = layout.frames * layout.frame_bits / 8 / (pixels_end(part) - part.pixel_at)
        lossy.LossyImageCompressionRatio = f"{ratio:.4g}"
    if not text(part.ds, "LossyImageCompressionMethod"):
        lossy.LossyImageCompressionMethod = next(
            name for family, name in METHODS if part.transfer_syntax in family
        )
    return lossy


@contextmanager
def header_in_errors(part: Part10) -> Iterator[None]:
    """What goes wrong with the pixels of a file names what its header says."""
    try:
        with quietly():
            yield
    except Undecodable as error:
        error.header = part.header
        raise


def _stored_range(values: NDArray[np.float32], layout: Layout) -> float:
    """The part of the stored range that the central 98 % of the (averaged) pixels use."""
    if not values.size:
        return 0.0
    low, high = outer_percentiles(values, 1.0, 99.0)
    bits = 0 if layout.photometric == "PALETTE COLOR" else layout.stored
    return float(np.clip((high - low) / max(1, (1 << bits) - 1), 0.0, 1.0))
