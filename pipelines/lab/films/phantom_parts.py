"""Phantoms of parts that no gate is trained on: skull, neck, abdomen, pelvis. They are for testing only.

What a gate makes of a part it never saw can be measured only as long as it never sees it: `gate_train` must
not draw these. Frame and bodies are those of `phantom_bodies`; the head has its origin between the
ears, the trunk at the fourth lumbar vertebra.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from pipelines.lab.films.phantom_bodies import (
    CORTEX,
    GAS,
    LUNG,
    SPONGE,
    TISSUE,
    Dome,
    Ellipsoid,
    Floats,
    Part,
    Point,
    Profile,
    Scene,
    Sheet,
    Solid,
    Stack,
    Tone,
    Tube,
    Vertebra,
    mirror,
    outside,
)

__all__ = ["PARTS"]

FRONT, SIDE = (0, 2, 1), (1, 2, 0)  # axes of a film from the front, of one from the side
FAT = 0.86 * TISSUE


@dataclass(frozen=True, slots=True)
class Above:
    """What of a body lies above a height, fading out below it."""

    body: Ellipsoid
    floor: float  # z, mm

    def paint(self, total: Floats, sheet: Sheet, density: float) -> None:
        layer = np.zeros_like(total)
        self.body.paint(layer, sheet, density)
        total += layer * np.clip((sheet.v - self.floor) / 26 + 1, 0, 1)


def _painted(total: Floats, sheet: Sheet, parts: Iterator[Part]) -> None:
    for body, density in parts:
        body.paint(total, sheet, density)


def _ring(centre: Point, half: tuple[float, float], start: float, end: float) -> list[Point]:
    """Points of an arc in the frontal plane, degrees anticlockwise from the patient's left."""
    x, y, z = centre
    angles = np.radians(np.linspace(start, end, 15))
    return [(x + half[0] * math.cos(a), y, z + half[1] * math.sin(a)) for a in angles]


def _smooth(
    points: Sequence[Point], radius: Sequence[float], core: float, sponge: float, flat: float = 1.0
) -> Tube:
    """A tube with points put between its own, so that its joints do not show as rings."""
    ends, fine = np.linspace(0, 1, len(points)), np.linspace(0, 1, 26)
    line = np.stack([np.interp(fine, ends, axis) for axis in np.array(points).T], axis=1)
    return Tube(line, np.interp(fine, ends, radius), core, sponge, flat=flat)


def _column(
    rng: Generator, middle: Profile, wide: Profile, heights: tuple[float, float], top: float, foot: float
) -> Iterator[Part]:
    """Vertebrae from `top` to `foot` (z): depth of the spine and half width by z, heights at either end."""
    bone, bend = rng.uniform(0.75, 1.2), rng.normal(0, 3)
    depths, widths = np.array(sorted(middle)).T, np.array(sorted(wide)).T
    z = top
    while z > foot:
        share = (top - z) / (top - foot)
        height = heights[0] + share * (heights[1] - heights[0])
        x, y = bend * math.sin(3 * share), float(np.interp(z, *depths))
        half = float(np.interp(z, *widths))
        lean = math.degrees(math.atan2(float(np.interp(z + 8, *depths)) - y, 8))
        yield Vertebra((x, y, z), (half, half * 0.72, height / 2 - 1.5), lean), SPONGE * 0.75 * bone
        yield Ellipsoid((x, y + half * 1.9, z - height * 0.5), (3.6, half * 0.6, 5), pitch=-25), SPONGE * bone
        for side in (-1, 1):
            pedicle = (x + side * half * 0.66, y + half, z + 2)
            yield Ellipsoid(pedicle, (3.4, half * 0.35, height * 0.2)), CORTEX * 0.4 * bone
            facet = (x + side * half * 0.7, y + half * 1.25, z - height * 0.5)
            yield Ellipsoid(facet, (4.2, 5, height * 0.32)), SPONGE * bone
            process = [(x + side * half * 0.7, y + half, z), (x + side * half * 1.8, y + half * 1.2, z + 3)]
            yield Tube(process, (3.6, 2.6), flat=0.5), SPONGE * bone
        z -= height + (4 if height < 20 else 8)


