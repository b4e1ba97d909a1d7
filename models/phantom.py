"""Synthetic films: a chest from the front, a chest from the side, a hand. Phantoms, not patients.

A small 3-D scene of simple bodies (stacked ovals, ellipsoids, tubes) is projected along parallel rays. A body's
path length on each ray is computed in closed form, so a film costs some tens of milliseconds and needs numpy alone.
The film then follows Beer-Lambert: attenuation is the line integral of density, quantum noise grows as less light
arrives, and a sigmoid stands for the film's characteristic curve and the viewer's window.

Frame: millimetres in the patient, x to the patient's left, y to the back, z to the head; the origin lies in the middle
of the thorax. Films come as displayed in MONOCHROME2: bone is bright, air is dark, and on the frontal chest the
patient's left is at the right of the picture.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

__all__ = ["KINDS", "render"]

Floats = NDArray[np.float32]
Interval = tuple[
    Floats, Floats
]  # where each ray enters a body and where it leaves, mm; equal where it misses
Box = tuple[slice, slice]  # rows, columns
Profile = Sequence[tuple[float, float]]  # (z, value), z falling

KINDS = ("frontal", "lateral", "hand")

TISSUE = 0.021  # attenuation of soft tissue at about 70 keV, 1/mm
LUNG = -0.78 * TISSUE  # what an inflated lung lacks against soft tissue
GAS = -0.95 * TISSUE
CORTEX, SPONGE = 0.055, 0.014  # what compact and cancellous bone add to soft tissue
STEP_MM = {"frontal": 0.85, "lateral": 0.85, "hand": 0.5}  # pitch of the scene's grid
FIELD_MM = {
    "frontal": (430.0, 350.0),
    "lateral": (430.0, 350.0),
    "hand": (282.0, 230.0),
}  # height, width of the film
MARGIN = 1.16  # the scene reaches this much further than the film, so that a turned film has no empty corner


# --- projection -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sheet:
    """The film plane: u across, v down the picture, and the axis of the patient that each follows."""

    u: Floats  # (1, W) mm
    v: Floats  # (H, 1) mm
    axes: tuple[int, int, int]  # which of x, y, z are u, v and the ray

    def place(self, points: ArrayLike) -> NDArray[np.float64]:
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


class Solid(Body, Protocol):
    def interval(self, sheet: Sheet) -> Interval: ...


@dataclass(frozen=True, slots=True)
class Stack:
    """Ovals stacked along z: half widths, half depths and centres as profiles of (z, mm), rounded by `power`."""

    half_x: Profile
    half_y: Profile
    centre_x: Profile = ((0, 0),)
    centre_y: Profile = ((0, 0),)
    power: float = 2.0

    def interval(self, sheet: Sheet) -> Interval:
        half = (_along(self.half_x, sheet.v), _along(self.half_y, sheet.v))
        centre = (_along(self.centre_x, sheet.v), _along(self.centre_y, sheet.v))
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

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    tilt: float = 0.0
    pitch: float = 0.0

    def form(self, axes: tuple[int, int, int]) -> NDArray[np.float64]:
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
    """One half of the diaphragm: everything below a paraboloid with its top at `top`, within the half widths."""

    top: tuple[float, float, float]
    fall: float  # how far the surface has fallen at one half width, mm
    half: tuple[float, float]  # x, y

    def interval(self, sheet: Sheet) -> Interval:
        across, ray = sheet.axes[0], sheet.axes[2]
        left = (self.top[2] - sheet.v) / self.fall - ((sheet.u - self.top[across]) / self.half[across]) ** 2
        reach = self.half[ray] * np.sqrt(np.maximum(left, 0))
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
        a: NDArray[np.float64],
        b: NDArray[np.float64],
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
        slant = min(np.sqrt((flat2 + run[2] ** 2) / flat2), 3.0)  # a rod seen end on is a long way through
        target = layer[box]
        np.maximum(target, length * np.float32(2 * slant * self.flat), out=target)


def _along(profile: Profile, v: Floats) -> Floats:
    """The profile's value at each row (H, 1)."""
    z, value = np.array(sorted(profile), np.float64).T
    return np.interp(v[:, 0], z, value).astype(np.float32)[:, None]


def _outside(span: Interval, solids: Sequence[Interval]) -> Floats:
    """How much of each ray's span lies in none of the solids, mm."""
    low, high = span
    if not solids:
        return np.maximum(high - low, 0)
    enters, leaves = solids[0]
    before = (low, np.minimum(high, enters))
    after = (np.maximum(low, np.maximum(enters, leaves)), high)
    return _outside(before, solids[1:]) + _outside(after, solids[1:])


