"""What phantoms are built of: simple bodies projected along parallel rays, in closed form.

Frame: millimetres in the patient, x to the patient's left, y to the back, z to the head.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Interval = tuple[
    Floats, Floats
]  # where each ray enters a body and where it leaves, mm; equal where it misses
Box = tuple[slice, slice]  # rows, columns
Profile = Sequence[tuple[float, float]]  # (z, value)
Point = tuple[float, float, float]  # x, y, z in mm

TISSUE = 0.021  # attenuation of soft tissue at about 70 keV, 1/mm
LUNG = -0.78 * TISSUE  # what an inflated lung lacks against soft tissue
GAS = -0.95 * TISSUE
CORTEX, SPONGE = 0.055, 0.014  # what compact and cancellous bone add to soft tissue


# --- projection ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sheet:
    """The film plane: u across, v down the picture, and the axis of the patient that each follows."""

    u: Floats  # (1, W) mm
    v: Floats  # (H, 1) mm
    axes: tuple[int, int, int]  # which of x, y, z are u, v and the ray

    def place(self, points: ArrayLike) -> Doubles:
        """Patient points (N, 3) as u, v and depth (N, 3)."""
        return np.asarray(points, np.float64).reshape(-1, 3)[:, self.axes]

    def box(self, low: ArrayLike, high: ArrayLike) -> Box:
        """The rows and columns whose centres lie between two corners (u, v)."""
        (u0, v0), (u1, v1) = np.asarray(low), np.asarray(high)
        rows = np.searchsorted(-self.v[:, 0], [-v1, -v0])
        columns = np.searchsorted(self.u[0], [u0, u1])
        return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))

    def crop(self, box: Box) -> "Sheet":
        return Sheet(self.u[:, box[1]], self.v[box[0]], self.axes)


class Body(Protocol):
    def paint(self, total: Floats, sheet: Sheet, density: float) -> None:
        """Add this body's path length times its density to `total` (H, W)."""


class Solid(Protocol):
    def interval(self, sheet: Sheet) -> Interval:
        """Where each ray (H, W) enters and leaves."""


Part = tuple[Body, float]  # a body and its density against what it lies in, 1/mm


@dataclass(frozen=True, slots=True)
class Stack:
    """Ovals stacked along z: half widths, half depths and centres as profiles of (z, mm)."""

    half_x: Profile
    half_y: Profile
    centre_x: Profile = ((0, 0),)
    centre_y: Profile = ((0, 0),)
    power: float = 2.0  # 2 is an ellipse, more is squarer

    def interval(self, sheet: Sheet) -> Interval:
        half = (along(self.half_x, sheet.v), along(self.half_y, sheet.v))
        centre = (along(self.centre_x, sheet.v), along(self.centre_y, sheet.v))
        across, ray = sheet.axes[0], sheet.axes[2]
        off = np.minimum(np.abs(sheet.u - centre[across]) / np.maximum(half[across], 1e-3), 1)
        reach = half[ray] * (1 - off**self.power) ** np.float32(1 / self.power)
        return centre[ray] - reach, centre[ray] + reach

    def paint(self, total: Floats, sheet: Sheet, density: float) -> None:
        low, high = self.interval(sheet)
        total += density * (high - low)


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """Half axes in mm; `tilt` turns it in the frontal plane, `pitch` in the sagittal plane (degrees)."""

    centre: Point
    half: Point
    tilt: float = 0.0
    pitch: float = 0.0

    def form(self, axes: tuple[int, int, int]) -> Doubles:
        """The quadratic form M of p'Mp = 1, in the sheet's order of axes."""
        c, s = np.cos(np.deg2rad(self.tilt)), np.sin(np.deg2rad(self.tilt))
        d, t = np.cos(np.deg2rad(self.pitch)), np.sin(np.deg2rad(self.pitch))
        turn = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) @ np.array([[1, 0, 0], [0, d, -t], [0, t, d]])
        full = turn @ np.diag(1 / np.square(np.asarray(self.half, np.float64))) @ turn.T
        return np.asarray(full[np.ix_(axes, axes)])

    def interval(self, sheet: Sheet) -> Interval:
        m = self.form(sheet.axes).astype(np.float32)
        u0, v0, t0 = sheet.place(self.centre)[0].astype(np.float32)
        u, v = sheet.u - u0, sheet.v - v0
        b = (m[0, 2] * u + m[1, 2] * v) / m[2, 2]
        c = (m[0, 0] * u * u + 2 * m[0, 1] * u * v + m[1, 1] * v * v - 1) / m[2, 2]
        reach = np.sqrt(np.maximum(b * b - c, 0))
        return t0 - b - reach, t0 - b + reach

    def paint(self, total: Floats, sheet: Sheet, density: float) -> None:
        spread = np.sqrt(np.diag(np.linalg.inv(self.form(sheet.axes))))[:2]
        middle = sheet.place(self.centre)[0][:2]
        box = sheet.box(middle - spread, middle + spread)
        low, high = self.interval(sheet.crop(box))
        total[box] += density * (high - low)