# --- head and neck ------------------------------------------------------------------------------------------

# fmt: off
FACE_X: Profile = ((42, 0), (34, 50), (10, 66), (-20, 62), (-60, 56), (-90, 46), (-112, 30), (-120, 4))
FACE_Y: Profile = ((42, 0), (34, 60), (10, 78), (-20, 80), (-60, 78), (-100, 66), (-120, 30))
FACE_AT_Y: Profile = ((40, -24), (-60, -26), (-120, -34))
NECK_X: Profile = (
    (10, 0), (-10, 40), (-40, 54), (-110, 57), (-160, 62), (-185, 84), (-205, 130), (-225, 165), (-400, 180),
)
NECK_Y: Profile = ((10, 0), (-10, 40), (-60, 60), (-150, 60), (-200, 78), (-400, 92))
NECK_AT_Y: Profile = ((20, 36), (-60, 30), (-150, 26), (-400, 20))
SPINE_Y: Profile = ((-30, 22), (-70, 14), (-110, 14), (-150, 26), (-200, 50), (-300, 66))
SPINE_X: Profile = ((-30, 12), (-160, 14), (-300, 17))
JAW = ((54, 6, -22), (52, -4, -46), (47, -16, -74), (40, -40, -86), (24, -72, -97), (0, -82, -100))
CHEEK = ((43, -68, -22), (58, -58, -20), (66, -36, -14), (64, -8, -10))
# fmt: on


@dataclass(frozen=True, slots=True)
class Head:
    """What differs from one head to the next."""

    vault: Point  # half axes of the brain case, mm
    bone: float  # thickness of its wall, mm
    tip: float  # how far the base of the skull lies higher (chin up) or lower, mm
    jaw: float  # how far the mouth is open, mm
    gaps: float  # share of teeth that are missing
    sinus: float  # size of the air spaces, 1 is usual


def _a_head(rng: Generator) -> Head:
    return Head(
        vault=(rng.normal(75, 2.5), rng.normal(92, 3), rng.normal(74, 3)),
        bone=rng.uniform(4.5, 7.5),
        tip=rng.uniform(-10, 12),
        jaw=rng.uniform(0, 16),
        gaps=rng.choice((0.03, 0.1, 0.4)),
        sinus=rng.uniform(0.7, 1.15),
    )


def _head(rng: Generator, sheet: Sheet) -> Floats:
    """Attenuation of head, neck and the top of the shoulders (H, W)."""
    head = _a_head(rng)
    total = _head_flesh(head, sheet) * np.float32(TISSUE)
    _painted(total, sheet, _vault(head))
    _painted(total, sheet, _face())
    _painted(total, sheet, _jaw_and_teeth(rng, head))
    _painted(total, sheet, _column(rng, SPINE_Y, SPINE_X, (13, 17), -44, -300))
    _painted(total, sheet, _shoulders())
    _painted(total, sheet, _air_of_head(rng, head))
    return np.asarray(np.maximum(total, 0))


def _head_flesh(head: Head, sheet: Sheet) -> Floats:
    """Path length in soft tissue: scalp and brain, face, neck; each ray counts what it meets once, mm."""
    a, b, c = head.vault
    scalp = Ellipsoid((0, 6, 36), (a + 6, b + 6, c + 6)).interval(sheet)
    face = Stack(FACE_X, FACE_Y, centre_y=FACE_AT_Y, power=2.3).interval(sheet)
    neck = Stack(NECK_X, NECK_Y, centre_y=NECK_AT_Y, power=2.2).interval(sheet)
    nose = Ellipsoid((0, -104, -22), (12, 16, 24), pitch=16).interval(sheet)
    spans = (scalp, face, neck, nose)
    flesh = np.zeros((len(sheet.v), sheet.u.shape[1]), np.float32)
    for i, span in enumerate(spans):
        flesh += outside(span, spans[:i])
    return flesh


