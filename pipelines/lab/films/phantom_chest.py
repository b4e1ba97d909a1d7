"""The chest of a synthetic film, from the front and from the side: trunk, lungs, vessels, bones, airway.

The frame is that of lab.films.phantom.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pipelines.lab.films.phantom_bodies import (
    CORTEX,
    GAS,
    LUNG,
    SPONGE,
    TISSUE,
    Dome,
    Doubles,
    Ellipsoid,
    Floats,
    Part,
    Point,
    Profile,
    Sheet,
    Solid,
    Stack,
    Tube,
    Vertebra,
    along,
    mirror,
    outside,
)

# fmt: off
CAGE_X: Profile = (
    (144, 0), (140, 30), (130, 52), (110, 74), (85, 92), (50, 108), (10, 121), (-40, 130), (-100, 134),
    (-165, 130),
)
CAGE_Y: Profile = (
    (144, 0), (140, 22), (128, 34), (110, 48), (85, 60), (50, 73), (10, 84), (-40, 92), (-100, 96),
    (-165, 92),
)
CAGE_AT_Y: Profile = ((142, 28), (110, 22), (50, 8), (-40, 0), (-165, 2))
TRUNK_X = (  # z, half width, and what a stouter patient adds to it
    (260, 62, 0), (205, 58, 0), (178, 60, 0), (162, 78, 0), (150, 112, 0), (138, 150, 0), (120, 172, 0),
    (95, 176, 0), (60, 150, 14), (0, 136, 18), (-100, 138, 19), (-160, 136, 22), (-300, 140, 30),
)
TRUNK_Y = (
    (260, 62, 0), (205, 58, 0), (170, 60, 0), (150, 66, 0), (120, 72, 9), (60, 86, 13), (0, 96, 15),
    (-100, 100, 16), (-170, 96, 20), (-300, 92, 30),
)
TRUNK_AT_Y: Profile = ((260, 2), (150, 20), (110, 18), (50, 8), (-40, 0), (-165, 0))
RIBS = (  # of each rib: how far round it is bone (degrees from the spine), how far it falls on the way (mm)
    (150, 34), (146, 58), (148, 76), (150, 92), (150, 104), (148, 114),
    (142, 120), (132, 122), (122, 122), (112, 122), (82, 120), (58, 110),
)
CLAVICLE = ((16, -46, 98), (40, -52, 108), (75, -40, 122), (110, -14, 134), (150, 4, 136))
STERNUM = ((0, -50, 96), (0, -62, 70), (0, -76, 40), (0, -88, 0), (0, -95, -40), (0, -94, -66))
ARM = ((168, 12, 112), (196, 12, 40), (205, 10, -60), (212, 10, -260))
ARM_RAISED = ((130, 18, 128), (150, -60, 182), (160, -190, 240))
HUMERUS = ((182, 14, 108), (190, 12, 60), (200, 10, -40), (206, 10, -220))
HUMERUS_RAISED = ((152, 8, 146), (158, -70, 190), (160, -190, 240))
BLADE_EDGE = ((146, 50, 108), (136, 66, 60), (112, 82, -14))
BLADE_SPINE = ((74, 82, 92), (110, 78, 112), (152, 52, 140))
TRACHEA = ((0, -6, 260), (0, -2, 180), (-1, 12, 110), (-2, 22, 50))
BRONCHI = (((-2, 22, 50), (-22, 20, 30), (-40, 18, 12)), ((-2, 22, 50), (22, 20, 34), (44, 18, 22)))
AORTA = ((22, 20, 66), (27, 34, 30), (22, 36, -40), (12, 36, -110))
# fmt: on


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
        heart_tilt=rng.uniform(36, 54),
        domes=(right, right - rng.uniform(4, 20)),
        stout=rng.uniform(0.85, 1.25),
        breasts=rng.uniform(0.5, 1.2) * (rng.random() < 0.45),
        scoliosis=rng.normal(0, 4),
        kyphosis=rng.uniform(12, 30),
        bone=rng.uniform(0.75, 1.2),
        vessels=rng.uniform(0.7, 1.3),
    )


def chest(rng: Generator, sheet: Sheet) -> Floats:
    """Attenuation of the whole chest (H, W), no unit."""
    build = _build(rng)
    total = _soft(build, sheet) * np.float32(TISSUE)
    box = sheet.box((-140, -172), (140, 145))
    total[box] += _air(rng, build, sheet.crop(box))
    frontal = sheet.axes[0] == 0
    for parts in (
        _spine(build, frontal),
        _ribs(build, frontal),
        _girdle(build, frontal),
        _sternum(build),
        _airway(),
        _gas(rng, build),
    ):
        for body, density in parts:
            body.paint(total, sheet, density)
    return np.asarray(np.maximum(total, 0))


def _soft(build: Build, sheet: Sheet) -> Floats:
    """Path length in soft tissue, before the lungs are taken out, mm (H, W)."""
    trunk = Stack(_stouter(TRUNK_X, build), _stouter(TRUNK_Y, build), centre_y=TRUNK_AT_Y, power=2.4)
    low, high = trunk.interval(sheet)
    flesh = high - low
    for side in (-1, 1):
        if build.breasts:
            s = 1 + 0.5 * build.breasts
            breast = Ellipsoid((side * 80, -72, -46), (40 * s, 37 * s, 54 * s), tilt=side * -10, pitch=14)
            flesh += np.float32(0.7) * outside(breast.interval(sheet), [(low, high)])
        if sheet.axes[0] == 0:  # the arms hang beside the trunk from the front, and are raised from the side
            layer = np.zeros_like(flesh)
            Tube(mirror(ARM, side), (42, 46, 42, 38)).paint(layer, sheet, 1.0)
            np.maximum(flesh, layer, out=flesh)
        else:
            Tube(mirror(ARM_RAISED, side), (52, 46, 42)).paint(flesh, sheet, 0.3)
    return flesh


def _stouter(rows: Sequence[Point], build: Build) -> Profile:
    return [(z, base + more * build.stout) for z, base, more in rows]


def _air(rng: Generator, build: Build, sheet: Sheet) -> Floats:
    """What the lungs lack in attenuation against soft tissue, their vessels put back (H, W)."""
    lungs = _lungs(build, sheet)
    blood = np.zeros_like(lungs)
    for parts in (_great_vessels(build), _twigs(rng, build)):
        for body, density in parts:
            body.paint(blood, sheet, density)
    return LUNG * lungs + blood * np.minimum(
        lungs / 40, 1
    )  # a vessel shows only where there is lung about it


def _lungs(build: Build, sheet: Sheet) -> Floats:
    """Path length in the lungs: the cage less mediastinum, heart and diaphragm, mm (H, W)."""
    h, floor = build.heart, build.domes[1]
    middle = Stack(
        half_x=((142, 26), (95, 28), (60, 31), (20, 34), (-60, 36), (-165, 38)),
        half_y=((142, 52), (80, 48), (20, 48), (-165, 64)),
        centre_x=((142, 0), (70, 1), (20, 4), (-60, 6)),
        centre_y=((142, 32), (60, 24), (-60, 24)),
        power=2.2,
    )
    solids: tuple[Solid, ...] = (
        middle,
        Ellipsoid((28 * h, -30, floor + 32 * h), (47 * h, 50 * h, 70 * h), tilt=build.heart_tilt, pitch=-14),
        Ellipsoid((-14, -16, floor + 40 * h), (34 * h, 44 * h, 48 * h), tilt=-8),
        *(Dome((side * 60, -32, top), 74, (84, 104)) for side, top in zip((-1, 1), build.domes, strict=True)),
    )
    cage = Stack(CAGE_X, CAGE_Y, centre_y=CAGE_AT_Y, power=2.3)
    recess: Floats = np.clip((sheet.v + 172) / 24, 0, 1)  # the costophrenic recess thins out
    return outside(cage.interval(sheet), [s.interval(sheet) for s in solids]) * recess


def _great_vessels(build: Build) -> Iterator[Part]:
    """What the mediastinum shows over the lungs."""
    yield Ellipsoid((22, 8, 60), (20, 28, 19)), -LUNG * 0.55
    yield Tube(AORTA, (12, 12, 11.5, 11)), -LUNG * 0.6
    yield Ellipsoid((-22, 0, 66), (12, 14, 44), tilt=-4), -LUNG * 0.7
    for side, z in ((-1, 18), (1, 27)):
        yield Ellipsoid((side * 40, 6, z), (15, 17, 20), tilt=side * 18), -LUNG * 0.7 * build.vessels
        yield Ellipsoid((side * 46, 8, z - 26), (8, 10, 26), tilt=side * -14), -LUNG * 0.8 * build.vessels


def _twigs(rng: Generator, build: Build) -> Iterator[Part]:
    """Branching vessels from each hilum, thinner towards the chest wall."""
    for side in (-1, 1):
        for angle in np.linspace(-78, 82, 11):
            yield from _twig(rng, build, side, np.deg2rad(angle + rng.normal(0, 6)))


def _twig(rng: Generator, build: Build, side: int, angle: float) -> Iterator[Part]:
    start = np.array([side * 38.0, 8.0, 16.0 if angle < 0 else 26.0])
    heading = np.array([side * np.cos(angle), rng.uniform(-0.6, 0.6), np.sin(angle)])
    reach = (92 - 18 * np.sin(angle)) * rng.uniform(0.8, 1.05)
    trunk = _wander(rng, start, heading * reach, 6, 2.2)
    r = rng.uniform(2.6, 4.2) * build.vessels**0.5
    yield Tube(trunk, np.linspace(r, 0.8, 6)), -LUNG
    for i in (1, 2, 3):
        away = heading + rng.normal(0, 0.55, 3)
        yield Tube(_wander(rng, trunk[i], away * reach * 0.45, 4, 1.2), np.linspace(r * 0.62, 0.6, 4)), -LUNG


def _wander(rng: Generator, start: Doubles, run: Doubles, n: int, loose: float) -> Doubles:
    """n points (n, 3) along a run that sways a little."""
    return start + run * np.linspace(0, 1, n)[:, None] + np.cumsum(rng.normal(0, loose, (n, 3)), axis=0)


def _airway() -> Iterator[Part]:
    yield Tube(TRACHEA, (9, 9, 8.5, 8)), GAS
    for bronchus in BRONCHI:
        yield Tube(bronchus, (6.5, 6, 4)), GAS * 0.7


def _gas(rng: Generator, build: Build) -> Iterator[Part]:
    """The stomach's bubble below the left diaphragm, and some bowel."""
    if rng.random() < 0.75:
        wide = rng.uniform(14, 30)
        centre = (62.0, -10.0, build.domes[1] - 14 - wide * 0.5)
        yield Ellipsoid(centre, (wide, wide, wide * 0.5), tilt=8), GAS * rng.uniform(0.5, 1)
    for _ in range(int(rng.integers(0, 9))):
        centre = (rng.uniform(-60, 110), rng.uniform(-50, 10), rng.uniform(-250, -150))
        half = (rng.uniform(11, 25), rng.uniform(8, 18), rng.uniform(8, 18))
        yield Ellipsoid(centre, half, tilt=rng.uniform(-60, 60)), GAS * rng.uniform(0.4, 0.9)


