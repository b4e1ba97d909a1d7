"""The page that radiologists read: what a gate does, whether it holds, then every table and every error.

One folder, relative links, no script, nothing from the network; light and dark follow the reader's system.
The errors are shown on contact sheets, every film as it was shown to the gate: a figure says how many, only
the pictures say whether it was the gate or the label. They are PNG, so that no compression invents what the
gate might have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.pictures import read_pixels
from pipelines.lab.ask.gate_cases import CASES, Pixels, as_it_is
from pipelines.lab.measure.scores import BoxScore
from pipelines.lab.measure.tables import MISJUDGED, NOT_SURE, Judged, Table
from pipelines.lab.report.claims import Claim, verdict

ABOUT = {
    "rotation": "Tells whether a frontal chest film lies upright or was turned by 90, 180 or 270 degrees. "
    "It looks at the anatomy alone: polarity, mirroring and a tilt of up to 15 degrees must not matter.",
    "inversion": "Tells whether a frontal chest film is shown in the right polarity, bone bright and air "
    "dark, in whichever way it is turned, and whether or not a white border was painted round it.",
    "anatomy": "Tells frontal chest films from laterals, from other parts of the body and from pictures that "
    "are no radiographs. Passing another part as a frontal chest is the error to fear; a frontal chest that "
    "it does not dare to name is lost to the reader until somebody looks.",
    "mirror": "Suspects that left and right were exchanged. It only ever suspects: dextrocardia, a large "
    "effusion or a removed lung look alike. Markers are painted out, and pasted in against the anatomy, to "
    "show that it reads the heart and not the letter.",
    "chain": "All gates and the policy together, as they ship: a film is right when it passes and is "
    "a frontal chest, or when it is held or rejected and is none.",
    "lungs": "Finds the box round both lungs, from which the classifier's crop is cut.",
}
ERRORS = "Every error, to be looked at"
VERDICTS = {"proven": "holds, proven", "observed": "holds as observed", "no": "does not hold", "–": "no bar"}
CSS = Path(__file__).with_name("page.css")
LONG = 40  # rows of a table that are shown without being asked for
COLUMNS, ROWS = 5, 4
THUMB, CAPTION, GAP = 232, 50, 10  # px
GROUND, INK, FAINT, TRUE, FOUND = "#17171a", "#f2f2ee", "#a9a8a2", "#37c884", "#ff8a3d"


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing in its two looks."""

    light: str
    dark: str
    text: str  # what it shows, for the caption and for those who do not see it


Block = Table | Picture | str  # a string is a paragraph


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """One page of thumbnails."""

    file: str
    title: str
    films: int


def page(
    gate: str,
    thresholds: tuple[float, float],
    claims: Sequence[Claim],
    sections: Sequence[Section],
    sheets: Sequence[Sheet],
) -> str:
    """The whole page as HTML."""
    links = "".join(f'<li><a href="#{_anchor(s.title)}">{escape(s.title)}</a></li>' for s in sections)
    body = "".join(
        f'<h2 id="{_anchor(s.title)}">{escape(s.title)}</h2>' + "".join(map(block, s.blocks))
        for s in sections
    )
    low, high = thresholds
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>The {escape(gate)} gate</title><style>{CSS.read_text(encoding='utf-8')}</style></head><body>"
        f'<p class="kicker">filmgate · evaluation</p><h1>The {escape(gate)} gate</h1>'
        f"<p>{escape(ABOUT.get(gate, ''))}</p>"
        f'<p class="note">A film is good at a score of {high:.4g} or more, bad at {low:.4g} or less, and '
        "held as unsure between them. Counts are in patients: one wrong answer about any of their films, in "
        "any way it was shown, makes a patient an error.</p>"
        f'{_verdict(claims)}<nav><ul>{links}<li><a href="#errors">{ERRORS}</a></li></ul></nav>'
        f'{body}<h2 id="errors">{ERRORS}</h2>{_sheets(sheets)}</body></html>\n'
    )


def block(one: Block) -> str:
    """A paragraph, a table or a picture."""
    if isinstance(one, str):
        return f"<p>{escape(one)}</p>"
    return table(one) if isinstance(one, Table) else picture(one)


