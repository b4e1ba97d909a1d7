"""The one reader of picture files (PNG, JPEG, TIFF, ...): training, calibration, use and bundles all ask it.

A picture file says less than DICOM does. What it says is believed: the bits of a TIFF, a PGM, a 12-bit JPEG
or JPEG 2000, MinIsWhite, EXIF's orientation. What it does not say is taken by one rule, the same for every
film and every use, and noted:

- 16 bits (and 32) are a container. The values are read as 8, 10, 12, 14 or 16 bits, the least that holds the
  highest of them: a film that leaves the upper three quarters of its scale empty is likelier badly labelled.
- Floats are 0..1, or else one of these whole-number scales; where neither fits, and where values lie under 0,
  the film's own lowest and highest value are black and white.
- The low end is black unless the file says otherwise. Colours become grey by their luminance (ITU-R BT.601),
  transparent parts are shown over black, of several pages the first is read.

`Known` is where a person says what a file does not. 8-bit greys come out exactly as they are stored.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.picture_files import (
    PictureError,
    Stored,
    ends_of,
    scale_of,
    stored_samples,
    strips,
    white_of,
)

ENDINGS = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", ".pnm", ".webp", ".gif", ".jp2", ".j2k"}
)
MOST_PX = 400_000_000  # 20,000 x 20,000: stitched films have 300 million; 16-bit greys take 6 bytes a pixel

RULES = "2;"  # part of the name of every cache of pictures: another number where a rule here changes
MIN_IS_BLACK, MIN_IS_WHITE = "min-is-black", "min-is-white"
POLARITIES = ("", MIN_IS_BLACK, MIN_IS_WHITE)

Greys = NDArray[Any]  # (H, W), from 0, black, to Picture.white
Pixels = NDArray[np.float32]  # (H, W) in [0, 1]


@dataclass(frozen=True, slots=True)
class Known:
    """What a person knows of picture files that the files do not say. Raises PictureError.

    `bits` is how many bits of a larger container are used, `polarity` which end of the values is white;
    None and "" leave both to the reader. `bits` says nothing of a file with 8 bits or less.
    """

    bits: int | None = None
    polarity: str = ""

    def __post_init__(self) -> None:
        if self.bits is not None and not 1 <= self.bits <= 32:
            raise PictureError(
                f"{self.bits} bits: a picture has 1 to 32. Leave it empty where it is not known."
            )
        if self.polarity not in POLARITIES:
            raise PictureError(f"polarity {self.polarity!r} is neither {MIN_IS_BLACK} nor {MIN_IS_WHITE}")

    @property
    def key(self) -> str:
        """These words as part of a cache's name; nothing where nothing is known."""
        return "" if self == NOTHING else f"|{self.bits}|{self.polarity}"

    @classmethod
    def of_line(cls, line: Mapping[str, str | None]) -> Known:
        """What a line of a manifest says, in its columns `bits` and `polarity` if it has them."""
        bits = (line.get("bits") or "").strip()
        if bits and not bits.isdecimal():
            raise PictureError(f"bits {bits!r} of {line.get('file') or 'a film'} is no whole number")
        return cls(int(bits) if bits else None, (line.get("polarity") or "").strip())


