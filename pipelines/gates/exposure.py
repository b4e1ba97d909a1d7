"""What an exposure shows without a network: blank, washed out, clipped, small inside a large border.

Everything is judged on displayed pixels (after Modality LUT, VOI and polarity). A film may honestly use a
small part of its stored range and be shown well by its window; a full stored range may be shown badly.

The area inside any uniform border is found first and the rest is judged there, so that a black frame cannot
lend its contrast to a blank or washed out film within it. Figures for the thresholds: docs/policy.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.film import Box, Film, Finding, Reason, Verdict

Greys = NDArray[np.float32]  # (H, W) in [0, 1], 0 black, as displayed


@dataclass(frozen=True, slots=True)
class Thresholds:
    """More is better for every score: BAD below `low`, GOOD from `high` on, UNSURE between."""

    low: float
    high: float

    def verdict(self, score: float) -> Verdict:
        if score >= self.high:
            return Verdict.GOOD
        return Verdict.BAD if score < self.low else Verdict.UNSURE


STRUCTURE = Thresholds(0.0015, 0.005)  # BLANK: grey differences between blocks that noise does not explain
CONTRAST = Thresholds(0.15, 0.20)  # WASHED_OUT: central 98 % of the greys
MIDTONES = Thresholds(0.40, 0.55)  # CLIPPED: share of the film's middle that is neither black nor white
EXPOSED = Thresholds(0.47, 0.50)  # BORDER: share of the picture inside the uniform border

BLOCKS = 16  # block means a side: 32 x 32 px each at 512 px, in which detector noise averages out
UNIFORM = 0.06  # of the contrast: greys so near the border's level belong to it
NOISY = 0.25  # of the contrast, and at most UNIFORM of the grey range: how far that may grow with noise
STRAY = 0.06  # so much of a line may differ and it is still border: markers and letters stand there
AT_ONCE = 32  # lines
NESTED = 3  # borders within borders: black round a white frame
LEAST_EXPOSED = 0.02  # less than this is a marker on an empty plate, not a film
MIDDLE = 0.2  # cut from each side for MIDTONES: air and collimator are honestly black, and lie outside
BLACK, WHITE = 0.02, 0.98


class ExposureGate:
    """Computed, no network: a few milliseconds at 512 px, and never an error on any array."""

    name = "exposure"

    def __call__(self, film: Film) -> tuple[Finding, ...]:
        greys = np.asarray(film.pixels, dtype=np.float32)
        if greys.ndim != 2 or not greys.size:
            return (_blank("there are no pixels"),)
        if not np.isfinite(greys).all():
            return (_blank("some pixels are not numbers"),)
        return judge(np.clip(greys, 0.0, 1.0))


def judge(greys: Greys) -> tuple[Finding, ...]:
    """Findings for pixels in [0, 1]: BLANK alone, or one each for BLANK, WASHED_OUT, CLIPPED and BORDER."""
    rows, columns = exposed_area(greys)
    inside = greys[rows, columns]
    exposed = inside.size / greys.size
    if exposed < LEAST_EXPOSED:
        return (_blank("one even grey from edge to edge"),)
    structure = block_structure(inside)
    blank = _finding(Reason.BLANK, STRUCTURE, structure, f"structure {structure:.4f} of the grey range")
    if blank.verdict is Verdict.BAD:
        return (blank,)
    contrast = spread(inside)
    midtones = middle_tones(inside)
    return (
        blank,
        _finding(Reason.WASHED_OUT, CONTRAST, contrast, f"uses {contrast:.0%} of the grey range"),
        _finding(
            Reason.CLIPPED, MIDTONES, midtones, f"{1 - midtones:.0%} of the middle is pure black or white"
        ),
        _finding(
            Reason.BORDER, EXPOSED, exposed, f"fills {exposed:.0%} of the picture", _box(greys, rows, columns)
        ),
    )


def exposed_area(greys: Greys) -> tuple[slice, slice]:
    """Rows and columns that remain when uniform lines are trimmed from all sides; maybe none."""
    top, bottom, left, right = 0, greys.shape[0], 0, greys.shape[1]
    for _ in range(NESTED):
        before = (top, bottom, left, right)
        contrast = spread(greys[top:bottom, left:right])  # of what is left: a frame must not lend it any
        top += _uniform_lines(greys[top:bottom, left:right], contrast)
        bottom -= _uniform_lines(greys[top:bottom, left:right][::-1], contrast)
        left += _uniform_lines(greys[top:bottom, left:right].T, contrast)
        right -= _uniform_lines(greys[top:bottom, left:right].T[::-1], contrast)
        if (top, bottom, left, right) == before or top >= bottom or left >= right:
            break
    return slice(top, bottom), slice(left, right)


def _uniform_lines(greys: Greys, contrast: float) -> int:
    """How many of the first lines are uniform, at the level and with the noise of the very first."""
    if not greys.size:
        return 0
    level = np.median(greys[0])
    noise = 1.48 * np.median(np.abs(greys[0] - level))  # a standard deviation, if it is normal
    tolerance = max(UNIFORM * contrast, min(3 * noise, NOISY * contrast, UNIFORM))
    for first in range(
        0, len(greys), AT_ONCE
    ):  # most films have no border: then the first few lines are enough
        lines = greys[first : first + AT_ONCE]
        film = np.count_nonzero(np.abs(lines - level) > tolerance, axis=1) > STRAY * greys.shape[1]
        if film.any():
            return first + int(np.argmax(film))
    return len(greys)


def spread(greys: Greys) -> float:
    """The central 98 % range of greys, on every ninth pixel: markers of 1 % do not count."""
    low, high = np.percentile(greys[::3, ::3], (1, 99))
    return float(high - low)


def middle_tones(greys: Greys) -> float:
    """Share of the film's middle that is neither black nor white."""
    y, x = (int(n * MIDDLE) for n in greys.shape)
    middle = greys[y : greys.shape[0] - y, x : greys.shape[1] - x]
    return float(np.mean((middle > BLACK) & (middle < WHITE)))


