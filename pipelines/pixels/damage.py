"""What shows in decoded pixels that bytes are missing, overwritten or out of place.

Uncompressed pixels have no structure of their own, and wavelets decode whatever they are given. So stored
values are looked at, row by row as they lie in the file, for five marks that no exposure leaves:

- filled: one and the same value from within a row on, to the end of the picture, or over whole rows between
  parts that show something. Shutters, borders and cropped films begin and end where rows do, or step by step.
- noise: rows that have nothing to do with the rows above them, over much of the range of greys.
- moved: a line from which on everything is elsewhere: from one row to the next nothing fits, though above and
  below it all does, and both sides show something.
- repeated: noise that has been there before, value by value. No exposure has the same noise twice.
- code blocks whose fine detail is stronger than the coarser detail at the same place, as it is where a JPEG
  2000 decoder was given other bytes. In a picture detail grows with size.

Thresholds and what they cost: docs/real-world.md. Numpy only; a few milliseconds for a film of 5 megapixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.film import Damage
from pipelines.pixels.repeats import repeated
from pipelines.pixels.rows import GREYS, PARTS, Floats, Rows, Values, band, means
from pipelines.pixels.wavelets import inverted

LEAST_SIDE = 160  # rows and columns: a smaller picture, a thumbnail, says too little
LIKE = 0.03  # of the range: so near to the value that fills, the picture shows nothing
GOES_ON = 4  # rows for which the picture must have been steady where it breaks off ...
STEADY = 0.08  # ... so that no more of a row than this changes between showing and not
LEAST_STEP = 0.015  # of the columns, and over three: so many the last row still shows, and as many no more
SHOWN = 0.4  # of a row, before and behind a gap ...
GAP = 0.005  # ... of so much of the picture: a line that is drawn, or dead in a detector, is none
NOISE_ROWS = 8  # one after the other ...
NOISE_MOST = 0.75  # ... of which so many have nothing in common with the next
NOISE_ALIKE = 0.08  # r squared of a row and the next one; .01 in noise, over .9 in a film
NOISE_SPREAD = 0.12  # of the range, standard deviation across a row
JUMP = 2.5  # times the change from row to row nearby
LEAST_JUMP = 0.03  # of the range, in each part of the row
NEAR = range(2, 6)  # rows on each side of a line that show what change is usual
SHOWS = 0.08  # of the range, standard deviation of the rows on both sides of the line ...
PART_SHOWS = 0.006  # ... and in nearly every part: what is drawn over a film is even
LEAST_PARTS, MOST_PARTS = 4, 0.6  # parts of a row that jump, and of those that show something
MANY = 64  # lines that are looked at more closely
UNLIKE, ALIKE = 0.5, 0.95  # r squared of two rows: across the line at most, near it at least
BITS = 32  # in which a line is looked at ...
CROSSED = 2.0  # ... where the mean jumps by so many times the usual change ...
LEAST_SIGN = 0.15  # ... in so much of the line up, and in as much down
CROSSED_ALIKE = 0.8  # r squared of rows near it, at least
SHEARED = 0.03  # of the range, standard deviation across rows that run on ...
RUNS_ON = 0.7  # r squared of a sample and the one beside it, or more, but ...
SHEARED_ALIKE = 0.1  # ... no more than this of a row and the next ...
SHEARED_ROWS = 24  # ... one after the other: the tip of a finger, or a lamp, may do so for a dozen
GREYS_PART = 5  # differences, in one of the PARTS of a row
GREYS_PARTS = 0.75  # of the parts of a row have as many


def damage(stored: Values, *, wavelets: bool = False, blocks: bool = False) -> Damage | None:
    """The first mark of damage in stored values, None where there is none.

    `wavelets`: they come from JPEG 2000; `blocks`: from JPEG with loss, of which equal
    blocks are no wonder.
    """
    if stored.ndim == 3 or min(stored.shape) < LEAST_SIDE:  # films are grey
        return None
    rows = Rows.of(stored)
    if not rows.span:
        return None
    return (
        _filled(stored, rows)
        or _noise(rows)
        or _moved(rows)
        # a codec with loss makes equal blocks of noise
        or (None if blocks or wavelets else repeated(stored))
        or (inverted(stored) if wavelets else None)
    )


# --- filled -------------------------------------------------------------------------------------------------


def _filled(stored: Values, rows: Rows) -> Damage | None:
    height, width = stored.shape
    even = rows.values[:, 0] == rows.values[:, -1]  # most rows are not, and need no closer look
    even[even] = (rows.values[even] == rows.values[even, :1]).all(axis=1)
    for first, last in _runs(even):
        if not (stored[first:last] == stored[first, 0]).all():
            continue
        begin, end = _reach(stored, first, last)
        near = LIKE * rows.span
        if begin and end < stored.size:
            odd = _between(stored, begin, end, near)
        elif begin:
            odd = _breaks_off(stored, begin, near)
        else:
            odd = end < stored.size and _breaks_off(stored[::-1, ::-1], stored.size - end, near)
        if odd:
            share, row = (end - begin) / stored.size, begin // width
            words = f"{share:.1%} of the picture, from within row {row} on, is one value"
            return Damage(words, band(begin // width, -(-end // width), height))
    return None


def _runs(mask: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Where runs of True begin and end."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]])))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _reach(stored: Values, first: int, last: int) -> tuple[int, int]:
    """Where in the file's order the value of whole rows begins and ends."""
    value, width = stored[first, 0], stored.shape[1]
    begin, end = first * width, last * width
    if first:
        before = np.flatnonzero(stored[first - 1] != value)
        begin -= width - 1 - int(before[-1]) if len(before) else 0
    if last < len(stored):
        behind = np.flatnonzero(stored[last] != value)
        end += int(behind[0]) if len(behind) else 0
    return begin, end


