"""Pictures that no gate was ever trained on: what "unknown" is measured with.

*Far* is what is no film at all: screen shots, test patterns, photographs, slices of other modalities. *Near*
is a film of a part that the network's round left out, and phantoms of parts that no recipe trains on. Nothing
here may be drawn by `gate_train`, tune a threshold or choose a network; a set that trains measures nothing.

A crop of a photograph and a drawn screen or pattern counts as a patient of its own. The photographs are the
three that scikit-learn and matplotlib bring along.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.datasets import load_sample_images

from pipelines.lab.ask.shortcut_probes import BATCH, Ask, Measured, Names, Scores, auroc, made_small
from pipelines.lab.films import phantom
from pipelines.lab.films.data import CACHE_PX, Films, left_out
from pipelines.lab.films.data import Row as Film
from pipelines.lab.measure.binomial import clopper_pearson

SEEDS = range(5000, 5120)  # none that training or a demonstration uses
FAR_BAR, NEAR_BAR = 0.999, 0.97  # areas that are asked for
PASSING_BAR = 0.01  # share of any set that may pass as a frontal chest
MODALITIES = ("CT", "MR", "US", "NM", "PT")
TWINS = 0.97  # correlation from which two slices are the same one in another transfer syntax
LEAST_PX = 60  # smaller ones are made-up objects of a few pixels
CANVAS = (560, 700)  # rows, columns of a drawn screen, before it is squared

Greys = NDArray[np.uint8]
Decode = Callable[[Path], NDArray[np.float32] | None]  # a DICOM file -> (H, W) in [0, 1]; None: no picture

PARTS: dict[str, tuple[tuple[str, Callable[[Film], bool]], ...]] = {  # round -> parts its networks never saw
    "nih": (("spine", lambda row: row.source == "cadma_spine"),),
    "web": (("dental panoramic", lambda row: row.source == "ufba425_dental"),),
    "kermany": (
        ("hip and pelvis", lambda row: row.part == "hip/pelvis"),
        ("shoulder of another site", lambda row: row.source == "fracatlas" and row.part == "shoulder"),
        ("CT and MR slices of the web", lambda row: row.source == "mednist_nonxray"),
    ),
}
FAR_PARTS = ("CT and MR slices of the web",)


@dataclass(frozen=True, slots=True)
class Unseen:
    """One set of pictures, and whether it lies far from any film or near."""

    name: str
    far: bool
    greys: Greys  # (N, CACHE_PX, CACHE_PX)
    patients: Names  # (N,)


def unseen_sets(
    films: Films, round_: str, dicom: Path | None = None, decode: Decode | None = None
) -> tuple[Unseen, ...]:
    """All sets for the networks of one round; `films` are all films, of which the round's parts are taken.

    The slices in `dicom` (a folder with manifest.csv) are left out when it is None or not there; so is a
    part that these films do not show.
    """
    sets = [
        _drawn("screen shot", screen),
        _drawn("test pattern", pattern),
        photographs(),
        *(_phantoms(kind) for kind in phantom.UNTRAINED),
    ]
    if dicom and decode and dicom.exists():
        sets.append(slices(dicom, decode))
    out = left_out(films.rows, round_)
    for name, fits in PARTS[round_]:
        part = films.where(out & np.array([fits(row) for row in films.rows]))
        if len(part):
            sets.append(Unseen(name, name in FAR_PARTS, part.greys, _groups(part)))
    return tuple(sets)


def unseen_rows(ask: Ask, frontal: Films, sets: Iterable[Unseen], high: float) -> tuple[Measured, ...]:
    """How well frontal films are told from each set, and how many of it pass as frontal at `high`.

    `ask` scores how surely a picture is a frontal chest; `frontal` are frontal films of sites left out.
    """
    known, patients = _scores(ask, frontal.greys), _groups(frontal)
    scored = [(one, _scores(ask, one.greys)) for one in sets]
    rows: list[Measured] = []
    for one, scores in scored:
        bar = FAR_BAR if one.far else NEAR_BAR
        rows.append(told_apart(_title(one), known, patients, scores, one.patients, bar))
        rows.append(passing(_title(one), scores, one.patients, high))
    for far, bar in ((True, FAR_BAR), (False, NEAR_BAR)):
        these = [(one, scores) for one, scores in scored if one.far == far]
        if these:
            scores = np.concatenate([scores for _, scores in these])
            names = np.concatenate([np.char.add(f"{one.name}/", one.patients) for one, _ in these])
            rows.append(told_apart(f"all {_distance(far)}", known, patients, scores, names, bar))
    return tuple(rows)


def told_apart(
    name: str, known: Scores, known_patients: Names, scores: Scores, patients: Names, bar: float
) -> Measured:
    """Area under the ROC curve between frontal films and a set; n counts the set's patients."""
    value, low, high = auroc(known, known_patients, scores, patients)
    return Measured(name, "AUROC", value, len(np.unique(patients)), low, high, value >= bar)