def _vault(head: Head) -> Iterator[Part]:
    """The brain case: a shell, thicker behind, with the base of the skull, petrous bones and sella."""
    a, b, c = head.vault
    wall, z = head.bone, head.tip
    yield Above(Ellipsoid((0, 6, 36), (a, b, c)), -2), CORTEX * 0.62
    yield Above(Ellipsoid((0, 4, 36.5), (a - wall, b - wall * 1.3, c - wall)), -2), -CORTEX * 0.62
    yield Ellipsoid((0, 36, -20 + z * 0.3), (50, 42, 11), pitch=-10), SPONGE * 0.6  # floor behind
    yield Ellipsoid((0, -46, 6 + z * 0.3), (46, 34, 4), pitch=6), SPONGE * 0.6  # roof of the orbits
    for side in (-1, 1):
        yield Ellipsoid((side * 36, 14, -8 + z), (28, 13, 9), tilt=side * 9), CORTEX * 0.2
        yield Ellipsoid((side * 60, 26, -26 + z), (10, 14, 19)), CORTEX * 0.22  # mastoid
        yield Tube([(side * 12, -28, 4 + z * 0.5), (side * 48, -40, 16)], (3, 2)), CORTEX * 0.5  # lesser wing
    yield Ellipsoid((0, -6, 2 + z * 0.5), (11, 11, 9)), CORTEX * 0.3
    yield Ellipsoid((0, -6, 6 + z * 0.5), (9, 7, 6)), -CORTEX * 0.36  # sella


def _face() -> Iterator[Part]:
    """Frontal bone, rims of the orbits, cheek bones, upper jaw, septum."""
    yield Ellipsoid((0, -62, -42), (40, 32, 30)), SPONGE * 0.9
    yield Ellipsoid((0, -66, 14), (56, 20, 18)), SPONGE * 0.6  # frontal bone
    yield Tube([(0, -92, 14), (0, -101, 2), (0, -108, -10)], (6, 4, 2)), CORTEX * 0.4  # nasal bones
    yield Ellipsoid((0, -62, -18), (1.6, 28, 26)), CORTEX * 0.5
    yield Tube([(-34, -54, -50), (0, -70, -51), (34, -54, -50)], (4, 5, 4)), SPONGE  # hard palate
    for side in (-1, 1):
        eye = (side * 34.0, -66.0, 4.0)
        yield Ellipsoid(eye, (19, 20, 16.5), tilt=side * 6), -SPONGE * 1.0
        yield Tube(_ring(eye, (21, 18), 0, 360), 3.2), CORTEX * 0.6
        yield Tube(_ring((eye[0], -84, 5), (22, 19), 20, 160), 3.4), CORTEX * 0.4  # brow
        yield Tube(mirror(CHEEK, side), (9, 7, 4, 3.5), 0.5), CORTEX * 0.5
        yield Tube([(side * 55, -62, -8), (side * 56, -66, 18)], (4, 4)), CORTEX * 0.45


def _jaw_and_teeth(rng: Generator, head: Head) -> Iterator[Part]:
    drop = head.jaw
    for side in (-1, 1):
        jaw = [(x, y, z - drop * min(1.0, (6 - y) / 60)) for x, y, z in mirror(JAW, side)]
        yield _smooth(jaw, (6, 10, 13, 12, 13, 13), 0.6, 0.45, flat=0.6), CORTEX * 0.7
        yield Tube([(side * 48, -22, -30), jaw[1]], (3, 7)), CORTEX * 0.35  # coronoid process
    for upper in (True, False):
        for angle in np.radians(np.linspace(-78, 78, 14)):
            if rng.random() < head.gaps:
                continue
            x, y = 28 * math.sin(angle), -46 - 34 * math.cos(angle)
            z = -62.0 if upper else -79 - drop * min(1.0, (6 - y) / 60)
            root, crown = (8, -7) if upper else (-8, 7)
            yield Ellipsoid((x, y, z + root), (2.8, 3.2, 9)), CORTEX * 0.85
            yield Ellipsoid((x, y, z + crown * 0.6), (3.9, 4.2, 5.5)), CORTEX * 1.5
            if rng.random() < 0.12:  # a filling
                yield Ellipsoid((x, y, z + crown), (3, 3, 2.5)), CORTEX * 5