def _between(stored: Values, begin: int, end: int, near: float) -> bool:
    """Whether the picture stands in full before and behind: no border, and no gap between two films."""
    flat, width = stored.ravel(), stored.shape[1]
    value = flat[begin]
    if begin < GOES_ON * width or len(flat) - end < GOES_ON * width or end - begin < GAP * len(flat):
        return False
    above = [~_near(flat[begin - n * width : begin - (n - 1) * width], value, near) for n in (1, GOES_ON)]
    below = [~_near(flat[end + (n - 1) * width : end + n * width], value, near) for n in (1, GOES_ON)]
    full = min(float(mask.mean()) for mask in (*above, *below)) > SHOWN
    return full and all(float((a != b).mean()) < STEADY for a, b in (above, below))


def _breaks_off(stored: Values, begin: int, near: float) -> bool:
    """Whether the picture, steady so far, ends within a row: a part of that row as before, the rest not."""
    row, column = divmod(begin, stored.shape[1])
    if row < GOES_ON:
        return False
    value = stored[row, column]
    shown = ~_near(stored[row - 1], value, near)
    before = ~_near(stored[row - GOES_ON], value, near)
    here = ~_near(stored[row], value, near)
    parts = float(here[:column].sum()), float(shown[column:].sum())
    drift = float((shown != before).sum())
    least = max(3, LEAST_STEP * len(shown), 2 * drift)
    if drift >= STEADY * len(shown) or min(parts) <= least:
        return False
    return float((here != shown)[:column].mean()) < STEADY


def _near(values: Values, value: Any, near: float) -> NDArray[np.bool_]:
    return np.asarray(np.abs(values.astype(np.float32) - np.float32(value)) <= near)


# --- noise and moved ----------------------------------------------------------------------------------------


