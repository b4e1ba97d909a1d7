"""Synthetic films: a chest from the front, a chest from the side, a hand. Phantoms, not patients.

The chest is in lab.films.phantom_chest; parts that are for testing only (`UNTRAINED`: skull, neck, abdomen,
pelvis) are in lab.films.phantom_parts.

A small 3-D scene of simple bodies (stacked ovals, ellipsoids, tubes) is projected along parallel rays. The
path of each ray through a body is known in closed form, so a film costs some tens of milliseconds and needs
numpy alone. The film then follows Beer-Lambert: attenuation is the line integral of density, quantum noise
grows as less light arrives, and a sigmoid stands for the film's characteristic curve and the viewer's window.

Frame: millimetres in the patient, x to the patient's left, y to the back, z to the head; the origin lies in
the middle of the thorax. Films come as displayed in MONOCHROME2: bone is bright, air is dark, and on the
frontal chest the patient's left is at the right of the picture.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.random import Generator

from pipelines.lab.films.phantom_bodies import (
    CORTEX,
    TISSUE,
    Body,
    Doubles,
    Ellipsoid,
    Floats,
    Part,
    Point,
    Scene,
    Sheet,
    Tone,
    Tube,
    blur,
)
from pipelines.lab.films.phantom_chest import chest
from pipelines.lab.films.phantom_parts import PARTS

__all__ = ["KINDS", "UNTRAINED", "mirrored", "pitch_mm", "render"]

MARGIN = 1.16  # the scene reaches this much further than the film, so that a turned film has no empty corner


# --- the hand -----------------------------------------------------------------------------------------------

# fmt: off
RAYS = (  # thumb first: root from the wrist, directions of palm and finger (degrees), lengths
    ((24.0, 18.0), 46, 30, (43, 32, 23)),
    ((14.5, 30.0), 12, 11, (65, 41, 24, 18)),
    ((4.0, 31.0), 2, 1, (63, 45, 28, 19)),
    ((-6.0, 29.0), -8, -9, (56, 42, 27, 19)),
    ((-15.0, 26.0), -18, -22, (52, 33, 20, 17)),
)
STOUT = (1.12, 1.0, 1.0, 1.0, 0.88)  # of each ray's bones
FLESH = (10.5, 9.4, 9.6, 9.4, 8.2)  # half width of each finger, mm
CARPALS = (  # from the wrist, half axes, turn: scaphoid to pisiform, then trapezium to hamate
    ((11.5, 8.5), (6.0, 8.5), -35), ((1.0, 6.5), (6.6, 6.2), 0),
    ((-9.0, 8.5), (5.8, 6.2), 25), ((-11.5, 9.5), (3.8, 4.2), 0),
    ((18.0, 15.0), (5.4, 4.8), -30), ((11.5, 19.5), (4.4, 5.4), -15),
    ((2.0, 18.5), (5.8, 9.0), 0), ((-9.0, 19.5), (6.2, 7.0), 15),
)
RADIUS = ((8, 0, -2), (8, 0, -8), (9, 0, -22), (10, 0, -40), (12, 0, -130))
ULNA = ((-13, 0, -4), (-13, 0, -9), (-12, 0, -18), (-11, 0, -40), (-9, 0, -130))
FOREARM = ((0, 0, 22), (0, 0, -2), (0, 0, -40), (2, 0, -140))
BALL_OF_THUMB = ((14, 0, 18), (34, 0, 44), (22, 0, 66))
SHAFT = (  # along a long bone: share of its length, half width against the bone's own
    (0.0, 1.5), (0.06, 1.52), (0.14, 1.3), (0.26, 1.02), (0.45, 0.86), (0.65, 0.84), (0.82, 1.02),
    (0.93, 1.3), (1, 1.1),
)
TUFT = (
    (0.0, 1.5), (0.06, 1.5), (0.14, 1.2), (0.26, 0.85), (0.45, 0.68), (0.65, 0.65), (0.82, 0.8),
    (0.93, 1.0), (1, 0.8),
)
WRIST_Z = -66.0
# fmt: on


def _hand(rng: Generator, sheet: Sheet) -> Floats:
    """Attenuation of a hand laid flat, fingers up, thumb to the right (H, W)."""
    fingers = _fingers(rng)
    flesh = np.zeros((len(sheet.v), sheet.u.shape[1]), np.float32)
    for body in _flesh(fingers):
        layer = np.zeros_like(flesh)
        body.paint(layer, sheet, 1.0)
        np.maximum(flesh, layer, out=flesh)
    total = blur(flesh, 2.5) * np.float32(TISSUE * 1.5)
    mineral = rng.uniform(0.7, 1.15)
    for parts in (_phalanges(fingers), _wrist(rng)):
        for body, density in parts:
            body.paint(total, sheet, density * mineral)
    return total


def _fingers(rng: Generator) -> list[list[tuple[Doubles, Doubles]]]:
    """Of each ray, thumb first, its bones from the palm to the tip: where each begins and ends (x, z)."""
    spread = rng.uniform(0.7, 1.25)
    rays = []
    for base, palm, up, lengths in RAYS:
        at, bones = np.array([base[0], base[1] + WRIST_Z]), []
        for j, length in enumerate(lengths):
            degrees = (palm if j == 0 else up + rng.normal(0, 1.5)) * spread + rng.normal(0, 0.8)
            step = np.array([math.sin(math.radians(degrees)), math.cos(math.radians(degrees))]) * length
            bones.append((at, at + step))
            at = at + step * (1 + 2.6 / length)  # the cartilage of the joint
        rays.append(bones)
    return rays


def _flesh(fingers: list[list[tuple[Doubles, Doubles]]]) -> Iterator[Body]:
    for i, bones in enumerate(fingers):
        line = [(a[0], 0.0, a[1]) for a, _ in bones] + [(bones[-1][1][0], 0.0, bones[-1][1][1])]
        root = FLESH[i] * (1.9 if i else 1.5)
        yield Tube(line, np.linspace(root, FLESH[i] * 0.84, len(line)), flat=0.85)
    yield Tube(_at_wrist(FOREARM), (30, 27, 27, 36), flat=0.62)
    yield Ellipsoid((2, 0, WRIST_Z + 52), (37, 14, 46))
    yield Tube(_at_wrist(BALL_OF_THUMB), (15, 14, 12), flat=0.9)


def _at_wrist(points: Sequence[Point]) -> list[Point]:
    return [(x, y, z + WRIST_Z) for x, y, z in points]


def _phalanges(fingers: list[list[tuple[Doubles, Doubles]]]) -> Iterator[Part]:
    """Metacarpals and phalanges; the last one of a finger ends in a tuft."""
    for i, bones in enumerate(fingers):
        widths = (4.7, 4.2, 2.7) if i == 0 else (4.7, 4.2, 3.5, 2.7)
        for j, ((a, b), width) in enumerate(zip(bones, widths, strict=True)):
            share, shape = np.array(TUFT if j == len(bones) - 1 else SHAFT).T
            radius = width * STOUT[i] * shape
            end = b - (b - a) / np.linalg.norm(b - a) * radius[-1]
            line = a + (end - a) * share[:, None]
            points = [(x, 0.0, z) for x, z in line]
            yield Tube(points, radius, 0.72, 0.3, flat=0.9, sawn=True), CORTEX


def _wrist(rng: Generator) -> Iterator[Part]:
    for (x, z), (wide, long), turn in CARPALS:
        centre = (x + rng.normal(0, 0.5), 0.0, z + WRIST_Z + rng.normal(0, 0.5))
        yield Ellipsoid(centre, (wide, 7, long), tilt=turn), CORTEX * 0.36
        yield Ellipsoid(centre, (wide * 0.8, 5, long * 0.8), tilt=turn), -CORTEX * 0.12
    yield Tube(_at_wrist(RADIUS), (13, 13, 9.5, 7, 7.2), 0.8, 0.3, flat=0.6, sawn=True), CORTEX * 0.9
    yield Tube(_at_wrist(ULNA), (7.5, 7.5, 5.4, 5, 5.6), 0.74, 0.3, sawn=True), CORTEX * 0.9


# --- the film -----------------------------------------------------------------------------------------------


SCENES: dict[str, Scene] = {
    "frontal": Scene(chest, (0, 2, 1), Tone((18, 0.32), (86, 0.87)), (430.0, 350.0), 0.85, lift=-25),
    "lateral": Scene(
        chest,
        (1, 2, 0),
        Tone((14, 0.35), (88, 0.82)),
        (430.0, 350.0),
        0.85,
        lift=-25,
        deeper=(1.02, 1.2),
        other_side=0.5,
    ),
    "hand": Scene(
        _hand, (0, 2, 1), Tone((30, 0.30), (97, 0.76)), (282.0, 230.0), 0.5, size=(0.84, 1.08), other_side=0.2
    ),
    **PARTS,
}
KINDS = tuple(SCENES)
UNTRAINED = tuple(PARTS)  # for testing only: pipelines.lab.train.gate_train must not draw them

MARKERS = {
    "L": ("10000", "10000", "10000", "10000", "10000", "10000", "11111"),
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
}


def render(kind: str, seed: int, size: tuple[int, int] = (512, 420)) -> Floats:
    """One synthetic film: (rows, columns) float32 in [0, 1], as displayed in MONOCHROME2.

    The same kind, seed and size give the same film. Another seed (none is negative) is another patient,
    exposure, turn of up to four degrees, collimation and side marker. The anatomy is the same at any size.

    Raises:
        ValueError: the kind is none of `KINDS`.
    """
    if kind not in KINDS:
        raise ValueError(f"no phantom of kind {kind!r}; there are {', '.join(KINDS)}")
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    scene = SCENES[kind]
    attenuation = scene.paint(rng, _sheet(rng, scene))
    attenuation *= 1 + 0.035 * _clouds(rng, attenuation.shape)
    attenuation = _harmonise(blur(attenuation, rng.uniform(0.5, 1.0)), rng.uniform(0.1, 0.3))
    low, slope = _exposure(rng, attenuation, scene.tone)
    flat = _cut(rng, attenuation[:, ::-1] if mirrored(kind, seed) else attenuation, scene, size)
    base = np.float32(rng.uniform(0.3, 1) / (1 + np.exp(low * slope)))  # the grey of bare film
    film: Floats = (1 / (1 + np.exp(-(_noise(rng, flat) - low) * slope)) - base) / (1 - base)
    _mark(rng, film, kind, mirrored(kind, seed))
    _collimate(rng, film)
    return np.clip(film, 0, 1, out=film)


def mirrored(kind: str, seed: int) -> bool:
    """Whether this film shows the other side: a lateral that faces right, a right hand."""
    drawn = np.random.default_rng((seed, KINDS.index(kind), 1)).random()
    return bool(drawn < SCENES[kind].other_side)


def pitch_mm(kind: str, size: tuple[int, int]) -> float:
    """How far apart the pixels of a film of this size (rows, columns) lie."""
    return _pitch(SCENES[kind], size)


def _pitch(scene: Scene, size: tuple[int, int]) -> float:
    height, width = scene.field_mm
    return max(height / size[0], width / size[1])


def _sheet(rng: Generator, scene: Scene) -> Sheet:
    """The scene's grid in the patient's own millimetres: a wider patient is one seen on a narrower grid."""
    overall = rng.uniform(*scene.size)
    wide, tall = overall * rng.uniform(0.95, 1.05), overall * rng.uniform(0.95, 1.05)
    if scene.deeper:
        wide *= rng.uniform(*scene.deeper)
    height, width = (side * MARGIN for side in scene.field_mm)
    step = scene.step_mm
    v = (np.arange(int(height / step), 0, -1) * step - height / 2) / tall
    u = (np.arange(int(width / step)) * step - width / 2) / wide
    return Sheet(u.astype(np.float32)[None], (v + scene.lift).astype(np.float32)[:, None], scene.axes)


def _exposure(rng: Generator, attenuation: Floats, tone: Tone) -> tuple[float, float]:
    """Middle and slope of the characteristic curve that give this film its tone."""
    sparse = attenuation[::5, ::5]
    body = sparse[sparse > 0.35]
    dark, light = np.percentile(body, (tone.dark[0], tone.light[0]))
    grey = np.clip(np.array([tone.dark[1], tone.light[1]]) + rng.normal(0, 0.05, 2), 0.08, 0.95)
    low, high = np.log(grey / (1 - grey))
    slope = (high - low) / (light - dark)
    return float(dark - low / slope), float(slope)


def _harmonise(a: Floats, share: float) -> Floats:
    """Give back part of the contrast between large regions, as a film processor does."""
    small = a[::8, ::8]
    wide = _enlarge(blur(small, 6), a.shape)
    return np.asarray(a - share * (wide - wide.mean()) * np.minimum(a, 1), np.float32)


def _cut(rng: Generator, whole: Floats, scene: Scene, size: tuple[int, int]) -> Floats:
    """The film (rows, columns) out of the scene: turned by up to 4 degrees, a little off centre; bilinear."""
    rows, columns = size
    pitch = _pitch(scene, size) / scene.step_mm
    angle = np.deg2rad(rng.uniform(-4, 4))
    shift = rng.uniform(-7, 7, 2)
    across = (np.arange(columns, dtype=np.float32) - (columns - 1) / 2) * np.float32(pitch)
    down = ((np.arange(rows, dtype=np.float32) - (rows - 1) / 2) * np.float32(pitch))[:, None]
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    y = np.clip(
        down * c - across * s + (whole.shape[0] - 1) / 2 + np.float32(shift[0]), 0, whole.shape[0] - 1.001
    )
    x = np.clip(
        down * s + across * c + (whole.shape[1] - 1) / 2 + np.float32(shift[1]), 0, whole.shape[1] - 1.001
    )
    top, left = y.astype(np.int32), x.astype(np.int32)
    y, x = y - top, x - left
    flat, at = np.ascontiguousarray(whole).ravel(), top * whole.shape[1] + left
    upper = flat[at] * (1 - x) + flat[at + 1] * x
    at += whole.shape[1]
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


def _mark(rng: Generator, film: Floats, kind: str, right: bool) -> None:
    """Stamp a lead letter: beside a chest on the patient's own side, beside a hand the side it is of."""
    if rng.random() < 0.12:
        return
    letter = "R" if rng.random() < 0.3 else "L"
    if kind == "hand":
        letter = "R" if right else "L"
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