# --- the chest ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Build:
    """What differs from one patient to the next."""

    heart: float  # size, 1 is usual
    heart_tilt: float  # degrees from the long axis of the body; more is a heart that lies down
    domes: tuple[float, float]  # top of the right and the left diaphragm, z in mm
    stout: float  # thickness of fat and muscle, 1 is usual
    breasts: float  # 0 for none
    scoliosis: float  # sideways bend of the spine, mm
    kyphosis: float  # mm
    bone: float  # mineral, 1 is usual
    vessels: float  # prominence of the lung's vessels, 1 is usual


def _build(rng: Generator) -> Build:
    right = rng.normal(-68, 12)
    return Build(
        heart=rng.uniform(0.88, 1.16),
        heart_tilt=rng.uniform(32, 52),
        domes=(right, right - rng.uniform(4, 20)),
        stout=rng.uniform(0.85, 1.25),
        breasts=rng.uniform(0.5, 1.2) * (rng.random() < 0.45),
        scoliosis=rng.normal(0, 4),
        kyphosis=rng.uniform(12, 30),
        bone=rng.uniform(0.75, 1.2),
        vessels=rng.uniform(0.7, 1.3),
    )


CAGE_X = (
    (144, 0),
    (140, 30),
    (130, 52),
    (110, 74),
    (85, 92),
    (50, 108),
    (10, 121),
    (-40, 130),
    (-100, 134),
    (-165, 130),
)
CAGE_Y = (
    (144, 0),
    (140, 22),
    (128, 34),
    (110, 48),
    (85, 60),
    (50, 73),
    (10, 84),
    (-40, 92),
    (-100, 96),
    (-165, 92),
)
CAGE_AT_Y = ((142, 28), (110, 22), (50, 8), (-40, 0), (-165, 2))


def _trunk(build: Build) -> Stack:
    s = build.stout
    return Stack(
        half_x=(
            (260, 62),
            (205, 58),
            (178, 60),
            (162, 78),
            (150, 112),
            (138, 150),
            (120, 172),
            (95, 176),
            (60, 150 + 14 * s),
            (0, 136 + 18 * s),
            (-100, 138 + 19 * s),
            (-160, 136 + 22 * s),
            (-300, 140 + 30 * s),
        ),
        half_y=(
            (260, 62),
            (205, 58),
            (170, 60),
            (150, 66),
            (120, 72 + 9 * s),
            (60, 86 + 13 * s),
            (0, 96 + 15 * s),
            (-100, 100 + 16 * s),
            (-170, 96 + 20 * s),
            (-300, 92 + 30 * s),
        ),
        centre_y=((260, 2), (150, 20), (110, 18), (50, 8), (-40, 0), (-165, 0)),
        power=2.4,
    )


def _spine_at(build: Build, z: float) -> tuple[float, float, float]:
    s = (z + 20) / 150
    return build.scoliosis * np.sin(1.6 * s + 0.6), 44 + build.kyphosis * float(np.cos(1.15 * s)), z


def _spine(build: Build) -> Iterator[tuple[Body, float]]:
    z, height = 196.0, 15.0
    while z > -300:
        x, y, _ = _spine_at(build, z)
        lean = float(np.rad2deg(np.arctan2(_spine_at(build, z + 5)[1] - y, 5)))
        wide, deep = 11 + height * 0.32, 9 + height * 0.36
        yield _Vertebra((x, y, z), (wide, deep, height / 2 - 1.6), lean), SPONGE * 0.8 * build.bone
        yield Ellipsoid((x, y + deep + 22, z - 9), (4, 13, 5), pitch=-35), SPONGE * build.bone
        for side in (-1, 1):
            yield (
                Ellipsoid((x + side * wide * 0.62, y + deep + 5, z + 2), (3.4, 6, 4.2)),
                CORTEX * 0.45 * build.bone,
            )
            yield (
                Tube(
                    [(x + side * 8, y + deep + 8, z + 3), (x + side * (wide + 13), y + deep + 16, z + 4)],
                    (4.0, 3.4),
                    flat=0.5,
                ),
                SPONGE * build.bone,
            )
        z -= height + 3.6
        height = min(height + 0.62, 26.0)


@dataclass(frozen=True, slots=True)
class _Vertebra:
    """A vertebral body: a waisted drum with dense end plates, leaning with the spine."""

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    lean: float  # degrees in the sagittal plane

    def paint(self, total: Floats, sheet: Sheet, density: float) -> None:
        across, _, ray = sheet.axes
        half, middle = self.half, np.array([self.centre[across], self.centre[2]])
        reach = np.array([half[across] + 6, half[2] + 6])
        box = sheet.box(middle - reach, middle + reach)
        u, v = sheet.u[:, box[1]] - np.float32(middle[0]), sheet.v[box[0]] - np.float32(middle[1])
        if across == 1:
            a = np.float32(np.deg2rad(self.lean))
            u, v = u - a * v, v + a * u
        height = np.minimum(np.abs(v) / half[2], 1)
        waist = half[across] * (0.86 + 0.14 * height**2)
        side = np.minimum(np.abs(u) / waist, 1)
        drum = 2 * half[ray] * np.sqrt(1 - side**4) * np.sqrt(np.sqrt(1 - height**8))
        total[box] += density * drum * (1 + 0.9 * height**8 + 0.5 * side**8)