def _spine_at(build: Build, z: float) -> Point:
    """The middle of the vertebral body at this height."""
    s = (z + 20) / 150
    return build.scoliosis * math.sin(1.6 * s + 0.6), 44 + build.kyphosis * math.cos(1.15 * s), z


def _spine(build: Build, frontal: bool) -> Iterator[Part]:
    """Vertebrae from the neck to the loins, taller and wider downwards."""
    z, height = 196.0, 15.0
    while z > -300:
        x, y, _ = _spine_at(build, z)
        lean = math.degrees(math.atan2(_spine_at(build, z + 5)[1] - y, 5))
        wide, deep = 11 + height * 0.32, 9 + height * 0.36
        drum = Vertebra((x, y, z), (wide, deep, height / 2 - 1.6), lean)
        yield drum, SPONGE * (0.7 if frontal else 1.0) * build.bone
        yield Ellipsoid((x, y + deep + 22, z - 9), (4, 13, 5), pitch=-35), SPONGE * build.bone
        for side in (-1, 1):
            pedicle = (x + side * wide * 0.62, y + deep + 5, z + 2)
            yield Ellipsoid(pedicle, (3.4, 6, 4.2)), CORTEX * 0.4 * build.bone
            process = [(x + side * 8, y + deep + 8, z + 3), (x + side * (wide + 13), y + deep + 16, z + 4)]
            yield Tube(process, (4.0, 3.4), flat=0.5), SPONGE * build.bone
        z -= height + 3.6
        height = min(height + 0.62, 26.0)


