"""The page that radiologists read: what a gate does, whether it holds, then every table and every error.

One folder, relative links, no script, nothing from the network; light and dark follow the reader's system.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pipelines.lab.measure.tables import Table
from pipelines.lab.report.claims import Claim, verdict
from pipelines.lab.report.sheets import Sheet

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