def _shoulders() -> Iterator[Part]:
    """The first ribs and the collar bones at the lower edge of a film of the neck."""
    for side in (-1, 1):
        collar = [(side * 14, -60, -240), (side * 60, -40, -228), (side * 110, -10, -212)]
        yield Tube(collar, (7, 5.5, 6), 0.7, 0.2), CORTEX * 0.9
        rib = [(side * 20, 60, -208), (side * 52, 40, -212), (side * 58, -10, -226), (side * 26, -50, -244)]
        yield Tube(rib, (4.5, 5, 5, 4), 0.7, 0.2, flat=0.7), CORTEX * 0.8


def _air_of_head(rng: Generator, head: Head) -> Iterator[Part]:
    """Sinuses, nose, pharynx and windpipe, mastoid cells, the tops of the lungs."""
    s = head.sinus
    for side in (-1, 1):
        yield Ellipsoid((side * 12, -85, 30), (15 * s, 7, 11 * s), tilt=side * -12), GAS * 0.7
        yield Ellipsoid((side * 31, -60, -28), (15 * s, 17 * s, 17 * s), tilt=side * 8), GAS * 0.55
        yield Ellipsoid((side * 7, -64, -2), (5, 22, 13)), GAS * 0.45  # ethmoid cells
        yield Ellipsoid((side * 8, -62, -32), (6, 26, 17)), GAS * 0.5
        for _ in range(9):
            cell = (side * rng.normal(60, 4), rng.normal(26, 6), rng.normal(-24, 8) + head.tip)
            yield Ellipsoid(cell, (2.6, 2.6, 2.6)), GAS
        yield Ellipsoid((side * 34, 26, -258), (30, 40, 56)), LUNG
    yield Ellipsoid((0, -26, -6 + head.tip * 0.5), (14 * s, 14 * s, 9 * s)), GAS * 0.8  # sphenoid
    throat = ((0, -24, -30), (0, -16, -60), (0, -16, -92), (0, -22, -120), (0, -20, -150), (0, 0, -280))
    yield Tube(throat, (9, 8, 9, 6, 8.5, 9), flat=0.9), GAS * 0.9


# --- abdomen and pelvis -------------------------------------------------------------------------------------

# fmt: off
BELLY_X = (
    (320, 140), (200, 142), (110, 136), (40, 132), (-20, 138), (-80, 152), (-140, 168), (-190, 172),
    (-225, 140), (-246, 60), (-250, 0),
)
BELLY_Y: Profile = ((320, 100), (100, 104), (-60, 106), (-150, 108), (-190, 98), (-225, 70), (-250, 0))
BACK_Y: Profile = ((300, 40), (180, 42), (90, 34), (0, 26), (-60, 34), (-100, 46))
BACK_X: Profile = ((300, 18), (180, 20), (60, 23), (-80, 26))
SACRUM_X: Profile = ((-76, 20), (-84, 50), (-104, 48), (-140, 34), (-172, 14), (-184, 7))
SACRUM_Y: Profile = ((-76, 18), (-100, 17), (-150, 11), (-184, 5))
SACRUM_AT_Y: Profile = ((-76, 48), (-130, 70), (-184, 62))
CREST = ((122, -34, -120), (130, -20, -92), (126, 6, -62), (106, 34, -42), (76, 52, -40), (50, 58, -62))
BRIM = ((46, 52, -88), (62, 30, -116), (66, 4, -142), (44, -24, -164), (8, -38, -172))
PUBIS = ((8, -40, -190), (24, -26, -208), (46, 2, -222), (58, 18, -212), (70, 22, -176))
COLON = (  # ascending, transverse, descending, sigmoid: where the gas may lie
    (-104, 10, -86), (-112, 10, -40), (-114, 12, 10), (-112, 12, 60), (-98, 0, 98), (-60, -40, 86),
    (-14, -52, 72), (34, -48, 82), (80, -20, 110), (110, 20, 128), (118, 26, 80), (120, 26, 30),
    (118, 24, -20), (108, 16, -70), (76, 0, -110), (40, -10, -134), (14, 20, -120), (2, 50, -150),
)
# fmt: on


