"""Colour to grey: palettes (PS3.3 C.7.9), luminance (C.7.6.3.1.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from pipelines.codecs.layout import Layout, Pixels
from pipelines.film import Reason
from pipelines.header import numbers
from pipelines.instance.part10 import Undecodable

LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as PS3.3 C.7.6.3.1.2 uses it


def grey(stored: Pixels, ds: Dataset, layout: Layout) -> Pixels:
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
    return palette_colours(ds) @ LUMINANCE


def palette_colours(ds: Dataset) -> NDArray[np.float32]:
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


def luminance(values: NDArray[np.float32], layout: Layout) -> NDArray[np.float32]:
    """Colour has no window: luminance over its full range."""
    top = 1.0 if layout.photometric == "PALETTE COLOR" else float(layout.highest)
    return (values / np.float32(top)).clip(0.0, 1.0)