def _noise(rows: Rows) -> Damage | None:
    centred = rows.values
    centred = centred - means(centred)[:, None]
    power = np.einsum("ij,ij->i", centred, centred)
    both = np.einsum("ij,ij->i", centred[1:], centred[:-1])
    least = np.minimum(power[1:], power[:-1])
    shows = least > (NOISE_SPREAD * rows.span) ** 2 * centred.shape[1]
    alike = both * np.abs(both) / np.maximum(power[1:] * power[:-1], np.finfo(np.float32).tiny)
    noisy = shows & (alike < NOISE_ALIKE)
    sheared = (least > (SHEARED * rows.span) ** 2 * centred.shape[1]) & (alike < SHEARED_ALIKE)
    if sheared.any():
        beside = np.einsum("ij,ij->i", centred[:, 1:], centred[:, :-1])
        smooth = beside * np.abs(beside) > RUNS_ON * power**2
        sheared &= smooth[1:] & smooth[:-1]
    looks = (noisy, NOISE_ROWS, "as noise has"), (sheared, SHEARED_ROWS, "as rows of another length have")
    for which, least_rows, like in looks:
        near = np.convolve(which, np.ones(least_rows, dtype=np.intp), "valid") >= NOISE_MOST * least_rows
        if near.any():
            found = np.flatnonzero(near)
            first, last = int(found[0]), int(found[-1]) + least_rows + 1
            many = (
                _greys(rows.values[:-1][which].reshape(-1, PARTS, rows.values.shape[1] // PARTS))
                >= GREYS_PART
            )
            if np.median(many.mean(axis=1)) < GREYS_PARTS:  # printed over the film
                continue
            words = f"rows {first} to {last - 1} have nothing to do with each other, {like}"
            return Damage(words, band(first, last, len(rows.values)))
    return None


def _moved(rows: Rows) -> Damage | None:
    """Parts in the file's order: a line may begin within a row, and then goes on in the next."""
    change, width = rows.change, rows.values.shape[1]
    usual = np.full_like(change, LEAST_JUMP * rows.span / JUMP)
    for off in NEAR:
        usual[off:] = np.maximum(usual[off:], change[:-off])
        usual[:-off] = np.maximum(usual[:-off], change[off:])
    jumps = (change > JUMP * usual).ravel()
    in_row = np.ones(PARTS, dtype=np.intp)
    if np.convolve(jumps, in_row, "valid").max() < LEAST_PARTS:
        return None
    shown = rows.values.reshape(len(rows.values), PARTS, -1).std(axis=2) > PART_SHOWS * rows.span
    shown = (shown[1:] & shown[:-1]).ravel()
    jumps &= shown
    jumping, showing = (np.convolve(one, in_row, "valid") for one in (jumps, shown))
    flat, part = rows.values.ravel(), width // PARTS
    lines = np.flatnonzero((jumping >= LEAST_PARTS) & (jumping >= MOST_PARTS * showing))
    for line in lines[:MANY]:
        at = slice(line * part, line * part + width)
        jumping_here = jumps[line : line + PARTS] & _photographed(flat, at, width)
        if np.count_nonzero(jumping_here) < max(LEAST_PARTS, MOST_PARTS * showing[line]):
            continue
        if _unlike(flat, at, width, rows.span) or _crossed(flat, at, width, rows.span):
            row = int(line) // PARTS + 1
            words = f"at row {row} the picture breaks: what is below does not go on from what is above"
            return Damage(words, band(row, len(rows.values), len(rows.values)))
    return None


def _photographed(flat: Floats, at: slice, width: int) -> NDArray[np.bool_]:
    """Parts in which a row and the next have more greys than what is drawn, and go on changing beyond."""
    if at.start < width or at.stop + 2 * width > len(flat):
        return np.zeros(PARTS, dtype=np.bool_)
    rows = np.stack([flat[at.start + n * width : at.stop + n * width] for n in (-1, 0, 1, 2)])
    rows = rows.reshape(4, PARTS, -1)
    changing = (rows[0] != rows[1]).any(axis=1) & (rows[2] != rows[3]).any(axis=1)
    return np.asarray(changing & (_greys(rows[1:3]).min(axis=0) >= GREYS_PART))


def _greys(parts: Floats) -> NDArray[np.intp]:
    """How often the value changes, last axis in order."""
    return np.asarray(np.count_nonzero(np.diff(np.sort(parts, axis=-1), axis=-1), axis=-1))


def _unlike(flat: Floats, at: slice, width: int, span: float) -> bool:
    """Whether a row and the next two have nothing in common, and those near them do."""

    def row(off: int) -> Floats:
        return flat[at.start + off * width : at.stop + off * width]

    if at.start < 4 * width or at.stop + 5 * width > len(flat):
        return False
    around = np.stack([row(off) for off in range(-3, 5)])
    if around.std(axis=1).min() < SHOWS * span:
        return False
    parts = around.reshape(len(around), PARTS, -1).std(axis=2).min(axis=0)
    if np.count_nonzero(parts > PART_SHOWS * span) < LEAST_PARTS:
        return False
    if max(_alike(row(0), row(1)), _alike(row(0), row(2)), _alike(row(-1), row(1))) > UNLIKE:
        return False
    return min(_alike(row(off), row(off + 1)) for off in (-4, -3, -2, 2, 3, 4)) > ALIKE


def _crossed(flat: Floats, at: slice, width: int, span: float) -> bool:
    """Whether all along a line the picture jumps, here up and there down, and is smooth above and below.

    Past the edge of a shutter, a collimator or a strip all is darker, or all is brighter.
    """
    if at.start < 4 * width or at.stop + 5 * width > len(flat):
        return False
    whole = width // BITS * BITS
    around = np.stack([flat[at.start + n * width :][:whole] for n in range(-4, 6)])
    steps = np.diff(around, axis=0).reshape(len(around) - 1, BITS, -1).mean(axis=2)
    here = steps[4]
    usual = np.maximum(np.abs(np.delete(steps, 4, axis=0)).max(axis=0), LEAST_JUMP * span / JUMP)
    up, down = (float(np.mean(jump)) for jump in (here > CROSSED * usual, here < -CROSSED * usual))
    if up + down < MOST_PARTS or min(up, down) < LEAST_SIGN:
        return False
    if min(len(np.unique(row)) for row in around[2:8]) < GREYS:
        return False
    return min(_alike(around[n], around[n + 1]) for n in (0, 1, 2, 6, 7, 8)) > CROSSED_ALIKE


def _alike(one: Floats, other: Floats) -> float:
    """r squared; 0 where one is even."""
    a, b = one - one.mean(), other - other.mean()
    both = math.sqrt(float(a @ a) * float(b @ b))
    r = float(a @ b) / both if both else 0.0
    return r * abs(r)


# --- wavelets -----------------------------------------------------------------------------------------------