def passing(name: str, scores: Scores, patients: Names, high: float) -> Measured:
    """Share of the set's patients with any picture that passes as a frontal chest at this threshold."""
    names, index = np.unique(patients, return_inverse=True)
    n, k = len(names), int((np.bincount(index, scores >= high) > 0).sum())
    return Measured(
        name, f"passes as frontal at {high:.3f}", k / n, n, *clopper_pearson(k, n), k <= PASSING_BAR * n
    )


def _scores(ask: Ask, greys: Greys) -> Scores:
    with torch.no_grad():
        parts = torch.split(torch.from_numpy(greys), BATCH)
        return np.concatenate([ask(made_small(part.float() / 255)).double().numpy() for part in parts])


def _groups(films: Films) -> Names:
    return np.array([row.group for row in films.rows])


def _title(one: Unseen) -> str:
    return f"{one.name} ({_distance(one.far)})"


def _distance(far: bool) -> str:
    return "far" if far else "near"


def _squared(picture: Image.Image) -> Greys:
    """Any picture as a grey square (CACHE_PX, CACHE_PX), area averaged, as films are cached."""
    return np.asarray(picture.convert("L").resize((CACHE_PX, CACHE_PX), Image.Resampling.BOX))


@cache
def _drawn(name: str, draw: Callable[[Generator], Image.Image]) -> Unseen:
    greys = np.stack([_squared(draw(np.random.default_rng(seed))) for seed in SEEDS])
    return Unseen(name, True, greys, np.array([str(seed) for seed in SEEDS]))


@cache
def _phantoms(kind: str) -> Unseen:
    films = (phantom.render(kind, seed, (256, 210)) for seed in SEEDS)
    greys = np.stack([_squared(Image.fromarray(np.rint(film * 255).astype(np.uint8))) for film in films])
    return Unseen(f"phantom {kind}", False, greys, np.array([str(seed) for seed in SEEDS]))


# --- photographs and slices ---------------------------------------------------------------------------------


@cache
def photographs() -> Unseen:
    """A hundred and twenty crops of three photographs: a building, a flower, a portrait."""
    pictures = [Image.fromarray(np.asarray(picture)) for picture in load_sample_images().images]
    portrait = Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    with Image.open(portrait) as opened:
        pictures.append(opened.convert("RGB"))
    greys = []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        picture = pictures[seed % len(pictures)]
        side = rng.uniform(0.3, 1.0, 2) * (picture.height, picture.width)
        top, left = rng.uniform(0, 1, 2) * ((picture.height, picture.width) - side)
        greys.append(_squared(picture.crop((int(left), int(top), int(left + side[1]), int(top + side[0])))))
    return Unseen("photograph", True, np.stack(greys), np.array([str(seed) for seed in SEEDS]))