def _abdomen(rng: Generator, sheet: Sheet) -> Floats:
    """Attenuation of the trunk from the lower ribs to the thighs, from the front (H, W)."""
    stout = rng.uniform(-10, 34)  # mm of fat
    total = _trunk(stout, sheet)
    total += LUNG * _lung_bases(rng, sheet)
    _painted(total, sheet, _organs(rng))
    _painted(total, sheet, _column(rng, BACK_Y, BACK_X, (23, 28), 300 + rng.uniform(-14, 14), -70))
    _painted(total, sheet, _lower_ribs(rng))
    _painted(total, sheet, _pelvis(rng))
    _painted(total, sheet, _bowel(rng))
    return np.asarray(np.maximum(total, 0))


def _trunk(stout: float, sheet: Sheet) -> Floats:
    """Belly and thighs: fat outside, muscle inside (H, W), no unit."""
    share = ((-250, 0.0), (-225, 1.0), (320, 1.0))  # of the fat: none where the trunk ends
    zs, shares = np.array(share).T
    more = {z: stout * float(np.interp(z, zs, shares)) for z, _ in (*BELLY_X, *BELLY_Y)}
    belly = Stack(
        [(z, x + more[z]) for z, x in BELLY_X], [(z, y + 0.7 * more[z]) for z, y in BELLY_Y], power=2.4
    )
    whole = belly.interval(sheet)
    inner = Stack([(z, 0.94 * x) for z, x in BELLY_X], [(z, 0.94 * y) for z, y in BELLY_Y], power=2.4)
    thighs = [
        Stack(
            ((-165, 0), (-180, 60), (-215, 80 + 0.5 * stout), (-300, 82 + 0.5 * stout), (-480, 70)),
            ((-165, 0), (-180, 60), (-215, 82), (-300, 84), (-480, 74)),
            ((-170, side * 92), (-300, side * (90 + 0.4 * stout)), (-480, side * 92)),
        ).interval(sheet)
        for side in (-1, 1)
    ]
    legs = np.maximum(*(high - low for low, high in thighs))
    low, high = whole
    flesh = np.maximum(high - low, legs)
    low, high = inner.interval(sheet)
    lean = np.maximum(high - low, legs * 0.85)
    return np.asarray(flesh * np.float32(FAT) + np.minimum(lean, flesh) * np.float32(TISSUE - FAT))


def _lung_bases(rng: Generator, sheet: Sheet) -> Floats:
    """Path length in the lungs above the diaphragm, at the upper edge of the film, mm."""
    cage = Stack(((320, 118), (180, 126), (60, 128)), ((320, 84), (60, 90)), power=2.3)
    heart = Ellipsoid((26, -40, 226), (60, 50, 60), tilt=46)
    middle = Stack(((320, 36), (60, 36)), ((320, 60), (60, 60)), centre_y=((320, 24), (60, 24)))
    top = 196 + rng.normal(0, 12)
    domes = [
        Dome((side * 60, -30, top + more), 74, (84, 104))
        for side, more in ((-1, 0.0), (1, -rng.uniform(2, 16)))
    ]
    bodies: tuple[Solid, ...] = (heart, middle, *domes)
    solids = [body.interval(sheet) for body in bodies]
    recess = np.clip((sheet.v - 96) / 40, 0, 1)
    return np.asarray(outside(cage.interval(sheet), solids) * recess)


