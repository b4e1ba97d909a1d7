"""Lookup tables, rescaling and windows of a film (PS3.3 C.11.1, C.11.2): one reading of what senders write.

The display, corrected copies, presentation states and transcoded objects all ask here, so that they agree. A
table that can be understood in one way only is understood: one that is shorter or longer than it says, or
whose first value is written in the wrong sign. What is written is what the Standard wants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataelem import DataElement

from pipelines.header import first, integer, items, number, numbers, upper, value_of

Grey = NDArray[np.float32]
Span = tuple[float, float]  # the lowest and the highest value there can be

MODALITY, VOI = "ModalityLUTSequence", "VOILUTSequence"
NARROW, WORD = 0x1FF, 0xFFFF  # the largest entries of 9 and of 16 bits
WORD_BITS, MOST_ENTRIES = 16, 1 << 16


# Tables


@dataclass(frozen=True, slots=True, eq=False)
class Lut:
    """A lookup table (C.11.1.1, C.11.2.1.1)."""

    start: int  # the first value mapped
    table: Grey  # (entries,), whole numbers
    top: int  # the largest output there can be: 2**bits - 1

    def applied(self, values: Grey) -> Grey:
        """Values below and above the table take its first and last entry."""
        index = np.rint(values - np.float32(self.start)).clip(0, len(self.table) - 1)
        looked_up: Grey = self.table[index.astype(np.int32)]
        return looked_up

    def mirrored(self, total: float) -> Lut:
        """For values v that became `total` - v: shows the inverse of what this shows."""
        last = self.start + len(self.table) - 1
        return Lut(round(total) - last, np.float32(self.top) - self.table[::-1], self.top)

    def within(self, span: Span) -> Lut:
        """The part that values within a span of whole numbers reach."""
        first, last = (min(max(int(end) - self.start, 0), len(self.table) - 1) for end in span)
        table = self.table[first : last + 1]
        return Lut(self.start + first, table, _top(table))

    def scaled(self, top: int) -> Lut:
        """The same ramp, with other bits."""
        return self if top == self.top else Lut(self.start, (self.table * (top / self.top)).round(), top)


def read_lut(item: Dataset, span: Span, *, big: bool | None = None) -> Lut | None:
    """The table of an item for values within `span`; None where there is none, or nothing but zeros.

    Descriptor and data need not agree: a table ends where its data or its entries end, whichever is first.
    The depth is that of the largest entry, 8 bits at least: what senders say of it is often a habit, and most
    readers have learned not to believe it. `big` is the byte order of OW; without it, of what was read.
    """
    descriptor = numbers(item, "LUTDescriptor")
    if len(descriptor) != 3 or not all(isfinite(value) for value in descriptor):
        return None
    entries, word, bits = (int(value) & WORD for value in descriptor)
    table = _entries(
        item, entries or MOST_ENTRIES, bits, item.original_encoding[1] is False if big is None else big
    )
    if table.max(initial=0) <= 0:
        return None
    return Lut(_start(word, len(table), span), table, _top(table))


def _top(table: Grey) -> int:
    return (1 << max(8, int(table.max()).bit_length())) - 1


def read_luts(
    ds: Dataset, keyword: str, span: Span, *, big: bool | None = None
) -> Iterator[tuple[Dataset, Lut]]:
    """The items of a sequence that hold a table, with it."""
    for item in items(ds, keyword):
        if lut := read_lut(item, span, big=big):
            yield item, lut


def _entries(item: Dataset, entries: int, bits: int, big: bool) -> Grey:
    """At most `entries` of LUT Data: words, or 8-bit values that are packed two in a word; () without any."""
    raw: Any = value_of(item, "LUTData")
    if isinstance(raw, bytes):
        words = np.frombuffer(raw[: len(raw) // 2 * 2], ">u2" if big else "<u2").astype("<u2")
        whole = entries + entries % 2
        packed = len(raw) in (entries, whole) or (bits == 8 and len(raw) <= whole)
        table = words.view(np.uint8) if packed else words
    else:
        listed = raw if isinstance(raw, Iterable) and not isinstance(raw, str) else [raw]
        whole_numbers = [
            value & WORD for value in listed if isinstance(value, int)
        ]  # nothing else is a table
        table = np.array(whole_numbers, dtype=np.int64)
    return table[:entries].astype(np.float32)


def _start(word: int, entries: int, span: Span) -> int:
    """The first value mapped: US, or SS where values can lie below zero (C.11.2.1.1).

    Writers mistake the one for the other, so it is the reading whose table covers more of the values.
    """
    if word < 1 << (WORD_BITS - 1):
        return word
    readings = (word, word - MOST_ENTRIES) if span[0] >= 0 else (word - MOST_ENTRIES, word)

    def covered(start: int) -> float:
        return max(0.0, min(span[1], start + entries - 1) - max(span[0], start))

    return max(readings, key=covered)


# Writing


def write_lut(item: Dataset, lut: Lut, span: Span) -> None:
    """LUT Descriptor and LUT Data, in words, for values within `span`; SS where these can lie below zero.

    The number of entries has no sign in SS, too; so pydicom has it.
    """
    signed = span[0] < 0
    lowest, highest = (-(1 << 15), (1 << 15) - 1) if signed else (0, WORD)
    start, table = lut.start, lut.table
    if start < lowest:  # no value is so low, or there would be no number for it
        table = table[min(lowest - start, len(table) - 1) :]
    elif start > highest:
        table = np.pad(table, (min(start - highest, MOST_ENTRIES), 0), mode="edge")
    start = min(max(start, lowest), highest)
    reached = max(1, int(np.ceil(span[1])) - start + 1)  # entries
    if start >= 1 << 15:  # what no value reaches could be mistaken for the first part of a table below zero
        table = table[:reached]
    if int(table.max()).bit_length() < lut.top.bit_length() and reached < MOST_ENTRIES:
        tells_the_depth = np.float32(lut.top)  # where no value gets
        table = np.append(_long(table, reached), tells_the_depth)
    table = table[:MOST_ENTRIES]
    described = [len(table) % MOST_ENTRIES, start, lut.top.bit_length()]
    item["LUTDescriptor"] = DataElement("LUTDescriptor", "SS" if signed else "US", described)
    item["LUTData"] = DataElement("LUTData", "OW", table.astype("<u2").tobytes())


def _long(table: Grey, entries: int) -> Grey:
    """So many entries: cut off, or the last one repeated."""
    return np.pad(table[:entries], (0, max(0, entries - len(table))), mode="edge")


def write_modality(item: Dataset, lut: Lut, span: Span) -> None:
    """`write_lut` of a Modality LUT: 16 bits (C.11.1.1.1), and values that windows speak of."""
    write_lut(item, Lut(lut.start, lut.table, WORD), span)


def mend(ds: Dataset, *, mirrored: bool = False) -> None:
    """Write every table of a little endian image anew: what it shows stays, and every reader reads it alike.

    Items without a table are left alone. A VOI LUT has 10 to 16 bits then (C.8.11.3.1.5), a Modality LUT 16,
    with the values that it had. `mirrored`: stored values v have become lowest + highest - v, and what is
    shown is to be inverted.
    """
    stored, shown = stored_span(ds), modality(ds, big=False).span
    for item, lut in list(read_luts(ds, MODALITY, stored, big=False)):
        lut = lut.within(stored)
        write_modality(item, lut.mirrored(sum(stored)) if mirrored else lut, stored)
    for item, lut in list(read_luts(ds, VOI, shown, big=False)):
        lut = lut.mirrored(sum(shown)) if mirrored else lut
        write_lut(item, lut if lut.top > NARROW else lut.scaled(WORD), shown)


# The stages


@dataclass(frozen=True, slots=True, eq=False)
class Modality:
    """What becomes of stored values first (C.11.1): a table, or slope and intercept."""

    span: Span  # what comes out when every stored value goes in
    slope: float = 1.0
    intercept: float = 0.0
    lut: Lut | None = None

    def applied(self, stored: Grey) -> Grey:
        """Stored values to those that VOI LUT and windows speak of."""
        if self.lut:
            return self.lut.applied(stored)
        if (self.slope, self.intercept) == (1.0, 0.0):
            return stored
        return stored * np.float32(self.slope) + np.float32(self.intercept)


def modality(ds: Dataset, *, big: bool | None = None) -> Modality:
    """The first table there is, else slope and intercept; values that are no numbers make all 0."""
    stored = stored_span(ds)
    for _, lut in read_luts(ds, MODALITY, stored, big=big):
        lut = lut.within(stored)
        return Modality((0.0, float(lut.top)), lut=lut)
    slope, intercept = number(ds, "RescaleSlope"), number(ds, "RescaleIntercept")
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    ends = sorted(value * slope + intercept for value in stored)
    if not isfinite(sum(ends)):
        return Modality((0.0, 1.0), 0.0, 0.0)
    return Modality((ends[0], ends[1]), slope, intercept)


def stored_span(ds: Dataset) -> Span:
    """The lowest and highest value that Bits Stored can hold."""
    bits = integer(ds, "BitsStored") or WORD_BITS
    lowest = -(1 << (bits - 1)) if integer(ds, "PixelRepresentation") == 1 else 0
    return float(lowest), float(lowest + (1 << bits) - 1)


@dataclass(frozen=True, slots=True)
class Window:
    """Window Center and Width, and the VOI LUT Function by which they are meant (C.11.2.1.2, C.11.2.1.3)."""

    center: float
    width: float  # above 0; this and the centre may be NaN or infinite, which shows nothing
    function: str = "LINEAR"  # or LINEAR_EXACT or SIGMOID


def windows(ds: Dataset) -> Iterator[Window]:
    """The windows, the first first; one with a width of 0 or less is none.

    LINEAR needs a width of 1 at least; one between is taken as LINEAR_EXACT.
    """
    stated = first(upper(ds, "VOILUTFunction"))
    function = stated if stated in ("LINEAR_EXACT", "SIGMOID") else "LINEAR"
    for center, width in zip(numbers(ds, "WindowCenter"), numbers(ds, "WindowWidth"), strict=False):
        if not width <= 0:
            yield Window(center, width, "LINEAR_EXACT" if function == "LINEAR" and width < 1 else function)