def slices(folder: Path, decode: Decode) -> Unseen:
    """CT, MR, US and NM pictures of a folder of DICOM files; one slice in two syntaxes is one patient."""
    with (folder / "manifest.csv").open(newline="") as handle:
        lines = [line for line in csv.DictReader(handle) if line["modality"] in MODALITIES]
    greys: list[Greys] = []
    for line in lines:
        film = decode(folder / line["file"])
        if film is not None and min(film.shape) >= LEAST_PX:
            greys.append(_squared(Image.fromarray(np.rint(film * 255).astype(np.uint8))))
    stack = np.stack(greys)
    return Unseen("CT, MR, US and NM from DICOM", True, stack, _families(stack))


def _families(greys: Greys) -> Names:
    """A name for each picture (N,); pictures that are nearly the same share theirs."""
    flat = greys[:, ::6, ::6].reshape(len(greys), -1).astype(np.float64)
    flat = (flat - flat.mean(axis=1, keepdims=True)) / (flat.std(axis=1, keepdims=True) + 1e-9)
    alike = flat @ flat.T / flat.shape[1] > TWINS
    return np.array([str(np.argmax(row)) for row in alike])


# --- drawn pictures -----------------------------------------------------------------------------------------

TEXT = """patient study series image report worklist query archive send print window level zoom invert file
edit view tools help cancel apply open save close options name date room dose chest left right normal findings
none no acute change compared with the heart size is within limits error server not found retry 512 1024 10:24
2024 mAs kV mm % OK yes"""
WORDS = TEXT.split()


def screen(rng: Generator) -> Image.Image:
    """A screen shot: a page of text, a table, a dialog box, a viewer without a film, or a diagram."""
    rows, columns = CANVAS
    dark = rng.random() < 0.4
    paper, ink = (rng.integers(0, 50), 215) if dark else (rng.integers(215, 256), 20)
    sheet = Image.new("L", (columns, rows), int(paper))
    pen = ImageDraw.Draw(sheet)
    pen.rectangle((0, 0, columns, 26), fill=int(rng.integers(60, 200)))
    pen.text((8, 5), _line(rng, 4), fill=ink, font=ImageFont.load_default(14))
    kind = rng.choice(("page", "table", "dialog", "viewer", "diagram"))
    if kind == "page":
        _page(rng, pen, (24, 48, columns - 24, rows - 20), ink)
    elif kind == "table":
        _table(rng, pen, ink, int(paper))
    elif kind == "dialog":
        _page(rng, pen, (12, 36, columns - 12, rows - 12), int(paper) + (40 if dark else -60))
        _dialog(rng, pen, ink, int(paper))
    elif kind == "viewer":
        _viewer(rng, pen)
    else:
        _diagram(rng, pen, ink)
    return sheet


def _line(rng: Generator, words: int) -> str:
    return " ".join(rng.choice(WORDS, words))


def _page(rng: Generator, pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], ink: int) -> None:
    size = int(rng.integers(10, 22))
    font = ImageFont.load_default(size)
    x0, y, x1, y1 = box
    while y < y1 - size:
        if rng.random() < 0.88:
            words = max(1, int((x1 - x0) / (size * 3.6) * rng.uniform(0.3, 1.0)))
            pen.text((x0, y), _line(rng, words), fill=ink, font=font)
        y += int(size * 1.5)


def _table(rng: Generator, pen: ImageDraw.ImageDraw, ink: int, paper: int) -> None:
    rows, columns = CANVAS
    high, count = int(rng.integers(18, 34)), int(rng.integers(3, 7))
    font = ImageFont.load_default(high * 0.5)
    for j, y in enumerate(range(34, rows - 20, high)):
        if j % 2:
            pen.rectangle((10, y, columns - 10, y + high), fill=paper + (14 if paper < 128 else -14))
        for i in range(count):
            pen.text((16 + i * (columns - 20) / count, y + 4), _line(rng, 1), fill=ink, font=font)
    for i in range(count + 1):
        x = 10 + i * (columns - 20) / count
        pen.line((x, 34, x, rows - 20), fill=128)