def _ribs(build: Build, frontal: bool) -> Iterator[Part]:
    for k in range(1, 13):
        for side in (-1, 1):
            p, r = _rib(build, k, side)
            faint = 1.0 if k < 10 else 0.6
            if frontal:  # the back and the front of a rib lie over each other, and add up
                half = len(p) // 2 + 1
                yield Tube(p[:half], r[:half], 0.78, 0.12, flat=0.8), CORTEX * faint * build.bone
                yield (
                    Tube(p[half - 1 :], r[half - 1 :], 0.8, 0.1, flat=0.7),
                    CORTEX * 0.8 * faint * build.bone,
                )
            else:
                yield Tube(p, r, 0.8, 0.15, flat=0.5), CORTEX * faint * build.bone


def _rib(build: Build, k: int, side: int) -> tuple[Doubles, Doubles]:
    """Centreline (N, 3) and radii (N,) of rib k = 1 to 12, from the spine round to the front."""
    degrees, drop = RIBS[k - 1]
    z0 = 122 - 22.5 * (k - 1) + 0.25 * (k - 1) ** 1.5
    phi = np.linspace(0.16, math.radians(degrees), 17)
    forward = (1 - np.cos(phi)) / 2
    level = np.array([[z0 - 0.32 * drop]], np.float32)
    wide, deep = max(along(CAGE_X, level).item() + 4, 46), max(along(CAGE_Y, level).item() + 11, 46)
    x0, y0, _ = _spine_at(build, z0)
    x = x0 * (1 - forward) + side * (10 * (1 - forward) + wide * np.sin(phi) ** 0.85)
    y = along(CAGE_AT_Y, level).item() + deep * np.cos(phi)
    y[0] = min(y[0], y0 + 26)
    z = z0 + 9 * np.sin(np.minimum(phi * 2.2, np.pi)) - drop * forward**0.92
    return np.stack([x, y, z], axis=1), np.interp(
        phi, (0, 0.3, 1.2, phi[-2], phi[-1]), (3.2, 4, 4.8, 5.4, 3.6)
    )