def _organs(rng: Generator) -> Iterator[Part]:
    """Liver, spleen, kidneys, psoas and bladder: a little denser than the fat about them."""
    more = TISSUE - FAT
    yield Ellipsoid((-70, -6, 136), (80, 84, 62), tilt=18), more * 0.5
    yield Ellipsoid((98, 30, 138), (30, 44, 48), tilt=-14), more * 0.5
    for side in (-1, 1):
        drop = 8 if side < 0 else 0
        yield Ellipsoid((side * 64, 46, 66 - drop), (27, 21, 54), tilt=side * 14), more
        psoas = [(side * 24, 34, 110), (side * 40, 26, 20), (side * 62, 10, -80), (side * 84, -10, -160)]
        yield Tube(psoas, (8, 22, 26, 16)), more * rng.uniform(0.7, 1.2)
    yield Ellipsoid((0, -24, -150), (38, 32, rng.uniform(16, 34))), more


def _lower_ribs(rng: Generator) -> Iterator[Part]:
    bone = rng.uniform(0.7, 1.1)
    for z, reach in ((248, 1.0), (222, 1.0), (196, 1.0), (168, 0.9), (138, 0.55)):
        for side in (-1, 1):
            rib = np.array([(16, 62, 0), (52, 82, -4), (94, 70, -26), (120, 40, -52), (130, 0, -76)], float)
            rib = rib[: 5 if reach == 1 else 4 if reach > 0.6 else 3] * (side, 1, 1) + (0, 0, z)
            yield Tube(rib, 5.0, 0.76, 0.15, flat=0.75), CORTEX * 0.8 * bone


def _pelvis(rng: Generator) -> Iterator[Part]:
    """Sacrum, hip bones and the upper ends of the thigh bones."""
    bone = rng.uniform(0.8, 1.2)
    yield Stack(SACRUM_X, SACRUM_Y, centre_y=SACRUM_AT_Y, power=2.5), SPONGE * 0.9 * bone
    for z, x in ((-96, 24), (-114, 21), (-132, 17), (-148, 13)):
        for side in (-1, 1):
            yield Ellipsoid((side * x, 60, z), (4.5, 14, 4.5)), -SPONGE * 0.8
    yield Ellipsoid((0, -38, -182), (3, 10, 16)), -SPONGE * 0.5  # the symphysis between the pubic bones
    turn = rng.uniform(-6, 10)  # how far the feet are turned: the neck of the thigh bone shortens
    for side in (-1, 1):
        yield from _hip_bone(side, bone)
        yield from _thigh_bone(side, bone, turn)


def _hip_bone(side: int, bone: float) -> Iterator[Part]:
    yield Ellipsoid((side * 90, 16, -92), (42, 7, 54), tilt=side * 24), CORTEX * 0.5 * bone  # the wing
    yield (
        Ellipsoid((side * 62, 46, -90), (15, 14, 38), tilt=side * -16),
        SPONGE * 0.9 * bone,
    )  # beside the sacrum
    yield Ellipsoid((side * 78, 10, -142), (20, 20, 30), tilt=side * 14), SPONGE * 1.1 * bone
    yield Tube(mirror(CREST, side), (5, 6, 6.5, 6.5, 6, 5), 0.5), CORTEX * 0.5 * bone
    yield Tube(mirror(BRIM, side), (5, 5, 6, 8, 11), 0.6), CORTEX * 0.55 * bone
    yield Tube(mirror(PUBIS, side), (8, 7, 11, 13, 13), 0.72), CORTEX * 0.55 * bone
    socket = _ring((side * 92.0, 4, -158), (29, 29), 20 if side > 0 else 5, 175 if side > 0 else 160)
    yield Tube(socket, 4.0), CORTEX * 0.5 * bone