def _dialog(rng: Generator, pen: ImageDraw.ImageDraw, ink: int, paper: int) -> None:
    rows, columns = CANVAS
    x0, y0 = rng.uniform(0.1, 0.3) * columns, rng.uniform(0.15, 0.35) * rows
    x1, y1 = x0 + rng.uniform(0.45, 0.6) * columns, y0 + rng.uniform(0.3, 0.5) * rows
    pen.rectangle((x0, y0, x1, y1), fill=paper + (30 if paper < 128 else -20), outline=ink, width=2)
    pen.rectangle((x0, y0, x1, y0 + 24), fill=int(rng.integers(70, 160)))
    _page(rng, pen, (int(x0 + 14), int(y0 + 36), int(x1 - 10), int(y1 - 60)), ink)
    for i in range(2):
        left = x1 - 110 * (i + 1)
        pen.rectangle((left, y1 - 42, left + 90, y1 - 14), fill=int(rng.integers(90, 200)), outline=ink)
        pen.text((left + 20, y1 - 37), _line(rng, 1), fill=ink, font=ImageFont.load_default(14))


def _viewer(rng: Generator, pen: ImageDraw.ImageDraw) -> None:
    """Empty viewports with texts in their corners, and a bar of tools."""
    rows, columns = CANVAS
    across, down = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    pen.rectangle((0, 26, columns, rows), fill=0)
    for i in range(int(columns / 40)):
        pen.rectangle((6 + 40 * i, 32, 34 + 40 * i, 58), fill=int(rng.integers(50, 140)))
    font = ImageFont.load_default(12)
    for i in range(across):
        for j in range(down):
            x, y = i * columns / across, 66 + j * (rows - 66) / down
            wide, high = columns / across - 4, (rows - 66) / down - 4
            pen.rectangle((x, y, x + wide, y + high), outline=90, fill=int(rng.integers(0, 40)))
            for k in range(4):
                pen.text((x + 6, y + 6 + 15 * k), _line(rng, 2), fill=200, font=font)
                pen.text((x + wide - 90, y + high - 70 + 15 * k), _line(rng, 2), fill=200, font=font)


def _diagram(rng: Generator, pen: ImageDraw.ImageDraw, ink: int) -> None:
    rows, columns = CANVAS
    pen.line((70, 60, 70, rows - 60, columns - 40, rows - 60), fill=ink, width=2)
    font = ImageFont.load_default(13)
    for i in range(6):
        pen.text((30, rows - 70 - i * 75), str(i * 20), fill=ink, font=font)
        pen.text((90 + i * 95, rows - 52), _line(rng, 1), fill=ink, font=font)
    for _ in range(int(rng.integers(1, 4))):
        steps = int(rng.integers(6, 40))
        x = np.linspace(72, columns - 50, steps)
        y = np.clip(rows / 2 + np.cumsum(rng.normal(0, 30, steps)), 70, rows - 70)
        grey = int(rng.integers(60, 190))
        if rng.random() < 0.5:
            pen.line([tuple(point) for point in np.stack([x, y], 1).tolist()], fill=grey, width=3)
        else:
            for left, top in zip(x, y, strict=True):
                pen.rectangle((left, top, left + 0.6 * (x[1] - x[0]), rows - 60), fill=grey)


def pattern(rng: Generator) -> Image.Image:
    """A test pattern: greys as SMPTE lays them, line pairs, a wedge, a uniform field, a star, a grid."""
    makers = (_smpte, _line_pairs, _wedge, _uniform, _star, _grid)
    grey = makers[int(rng.integers(len(makers)))](rng)
    if rng.random() < 0.3:
        grey = 1 - grey
    grey = np.rot90(grey + rng.normal(0, rng.uniform(0, 0.03), grey.shape), int(rng.integers(4)))
    return Image.fromarray((np.clip(grey, 0, 1) * 255).astype(np.uint8))


Drawing = NDArray[np.float64]  # (SIDE, SIDE)
SIDE = 384


def _frame() -> tuple[Drawing, Drawing]:
    """Rows and columns (SIDE, SIDE) from -1 to 1."""
    ramp = np.linspace(-1, 1, SIDE)
    return ramp[:, None] + 0 * ramp[None], ramp[None] + 0 * ramp[:, None]