def table(one: Table) -> str:
    """The cells as HTML; a long table opens on demand, and a first column says each name once."""
    sides = [_side(column) for column in zip(*one.rows, strict=True)] or [""] * len(one.head)
    head = "".join(f"<th{side}>{escape(name)}</th>" for name, side in zip(one.head, sides, strict=True))
    rows, before = [], ""
    for row in one.rows:
        pool = ' class="pool"' if any(cell.startswith("all ") for cell in row[1:2]) else ""
        fresh = row[0] != before
        before = row[0]
        first = f'<td class="fresh">{escape(row[0])}</td>' if fresh else "<td></td>"
        cells = zip(row[1:], sides[1:], strict=True)
        rest = "".join(f"<td{side}>{_cell(cell)}</td>" for cell, side in cells)
        rows.append(f"<tr{pool}>{first}{rest}</tr>")
    whole = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    inner = f'<div class="scroll">{whole}</div>'
    if len(rows) > LONG:
        inner = f"<details><summary>{len(rows)} rows</summary>{inner}</details>"
    note = f"{escape(one.note)} " if one.note else ""
    title = f"<h3>{escape(one.title)}</h3>" if one.title else ""
    link = f'<a href="{escape(one.name)}.csv">{escape(one.name)}.csv</a>'
    return f'{title}{inner}<p class="note">{note}{link}</p>'


def picture(one: Picture) -> str:
    """A drawing in the look of the reader's system, with its caption."""
    text = escape(one.text, quote=True)
    return (
        f'<figure><picture><source srcset="{one.dark}" media="(prefers-color-scheme: dark)">'
        f'<img src="{one.light}" alt="{text}"></picture><figcaption>{text}</figcaption></figure>'
    )


def write(path: Path, text: str) -> Path:
    """Writes the page and returns its path."""
    path.write_text(text, encoding="utf-8")
    return path


def _verdict(claims: Iterable[Claim]) -> str:
    claims = list(claims)
    barred = [claim for claim in claims if claim.holds is not None]
    failed = [claim for claim in barred if not claim.holds]
    proven = sum(verdict(claim) == "proven" for claim in barred)
    boxes = (
        (str(len(barred)), "bars measured"),
        (str(len(barred) - len(failed)), "hold as observed"),
        (str(proven), "of these proven at 95 %"),
        (str(len(failed)), "do not hold"),
    )
    tiles = "".join(f"<li><b>{number}</b>{text}</li>" for number, text in boxes)
    broken = "".join(f"<li>{escape(f'{c.claim}: {c.measured}, bar {c.bar}')}</li>" for c in failed)
    text = f"<p>Does not hold:</p><ul>{broken}</ul>" if failed else ""
    return f'<ul class="verdict">{tiles}</ul>{text}'


def _sheets(sheets: Sequence[Sheet]) -> str:
    if not sheets:
        return "<p>There is none.</p>"
    out = []
    for title in dict.fromkeys(sheet.title for sheet in sheets):
        mine = [sheet for sheet in sheets if sheet.title == title]
        films = sum(sheet.films for sheet in mine)
        pictures = "".join(
            f'<a href="{s.file}"><img loading="lazy" src="{s.file}" alt="{s.films} films"></a>' for s in mine
        )
        shown = f'<div class="sheets">{pictures}</div>'
        opened = " open" if len(mine) <= 3 else ""
        out.append(f"<details{opened}><summary>{escape(title)}: {films} pictures</summary>{shown}</details>")
    return "".join(out) + '<p class="note">The same as a table: <a href="errors.csv">errors.csv</a></p>'


def _cell(cell: str) -> str:
    if cell in VERDICTS:
        return f'<span class="badge {cell if cell != "–" else "none"}">{VERDICTS[cell]}</span>'
    if cell == "significantly below":
        return f'<span class="badge flag">{cell}</span>'
    return escape(cell)


def _side(column: Iterable[str]) -> str:
    """Numbers stand at the right."""
    plain = [cell.lstrip("+-").replace(".", "", 1).replace("e-", "") for cell in column if cell]
    return ' class="number"' if plain and all(cell.isdigit() for cell in plain) else ""


def _anchor(title: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in title.lower())


# --- contact sheets -----------------------------------------------------------------------------------------


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
        _sheet(some).save(folder / file)
        sheets.append(Sheet(file, title, len(some)))
    return sheets


def _split(tiles: Sequence[Tile], size: int) -> Iterator[Sequence[Tile]]:
    for start in range(0, len(tiles), size):
        yield tiles[start : start + size]


def _sheet(tiles: Sequence[Tile]) -> Image.Image:
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
