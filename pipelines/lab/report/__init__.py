"""What a gate's scores say, for people: tables, curves, slices, contact sheets and one page (`write`).

Everything is counted from the table of scores (`measure/scores.py`); films are looked at again only for the
errors. Where the table holds rounds that left sites out, these are what the claims are made of, and the
weights that ship are reported after them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from pipelines.lab.ask.evaluate import BoxScore, write_boxes
from pipelines.lab.films.data import Row
from pipelines.lab.measure import tables
from pipelines.lab.measure.scores import Score
from pipelines.lab.measure.tables import NOT_SURE, RIGHT, Judged, Table, Thresholds
from pipelines.lab.report import curves, page, sheets, slices
from pipelines.lab.report.claims import BOX_LOW, Claim, claims_markdown, claims_of
from pipelines.lab.report.claims import as_table as claims_table
from pipelines.lab.report.page import Block, Picture, Section

__all__ = ["Claim", "Extra", "Measure", "summary", "write"]

Measure = tuple[
    str, str, float | str, int, tuple[float, float] | str | None
]  # name, metric, value, n, interval
Extra = tuple[str, Sequence[Measure]]  # a heading and its rows
LEFT_OUT, SHIPPED = "Sites left out of training", "The weights that ship"


def write(
    out: Path,
    gate: str,
    scores: Iterable[Score],
    thresholds: Thresholds,
    rows: Sequence[Row],
    films: Path,
    extra: Sequence[Extra] = (),
    boxes: Sequence[BoxScore] = (),
    budget: float | None = None,
) -> Path:
    """Writes the report of a gate into the folder `out` and returns the path of its page.

    `rows` are the films of the manifest, for findings, ages and the like; scores of films that are not among
    them count as well. `budget` is the share of clean films that the gate may cost. Raises OSError.
    """
    out.mkdir(parents=True, exist_ok=True)
    _clear(out)
    parts, dropped = _parts(scores, thresholds, rows)
    sections: list[Section] = []
    stated: list[Claim] = []
    for title, judged in parts:
        stem = "" if title == parts[0][0] else "shipped-"
        found = curves.rocs(gate, judged)
        mine = claims_of(gate, judged, found, boxes if not stem else (), budget)
        stated = stated or mine
        blocks = _counted(gate, stem, judged, thresholds, mine, found, out, dropped if not stem else 0)
        sections.append(Section(title, blocks))
    if boxes:
        sections.append(Section("Lung boxes", (box_table(boxes),)))
        write_boxes(out / "boxes-by-film.csv", boxes)
    sections += [
        Section(heading, (_extra(heading, i, rows_),)) for i, (heading, rows_) in enumerate(extra, 1)
    ]
    pictures = _errors(out, gate, parts, boxes, films)
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Table):
                tables.write_csv(out, block)
    return page.write(out / "index.html", page.page(gate, thresholds, stated, sections, pictures))


def summary(
    gate: str,
    scores: Iterable[Score],
    thresholds: Thresholds,
    rows: Sequence[Row],
    boxes: Sequence[BoxScore] = (),
    budget: float | None = None,
) -> str:
    """The claims and the counts by site as Markdown, for a model card; short enough to read."""
    text = ""
    for title, judged in _parts(scores, thresholds, rows)[0]:
        first = title == LEFT_OUT or not text
        made = claims_of(gate, judged, curves.rocs(gate, judged), boxes if first else (), budget)
        text += f"### {title}\n\n{claims_markdown(made)}\n"
        groups = list(tables.GROUPS.get(gate, tables.EVERYTHING))
        lines = [line for line in tables.counts(gate, judged) if line.what in groups]
        counted = tables.as_table("", "", "cases", lines)
        text += f"{tables.markdown(counted.head, counted.rows)}\n"
    if boxes:
        boxed = box_table(boxes)
        text += f"### Lung boxes\n\n{tables.markdown(boxed.head, boxed.rows)}\n"
    return f"{text}{tables.BOUND_NOTE} “Proven” means that this bound meets the bar too.\n"


def box_table(boxes: Sequence[BoxScore]) -> Table:
    """Overlap of the boxes, and the share of lung inside, by round and site."""
    rows = []
    for round_, site in sorted({(box.left_out, box.site) for box in boxes}):
        some = [box for box in boxes if (box.left_out, box.site) == (round_, site)]
        iou = np.array([box.iou for box in some])
        inside = np.array([box.inside for box in some if not np.isnan(box.inside)])
        patients = len({box.group for box in some})
        for what, values in (("IoU of the boxes", iou), ("lung inside the box", inside)):
            if len(values):
                quantiles = np.quantile(values, [0.5, 0.01, 0.0])
                rows.append(
                    (what, site, round_, str(len(values)), str(patients), *map(tables.share, quantiles))
                )
    head = ("what", "site", "left out", "films", "patients", "median", "1st percentile", "least")
    note = "Against the box round the true lung mask, or the published box where there is no mask."
    return Table("boxes", "", head, tuple(sorted(rows)), note)


def _parts(
    scores: Iterable[Score], thresholds: Thresholds, rows: Sequence[Row]
) -> tuple[list[tuple[str, list[Judged]]], int]:
    """The answers of the rounds and those of the weights that ship, and how many a round had trained on."""
    kept, dropped = tables.unseen(scores)
    judged = tables.judge(kept, thresholds, rows)
    rounds = [one for one in judged if one.score.left_out]
    shipped = [one for one in judged if not one.score.left_out]
    return [(title, some) for title, some in ((LEFT_OUT, rounds), (SHIPPED, shipped)) if some], dropped


def _counted(
    gate: str,
    stem: str,
    judged: list[Judged],
    thresholds: Thresholds,
    made: Sequence[Claim],
    found: Sequence[curves.Roc],
    out: Path,
    dropped: int,
) -> tuple[Block, ...]:
    """The tables and pictures of one part of the scores."""
    blocks: list[Block] = []
    if dropped:
        blocks.append(f"{dropped} scores are left out here: their round had trained on these films.")
    blocks.append(claims_table(f"{stem}claims", "The bars", made))
    if not stem:
        note = "All cases of the first claim taken together, by the round whose network never saw the site."
        lines = tables.rounds(gate, judged)
        blocks.append(tables.as_table(f"{stem}rounds", "Round by round", "left out", lines, note))
    groups = tables.GROUPS.get(gate, tables.EVERYTHING)
    lines = tables.counts(gate, judged)
    together = [line for line in lines if line.what in groups]
    alone = [line for line in lines if line.what not in groups]
    blocks.append(tables.as_table(f"{stem}counts", "Site by site", "cases", together))
    blocks.append(tables.as_table(f"{stem}cases", "Case by case", "case", alone))
    blocks += _drawn(stem, judged, thresholds, found, out)
    by_slice = slices.slices(gate, judged)
    if by_slice:
        blocks.append(_renamed(slices.as_table(by_slice), stem))
    return tuple(blocks)


def _drawn(
    stem: str, judged: list[Judged], thresholds: Thresholds, found: Sequence[curves.Roc], out: Path
) -> list[Block]:
    blocks: list[Block] = []
    if found:
        first = [curve for curve in found if curve.name == found[0].name]
        text = f"ROC, {found[0].name}. A threshold that calls no good film bad lies at the left edge."
        blocks += [
            Picture(*curves.draw_rocs(out, first, stem), text),
            _renamed(curves.roc_table(found), stem),
        ]
    tilted = curves.tilts(judged)
    if tilted:
        text = "What it says of tilted films; within the shaded band it should say upright."
        blocks += [
            Picture(*curves.draw_tilts(out, tilted, stem), text),
            _renamed(curves.tilt_table(tilted), stem),
        ]
    if any(one.score.wanted for one in judged):
        covered = curves.coverages(judged, thresholds)
        text = "Errors among the films it answers, as both thresholds move outwards. Dots: where they stand."
        blocks += [
            Picture(*curves.draw_coverages(out, covered, stem), text),
            _renamed(curves.coverage_table(covered), stem),
        ]
    return blocks


def _errors(
    out: Path, gate: str, parts: Iterable[tuple[str, list[Judged]]], boxes: Sequence[BoxScore], films: Path
) -> list[sheets.Sheet]:
    """Writes `errors.csv` and the contact sheets."""
    wrong = [one for _, judged in parts for one in judged if one.wrong != RIGHT]
    head = tuple(field.name for field in fields(Score))
    rows = tuple(
        (
            *map(str, asdict(one.score).values()),
            one.answer,
            "unsure" if one.wrong == NOT_SURE else "misjudged",
        )
        for one in wrong
    )
    tables.write_csv(out, Table("errors", "", (*head, "answer", "kind"), rows))
    return [*sheets.error_sheets(out, gate, wrong, films), *sheets.box_sheets(out, boxes, films, BOX_LOW)]


def _extra(heading: str, number: int, rows: Sequence[Measure]) -> Table:
    cells = tuple(
        (name, metric, value if isinstance(value, str) else f"{value:.5g}", str(n), _interval(interval))
        for name, metric, value, n, interval in rows
    )
    stem = "".join(letter if letter.isalnum() else "-" for letter in heading.lower())
    return Table(f"extra-{number}-{stem}", "", ("name", "metric", "value", "n", "95 % interval"), cells)


def _interval(interval: tuple[float, float] | str | None) -> str:
    if interval is None or isinstance(interval, str):
        return interval or ""
    return f"{interval[0]:.4g} to {interval[1]:.4g}"


def _renamed(table: Table, stem: str) -> Table:
    return Table(f"{stem}{table.name}", table.title, table.head, table.rows, table.note)


def _clear(out: Path) -> None:
    """Removes the sheets of an earlier report: an error that is gone must not stay to be looked at."""
    for stem in ("misjudged", "unsure", "boxes"):
        for path in out.glob(f"{stem}-[0-9]*.png"):
            path.unlink()
