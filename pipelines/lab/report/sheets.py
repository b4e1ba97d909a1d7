"""Contact sheets: every film that a gate got wrong, as it was shown, to be looked at.

A figure says how many; only the pictures say whether it was the gate or the label. PNG, so that no
compression invents what the gate might have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.pictures import read_pixels
from pipelines.lab.ask.evaluate import CASES, BoxScore, Pixels, as_it_is
from pipelines.lab.measure.tables import MISJUDGED, NOT_SURE, Judged

COLUMNS, ROWS = 5, 4
THUMB, CAPTION, GAP = 232, 50, 10  # px
GROUND, INK, FAINT, TRUE, FOUND = "#17171a", "#f2f2ee", "#a9a8a2", "#37c884", "#ff8a3d"


@dataclass(frozen=True, slots=True)
class Sheet:
    """One page of thumbnails."""

    file: str
    title: str
    films: int


@dataclass(frozen=True, slots=True)
class Tile:
    """One thumbnail: a picture, and three lines under it."""

    picture: Callable[[], Image.Image]
    caption: tuple[str, str, str]


def error_sheets(folder: Path, gate: str, judged: Iterable[Judged], films: Path) -> list[Sheet]:
    """Pages of all misjudged answers, then pages of all answers that were only unsure."""
    wrong = sorted(judged, key=lambda one: (one.score.case, one.place, one.score.score))
    return [
        *_pages(folder, "misjudged", "Misjudged", _tiles(gate, wrong, MISJUDGED, films)),
        *_pages(folder, "unsure", "Only unsure", _tiles(gate, wrong, NOT_SURE, films)),
    ]


def box_sheets(folder: Path, boxes: Iterable[BoxScore], films: Path, below: float) -> list[Sheet]:
    """Pages of all films whose lung box overlaps the true one by less than `below`, the worst first."""
    poor = sorted((box for box in boxes if box.iou < below), key=lambda box: box.iou)
    tiles = [
        Tile(
            _boxed(films / box.file, box),
            (box.file, box.site, f"IoU {box.iou:.3f}, lung inside {box.inside:.3f}"),
        )
        for box in poor
    ]
    title = f"Lung boxes with an overlap under {below} (green: true, orange: found)"
    return _pages(folder, "boxes", title, tiles)


def _tiles(gate: str, judged: Sequence[Judged], wrong: int, films: Path) -> list[Tile]:
    alter = {case.name: case.alter for case in CASES.get(gate, ())}
    return [
        Tile(
            _shown(films / one.score.file, alter.get(one.score.case, as_it_is)),
            (
                one.score.file,
                f"{one.place} · {one.score.case}",
                f"{one.score.score:.4g}: {one.answer}, wanted {_wanted(one)}",
            ),
        )
        for one in judged
        if one.wrong == wrong
    ]


def _wanted(one: Judged) -> str:
    first, _, others = one.score.wanted.partition("|")
    return "not good" if others and first != "good" else first


def _pages(folder: Path, stem: str, title: str, tiles: Sequence[Tile]) -> list[Sheet]:
    sheets = []
    for number, some in enumerate(_split(tiles, COLUMNS * ROWS), start=1):
        file = f"{stem}-{number:03d}.png"
        _page(some).save(folder / file)
        sheets.append(Sheet(file, title, len(some)))
    return sheets


def _split(tiles: Sequence[Tile], size: int) -> Iterator[Sequence[Tile]]:
    for start in range(0, len(tiles), size):
        yield tiles[start : start + size]


def _page(tiles: Sequence[Tile]) -> Image.Image:
    columns, rows = min(len(tiles), COLUMNS), -(-len(tiles) // COLUMNS)
    width, height = THUMB + GAP, THUMB + CAPTION + GAP
    page = Image.new("RGB", (columns * width + GAP, rows * height + GAP), GROUND)
    pen = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=12)
    for index, tile in enumerate(tiles):
        x, y = GAP + index % COLUMNS * width, GAP + index // COLUMNS * height
        picture = tile.picture()
        page.paste(picture, (x + (THUMB - picture.width) // 2, y + (THUMB - picture.height) // 2))
        for number, text in enumerate(tile.caption):
            place = (x, y + THUMB + 4 + 15 * number)
            pen.text(place, _fitting(text, font), fill=FAINT if number == 1 else INK, font=font)
    return page


def _fitting(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    if font.getlength(text) <= THUMB:
        return text
    while text and font.getlength(text + "…") > THUMB:
        text = text[:-1]
    return text + "…"


def _shown(path: Path, alter: Callable[[Pixels], Pixels]) -> Callable[[], Image.Image]:
    return lambda: _thumbnail(alter(read_pixels(path))) if path.exists() else Image.new("L", (THUMB, THUMB))


def _boxed(path: Path, box: BoxScore) -> Callable[[], Image.Image]:
    def draw() -> Image.Image:
        picture = _thumbnail(read_pixels(path)).convert("RGB")
        pen = ImageDraw.Draw(picture)
        for text, colour in ((box.true, TRUE), (box.found, FOUND)):
            if text:
                x0, y0, x1, y1 = map(float, text.split())
                w, h = picture.width - 1, picture.height - 1
                pen.rectangle((x0 * w, y0 * h, x1 * w, y1 * h), outline=colour, width=2)
        return picture

    return draw


def _thumbnail(a: Pixels) -> Image.Image:
    """The film in a square of THUMB pixels, its aspect ratio kept."""
    picture = Image.fromarray((np.clip(a, 0, 1) * 255).round().astype(np.uint8))
    scale = THUMB / max(picture.size)
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    return picture.resize((size[0], size[1]), Image.Resampling.LANCZOS)