def block_structure(greys: Greys) -> float:
    """How much the block means differ from a smooth field, in grey range, discounted by the share of noise.

    An even exposure has a heel-effect gradient (a curved surface is taken off) and noise, which lives inside
    the blocks: it hardly moves their means, and what it moves is discounted even if a narrow window has
    stretched it over the whole range. Spreads are between percentiles: a lead marker is no anatomy.
    """
    means, noise = block_means(greys)
    rest = means - _smooth(means)
    low, high = np.percentile(rest, (5, 95))
    between = (high - low) / 3.29  # a standard deviation, if they were normal
    return float(between * between**2 / (between**2 + noise**2)) if between > 0 else 0.0


def block_means(greys: Greys) -> tuple[Greys, float]:
    """Means of at most BLOCKS x BLOCKS blocks, and the median standard deviation within them."""
    means = _block_average(greys)
    squares = _block_average(greys * greys)
    return means, float(np.sqrt(np.median(np.maximum(squares - means * means, 0))))


def _block_average(greys: Greys) -> Greys:
    sums, counts = greys, np.float32(1)
    for axis in (0, 1):
        length = greys.shape[axis]
        starts = np.arange(min(BLOCKS, length)) * length // min(BLOCKS, length)
        sums = np.add.reduceat(sums, starts, axis=axis)
        sizes = np.diff(starts, append=length).astype(np.float32)
        counts = counts * (sizes[:, None] if axis == 0 else sizes[None, :])
    return np.asarray(sums / counts, dtype=np.float32)


def _smooth(means: Greys) -> Greys:
    """The least-squares surface of second order through block means."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in means.shape), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1).reshape(-1, 6)
    weights = np.linalg.lstsq(terms, means.ravel(), rcond=None)[0]
    return np.asarray((terms @ weights).reshape(means.shape), dtype=np.float32)


def _box(greys: Greys, rows: slice, columns: slice) -> Box:
    height, width = greys.shape
    return Box(columns.start / width, rows.start / height, columns.stop / width, rows.stop / height)


def _blank(detail: str) -> Finding:
    return Finding(ExposureGate.name, Verdict.BAD, 0.0, STRUCTURE.low, STRUCTURE.high, Reason.BLANK, detail)


def _finding(
    reason: Reason, limits: Thresholds, score: float, detail: str, box: Box | None = None
) -> Finding:
    verdict = limits.verdict(score)
    said = None if verdict is Verdict.GOOD else reason
    return Finding(ExposureGate.name, verdict, round(score, 4), limits.low, limits.high, said, detail, box)
