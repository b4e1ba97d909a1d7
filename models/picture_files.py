"""Samples as picture files (PNG, JPEG, TIFF, ...) hold them, with what the files say of them."""

from __future__ import annotations

import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError
from pydicom.pixels.utils import get_j2k_parameters

from models import jpeg

FORMATS = ("PNG", "JPEG", "JPEG2000", "BMP", "GIF", "WEBP", "PPM", "TIFF")
BITS = (8, 10, 12, 14, 16, 24)  # what whole numbers may be within a larger container
CONTAINERS = (16, 32, 64)
OVERSHOOT = 0.05  # resampling leaves floats a little outside their scale
STRIP_PX = 1 << 24  # pixels that are floats at a time
ORIENTATION = 0x0112  # EXIF and TIFF


class PictureError(ValueError):
    """Raised when a file cannot be read as a picture; the text says what happened and what to do."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Samples as a file holds them."""

    values: NDArray[Any]  # (H, W) greys
    white: float | None = None  # the value of white, where the file says it
    min_is_white: bool | None = None  # None: the file does not say
    orientation: int = 1
    notes: tuple[str, ...] = ()


def stored_samples(path: Path, head: bytes, most_px: int) -> Stored:
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return _tiff(path, most_px)
    if head[:2] == b"\xff\xd8" and (frame := _start_of_frame(path)) and not frame.known_to_pillow:
        return _deep_jpeg(path, frame, most_px)
    return _by_pillow(path, head, most_px)


def _check_size(rows: int, columns: int, most_px: int) -> None:
    if rows * columns > most_px:
        raise PictureError(
            f"it claims {columns:,} x {rows:,} pixels, and at most {most_px / 1e6:,g} million are read;"
            " nothing of it was decoded. If it is a film, make it smaller, or raise the limit"
        )
    if not rows * columns:
        raise PictureError("it has no pixels. Export it again")


def _tiff(path: Path, most_px: int) -> Stored:
    """TIFF and BigTIFF in either byte order, with the bits and the polarity they state (TIFF 6.0)."""
    kinds = tifffile.PHOTOMETRIC
    with tifffile.TiffFile(path) as file:
        pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)]
        whole = [page for page in pages if not page.is_reduced] or pages
        page = whole[0]
        _check_size(page.imagelength, page.imagewidth * max(page.imagedepth, 1), most_px)
        if page.photometric not in (kinds.MINISWHITE, kinds.MINISBLACK, kinds.RGB):
            return _by_pillow(path, b"", most_px)  # palettes, YCbCr, CMYK, CIELAB: 8 bits a sample
        samples = _lines_first(page)
        notes = _first_of(len(whole))
        values, grey_notes = _as_grey(samples, alpha=_alpha(page))
        tag = page.tags.get(ORIENTATION)
        return Stored(
            values.astype(np.uint8) if values.dtype == bool else values,
            white=_stated(page.bitspersample) if values.dtype.kind in "ub" else None,
            min_is_white=page.photometric == kinds.MINISWHITE,
            orientation=int(tag.value) if tag else 1,
            notes=(*notes, *grey_notes),
        )


def _lines_first(page: tifffile.TiffPage) -> NDArray[Any]:
    """The samples of a page, (H, W, samples)."""
    samples = page.asarray(maxworkers=1)
    axes = page.axes
    if axes in ("YX", "YXS"):
        return samples.reshape(*samples.shape[:2], -1)
    if axes == "SYX":
        return np.moveaxis(samples, 0, -1)
    raise PictureError(f"a TIFF page with the axes {axes} is no film. Save one plane of it as a file")


def _alpha(page: tifffile.TiffPage) -> bool | None:
    """Whether the last sample is an alpha that is to be applied; None where extra samples mean nothing."""
    extra = page.extrasamples
    return None if not extra or extra[0] == tifffile.EXTRASAMPLE.UNSPECIFIED else extra[0] == 2


class _Frame(NamedTuple):
    """What the frame header of a JPEG says (ISO 10918-1 B.2.2)."""

    marker: int
    bits: int
    rows: int
    columns: int

    @property
    def known_to_pillow(self) -> bool:
        return self.bits == 8 and self.marker != LOSSLESS


LOSSLESS = 0xC3
END_OF_IMAGE = b"\xff\xd9"
CUT_OFF = "it ends before the picture does. Copy or export it again"
TRAILER = 1024  # bytes that a writer may leave after the picture