def _sternum(build: Build) -> Iterator[Part]:
    yield Tube(STERNUM, (7, 7, 5.5, 5.5, 5, 2.5), flat=1.3), SPONGE * 1.3 * build.bone


def _girdle(build: Build, arms_down: bool) -> Iterator[Part]:
    """Clavicles, shoulder blades and upper arms."""
    bone = CORTEX * build.bone
    for side in (-1, 1):
        yield (
            Tube(mirror(CLAVICLE, side), (7.5, 6, 5.2, 5.4, 6.5), 0.72, 0.2),
            bone * (0.9 if arms_down else 0.4),
        )
        yield Tube(mirror(BLADE_EDGE, side), (6, 4, 3), 0.5), bone * 0.6
        if arms_down:
            yield Ellipsoid((side * 124, 76, 58), (27, 4, 68), tilt=side * 14), bone * 0.22
            yield Tube(mirror(BLADE_SPINE, side), (3, 4, 7), 0.5), bone * 0.5
            yield Ellipsoid((side * 150, 30, 112), (8, 14, 17)), bone * 0.3
            yield Ellipsoid((side * 174, 16, 116), (23, 22, 23)), bone * 0.26
            yield Tube(mirror(HUMERUS, side), (15, 11, 10.5, 11), 0.62, 0.1), bone * 0.6
        else:
            yield Ellipsoid((side * 150, 12 - 4 * side, 140), (22, 21, 22)), bone * 0.16
            yield Tube(mirror(HUMERUS_RAISED, side), (14, 10.5, 11), 0.62, 0.1), bone * 0.6