def _thigh_bone(side: int, bone: float, turn: float) -> Iterator[Part]:
    out = 130 - 0.6 * turn
    yield Ellipsoid((side * 92, 4, -158), (23.5, 23.5, 23.5)), CORTEX * 0.27 * bone
    yield Tube([(side * 98, 6, -164), (side * out, 12, -197)], (15, 18), 0.7, 0.4), CORTEX * 0.42 * bone
    yield Ellipsoid((side * (out + 7), 16, -190), (13, 13, 22), tilt=side * -22), CORTEX * 0.26 * bone
    yield Ellipsoid((side * (out - 16), 24, -222), (8 + 0.3 * turn, 8, 11)), CORTEX * 0.25 * bone
    shaft = [(side * out, 12, -206), (side * (out - 5), 10, -244), (side * (out - 20), 2, -480)]
    yield _smooth(shaft, (20, 14.5, 13.5), 0.62, 0.3), CORTEX * 0.75 * bone


def _bowel(rng: Generator) -> Iterator[Part]:
    """Gas in the large bowel, its pouches and its mottled contents; loops of the small one; the stomach."""
    points = np.array(COLON, float) + rng.normal(0, 5, (len(COLON), 3))
    full = rng.uniform(0.3, 0.85)
    for a, b in pairwise(points):
        if rng.random() > full:
            continue
        wide = rng.uniform(12, 22)
        for share in np.linspace(0, 1, 3, endpoint=False):
            x, y, z = a + (b - a) * share
            half = (wide * rng.uniform(0.8, 1.1), wide * 0.9, wide * rng.uniform(0.7, 1.0))
            yield Ellipsoid((x, y, z), half, tilt=rng.uniform(-30, 30)), GAS * rng.uniform(0.3, 0.8)
    for _ in range(int(rng.integers(30, 120))):
        x, y, z = points[int(rng.integers(0, 6))] + rng.normal(0, 9, 3)
        r = rng.uniform(2, 5)
        yield Ellipsoid((x, y, z), (r, r, r)), GAS * 0.8
    for _ in range(int(rng.integers(0, 12))):
        centre = (rng.normal(0, 45), rng.uniform(-50, 0), rng.normal(-20, 45))
        half = (rng.uniform(12, 30), 10, rng.uniform(7, 12))
        yield Ellipsoid(centre, half, tilt=rng.uniform(-80, 80)), GAS * rng.uniform(0.3, 0.9)
    if rng.random() < 0.7:
        wide = rng.uniform(18, 40)
        yield Ellipsoid((66, -30, 150), (wide, 22, wide * 0.7), tilt=-30), GAS * rng.uniform(0.4, 0.9)


PARTS: dict[str, Scene] = {
    "skull": Scene(_head, FRONT, Tone((12, 0.30), (90, 0.84)), (300.0, 246.0), 0.6, lift=-8),
    "skull_lateral": Scene(
        _head, SIDE, Tone((12, 0.26), (92, 0.84)), (290.0, 238.0), 0.6, lift=-2, other_side=0.5
    ),
    "neck": Scene(_head, FRONT, Tone((10, 0.28), (90, 0.82)), (250.0, 205.0), 0.55, lift=-128),
    "neck_lateral": Scene(
        _head, SIDE, Tone((10, 0.22), (90, 0.80)), (262.0, 215.0), 0.55, lift=-112, other_side=0.5
    ),
    "abdomen": Scene(_abdomen, FRONT, Tone((10, 0.30), (92, 0.82)), (430.0, 350.0), 0.85, lift=6),
    "pelvis": Scene(_abdomen, FRONT, Tone((12, 0.26), (93, 0.84)), (400.0, 328.0), 0.85, lift=-150),
}