def _start_of_frame(path: Path) -> _Frame | None:
    """The frame header of a JPEG; None when it has none."""
    with path.open("rb") as handle:
        handle.seek(2)
        while len(marker := handle.read(2)) == 2 and marker[0] == 0xFF:
            length = int.from_bytes(handle.read(2), "big")
            if length < 2:  # it breaks off here, and there is nothing to go on to
                return None
            if 0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC):
                return _Frame(marker[1], *struct.unpack(">BHH", handle.read(5)))
            handle.seek(length - 2, 1)
    return None


def _deep_jpeg(path: Path, frame: _Frame, most_px: int) -> Stored:
    """JPEG of 12 bits, and lossless JPEG of 2 to 16, which Pillow does not know."""
    _check_size(frame.rows, frame.columns, most_px)
    packed = path.read_bytes()
    if END_OF_IMAGE not in packed[-TRAILER:]:  # the codec fills up what is missing
        raise PictureError(CUT_OFF)
    samples = _whole_jpeg(packed)
    values, notes = _as_grey(samples.reshape(*samples.shape[:2], -1), alpha=None)
    return Stored(values, white=_stated(frame.bits), notes=notes)


def _whole_jpeg(packed: bytes) -> NDArray[Any]:
    """The samples. Raises PictureError where some of them are only what the codec filled in."""
    samples = imagecodecs.jpeg8_decode(packed)
    try:
        jpeg.check(packed, samples, imagecodecs.jpeg8_decode, more_behind=True)
    except jpeg.BrokenJpegError as error:
        raise PictureError(f"the JPEG is damaged: {error}. Copy or export it again") from None
    return samples


def _by_pillow(path: Path, head: bytes, most_px: int) -> Stored:
    with _opened(path, most_px) as picture:
        columns, rows = picture.size
        _check_size(rows, columns, most_px)
        notes = _first_of(getattr(picture, "n_frames", 1))
        if picture.format == "JPEG" and picture.mode in ("L", "RGB"):
            _whole_jpeg(path.read_bytes())
        deep = _deep(path, head, picture)
        stored = deep or _eights(picture)
        tiff = picture.format == "TIFF"  # Pillow has turned it already
        turned = 1 if tiff else int(picture.getexif().get(ORIENTATION, 1))
        return replace(stored, orientation=turned, notes=(*notes, *stored.notes))


@contextmanager
def _opened(path: Path, most_px: int) -> Iterator[ImageFile.ImageFile]:
    """Pillow's own limit stops stitched films; ours stands in its place while the file is opened.

    Of a path Pillow 13.0 maps an uncompressed TIFF into memory, and scrambles it where Orientation is 5 to 8;
    of an open file it does not.
    """
    with path.open("rb") as handle:
        with _OPENING:
            theirs = Image.MAX_IMAGE_PIXELS
            Image.MAX_IMAGE_PIXELS = most_px
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error", Image.DecompressionBombWarning)
                    picture = Image.open(handle, formats=FORMATS)
                    if picture.format == "TIFF":  # asks for the limit once more
                        picture.load()
            except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
                raise PictureError(
                    f"it claims more pixels than the {most_px / 1e6:,g} million that are read at most;"
                    " nothing of it was decoded. If it is a film, make it smaller, or raise the limit"
                ) from error
            except UnidentifiedImageError as error:
                raise PictureError(
                    f"it is no picture of a kind that is read ({', '.join(FORMATS)})"
                ) from error
            finally:
                Image.MAX_IMAGE_PIXELS = theirs
        yield picture


_OPENING = threading.Lock()  # the limit is the process's; films are read in threads


def _deep(path: Path, head: bytes, picture: ImageFile.ImageFile) -> Stored | None:
    """What has more than 8 bits, with all of them: Pillow cuts or stretches colours and stated depths."""
    if picture.format == "PNG" and head[24:25] == b"\x10":  # IHDR: bit depth
        if picture.mode == "I;16" and "transparency" not in picture.info:
            return Stored(np.asarray(picture))
        samples = imagecodecs.png_decode(path.read_bytes())
        samples = samples.reshape(*samples.shape[:2], -1)
        values, grey_notes = _as_grey(samples, alpha=samples.shape[2] in (2, 4) or None)
        return Stored(values, notes=grey_notes)
    if picture.format == "JPEG2000":
        packed = path.read_bytes()
        bits = get_j2k_parameters(packed).get("precision", 8)
        if bits > 8:
            samples = imagecodecs.jpeg2k_decode(packed)
            samples = samples.reshape(*samples.shape[:2], -1)
            values, grey_notes = _as_grey(samples, alpha=samples.shape[2] in (2, 4) or None)
            return Stored(values, white=_stated(bits), notes=grey_notes)
    if picture.format == "PPM" and picture.mode in ("L", "I"):
        return _pgm(path, picture)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return Stored(np.asarray(picture))
    return None