@dataclass(frozen=True, slots=True)
class Dome:
    """One half of the diaphragm: everything below a paraboloid with its highest point at `top`."""

    top: Point
    fall: float  # how far the surface has fallen at one half width, mm
    half: tuple[float, float]  # x, y

    def interval(self, sheet: Sheet) -> Interval:
        across, ray = sheet.axes[0], sheet.axes[2]
        left = (self.top[2] - sheet.v) / self.fall - ((sheet.u - self.top[across]) / self.half[across]) ** 2
        reach = np.asarray(self.half[ray] * np.sqrt(np.maximum(left, 0)), np.float32)
        return self.top[ray] - reach, self.top[ray] + reach


@dataclass(frozen=True, slots=True)
class Tube:
    """A bent, tapering rod along `points` (N, 3); `core` is the share of the radius that is cancellous."""

    points: ArrayLike
    radius: ArrayLike  # mm, one or N
    core: float = 0.0
    sponge: float = SPONGE / CORTEX  # density of the core against the wall
    flat: float = 1.0  # depth of the cross-section against its width in the picture
    sawn: bool = False  # the first end is flat, not round

    def paint(self, total: Floats, sheet: Sheet, density: float) -> None:
        p = sheet.place(self.points)
        r = np.broadcast_to(np.asarray(self.radius, np.float64), (len(p),))
        widest = float(r.max())
        box = sheet.box(p[:, :2].min(axis=0) - widest, p[:, :2].max(axis=0) + widest)
        sheet = sheet.crop(box)
        layer = np.zeros((len(sheet.v), sheet.u.shape[1]), np.float32)
        for i in range(len(p) - 1):
            self._segment(layer, sheet, p[i], p[i + 1], float(r[i]), float(r[i + 1]))
        if self.sawn:
            along = (p[1] - p[0]) / np.linalg.norm(p[1] - p[0])
            inside = (sheet.u - np.float32(p[0, 0])) * along[0] + (sheet.v - np.float32(p[0, 1])) * along[1]
            layer *= np.clip(inside + 0.5, 0, 1).astype(np.float32)
        total[box] += density * layer

    def _segment(
        self,
        layer: Floats,
        sheet: Sheet,
        a: Doubles,
        b: Doubles,
        ra: float,
        rb: float,
    ) -> None:
        widest, run = max(ra, rb), b - a
        box = sheet.box(np.minimum(a, b)[:2] - widest, np.maximum(a, b)[:2] + widest)
        u, v = sheet.u[:, box[1]] - np.float32(a[0]), sheet.v[box[0]] - np.float32(a[1])
        flat2 = float(run[0] ** 2 + run[1] ** 2) + 1e-6
        t = np.clip(u * np.float32(run[0] / flat2) + v * np.float32(run[1] / flat2), 0, 1)
        r2 = np.square(np.float32(ra) + t * np.float32(rb - ra))
        d2 = np.square(u - t * np.float32(run[0])) + np.square(v - t * np.float32(run[1]))
        length = np.sqrt(np.maximum(r2 - d2, 0))
        if self.core:
            length -= np.float32(self.core * (1 - self.sponge)) * np.sqrt(
                np.maximum(r2 - d2 / np.float32(self.core**2), 0)
            )
        slant = min(np.sqrt((flat2 + run[2] ** 2) / flat2), 2.2)  # a rod seen end on is a long way through
        target = layer[box]
        np.maximum(target, length * np.float32(2 * slant * self.flat), out=target)