def _smpte(rng: Generator) -> Drawing:
    """Patches of rising grey round the middle, line pairs in the corners, black and white bars (RP 133)."""
    y, x = _frame()
    out = np.full((SIDE, SIDE), 0.5)
    size = rng.uniform(0.16, 0.22)
    for i, angle in enumerate(np.linspace(0, 2 * np.pi, 12, endpoint=False)):
        patch = (np.abs(x - 0.62 * np.cos(angle)) < size / 2) & (np.abs(y - 0.62 * np.sin(angle)) < size / 2)
        out[patch] = i / 11
    for sy in (-1, 0, 1):
        for sx in (-1, 0, 1):
            corner = (np.abs(x - 0.88 * sx) < 0.1) & (np.abs(y - 0.88 * sy) < 0.1)
            lines = np.sign(np.sin((x if sx else y) * rng.uniform(60, 220))) * 0.5 + 0.5
            out = np.where(corner, lines, out)
    bars = np.abs(x) < 0.4
    out[bars & (np.abs(y - 0.2) < 0.08)] = 0.0
    out[bars & (np.abs(y + 0.2) < 0.08)] = 1.0
    return out


def _line_pairs(rng: Generator) -> Drawing:
    """Groups of bars, finer and finer, as on a resolution chart."""
    y, x = _frame()
    out = np.full((SIDE, SIDE), rng.uniform(0, 0.3))
    ink = rng.uniform(0.7, 1)
    groups = int(rng.integers(4, 9))
    for i in range(groups):
        band = np.abs(y - (-0.85 + 1.7 * i / (groups - 1))) < 0.7 / groups
        lines = np.sin(x * np.pi * 4 * 1.5**i) > 0
        out[band & lines & (np.abs(x) < rng.uniform(0.5, 0.95))] = ink
    return out


def _wedge(rng: Generator) -> Drawing:
    """A wedge of steps, or a smooth one, sometimes beside its own opposite."""
    y, x = _frame()
    steps = int(rng.choice((8, 11, 16, 21, 256)))
    ramp = np.floor((x + 1) / 2 * steps * 0.999) / max(steps - 1, 1)
    wedge = np.where(y > rng.uniform(-0.3, 0.3), 1 - ramp, ramp) if rng.random() < 0.5 else ramp
    return np.where(np.abs(y) < rng.uniform(0.3, 1.0), wedge, rng.uniform(0, 0.5))


def _uniform(rng: Generator) -> Drawing:
    """A flat field with the heel effect, grain, and now and then a block of copper in its middle."""
    y, x = _frame()
    heel = rng.uniform(-0.15, 0.15) * x + rng.uniform(-0.1, 0.1) * (x**2 + y**2)
    field = rng.uniform(0.3, 0.7) + heel + rng.normal(0, 0.02, x.shape)
    block = (np.abs(x) < 0.25) & (np.abs(y) < 0.25) & bool(rng.random() < 0.5)
    return np.asarray(field + 0.25 * block)


def _star(rng: Generator) -> Drawing:
    """A Siemens star on a flat ground."""
    y, x = _frame()
    spokes = np.sign(np.sin(np.arctan2(y, x) * int(rng.integers(12, 46)))) * 0.5 + 0.5
    return np.where(np.hypot(x, y) < rng.uniform(0.5, 0.95), spokes, rng.uniform(0, 0.6))


def _grid(rng: Generator) -> Drawing:
    """Lines, squares or beads on a square grid."""
    y, x = _frame()
    pitch = rng.uniform(0.06, 0.3)
    across, down = np.abs((x / pitch) % 1 - 0.5), np.abs((y / pitch) % 1 - 0.5)
    kind = rng.integers(3)
    if kind == 0:
        ink = np.minimum(across, down) < 0.08
    elif kind == 1:
        ink = (across < 0.25) ^ (down < 0.25)
    else:
        ink = np.hypot(across, down) < 0.2
    return np.where(ink, rng.uniform(0.7, 1), rng.uniform(0, 0.3))
