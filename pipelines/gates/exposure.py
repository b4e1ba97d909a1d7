"""What an exposure shows without a network: blank, washed out, clipped, too dark or bright, border, a seam.

Everything is judged on displayed pixels (after Modality LUT, VOI and polarity). A film may honestly use a
small part of its stored range and be shown well by its window; a full stored range may be shown badly.

The area inside any uniform border is found first and the rest is judged there, so that a black frame cannot
lend its contrast to a blank or washed out film within it. All of it is judged on a reduction to at most
JUDGED_PX, where a film's shades are the same and detector noise is less. How the thresholds were found, and
what they cost: docs/exposure-gate.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipelines.film import Box, Film, Finding, Reason, Verdict

Greys = NDArray[np.float32]  # (H, W) in [0, 1], 0 black, as displayed
Area = tuple[slice, slice]  # rows and columns
Shares = NDArray[np.float64]  # (LEVELS,) share of the pixels at each grey


@dataclass(frozen=True, slots=True)
class Thresholds:
    """More is better for every score: BAD below `low`, GOOD from `high` on, UNSURE between."""

    low: float
    high: float

    def verdict(self, score: float) -> Verdict:
        if score >= self.high:
            return Verdict.GOOD
        return Verdict.BAD if score < self.low else Verdict.UNSURE


STRUCTURE = Thresholds(0.004, 0.009)  # BLANK: grey differences between blocks that noise does not explain
CONTRAST = Thresholds(0.17, 0.23)  # WASHED_OUT: central 98 % of the greys
UNCLIPPED = Thresholds(0.73, 0.79)  # CLIPPED: share of the film's middle that is not cut off at one grey
DARK = Thresholds(0.19, 0.235)  # OVEREXPOSED: mean grey of the film's middle
BRIGHT = Thresholds(0.12, 0.15)  # UNDEREXPOSED: how far that mean is from white
EXPOSED = Thresholds(0.47, 0.50)  # BORDER: share of the picture inside the uniform border
SEAMLESS = Thresholds(
    0.38, 0.45
)  # SEVERAL_FILMS: share of the lines that do not jump at one and the same place

JUDGED_PX = 256
BLOCKS = 16  # block means a side: 16 x 16 px each at 256 px, in which detector noise averages out
LEVELS = 256  # greys that are told apart when pixels are counted
ENDS = 6  # of them count as black, and as many as white: 2 %
PLATEAU = 3  # levels: a scan that is burnt out ends at one grey short of white, give or take its noise
BOTH_COUNT = 0.7  # black and white together: a hard film may show some of each
PLATEAU_COUNTS = 0.6  # a smooth shadow may fill a quarter of a good film with three levels
MIDDLE = 0.2  # cut from each side for the shades: air and collimator are honestly black, and lie outside
UNIFORM = 0.06  # of the contrast: greys so near the border's level belong to it
NOISY = 0.25  # of the contrast, and at most UNIFORM of the grey range: how far that may grow with noise
STRAY = 0.06  # so much of a line may differ and it is still border: markers and letters stand there
AT_ONCE = (4, 32)  # lines: most films have no border, and the first few show it
NESTED = 3  # borders within borders: black round a white frame
LEAST_EXPOSED = 0.02  # less than this is a marker on an empty plate, not a film
# A crop is more careful than the judgement: it goes to the last line outside which nothing at all shows.
TRACE = 0.008  # of the grey range, two levels of eight bits ...
TRACE_SD = 4.0  # ... or so many standard deviations of the border's noise
TRACES = 0.005  # so much of an empty line may differ: noise has tails
SEAM_AT = 0.25  # of the side: a seam lies further than this from it; nearer stand collimators and arms
JUMP = 3.0  # times the mean step of a line: a jump ...
LEAST_JUMP = 0.01  # ... if it is one at all, of the grey range
SEAM_PX = 80  # a smaller film has too few lines and steps to tell a seam from a rib
REACH = 3  # px on each side by which the greys must differ still: a line drawn on a film is no seam


class ExposureGate:
    """Computed, no network: about a millisecond at 512 px, and never an error on any array."""

    name = "exposure"

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        greys = np.asarray(film.pixels, dtype=np.float32)
        if greys.ndim != 2 or not greys.size:
            return (_blank("there are no pixels"),)
        darkest, brightest = greys.min(), greys.max()  # NaN if one pixel is
        if not np.isfinite((darkest, brightest)).all():
            return (_blank("some pixels are not numbers"),)
        return judge(greys if darkest >= 0 and brightest <= 1 else np.clip(greys, 0, 1))


def judge(greys: Greys) -> tuple[Finding, ...]:
    """Findings for pixels (H, W) in [0, 1]: BLANK alone, or one each for BLANK and the six kinds below."""
    greys = reduced(greys)
    areas = exposed_areas(greys)
    rows, columns = areas[-1]
    inside = greys[rows, columns]
    share = inside.size / greys.size
    if share < LEAST_EXPOSED:
        return (_blank("one even grey from edge to edge"),)
    structure = least_structure(greys, areas)
    blank = _finding(Reason.BLANK, STRUCTURE, structure, f"structure {structure:.4f} of the grey range")
    if blank.verdict is Verdict.BAD:
        return (blank,)
    contrast, shades = spread(inside), counted(middle(inside))
    cut, seamless = cut_off(shades), 1 - seam(inside)
    if share >= EXPOSED.high:  # not inside a large border; but what is burnt out may be trimmed like one
        cut = max(cut, cut_off(counted(middle(greys))))
    mean = float(shades @ np.arange(LEVELS)) / (LEVELS - 1)
    shown, box = f"the middle has a mean grey of {mean:.2f}", careful_box(greys, rows, columns)
    jump = f"{1 - seamless:.0%} of the lines jump at one place"
    return (
        blank,
        _finding(Reason.WASHED_OUT, CONTRAST, contrast, f"uses {contrast:.0%} of the grey range"),
        _finding(Reason.CLIPPED, UNCLIPPED, 1 - cut, f"{cut:.0%} of the middle is cut off at one grey"),
        _finding(Reason.OVEREXPOSED, DARK, mean, shown),
        _finding(Reason.UNDEREXPOSED, BRIGHT, 1 - mean, shown),
        _finding(Reason.BORDER, EXPOSED, share, f"fills {share:.0%} of the picture", box),
        _finding(Reason.SEVERAL_FILMS, SEAMLESS, seamless, jump),
    )


# --- shades -------------------------------------------------------------------------------------------------


def reduced(greys: Greys) -> Greys:
    """Means of square blocks, so that no side is over JUDGED_PX (unless the other would be nothing)."""
    times = min(-(-max(greys.shape) // JUDGED_PX), *greys.shape)
    if times <= 1:
        return greys
    height, width = (n // times for n in greys.shape)
    cut = greys[: height * times, : width * times]
    rows = _summed([cut[k::times] for k in range(times)])  # four times as fast as a mean over axes
    sums = _summed([rows[:, k::times] for k in range(times)])
    sums *= np.float32(1 / times**2)
    return sums


def _summed(parts: Sequence[Greys]) -> Greys:
    """Element by element; there are two at least."""
    sums = parts[0] + parts[1]
    for part in parts[2:]:
        sums += part
    return sums


def spread(greys: Greys) -> float:
    """The central 98 % range of greys, on every ninth pixel: markers of 1 % do not count."""
    some = greys[::3, ::3].ravel()
    last = len(some) - 1
    ends = [round(0.01 * last), round(0.99 * last)]
    darkest, brightest = np.partition(some, ends)[ends]
    return float(brightest - darkest)


def middle(greys: Greys) -> Greys:
    """The middle of the film, without its outer fifths."""
    y, x = (int(n * MIDDLE) for n in greys.shape)
    return greys[y : greys.shape[0] - y, x : greys.shape[1] - x]


def counted(greys: Greys) -> Shares:
    """The share of the pixels at each level of grey."""
    levels = (greys * np.float32(LEVELS - 1) + np.float32(0.5)).astype(np.uint8)
    return np.asarray(np.bincount(levels.ravel(), minlength=LEVELS) / levels.size)


def cut_off(shades: Shares) -> float:
    """The share of the film that is black, or white, or (in part) both, or on a plateau of one grey."""
    black, white = shades[:ENDS].sum(), shades[-ENDS:].sum()
    plateau = np.convolve(shades, np.ones(PLATEAU), "valid").max()
    return float(max(black, white, BOTH_COUNT * (black + white), PLATEAU_COUNTS * plateau))


# --- border -------------------------------------------------------------------------------------------------


def exposed_areas(greys: Greys) -> list[Area]:
    """Rows and columns that remain when uniform lines are trimmed from all sides, maybe none; after each of
    up to NESTED rounds, as long as they find any."""
    top, bottom, left, right = 0, greys.shape[0], 0, greys.shape[1]
    areas = []
    for _ in range(NESTED):
        before = (top, bottom, left, right)
        contrast = spread(greys[top:bottom, left:right])  # of what is left: a frame must not lend it any
        top += _uniform_lines(greys[top:bottom, left:right], contrast)
        bottom -= _uniform_lines(greys[top:bottom, left:right][::-1], contrast)
        left += _uniform_lines(greys[top:bottom, left:right].T, contrast)
        right -= _uniform_lines(greys[top:bottom, left:right].T[::-1], contrast)
        areas.append((slice(top, bottom), slice(left, right)))
        if (top, bottom, left, right) == before or top >= bottom or left >= right:
            break
    return areas


def _uniform_lines(greys: Greys, contrast: float) -> int:
    """How many of the first lines are uniform, at the level and with the noise of the very first."""
    if not greys.size:
        return 0
    level, noise = _level(greys[0])
    tolerance = max(UNIFORM * contrast, min(3 * noise, NOISY * contrast, UNIFORM))
    first, many = 0, AT_ONCE[0]
    while first < len(greys):
        film = _differ(greys[first : first + many], level, tolerance) > STRAY * greys.shape[1]
        if film.any():
            return first + int(film.argmax())
        first, many = first + many, AT_ONCE[1]
    return len(greys)


def careful_box(greys: Greys, rows: slice, columns: slice) -> Box:
    """What to crop to: the exposed area and all round it that shows more than the outermost lines do.

    A film may itself end in black. Its own dark air is a little brighter than a border, and stays.
    """
    height, width = greys.shape
    top = rows.start - _traced(greys[: rows.start, columns])
    bottom = rows.stop + _traced(greys[rows.stop :, columns][::-1])
    left = columns.start - _traced(greys[top:bottom, : columns.start].T)
    right = columns.stop + _traced(greys[top:bottom, columns.stop :].T[::-1])
    return Box(left / width, top / height, right / width, bottom / height)


def _traced(lines: Greys) -> int:
    """How many of the last lines, next to the film, show more than the first, outermost line does."""
    if not lines.size:
        return 0
    level, noise = _level(lines[0])
    empty = _differ(lines, level, max(TRACE, TRACE_SD * noise)) <= TRACES * lines.shape[1]
    return int(empty[::-1].argmax()) if empty.any() else len(lines)


def _level(line: Greys) -> tuple[float, float]:
    """Median of a line, and its standard deviation if it is normal."""
    half = len(line) // 2
    level = np.sort(line)[half]
    return float(level), 1.48 * float(np.sort(np.abs(line - level))[half])


def _differ(lines: Greys, level: float, tolerance: float) -> NDArray[np.intp]:
    """How many pixels of each line differ from the level by more than the tolerance."""
    return np.asarray(np.count_nonzero(np.abs(lines - np.float32(level)) > tolerance, axis=1))


# --- several films ------------------------------------------------------------------------------------------


def seam(greys: Greys) -> float:
    """The largest share of the lines that jump at one place, in the half of them where fewer do.

    Two films in one picture meet in a straight line from edge to edge. Nothing in a patient is as straight.
    """
    return max(_seam_across(greys), _seam_across(np.ascontiguousarray(greys.T)))


def _seam_across(greys: Greys) -> float:
    """The same for a seam from top to bottom."""
    height, width = greys.shape
    inner = greys[:, int(width * SEAM_AT) - REACH : width - int(width * SEAM_AT) + REACH]
    if min(height, width) < SEAM_PX:
        return 0.0
    near = inner[:, REACH + 1 : 1 - REACH] - inner[:, REACH - 1 : -1 - REACH]
    far = inner[:, 2 * REACH :] - inner[:, : -2 * REACH]
    np.abs(near, out=near), np.abs(far, out=far)
    least = np.maximum(JUMP * near.mean(axis=1, keepdims=True), LEAST_JUMP)
    jumps = np.minimum(near, far, out=far) > least
    half = height // 2
    upper, lower = (part.sum(axis=0, dtype=np.uint16) for part in (jumps[:half], jumps[-half:]))
    return float(np.minimum(upper, lower).max() / half)


# --- structure ----------------------------------------------------------------------------------------------


def least_structure(greys: Greys, exposed: Sequence[Area]) -> float:
    """The structure of the exposed area, or of the picture with one border or none trimmed if that is less.

    Trimming ends at a lead marker even on an empty plate, and what is left round a marker is not empty.
    """
    squares = greys * greys
    whole = (slice(0, greys.shape[0]), slice(0, greys.shape[1]))
    areas = [whole]
    areas += [area for area in (exposed[0], exposed[-1]) if area not in areas]
    return min(block_structure(greys[one], squares[one]) for one in areas if greys[one].size)


def block_structure(greys: Greys, squares: Greys) -> float:
    """How much the block means differ from a smooth field, in grey range, discounted by the share of noise.

    An even exposure has a heel-effect gradient (a curved surface is taken off) and noise, which lives inside
    the blocks: it hardly moves their means, and what it moves is discounted even if a narrow window has
    stretched it over the whole range. Spreads are between percentiles: a lead marker is no anatomy.
    """
    means, noise = block_means(greys, squares)
    rest = np.sort(means.ravel() - _smooth(means.shape) @ means.ravel())
    last = len(rest) - 1
    # a standard deviation, if they were normal
    between = float(rest[round(0.95 * last)] - rest[round(0.05 * last)]) / 3.29
    return between * between**2 / (between**2 + noise**2) if between > 0 else 0.0


def block_means(greys: Greys, squares: Greys) -> tuple[Greys, float]:
    """Means of at most BLOCKS x BLOCKS blocks, and the median standard deviation within them."""
    down, across = _blocks(greys.shape[0]), _blocks(greys.shape[1]).T
    means, mean_squares = (np.asarray(down @ x @ across, dtype=np.float32) for x in (greys, squares))
    return means, float(np.sqrt(np.median(np.maximum(mean_squares - means * means, 0))))


@cache
def _blocks(length: int) -> Greys:
    """The matrix (blocks, length) that turns a line into the means of its blocks."""
    blocks = min(BLOCKS, length)
    ends = np.arange(blocks + 1) * length // blocks
    place = np.arange(length)
    inside = (place >= ends[:-1, None]) & (place < ends[1:, None])
    return np.asarray(inside / np.diff(ends)[:, None], dtype=np.float32)  # at most JUDGED_PX of them


@cache
def _smooth(shape: tuple[int, int]) -> Greys:
    """The matrix (n, n) that turns n block means of this shape into their surface of second order."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1).reshape(-1, 6)
    return np.asarray(terms @ np.linalg.pinv(terms), dtype=np.float32)  # at most BLOCKS**2 shapes


def _blank(detail: str) -> Finding:
    return Finding(ExposureGate.name, Verdict.BAD, 0.0, STRUCTURE.low, STRUCTURE.high, Reason.BLANK, detail)


def _finding(
    reason: Reason, limits: Thresholds, score: float, detail: str, box: Box | None = None
) -> Finding:
    verdict = limits.verdict(score)
    fault = None if verdict is Verdict.GOOD else reason
    return Finding(ExposureGate.name, verdict, round(score, 4), limits.low, limits.high, fault, detail, box)
