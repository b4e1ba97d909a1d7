"""Stored values to what is shown: Modality LUT, VOI LUT or window, polarity (PS3.3 C.11, PS3.4 N.2).

Values that cannot be used end in a flat picture, never in NaN: the exposure gate calls that blank.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite, isnan

import numpy as np
from pydicom import Dataset

from pipelines.codecs.layout import Layout
from pipelines.header import upper
from pipelines.pixels.luts import VOI, Grey, Lut, Span, Window, modality, read_luts, windows
from pipelines.pixels.percentiles import outer_percentiles

UNWINDOWED_PERCENT = (0.5, 99.5)  # without window or LUT, this part of the values fills the grey scale


def displayed(stored: Grey, ds: Dataset, layout: Layout) -> Grey:
    """(H, W) stored values -> (H, W) in [0, 1], black 0, white 1."""
    stage = modality(ds)
    values = stage.applied(stored)
    return on_grey_scale(voi(values, ds, layout, stage.span)(values), ds)


def on_grey_scale(shown: Grey, ds: Dataset) -> Grey:
    """What came through the VOI stage -> [0, 1], black 0, white 1, in place."""
    np.clip(shown, 0.0, 1.0, out=shown)
    if isnan(shown.min()):
        np.nan_to_num(shown, copy=False, nan=0.0)
    if is_inverse(ds):
        np.subtract(1.0, shown, out=shown)
    return shown


def is_inverse(ds: Dataset) -> bool:
    """Whether the lowest values are shown white, said once or twice, and applied once.

    MONOCHROME1 (PS3.3 C.7.6.3.1.2) and Presentation LUT Shape INVERSE (C.8.11.3.1.2) belong together. Where
    they disagree, the one that speaks of inversion is believed: MONOCHROME1 with IDENTITY and MONOCHROME2
    with INVERSE are both shown inverted.
    """
    return "MONOCHROME1" in upper(ds, "PhotometricInterpretation") or "INVERSE" in upper(
        ds, "PresentationLUTShape"
    )


# VOI LUT and window (C.11.2)


Shows = Callable[[Grey], Grey]  # values after the Modality LUT -> a new array, 0 to 1 where they lie within


def voi(values: Grey, ds: Dataset, layout: Layout, span: Span) -> Shows:
    """How the picture with these values is shown: by the first LUT, else the first window, else (8 bits)
    everything or (more) all but the outermost."""
    for _, lut in read_luts(ds, VOI, span):
        return partial(_looked_up, lut=lut)
    for window in windows(ds):
        return partial(_windowed, window=window)
    low, high = unwindowed(values, layout, span)
    return partial(_ramp, low=low, high=high)


def unwindowed(values: Grey, layout: Layout, span: Span) -> Span:
    """What is shown black and white where the header says nothing of it."""
    return outer_percentiles(values, *UNWINDOWED_PERCENT) if layout.stored > 8 else span


def _looked_up(values: Grey, lut: Lut) -> Grey:
    return lut.applied(values) / np.float32(lut.top)


def _windowed(values: Grey, window: Window) -> Grey:
    """The window to [0, 1], by LINEAR, LINEAR_EXACT or SIGMOID."""
    center, width = window.center, window.width
    if window.function == "SIGMOID":
        exponent = (-4.0 / width * (values - np.float32(center))).clip(-80, 80)
        sigmoid: Grey = (1.0 / (1.0 + np.exp(exponent))).astype(np.float32)
        return sigmoid
    if window.function == "LINEAR_EXACT":
        return _ramp(values, center - width / 2, center + width / 2)
    return _ramp(values, center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2)


def _ramp(values: Grey, low: float, high: float) -> Grey:
    """0 at `low`, 1 at `high`; a step where they meet, as a window of width 1 is."""
    if not isfinite(high - low):
        return np.zeros_like(values)
    if high <= low:
        return (values > np.float32(high)).astype(np.float32)
    ramp: Grey = values - np.float32(low)
    ramp *= np.float32(1 / (high - low))
    return ramp