def _rib(build: Build, k: int, side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centreline (N, 3) and radii of rib k = 1..12, from the spine round to the front."""
    z0 = 122 - 22.5 * (k - 1) + 0.25 * (k - 1) ** 1.5
    end = np.deg2rad((150, 146, 148, 150, 150, 148, 142, 132, 122, 112, 82, 58)[k - 1])
    drop = (34, 58, 76, 92, 104, 114, 120, 122, 122, 122, 120, 110)[k - 1]
    phi = np.linspace(0.16, end, 17)
    round_ = (1 - np.cos(phi)) / 2
    z = z0 + 9 * np.sin(np.minimum(phi * 2.2, np.pi)) - drop * round_**0.92
    level = np.array([z0 - 0.32 * drop], np.float32)[:, None]
    a, b = float(_along(CAGE_X, level)[0, 0]) + 4, float(_along(CAGE_Y, level)[0, 0]) + 5
    a, b = max(a, 46), max(b, 40)
    x0, y0, _ = _spine_at(build, z0)
    middle = float(_along(CAGE_AT_Y, level)[0, 0])
    x = x0 * (1 - round_) + side * (10 * (1 - round_) + a * np.sin(phi) ** 0.85)
    y = middle + b * np.cos(phi) + 6 * np.cos(phi)
    y[0] = min(y[0], y0 + 26)
    radius = np.interp(phi, (0, 0.3, 1.2, end), (4.2, 4.0, 4.8, 5.6))
    return np.stack([x, y, z], axis=1), radius


def _ribs(build: Build) -> Iterator[tuple[Body, float]]:
    for k in range(1, 13):
        for side in (-1, 1):
            p, r = _rib(build, k, side)
            half = (
                len(p) // 2 + 1
            )  # the back and the front of a rib lie over each other in the picture: they add up
            yield Tube(p[:half], r[:half], core=0.78, sponge=0.12, flat=0.8), CORTEX * build.bone
            yield (
                Tube(p[half - 1 :], r[half - 1 :], core=0.8, sponge=0.1, flat=0.7),
                CORTEX * 0.8 * build.bone,
            )


def _girdle(build: Build, arms_down: bool) -> Iterator[tuple[Body, float]]:
    """Clavicles, shoulder blades and the upper arms."""
    bone = CORTEX * build.bone
    for side in (-1, 1):
        s = float(side)
        clavicle = [
            (s * 16, -46, 98),
            (s * 40, -52, 108),
            (s * 75, -40, 122),
            (s * 110, -14, 134),
            (s * 150, 4, 136),
        ]
        yield Tube(clavicle, (7.5, 6, 5.2, 5.4, 6.5), core=0.72, sponge=0.2), bone * 0.75
        if arms_down:
            yield Ellipsoid((s * 124, 76, 58), (27, 4, 68), tilt=s * 14), bone * 0.22
            yield (
                Tube([(s * 146, 50, 108), (s * 136, 66, 60), (s * 112, 82, -14)], (6, 4, 4), core=0.5),
                bone * 0.6,
            )
            yield (
                Tube([(s * 74, 82, 92), (s * 110, 78, 112), (s * 152, 52, 140)], (3, 4, 7), core=0.5),
                bone * 0.5,
            )
            yield Ellipsoid((s * 150, 30, 112), (8, 14, 17)), bone * 0.3
            yield Ellipsoid((s * 174, 16, 116), (23, 22, 23)), bone * 0.26
            shaft = [(s * 182, 14, 108), (s * 190, 12, 60), (s * 200, 10, -40), (s * 206, 10, -220)]
            yield Tube(shaft, (15, 11, 10.5, 11), core=0.62, sponge=0.1), bone * 0.6
        else:
            yield (
                Tube([(s * 120, 62, 118), (s * 118, 76, 60), (s * 110, 84, 0)], (6, 3.6, 3), core=0.5),
                bone * 0.9,
            )
            yield Ellipsoid((s * 150, 12 + 8 * s, 140), (22, 21, 22)), bone * 0.26
            raised = [(s * 152, 8 + 8 * s, 146), (s * 158, -70 + 8 * s, 190), (s * 160, -190, 240 + 14 * s)]
            yield Tube(raised, (14, 10.5, 11), core=0.62, sponge=0.1), bone * 0.6


def _sternum(build: Build) -> Iterator[tuple[Body, float]]:
    line = [(0, -50, 96), (0, -62, 70), (0, -76, 40), (0, -88, 0), (0, -95, -40), (0, -94, -66)]
    yield Tube(line, (7, 7, 5.5, 5.5, 5, 2.5), flat=1.3), SPONGE * 1.3 * build.bone


def _arms(build: Build, arms_down: bool) -> Iterator[Tube]:
    """Soft tissue of the upper arms, which hang beside the trunk from the front and are raised from the side."""
    for side in (-1.0, 1.0):
        if arms_down:
            points = [
                (side * 168, 12, 112),
                (side * 196, 12, 40),
                (side * 205, 10, -60),
                (side * 212, 10, -260),
            ]
            yield Tube(points, (42, 46 * build.stout**0.4, 42, 38))
        else:
            points = [
                (side * 130, 18 + 8 * side, 128),
                (side * 150, -60 + 8 * side, 182),
                (side * 160, -190, 240 + 14 * side),
            ]
            yield Tube(points, (52, 46, 42), flat=0.8)


def _great_vessels(build: Build) -> Iterator[tuple[Body, float]]:
    """What the mediastinum shows over the lungs, and the airways that show as air."""
    inside = -LUNG
    yield Ellipsoid((24, 8, 62), (17, 26, 17)), inside * 0.75
    yield Tube([(22, 20, 66), (27, 34, 30), (22, 36, -40), (12, 36, -110)], (12, 12, 11.5, 11)), inside * 0.45
    for side, z in ((-1, 20), (1, 28)):
        yield Ellipsoid((side * 40, 6, z), (15, 17, 22), tilt=side * 18), inside * 0.6 * build.vessels
        yield Ellipsoid((side * 46, 8, z - 26), (8, 10, 26), tilt=side * -14), inside * 0.7 * build.vessels
    trachea = [(0, -6, 260), (0, -2, 180), (-1, 12, 110), (-2, 22, 50)]
    yield Tube(trachea, (9, 9, 8.5, 8)), GAS
    yield Tube([(-2, 22, 50), (-22, 20, 30), (-40, 18, 12)], (6.5, 6, 4)), GAS * 0.7
    yield Tube([(-2, 22, 50), (22, 20, 34), (44, 18, 22)], (6, 5.5, 4)), GAS * 0.7


def _twigs(rng: Generator, build: Build) -> Iterator[tuple[Body, float]]:
    """Branching vessels from each hilum, thinner towards the chest wall."""
    for side in (-1, 1):
        for angle in np.linspace(-78, 82, 11):
            yield from _twig(rng, build, side, np.deg2rad(angle + rng.normal(0, 6)))


def _twig(rng: Generator, build: Build, side: int, angle: float) -> Iterator[tuple[Body, float]]:
    start = np.array([side * 38.0, 8.0, 16.0 if angle < 0 else 26.0])
    heading = np.array([side * np.cos(angle), rng.uniform(-0.6, 0.6), np.sin(angle)])
    reach = (92 - 18 * np.sin(angle)) * rng.uniform(0.8, 1.05)
    t = np.linspace(0, 1, 6)[:, None]
    bend = np.cumsum(rng.normal(0, 2.2, (6, 3)), axis=0)
    trunk = start + heading * reach * t + bend
    r = rng.uniform(2.3, 3.6) * build.vessels**0.5
    yield Tube(trunk, np.linspace(r, 0.7, 6)), -LUNG
    for i in (1, 2, 3):
        away = heading + rng.normal(0, 0.55, 3)
        branch = (
            trunk[i]
            + away * reach * 0.45 * np.linspace(0, 1, 4)[:, None]
            + np.cumsum(rng.normal(0, 1.2, (4, 3)), axis=0)
        )
        yield Tube(branch, np.linspace(r * 0.6, 0.5, 4)), -LUNG


def _gas(rng: Generator, build: Build) -> Iterator[tuple[Body, float]]:
    """The stomach's bubble below the left diaphragm, and some bowel."""
    if rng.random() < 0.75:
        wide = rng.uniform(14, 30)
        yield (
            Ellipsoid((62, -10, build.domes[1] - 14 - wide * 0.5), (wide, wide, wide * 0.5), tilt=8),
            GAS * rng.uniform(0.5, 1),
        )
    for _ in range(int(rng.integers(0, 9))):
        centre = (rng.uniform(-60, 110), rng.uniform(-50, 10), rng.uniform(-250, -150))
        half = rng.uniform(8, 18, 3)
        yield (
            Ellipsoid(centre, (half[0] * 1.4, half[1], half[2]), tilt=rng.uniform(-60, 60)),
            GAS * rng.uniform(0.4, 0.9),
        )


def _soft(build: Build, sheet: Sheet) -> Floats:
    """Path length in soft tissue, before the lungs are taken out, mm (H, W)."""
    low, high = _trunk(build).interval(sheet)
    body = high - low
    arms = np.zeros_like(body)
    for arm in _arms(build, sheet.axes[0] == 0):
        if sheet.axes[0] == 0:
            layer = np.zeros_like(body)
            arm.paint(layer, sheet, 1.0)
            np.maximum(body, layer, out=body)
        else:
            arm.paint(arms, sheet, 1.0)
    if build.breasts:
        for side in (-1, 1):
            s = 1 + 0.5 * build.breasts
            breast = Ellipsoid((side * 80, -78, -50), (40 * s, 42 * s, 46 * s), tilt=side * -10, pitch=12)
            body += np.float32(0.8) * _outside(breast.interval(sheet), [(low, high)])
    return body + arms * 0.45


def _lungs(build: Build, sheet: Sheet) -> Floats:
    """Path length in the lungs: the cage less mediastinum, heart and diaphragm, mm (H, W)."""
    cage = Stack(CAGE_X, CAGE_Y, centre_y=CAGE_AT_Y, power=2.3)
    h = build.heart
    middle = Stack(
        half_x=((142, 26), (95, 25), (60, 27), (20, 31), (-60, 34), (-165, 36)),
        half_y=((142, 60), (80, 54), (20, 58), (-165, 84)),
        centre_x=((142, 0), (70, 1), (20, 4), (-60, 5)),
        centre_y=((142, 30), (60, 22), (-60, 20)),
        power=3.0,
    )
    floor = build.domes[1]
    heart = Ellipsoid(
        (28 * h, -34, floor + 32 * h), (46 * h, 44 * h, 69 * h), tilt=build.heart_tilt, pitch=-14
    )
    atrium = Ellipsoid((-14, -18, floor + 40 * h), (33 * h, 36 * h, 46 * h), tilt=-8)
    domes = [
        Dome((side * 60, -32, top), 74, (84, 104)) for side, top in zip((-1, 1), build.domes, strict=True)
    ]
    solids = [body.interval(sheet) for body in (middle, heart, atrium, *domes)]
    recess = np.clip((sheet.v + 172) / 24, 0, 1)  # the costophrenic recess thins out
    return _outside(cage.interval(sheet), solids) * recess


def _chest(rng: Generator, sheet: Sheet) -> Floats:
    """Attenuation of the whole chest (H, W), no unit."""
    build = _build(rng)
    frontal = sheet.axes[0] == 0
    total = _soft(build, sheet) * np.float32(TISSUE)
    box = sheet.box((-140, -170), (140, 145))
    inner = sheet.crop(box)
    lungs = _lungs(build, inner)
    aerated = np.zeros_like(lungs)
    for body, density in (*_great_vessels(build), *_twigs(rng, build)):
        body.paint(aerated, inner, density)
    seen = np.minimum(lungs / 40, 1)  # a vessel shows only where there is lung about it
    total[box] += np.float32(LUNG) * lungs + np.where(aerated > 0, aerated * seen, aerated)
    for body, density in (
        *_spine(build), *_ribs(build), *_girdle(build, frontal), *_sternum(build), *_gas(rng, build),
    ):  # fmt: skip
        body.paint(total, sheet, density)
    return np.maximum(total, 0)


# --- the hand -------------------------------------------------------------------------------------------------------


def _hand(rng: Generator, sheet: Sheet) -> Floats:
    """Attenuation of a hand laid flat, fingers up, thumb to the right (H, W)."""
    soft, bone = _skeleton(rng)
    flesh = np.zeros((len(sheet.v), sheet.u.shape[1]), np.float32)
    for body in soft:
        layer = np.zeros_like(flesh)
        body.paint(layer, sheet, 1.0)
        np.maximum(flesh, layer, out=flesh)
    total = _blur(flesh, 2.5) * np.float32(TISSUE * 1.5)
    mineral = rng.uniform(0.7, 1.15)
    for body, density in bone:
        body.paint(total, sheet, density * mineral)
    return total


def _skeleton(rng: Generator) -> tuple[list[Body], list[tuple[Body, float]]]:
    soft: list[Body] = []
    bone: list[tuple[Body, float]] = []
    spread = rng.uniform(0.7, 1.25)
    wrist = np.array([0.0, -66.0])
    for finger in range(5):
        _finger(rng, finger, spread, wrist, soft, bone)
    _wrist(rng, wrist, soft, bone)
    return soft, bone


# base of the metacarpal against the wrist, its direction and the fingers' (degrees from up), lengths of the bones in mm
RAYS = (
    ((24.0, 18.0), 46, 30, (43, 32, 23)),
    ((14.5, 30.0), 12, 11, (65, 41, 24, 18)),
    ((4.0, 31.0), 2, 1, (63, 45, 28, 19)),
    ((-6.0, 29.0), -8, -9, (56, 42, 27, 19)),
    ((-15.0, 26.0), -18, -22, (52, 33, 20, 17)),
)


def _finger(
    rng: Generator, finger: int, spread: float, wrist: NDArray[np.float64],
    soft: list[Body], bone: list[tuple[Body, float]],
) -> None:  # fmt: skip
    base, palm, up, lengths = RAYS[finger]
    at = wrist + np.array(base)
    line = [at]
    for j, length in enumerate(lengths):
        angle = np.deg2rad((palm if j == 0 else up + rng.normal(0, 1.5)) * spread + rng.normal(0, 0.8))
        step = np.array([np.sin(angle), np.cos(angle)]) * length
        thick = (4.7, 4.2, 3.5, 2.7)[j + (finger == 0 and j > 1)] * (
            1.12 if finger == 0 else 0.88 if finger == 4 else 1
        )
        bone.append((_long_bone(at, at + step, thick, tip=j == len(lengths) - 1), CORTEX * 0.9))
        at = at + step * (1 + 2.6 / length)
        line.append(at)
    width = 10.5 if finger == 0 else 8.2 if finger == 4 else 9.4
    flat = [(p[0], 0.0, p[1]) for p in line]
    soft.append(
        Tube(flat, np.linspace(width * 1.9 if finger else width * 1.5, width * 0.84, len(flat)), flat=0.85)
    )


def _long_bone(a: NDArray[np.float64], b: NDArray[np.float64], thick: float, tip: bool) -> Tube:
    """A shaft with wide ends and a thin waist; the last phalanx ends in a tuft."""
    t = np.array([0.0, 0.06, 0.14, 0.26, 0.45, 0.65, 0.82, 0.93, 1.0])
    shape = np.array([1.5, 1.52, 1.3, 1.02, 0.86, 0.84, 1.02, 1.3, 1.1])
    if tip:
        shape = np.array([1.5, 1.5, 1.2, 0.85, 0.68, 0.65, 0.8, 1.0, 0.8])
    radius = thick * shape
    inset = (b - a) / np.linalg.norm(b - a)
    start, end = a, b - inset * radius[-1]
    p = start + (end - start) * t[:, None]
    return Tube([(x, 0.0, z) for x, z in p], radius, core=0.72, sponge=0.3, sawn=True)


CARPALS = (  # centre against the wrist, half axes, turn: scaphoid, lunate, triquetrum, pisiform, then the distal row
    ((11.5, 8.5), (6.0, 8.5), -35), ((1.0, 6.5), (6.6, 6.2), 0), ((-9.0, 8.5), (5.8, 6.2), 25), ((-11.5, 9.5), (3.8, 4.2), 0),
    ((18.0, 15.0), (5.4, 4.8), -30), ((11.5, 19.5), (4.4, 5.4), -15), ((2.0, 18.5), (5.8, 9.0), 0), ((-9.0, 19.5), (6.2, 7.0), 15),
)  # fmt: skip


def _wrist(
    rng: Generator, wrist: NDArray[np.float64], soft: list[Body], bone: list[tuple[Body, float]]
) -> None:
    x, z = wrist
    for (dx, dz), (hx, hz), turn in CARPALS:
        jitter = rng.normal(0, 0.5, 2)
        centre = (x + dx + jitter[0], 0.0, z + dz + jitter[1])
        bone.append((Ellipsoid(centre, (hx, 7, hz), tilt=turn), CORTEX * 0.36))
        bone.append((Ellipsoid(centre, (hx * 0.8, 5, hz * 0.8), tilt=turn), -CORTEX * 0.12))
    radius = [
        (x + 8, 0, z - 2),
        (x + 8, 0, z - 8),
        (x + 9, 0, z - 22),
        (x + 10, 0, z - 40),
        (x + 12, 0, z - 130),
    ]
    ulna = [
        (x - 13, 0, z - 4),
        (x - 13, 0, z - 9),
        (x - 12, 0, z - 18),
        (x - 11, 0, z - 40),
        (x - 9, 0, z - 130),
    ]
    bone.append(
        (Tube(radius, (13, 13, 9.5, 7, 7.2), core=0.8, sponge=0.3, flat=0.6, sawn=True), CORTEX * 0.9)
    )
    bone.append((Tube(ulna, (7.5, 7.5, 5.4, 5, 5.6), core=0.74, sponge=0.3, sawn=True), CORTEX * 0.9))
    forearm = [(x, 0, z + 22), (x, 0, z - 2), (x, 0, z - 40), (x + 2, 0, z - 140)]
    soft.append(Tube(forearm, (30, 27, 27, 36), flat=0.62))
    soft.append(Ellipsoid((x + 2, 0, z + 52), (37, 14, 46)))
    soft.append(Tube([(x + 14, 0, z + 18), (x + 34, 0, z + 44), (x + 22, 0, z + 66)], (15, 14, 12), flat=0.9))


# --- the film -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tone:
    """Where the automatic exposure lays the grey values: two shares of the body's pixels and the grey they get."""

    dark: tuple[float, float]  # percentile of attenuation, grey
    light: tuple[float, float]


SCENES: dict[str, tuple[Callable[[Generator, Sheet], Floats], tuple[int, int, int], Tone]] = {
    "frontal": (_chest, (0, 2, 1), Tone((18, 0.30), (88, 0.86))),
    "lateral": (_chest, (1, 2, 0), Tone((14, 0.34), (88, 0.78))),
    "hand": (_hand, (0, 2, 1), Tone((30, 0.30), (97, 0.76))),
}

MARKERS = {
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
}


def render(kind: str, seed: int, size: tuple[int, int] = (512, 420)) -> Floats:
    """One synthetic film of a kind in `KINDS`: (rows, columns) float32 in [0, 1], as displayed in MONOCHROME2.

    The same kind, seed and size give the same film; another seed is another patient, exposure, turn of up to four
    degrees, collimation and side marker. The anatomy of a seed does not depend on the size. The seed is not negative.

    Raises:
        ValueError: the kind is none of `KINDS`.
    """
    if kind not in KINDS:
        raise ValueError(f"no phantom of kind {kind!r}; there are {', '.join(KINDS)}")
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    scene, axes, tone = SCENES[kind]
    attenuation = scene(rng, _sheet(rng, kind, axes))
    attenuation *= 1 + 0.035 * _clouds(rng, attenuation.shape)
    attenuation = _harmonise(_blur(attenuation, rng.uniform(0.5, 1.0)), rng.uniform(0.1, 0.3))
    mirrored = kind != "frontal" and rng.random() < (0.5 if kind == "lateral" else 0.2)
    low, slope = _exposure(rng, attenuation, tone)
    flat = _cut(rng, attenuation[:, ::-1] if mirrored else attenuation, kind, size)
    base = np.float32(rng.uniform(0.5, 1) / (1 + np.exp(low * slope)))  # the grey of bare film
    film = (1 / (1 + np.exp(-(_noise(rng, flat) - low) * slope)) - base) / (1 - base)
    _mark(rng, film, kind)
    _collimate(rng, film)
    return np.clip(film, 0, 1, dtype=np.float32)


def _sheet(rng: Generator, kind: str, axes: tuple[int, int, int]) -> Sheet:
    """The scene's grid, in a patient's own millimetres: one who is 10 % wider is one seen on a narrower grid."""
    overall = rng.uniform(0.94, 1.08) if kind != "hand" else rng.uniform(0.78, 1.04)
    wide, tall = overall * rng.uniform(0.95, 1.05), overall * rng.uniform(0.95, 1.05)
    height, width = (side * MARGIN for side in FIELD_MM[kind])
    step = STEP_MM[kind]
    v = (np.arange(int(height / step), 0, -1) * step - height / 2) / tall
    u = (np.arange(int(width / step)) * step - width / 2) / wide
    lift = {"frontal": -25, "lateral": -25, "hand": 0}[kind]
    return Sheet(u.astype(np.float32)[None], (v + lift).astype(np.float32)[:, None], axes)


def _exposure(rng: Generator, attenuation: Floats, tone: Tone) -> tuple[float, float]:
    """Middle and slope of the characteristic curve that give this film its tone."""
    sparse = attenuation[::5, ::5]
    body = sparse[sparse > 0.35]
    dark, light = np.percentile(body, (tone.dark[0], tone.light[0]))
    grey = np.clip(np.array([tone.dark[1], tone.light[1]]) + rng.normal(0, 0.035, 2), 0.08, 0.95)
    low, high = np.log(grey / (1 - grey))
    slope = (high - low) / (light - dark)
    return float(dark - low / slope), float(slope)


def _harmonise(a: Floats, share: float) -> Floats:
    """Give back part of the contrast between large regions, as a film processor does."""
    small = a[::8, ::8]
    wide = _enlarge(_blur(small, 6), a.shape)
    return a - np.float32(share) * (wide - wide.mean()) * np.minimum(a, 1)


def _cut(rng: Generator, scene: Floats, kind: str, size: tuple[int, int]) -> Floats:
    """The film (rows, columns) out of the scene: turned by up to 4 degrees, a little off centre; bilinear."""
    rows, columns = size
    height, width = FIELD_MM[kind]
    pitch = max(height / rows, width / columns) / STEP_MM[kind]
    angle = np.deg2rad(rng.uniform(-4, 4))
    shift = rng.uniform(-7, 7, 2)
    across = (np.arange(columns, dtype=np.float32) - (columns - 1) / 2) * np.float32(pitch)
    down = ((np.arange(rows, dtype=np.float32) - (rows - 1) / 2) * np.float32(pitch))[:, None]
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    y = np.clip(
        down * c - across * s + (scene.shape[0] - 1) / 2 + np.float32(shift[0]), 0, scene.shape[0] - 1.001
    )
    x = np.clip(
        down * s + across * c + (scene.shape[1] - 1) / 2 + np.float32(shift[1]), 0, scene.shape[1] - 1.001
    )
    top, left = y.astype(np.int32), x.astype(np.int32)
    y, x = y - top, x - left
    flat, at = np.ascontiguousarray(scene).ravel(), top * scene.shape[1] + left
    upper = flat[at] * (1 - x) + flat[at + 1] * x
    at += scene.shape[1]
    lower = flat[at] * (1 - x) + flat[at + 1] * x
    return np.asarray(upper * (1 - y) + lower * y, np.float32)


def _noise(rng: Generator, attenuation: Floats) -> Floats:
    """Add quantum noise, which grows where fewer quanta arrive, and the detector's grain."""
    dose = rng.uniform(0.5, 2.0)
    white = rng.standard_normal(attenuation.shape, dtype=np.float32)
    white[1:] += 0.5 * white[:-1]
    white[:, 1:] += 0.5 * white[:, :-1]
    quantum = np.exp(attenuation * np.float32(0.5)) * np.float32(0.006 / np.sqrt(dose))
    return np.asarray(attenuation + white * (quantum + np.float32(0.01)), np.float32)


def _mark(rng: Generator, film: Floats, kind: str) -> None:
    """Stamp a lead letter beside the anatomy; a letter stands on the patient's own side."""
    if rng.random() < 0.12:
        return
    letter = "R" if rng.random() < 0.3 else "L"
    bits = np.array([[int(c) for c in row] for row in MARKERS[letter]], np.float32)
    dot = max(1, round(film.shape[0] * rng.uniform(0.004, 0.007)))
    stamp = np.kron(bits, np.ones((dot, dot), np.float32))
    rows, columns = film.shape
    down = rng.uniform(0.04, 0.14) if kind != "hand" else rng.uniform(0.5, 0.8)
    across = rng.uniform(0.84, 0.92) if letter == "L" else rng.uniform(0.05, 0.12)
    if kind == "hand":
        across = rng.uniform(0.05, 0.12)
    top, left = int(rows * down), int(columns * across)
    spot = film[top : top + stamp.shape[0], left : left + stamp.shape[1]]
    ink = stamp[: spot.shape[0], : spot.shape[1]]
    spot += (np.float32(rng.uniform(0.88, 1.0)) - spot) * ink


def _collimate(rng: Generator, film: Floats) -> None:
    """Darken what lies outside the shutters, with a soft edge; some films are not collimated."""
    rows, columns = film.shape
    if rng.random() < 0.35:
        return
    top, bottom, left, right = rng.uniform(-0.01, 0.035, 4) * (rows, rows, columns, columns)
    soft = max(0.5, rows * 0.0015)
    r, c = np.arange(rows, dtype=np.float32), np.arange(columns, dtype=np.float32)
    down = np.clip(np.minimum(r - top, rows - 1 - bottom - r) / soft, 0, 1)
    across = np.clip(np.minimum(c - left, columns - 1 - right - c) / soft, 0, 1)
    film *= (down[:, None] * across[None]).astype(np.float32)


def _clouds(rng: Generator, shape: tuple[int, ...]) -> Floats:
    """Smooth noise of unit size in two octaves: muscle, fat and the rest that the scene leaves out."""
    out = np.zeros(shape, np.float32)
    for cell, weight in ((48, 0.8), (14, 0.5)):
        grid = rng.standard_normal((shape[0] // cell + 2, shape[1] // cell + 2), dtype=np.float32)
        out += np.float32(weight) * _enlarge(grid, shape)
    return out


def _enlarge(small: Floats, shape: tuple[int, ...]) -> Floats:
    """Bilinear interpolation of a coarse grid over `shape`."""
    for axis in (0, 1):
        at = np.linspace(0, small.shape[axis] - 1.001, shape[axis], dtype=np.float32)
        low = at.astype(np.int32)
        share = (at - low)[:, None] if axis == 0 else (at - low)[None]
        small = np.take(small, low, axis) * (1 - share) + np.take(small, low + 1, axis) * share
    return small


def _blur(a: Floats, sigma: float) -> Floats:
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