NOTHING = Known()


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as displayed, and what was taken from its file or assumed."""

    values: Greys  # uint8, uint16 or float32
    white: float  # the value of white; black is 0
    notes: tuple[str, ...] = ()

    @property
    def pixels(self) -> Pixels:
        """The picture, (H, W) float32 in [0, 1]."""
        return _unit(self.values, self.white)

    @property
    def eights(self) -> NDArray[np.uint8]:
        """The picture, (H, W) in 0..255: as stored where it has 8 bits, else rounded."""
        if self.values.dtype == np.uint8 and self.white == 255:
            return self.values
        if self.values.dtype.kind == "u":
            every = np.arange(np.iinfo(self.values.dtype).max + 1)
            table: NDArray[np.uint8] = np.rint(_unit(every, self.white) * 255).astype(np.uint8)
            return table[self.values]
        return np.rint(self.pixels * 255).astype(np.uint8)

    def reduced(self, long_side: int) -> Pixels:
        """The picture area averaged to `long_side` at most. A large film is never a float all at once."""
        rows, columns = self.values.shape
        scale = min(1.0, long_side / max(rows, columns))
        size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        # Pillow, too, averages along the lines first and down the columns then.
        lines = [_averaged(strip, (size[0], len(strip))) for strip in strips(self.values)]
        return _unit(_averaged(np.concatenate(lines), size), self.white)


def is_picture(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in ENDINGS


def read_pixels(path: str | Path, known: Known = NOTHING) -> Pixels:
    """The picture in a file as displayed, (H, W) float32 in [0, 1]. Raises PictureError or OSError."""
    return read(Path(path), known).pixels


def read(path: Path, known: Known = NOTHING, *, most_px: int = MOST_PX) -> Picture:
    """The picture in a file, with notes.

    Raises:
        PictureError: it is no picture, a damaged one, larger than `most_px`, or not as `known` says.
        OSError: there is no such file.
    """
    with path.open("rb") as handle:
        head = handle.read(32)
    try:
        return _displayed(stored_samples(path, head, most_px), known)
    except PictureError as error:
        raise PictureError(f"{path.name}: {error}") from error
    except MemoryError as error:
        raise PictureError(f"{path.name}: not enough memory to decode it. Make it smaller") from error
    except Exception as error:  # a stranger's bytes in a dozen codecs, each with its own errors
        said = str(error).partition("\n")[0] or type(error).__name__
        raise PictureError(f"{path.name}: no picture that can be read: {said}") from error


def _averaged(values: Greys, size: tuple[int, int]) -> Pixels:
    """Greys area averaged to (columns, rows)."""
    floats = Image.fromarray(values.astype(np.float32, copy=False))
    return np.asarray(floats.resize(size, Image.Resampling.BOX), dtype=np.float32)


def _unit(values: Greys, white: float) -> Pixels:
    """Greys as (H, W) float32 in [0, 1], of their own."""
    out = values.astype(np.float32)
    out /= np.float32(white)
    return np.clip(out, 0.0, 1.0, out=out)


# --- greys as displayed -------------------------------------------------------------------------------------


def _displayed(stored: Stored, known: Known) -> Picture:
    values, white, notes = _from_black(stored, known)
    turned, polarity = _polarity(stored, known, deep=values.dtype != np.uint8)
    if turned:
        values = (np.array(white, values.dtype) - values.clip(max=white)).astype(values.dtype, copy=False)
    values, upright = _upright(values, stored.orientation)
    return Picture(np.ascontiguousarray(values), white, (*stored.notes, *notes, *polarity, *upright))


def _from_black(stored: Stored, known: Known) -> tuple[Greys, float, tuple[str, ...]]:
    """Values from 0, black, to white; how many bits they have is stated, known or inferred, in that order.

    Raises:
        PictureError: the values do not fit the bits that a person names.
    """
    values = stored.values
    if values.dtype.kind == "c":
        raise PictureError("complex numbers are no film")
    small = values.dtype.itemsize == 1 and values.dtype.kind == "u"
    if known.bits is not None and not small:
        white, low, high = white_of(known.bits), *ends_of(values)
        if low < 0 or high > white:
            raise PictureError(
                f"its values reach from {low:g} to {high:g}, which {known.bits} bits do not hold."
                " Name other bits, or none"
            )
        return _native(values), white, (f"read as {known.bits} bits, as told",)
    if stored.white is not None:
        said = "" if stored.white in (1, 255) else f"white is {stored.white:g}, as the file says"
        return _native(values), stored.white, (said,) if said else ()
    return _inferred(values)


def _inferred(values: NDArray[Any]) -> tuple[Greys, float, tuple[str, ...]]:
    """By the rule at the head of this file."""
    floats = values.dtype.kind == "f"
    gaps = floats and not np.isfinite(values).all()
    notes = ("values that are no finite numbers are shown black",) if gaps else ()
    if gaps:
        values = np.where(np.isfinite(values), values, min(0.0, *ends_of(values)))
    white, fits = scale_of(values)
    kind = f"{8 * values.dtype.itemsize}-bit {'floats' if floats else 'file'}"
    low, high = ends_of(values)
    if not fits:
        values = (values.astype(np.float64) - low).astype(np.float32)
        text = f"{kind} from {low:g} to {high:g}, which is no known scale: its own ends are black and white"
        return values, max(high - low, float(np.finfo(np.float32).tiny)), (*notes, text)
    depth = "0 to 1" if white == 1 else f"{round(math.log2(white + 1))} bits"
    return _native(values), white, (*notes, f"{kind} whose values end at {high:g}: read as {depth}")


def _native(values: NDArray[Any]) -> Greys:
    """The values as uint8, uint16 or float32."""
    if values.dtype.kind == "f" or values.dtype.itemsize > 2:
        return values.astype(np.float32, copy=False)
    if values.dtype.kind == "i":
        return values.astype(np.uint16)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _polarity(stored: Stored, known: Known, *, deep: bool) -> tuple[bool, tuple[str, ...]]:
    """Whether low values are white: known, stated, or taken not to be."""
    if known.polarity:
        return known.polarity == MIN_IS_WHITE, (f"{known.polarity}, as told",)
    if stored.min_is_white:
        return True, ("low values are white, as the file says",)
    if deep and stored.min_is_white is None:  # 8 bits are as displayed; what is deeper may be a dump of DICOM
        return False, ("the file does not say which end is white: low values are taken as black",)
    return False, ()


UPRIGHT: dict[int, Callable[[Greys], Greys]] = {
    2: np.fliplr,
    3: partial(np.rot90, k=2),
    4: np.flipud,
    5: np.transpose,
    6: partial(np.rot90, k=-1),
    7: lambda values: np.rot90(values, 2).T,
    8: np.rot90,
}


def _upright(values: Greys, orientation: int) -> tuple[Greys, tuple[str, ...]]:
    """Turned and mirrored as EXIF's or TIFF's Orientation says."""
    if orientation not in UPRIGHT:
        return values, ()
    return UPRIGHT[orientation](values), (f"turned upright, by the file's Orientation {orientation}",)