def _pgm(path: Path, picture: ImageFile.ImageFile) -> Stored:
    """A PGM, which states the value of its white; Pillow finds that, and is slow at using it."""
    codec, _, offset, args = picture.tile[0]
    white = args[1] if isinstance(args, tuple) else 65535 if picture.mode == "I" else 255
    if codec == "ppm_plain":  # Pillow has stretched it
        stretched = np.asarray(picture) * (white / (65535 if picture.mode == "I" else 255))
        return Stored(np.rint(stretched).astype(np.uint16), white=float(white))
    columns, rows = picture.size
    with path.open("rb") as handle:
        handle.seek(offset)
        kind = np.dtype(">u2" if white > 255 else "u1")
        packed = handle.read(rows * columns * kind.itemsize)
    if len(packed) < rows * columns * kind.itemsize:
        raise PictureError(CUT_OFF)
    values = np.frombuffer(packed, kind).reshape(rows, columns)
    return Stored(values.astype(kind.newbyteorder("=")), white=float(white))


def _eights(picture: ImageFile.ImageFile) -> Stored:
    """8 bits or less, by Pillow's own conversions."""
    grey = picture.convert("L")
    if not picture.has_transparency_data:
        return Stored(np.asarray(grey), white=255.0)
    alpha = picture.convert("RGBA").getchannel("A")
    if alpha.getextrema() == (255, 255):
        return Stored(np.asarray(grey), white=255.0)
    over_black = Image.composite(grey, Image.new("L", grey.size), alpha)
    return Stored(np.asarray(over_black), white=255.0, notes=(OVER_BLACK,))


# --- samples to greys ---------------------------------------------------------------------------------------

LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in Pillow
OVER_BLACK = "transparent parts are shown over black"


def _as_grey(samples: NDArray[Any], *, alpha: bool | None) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Samples (H, W, n) as greys (H, W) of the same type; with `alpha` the last one is applied."""
    coloured = samples.shape[2] >= 3
    values = samples[..., 0]
    if coloured:
        values = np.empty(samples.shape[:2], samples.dtype)
        for part, out in zip(strips(samples), strips(values), strict=True):
            grey = part[..., :3].astype(np.float64) @ LUMINANCE
            out[...] = np.rint(grey) if samples.dtype.kind in "ui" else grey
    if not alpha:
        return values, ()
    covers = samples[..., -1]
    full = scale_of(covers)[0]
    if float(covers.min()) >= full:
        return values, ()
    shown = np.empty(values.shape, values.dtype)
    for grey, cover, out in zip(strips(values), strips(covers), strips(shown), strict=True):
        applied = grey * (cover.astype(np.float64) / full)
        out[...] = np.rint(applied) if values.dtype.kind in "ui" else applied
    return shown, (OVER_BLACK,)


def strips(values: NDArray[Any]) -> list[NDArray[Any]]:
    """The array in parts of some lines each."""
    lines = max(1, STRIP_PX // values.shape[1])
    return [values[top : top + lines] for top in range(0, len(values), lines)]


def _first_of(pages: int) -> tuple[str, ...]:
    return (f"the first of {pages} pages",) if pages > 1 else ()


def scale_of(values: NDArray[Any]) -> tuple[float, bool]:
    """The white of the least scale that holds these values, and whether there is one."""
    low, high = ends_of(values)
    if values.dtype.kind != "f":
        most = np.iinfo(values.dtype).max
        whites = [w for w in map(white_of, BITS) if w < most] + [float(most)]
        return next(white for white in whites if high <= white), low >= 0
    for white in (1.0, *map(white_of, BITS[:5])):
        if high <= white * (1 + OVERSHOOT):
            return white, low >= -white * OVERSHOOT
    return high, False


def ends_of(values: NDArray[Any]) -> tuple[float, float]:
    """The lowest and the highest of the finite values. Raises PictureError when there are none."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        values = values[np.isfinite(values)]
        if not values.size:
            raise PictureError("not one of its values is a finite number. Export it again")
    return float(values.min()), float(values.max())


def white_of(bits: int) -> float:
    return float(2**bits - 1)


def _stated(bits: int) -> float | None:
    """The white that a file's bits state; sixteen are a container, of which nobody knows how much is used."""
    return None if bits in CONTAINERS else white_of(bits)