@dataclass(frozen=True, slots=True)
class Vertebra:
    """A vertebral body: a waisted drum with dense end plates, leaning with the spine."""

    centre: Point
    half: Point
    lean: float  # degrees in the sagittal plane

    def paint(self, total: Floats, sheet: Sheet, density: float) -> None:
        across, _, ray = sheet.axes
        half, middle = self.half, np.array([self.centre[across], self.centre[2]])
        reach = np.array([half[across] + 6, half[2] + 6])
        box = sheet.box(middle - reach, middle + reach)
        u, v = sheet.u[:, box[1]] - np.float32(middle[0]), sheet.v[box[0]] - np.float32(middle[1])
        if across == 1:
            a = math.radians(self.lean)
            u, v = u - a * v, v + a * u
        height = np.minimum(np.abs(v) / half[2], 1)
        waist = half[across] * (0.86 + 0.14 * height**2)
        side = np.minimum(np.abs(u) / waist, 1)
        drum = 2 * half[ray] * np.sqrt(1 - side**4) * np.sqrt(np.sqrt(1 - height**8))
        total[box] += density * drum * (1 + 0.9 * height**8 + 0.5 * side**8)


@dataclass(frozen=True, slots=True)
class Tone:
    """Where the automatic exposure lays the grey values: two ranks of the body's pixels and their grey."""

    dark: tuple[float, float]  # percentile of attenuation, grey
    light: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scene:
    """What a kind of film shows and how it is taken."""

    paint: Callable[[Generator, Sheet], Floats]  # attenuation (H, W) of one patient
    axes: tuple[int, int, int]  # which of x, y, z run across the film, up it, and through it
    tone: Tone
    field_mm: tuple[float, float]  # height, width of the film
    step_mm: float  # pitch of the scene's grid
    lift: float = 0.0  # height of the film's middle in the patient, mm
    size: tuple[float, float] = (0.94, 1.08)  # patients are so much larger or smaller
    deeper: tuple[float, float] | None = None  # and so much wider again, seen like this
    other_side: float = 0.0  # share of films that show the other side


def along(profile: Profile, v: Floats) -> Floats:
    """The profile's value at each row (H, 1)."""
    z, value = np.array(sorted(profile), np.float64).T
    return np.asarray(np.interp(v[:, 0], z, value), np.float32)[:, None]


def outside(span: Interval, solids: Sequence[Interval]) -> Floats:
    """How much of each ray's span lies in none of the solids, mm."""
    low, high = span
    if not solids:
        return np.asarray(np.maximum(high - low, 0))
    enters, leaves = solids[0]
    before = (low, np.minimum(high, enters))
    after = (np.maximum(low, np.maximum(enters, leaves)), high)
    return outside(before, solids[1:]) + outside(after, solids[1:])


def mirror(points: Sequence[Point], side: float) -> list[Point]:
    """Points of the left half for either side: 1 left, -1 right; the right lies a little to the back."""
    return [(side * x, y - 4 * side, z) for x, y, z in points]


def blur(a: Floats, sigma: float) -> Floats:
    """Gaussian blur, sigma in pixels, edges repeated."""
    reach = max(1, int(np.ceil(2.5 * sigma)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        wide = np.pad(a, [(reach, reach) if axis == i else (0, 0) for i in (0, 1)], mode="edge")
        n = a.shape[axis]
        a = np.zeros_like(a)
        for i, weight in enumerate(kernel.astype(np.float32)):
            a += weight * (wide[i : i + n] if axis == 0 else wide[:, i : i + n])
    return a
