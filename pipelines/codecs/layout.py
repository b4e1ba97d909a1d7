"""The Image Pixel attributes (PS3.3 C.7.6.3), and what stands in Bits Allocated as stored values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from pipelines.film import Reason
from pipelines.header import first, integer, upper
from pipelines.instance.part10 import Undecodable

Pixels = NDArray[Any]  # (rows, columns) or (rows, columns, samples), an integer type

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


def placed(stored: Pixels, layout: Layout) -> Pixels:
    """Stored values where they stand in Bits Allocated bits; a sign is extended."""
    wide = np.dtype(f"{'i' if layout.signed else 'u'}{layout.container.itemsize}")
    shifted: Pixels = stored.astype(wide) << (layout.high + 1 - layout.stored)
    return shifted.view(layout.container)


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
        problem = f"pixels have values in bits above the {layout.stored} that are said to be stored"
        raise Undecodable(Reason.PIXELS_MISMATCH, f"{problem}, and no overlay explains them")


def _uniform(values: Pixels) -> bool:
    return values.size == 0 or bool(values.min() == values.max())
