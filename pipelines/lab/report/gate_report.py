"""`filmgate evaluate GATE`: what a gate's scores say, as one page with tables, curves and every error.

Everything is counted from the tables of scores (`measure/scores.py`); films are looked at again only for the
errors, and for the probes. Where the tables hold rounds that left sites out, these are what the claims are
made of, and the weights that ship are reported after them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields, replace
from math import isnan
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import bundle, card
from pipelines.decode import Undecodable, decode_film
from pipelines.lab.ask import advice_quality, controls, gate_ask, shortcut_probes
from pipelines.lab.ask import out_of_distribution as never_seen
from pipelines.lab.ask.gate_ask import Ask
from pipelines.lab.ask.shortcut_probes import Measured
from pipelines.lab.films.data import ROUNDS, Row, left_out, load, read_rows
from pipelines.lab.measure import calibrate, scores, tables
from pipelines.lab.measure.binomial import Rate
from pipelines.lab.measure.budget import Share, share_of
from pipelines.lab.measure.calibrate import Chosen
from pipelines.lab.measure.scores import BoxScore, Score
from pipelines.lab.measure.tables import NOT_SURE, RIGHT, Judged, Table, Thresholds
from pipelines.lab.report import gate_curves, page
from pipelines.lab.report.claims import BOX_LOW, Claim, claims_markdown, claims_of
from pipelines.lab.report.claims import as_table as claims_table
from pipelines.lab.report.page import Block, Picture, Section

# Name, metric, value, patients, interval.
Measure = tuple[str, str, float | str, int, tuple[float, float] | str | None]
Extra = tuple[str, Sequence[Measure]]  # a heading and its rows
LEFT_OUT, SHIPPED = "Sites left out of training", "The weights that ship"


def evaluate_gate(
    name: str,
    films: Path,
    runs: Path,
    out: Path,
    cache: Path,
    bundles: Path,
    *,
    with_probes: bool = False,
) -> Path:
    """Writes the report of the gate's rounds into `out`, and its summary into the card; returns the page.

    The thresholds are those of the bundle in `bundles`; where there is none, those that the rounds give.
    Raises ValueError when no round has been scored, OSError, or BundleError.
    """
    share = share_of(name)
    table = scores.pooled([runs], name)
    thresholds = known_thresholds(name, bundles, table, share)
    rows = read_rows(films)
    boxes = scores.boxes(runs) if name == "lungs" else []
    extra: list[Extra] = [
        ("Thresholds chosen without the site", by_round(calibrate.without_site(table, share)))
    ]
    if with_probes and name in shortcut_probes.VIEWS:
        extra += probed(name, films, runs, cache, thresholds[1])
    written = write(out, name, table, thresholds, rows, films, extra, boxes, share.loss)
    if (bundles / name / bundle.METADATA).exists():
        text = summary(name, table, thresholds, rows, boxes, share.loss)
        card.write_part(bundles / name, "evaluation", f"## Evaluation\n\n{text}")
    return written


def known_thresholds(name: str, bundles: Path, table: list[Score], share: Share) -> tuple[float, float]:
    """(low, high) of the card, else those that the table gives. Raises ValueError, as calibrate.choose."""
    if (bundles / name / bundle.METADATA).exists():
        known = calibrate.thresholds_of(bundle.read_card(bundles / name))
        if known:
            return known
    chosen = calibrate.choose(table, share)
    return chosen.low, chosen.high


def by_round(chosen: dict[str, Chosen]) -> tuple[Measure, ...]:
    """These counts as rows of a report."""
    rows: list[Measure] = []
    for round_, one in chosen.items():
        rows.append((round_, "low, high", f"{one.low:.4f}, {one.high:.4f}", one.lost.patients, None))
        rows += [_counted_errors(round_, "clean patients lost", one.lost)]
        rows += [_counted_errors(round_, "clean patients called faulty", one.wrong)]
        if one.missed:
            rows += [_counted_errors(round_, "faulty patients missed", one.missed)]
        if not isnan(one.caught):
            rows.append(
                (round_, "faulty patients called faulty, all films", one.caught, one.lost.patients, None)
            )
    return tuple(rows)


def _counted_errors(round_: str, metric: str, rate: Rate) -> Measure:
    return round_, metric, str(rate.errors), rate.patients, f"share at most {rate.bound:.5f}"


# --- the page -----------------------------------------------------------------------------------------------


def write(
    out: Path,
    gate: str,
    table: Iterable[Score],
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
    parts, dropped = _parts(table, thresholds, rows)
    sections: list[Section] = []
    stated: list[Claim] = []
    for title, judged in parts:
        stem = "" if title == parts[0][0] else "shipped-"
        rocs = gate_curves.rocs(gate, judged)
        mine = claims_of(gate, judged, rocs, boxes if not stem else (), budget)
        stated = stated or mine
        blocks = _counted(gate, stem, judged, thresholds, mine, rocs, out, dropped if not stem else 0)
        sections.append(Section(title, blocks))
    if boxes:
        sections.append(Section("Lung boxes", (box_table(boxes),)))
        scores.write_boxes(out / "boxes-by-film.csv", boxes)
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
    table: Iterable[Score],
    thresholds: Thresholds,
    rows: Sequence[Row],
    boxes: Sequence[BoxScore] = (),
    budget: float | None = None,
) -> str:
    """The claims and the counts by site as Markdown, for a model card; short enough to read."""
    text = ""
    for title, judged in _parts(table, thresholds, rows)[0]:
        first = title == LEFT_OUT or not text
        claims = claims_of(gate, judged, gate_curves.rocs(gate, judged), boxes if first else (), budget)
        text += f"### {title}\n\n{claims_markdown(claims)}\n"
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
    table: Iterable[Score], thresholds: Thresholds, rows: Sequence[Row]
) -> tuple[list[tuple[str, list[Judged]]], int]:
    """The answers of the rounds and those of the weights that ship, and how many a round had trained on."""
    kept, dropped = tables.unseen(table)
    judged = tables.judge(kept, thresholds, rows)
    rounds = [one for one in judged if one.score.left_out]
    shipped = [one for one in judged if not one.score.left_out]
    return [(title, some) for title, some in ((LEFT_OUT, rounds), (SHIPPED, shipped)) if some], dropped


def _counted(
    gate: str,
    stem: str,
    judged: list[Judged],
    thresholds: Thresholds,
    claims: Sequence[Claim],
    rocs: Sequence[gate_curves.Roc],
    out: Path,
    dropped: int,
) -> tuple[Block, ...]:
    """The tables and pictures of one part of the scores."""
    blocks: list[Block] = []
    if dropped:
        blocks.append(f"{dropped} scores are left out here: their round had trained on these films.")
    blocks.append(claims_table(f"{stem}claims", "The bars", claims))
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
    blocks += _drawn(stem, judged, thresholds, rocs, out)
    by_slice = tables.slices(gate, judged)
    if by_slice:
        blocks.append(_renamed(tables.slice_table(by_slice), stem))
    return tuple(blocks)


def _drawn(
    stem: str, judged: list[Judged], thresholds: Thresholds, rocs: Sequence[gate_curves.Roc], out: Path
) -> list[Block]:
    blocks: list[Block] = []
    if rocs:
        first = [curve for curve in rocs if curve.name == rocs[0].name]
        text = f"ROC, {rocs[0].name}. A threshold that calls no good film bad lies at the left edge."
        blocks += [
            Picture(*gate_curves.draw_rocs(out, first, stem), text),
            _renamed(gate_curves.roc_table(rocs), stem),
        ]
    tilted = gate_curves.tilts(judged)
    if tilted:
        text = "What it says of tilted films; within the shaded band it should say upright."
        blocks += [
            Picture(*gate_curves.draw_tilts(out, tilted, stem), text),
            _renamed(gate_curves.tilt_table(tilted), stem),
        ]
    if any(one.score.wanted for one in judged):
        covered = gate_curves.coverages(judged, thresholds)
        text = "Errors among the films it answers, as both thresholds move outwards. Dots: where they stand."
        blocks += [
            Picture(*gate_curves.draw_coverages(out, covered, stem), text),
            _renamed(gate_curves.coverage_table(covered), stem),
        ]
    return blocks


def _errors(
    out: Path, gate: str, parts: Iterable[tuple[str, list[Judged]]], boxes: Sequence[BoxScore], films: Path
) -> list[page.Sheet]:
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
    return [*page.error_sheets(out, gate, wrong, films), *page.box_sheets(out, boxes, films, BOX_LOW)]


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
    return replace(table, name=f"{stem}{table.name}")


def _clear(out: Path) -> None:
    """Removes the sheets of an earlier report: an error that is gone must not stay to be looked at."""
    for stem in ("misjudged", "unsure", "boxes"):
        for path in out.glob(f"{stem}-[0-9]*.png"):
            path.unlink()


# --- probes -------------------------------------------------------------------------------------------------


def probed(name: str, films: Path, runs: Path, cache: Path, high: float) -> list[Extra]:
    """What films of their own kind are needed for, a table a round and one of rules without a network.

    Shortcut probes of each round's network on the films it never saw; of the anatomy gate also the sets that
    no gate ever trains on; and the advice beside the verdicts.
    """
    known = load(films, cache)
    out: list[Extra] = []
    for round_ in ROUNDS:
        folder = runs / round_
        if (folder / name / bundle.METADATA).exists():
            unseen = shortcut_probes.some_patients(
                known.where(left_out(known.rows, round_)), shortcut_probes.PATIENTS
            )
            ask = one_by_one(gate_ask.asks(name, folder))
            sites = shortcut_probes.site_probe(
                gate_ask.features(name, folder), shortcut_probes.some_patients(known)
            )
            rows = shortcut_probes.probes(name, ask, unseen)
            out.append((f"Shortcut probes, without {round_}", _measures((*rows, *sites))))
            if name == "anatomy":
                sets = never_seen.unseen_sets(known, round_, films.parent / "dicom", displayed)
                frontal = unseen.where(np.array([row.view == "frontal" for row in unseen.rows]))
                rows = never_seen.unseen_rows(ask, frontal, sets, high)
                out.append((f"Never seen, without {round_}", _measures(rows)))
    rules = controls.controls(known, controls.native_sizes(films))
    out.append(("Rules without a network", _measures(row for row in rules if row.name.startswith(name))))
    if name in ADVICE:
        out.append(("Advice beside the verdict", _measures(ADVICE[name](runs, known))))
    return out


ADVICE = {"rotation": advice_quality.tilt_rows, "anatomy": advice_quality.view_rows}


def displayed(path: Path) -> NDArray[np.float32] | None:
    """The pixels of a DICOM file as the gates see them, (H, W) in [0, 1]; None where it has none to show."""
    try:
        return decode_film(path).pixels
    except (Undecodable, ValueError):
        return None


def one_by_one(ask: Ask) -> shortcut_probes.Ask:
    """A gate that is asked about one film, as one that is asked about a batch."""

    def of_batch(x: Tensor) -> Tensor:
        return torch.tensor([ask(film.numpy())[0] for film in x.float()])

    return of_batch


def _measures(rows: Iterable[Measured]) -> list[Measure]:
    return [(row.name, _metric(row), row.value, row.n, (row.low, row.high)) for row in rows]


def _metric(row: Measured) -> str:
    verdict = {True: ", passes", False: ", FAILS", None: ""}[row.passes]
    return f"{row.metric}{verdict}"
