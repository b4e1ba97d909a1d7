"""Stored values to what is shown: Modality LUT, VOI LUT or window, polarity (PS3.3 C.11, PS3.4 N.2).

Values that cannot be used end in a flat picture, never in NaN: the exposure gate calls that blank.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from pipelines.codecs import Layout
from pipelines.header import first, items, number, numbers, upper

Grey = NDArray[np.float32]

UNWINDOWED_PERCENT = (0.5, 99.5)  # without window or LUT, this part of the values fills the grey scale


def displayed(stored: Grey, ds: Dataset, layout: Layout) -> Grey:
    """(H, W) stored values -> (H, W) in [0, 1], black 0, white 1."""
    modality, span = _modality(stored, ds, layout)
    shown = _voi(modality, ds, layout, span)
    shown = np.nan_to_num(shown, copy=False, nan=0.0, posinf=1.0, neginf=0.0).clip(0.0, 1.0)
    return (1.0 - shown if is_inverse(ds) else shown).astype(np.float32, copy=False)


def is_inverse(ds: Dataset) -> bool:
    """Whether the lowest values are shown white, said once or twice, and applied once.

    MONOCHROME1 (PS3.3 C.7.6.3.1.2) and Presentation LUT Shape INVERSE (C.8.11.3.1.2) belong together. Where
    they disagree, the one that speaks of inversion is believed: MONOCHROME1 with IDENTITY and MONOCHROME2
    with INVERSE are both shown inverted.
    """
    return "MONOCHROME1" in upper(ds, "PhotometricInterpretation") or "INVERSE" in upper(
        ds, "PresentationLUTShape"
    )


# Modality LUT (C.11.1)


def _modality(stored: Grey, ds: Dataset, layout: Layout) -> tuple[Grey, tuple[float, float]]:
    """The values after the Modality LUT, and the span that all stored values would fill."""
    lut = _first_lut(ds, "ModalityLUTSequence", signed_input=layout.signed)
    if lut:
        return lut.applied(stored), (0.0, float(lut.top))
    slope, intercept = number(ds, "RescaleSlope"), number(ds, "RescaleIntercept")
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    if not isfinite(slope) or not isfinite(intercept):
        return np.zeros_like(stored), (0.0, 1.0)
    if (slope, intercept) == (1.0, 0.0):
        return stored, (layout.lowest, layout.highest)
    ends = sorted((layout.lowest * slope + intercept, layout.highest * slope + intercept))
    return stored * np.float32(slope) + np.float32(intercept), (ends[0], ends[1])


# VOI LUT and window (C.11.2)


def _voi(values: Grey, ds: Dataset, layout: Layout, span: tuple[float, float]) -> Grey:
    """The first LUT, else the first window, else (8 bits) everything or (more) all but the outermost."""
    lut = _first_lut(ds, "VOILUTSequence", signed_input=span[0] < 0)
    if lut:
        return lut.applied(values) / np.float32(lut.top)
    centers, widths = numbers(ds, "WindowCenter"), numbers(ds, "WindowWidth")
    if centers and widths:
        return windowed(values, centers[0], widths[0], first(upper(ds, "VOILUTFunction")))
    if layout.stored > 8:
        low, high = np.percentile(values, UNWINDOWED_PERCENT)
        span = float(low), float(high)
    return _ramp(values, *span)


def windowed(values: Grey, center: float, width: float, function: str = "") -> Grey:
    """LINEAR, LINEAR_EXACT or SIGMOID (C.11.2.1.2, C.11.2.1.3), to [0, 1]; a width of 0 gives a flat one."""
    if not isfinite(center) or not isfinite(width) or width <= 0:
        return np.zeros_like(values)
    if function == "SIGMOID":
        exponent = (-4.0 / width * (values - np.float32(center))).clip(-80, 80)
        sigmoid: Grey = (1.0 / (1.0 + np.exp(exponent))).astype(np.float32)
        return sigmoid
    if function == "LINEAR_EXACT" or width < 1:
        return _ramp(values, center - width / 2, center + width / 2)
    return _ramp(values, center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)


def _ramp(values: Grey, low: float, high: float) -> Grey:
    """0 up to `low`, 1 above `high`; a step where they meet, as a window of width 1 is."""
    if not isfinite(high - low):
        return np.zeros_like(values)
    if high <= low:
        return (values > np.float32(high)).astype(np.float32)
    ramp: Grey = ((values - np.float32(low)) * np.float32(1 / (high - low))).clip(0.0, 1.0)
    return ramp


# Lookup tables


@dataclass(frozen=True, slots=True)
class Lut:
    """A lookup table (C.11.1.1, C.11.2.1.1)."""

    start: int  # the first value mapped
    table: NDArray[np.float32]
    top: int  # the largest output: 2**bits - 1

    def applied(self, values: Grey) -> Grey:
        """Values below and above the table take its first and last entry."""
        index = np.rint(values - np.float32(self.start)).clip(0, len(self.table) - 1)
        looked_up: Grey = self.table[index.astype(np.int32)]
        return looked_up


def _first_lut(ds: Dataset, keyword: str, *, signed_input: bool) -> Lut | None:
    """The first item's table, or None when there is none or it is not whole."""
    found = items(ds, keyword)
    return read_lut(found[0], signed_input=signed_input) if found else None


def read_lut(item: Dataset, *, signed_input: bool) -> Lut | None:
    """Entries (0 means 65,536), first value mapped (US or SS by the input), bits; 8 bits may be packed."""
    descriptor = numbers(item, "LUTDescriptor")
    if len(descriptor) != 3 or not all(isfinite(value) for value in descriptor):
        return None
    entries, start, bits = (int(value) for value in descriptor)
    entries = entries % 65536 or 65536
    start = start - 65536 if signed_input and start > 32767 else start
    table = _lut_data(item, entries, bits)
    if table is None or not 8 <= bits <= 16:
        return None
    top = max((1 << bits) - 1, int(table.max()))
    return Lut(start, table, top) if table.max() > 0 else None


def _lut_data(item: Dataset, entries: int, bits: int) -> NDArray[np.float32] | None:
    raw: Any = item.get("LUTData")
    if isinstance(raw, bytes):
        big = item.original_encoding[1] is False
        words = np.frombuffer(raw[: len(raw) // 2 * 2], ">u2" if big else "<u2")
        packed = bits == 8 and len(raw) in (entries, entries + entries % 2)
        table = words.astype("<u2").view(np.uint8)[:entries] if packed else words
    else:
        table = np.array([] if raw is None else raw, ndmin=1).astype(np.int64) & 0xFFFF
    return table.astype(np.float32) if len(table) == entries else None
