"""`filmgate evaluate robustness`: what damaged films do to a classifier, and what gates change of it.

One table and one plot, from the answers that lab.ask.robustness keeps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.bundle import BundleError
from models.classifiers import bundle
from models.pictures import NOTHING, read_pixels
from pipelines import gates
from pipelines.lab.ask import robustness
from pipelines.lab.ask.chain import CLAIMS
from pipelines.lab.ask.robustness import CLEAN, DAMAGES, MIX, WRONG_PART, Answer
from pipelines.lab.films.data import read_rows
from pipelines.lab.measure import areas
from pipelines.lab.measure.areas import DRAWS, Draws, Value
from pipelines.lab.measure.classifier_scores import Doubles, Flags
from pipelines.lab.measure.rules import share, with_interval
from pipelines.lab.measure.tables import Table, markdown, write_csv
from pipelines.lab.report.drawing import LINES, LOOKS, save
from pipelines.reading.classifier import Classifier

LEAST = 10  # clean films with a condition, for it to count in the macro-average
TABLE, SUMMARY, PLOT = "robustness", "robustness.md", "robustness"


def evaluate_robustness(
    films: Path,
    model: str | Path,
    out: Path,
    *,
    split: str = robustness.SPLIT,
    most: int | None = None,
    least: int = LEAST,
    bundles: Path | None = None,
    threads: int = 1,
) -> Written:
    """Writes table and plot of a classifier on the films of a manifest that are set aside as `split`.

    `most` is how many films are shown at most, chosen by the digest of their patients' names; there are no
    more films of wrong parts than of chests. Answers are kept in `out` and not asked again. Raises OSError,
    BundleError for a classifier or gates that cannot be used, or ValueError where there are no such films.
    """
    torch.set_num_threads(threads)
    classifier = Classifier.open(bundle.find(model), threads=threads)
    task = robustness.task_of(classifier.card.classes)
    ready = gates.load(bundles)
    if problems := ready.problems():
        raise BundleError(problems[0])
    header = replace(CLAIMS, age_years=robustness.CHILD if task.exclusive else robustness.ADULT)
    shown = robustness.films_of(films, task, split, most)
    ask, gate = robustness.asks(classifier, task.labels, ready, header), robustness.gate_of(ready, header)

    known = {row.file: row.known for row in read_rows(films, split)}

    def read(file: str) -> robustness.Greys:
        return robustness.preview(read_pixels(films / file, known.get(file, NOTHING)))

    answers = robustness.answers(shown, read, ask, gate, task.labels, out / robustness.ANSWERS)
    rows = judged(answers, task.labels, exclusive=task.exclusive, least=least)
    normal = areas.normal_of(task.labels)
    averaged = (
        f"of “any but {normal}”"
        if task.exclusive and normal
        else f"mean of the conditions with at least {least} clean films"
    )
    return write(out, classifier.card.name, rows, averaged)


# --- counting -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """How well conditions are told in films of one kind, with gates or without."""

    kind: str
    gates: bool
    sent: int
    corrected: int
    held: int
    macro: Value
    against_clean: Value  # the macro-average less that of clean films without gates, patients drawn together
    same_films: float  # of the films that were read, as they were before the damage; nan where there is none
    labels: tuple[tuple[str, Value], ...]

    @property
    def reached(self) -> int:
        return self.sent - self.held


@dataclass(frozen=True, slots=True)
class _Table:
    """Answers as arrays; (A,) and (A, L)."""

    labels: tuple[str, ...]
    counted: tuple[int, ...]  # which of the labels are averaged
    kinds: NDArray[np.str_]
    files: NDArray[np.str_]
    gates: Flags
    reached: Flags
    corrected: Flags
    truth: Doubles
    said: Doubles


def judged(
    rows: Sequence[Answer],
    labels: Sequence[str],
    *,
    exclusive: bool = False,
    least: int = LEAST,
    draws: int = DRAWS,
) -> list[Row]:
    """A row for each kind, without gates and with them, and for the mix of all damage and wrong parts.

    A label that means "normal" is no condition; of exclusive labels "any but normal" is the one that counts,
    else all with at least `least` clean films. Films of wrong parts are judged among the clean ones. Raises
    ValueError without clean films or without any such label.
    """
    table = _arrays(rows, labels, exclusive, least)
    drawn = Draws(np.array([row.patient for row in rows]), draws)
    present = [
        kind for kind in (CLEAN, *(d.name for d in DAMAGES), WRONG_PART) if (table.kinds == kind).any()
    ]
    clean = _drawn(table, drawn, (table.kinds == CLEAN) & ~table.gates)
    kinds = [*present, MIX] if len(present) > 1 else present
    return [_row(table, drawn, kind, gates, clean) for kind in kinds for gates in (False, True)]


def _arrays(rows: Sequence[Answer], labels: Sequence[str], exclusive: bool, least: int) -> _Table:
    unread = (math.nan,) * len(labels)
    truth, said = np.array([row.truth for row in rows]), np.array([row.said or unread for row in rows])
    kinds, names = np.array([row.kind for row in rows]), list(labels)
    gates = np.array([row.gates for row in rows])
    normal = areas.normal_of(names)
    if normal is not None:
        at = names.index(normal)
        some = np.where(kinds == WRONG_PART, 0.0, 1 - truth[:, at])
        keep = [n for n in range(len(names)) if n != at]
        more = [np.column_stack([some])] if exclusive else []
        p = [np.column_stack([1 - said[:, at]])] if exclusive else []
        truth, said = np.hstack([truth[:, keep], *more]), np.hstack([said[:, keep], *p])
        names = [name for name in names if name != normal] + ([f"any but {normal}"] if exclusive else [])
    here = (kinds == CLEAN) & ~gates
    enough = [
        n for n in range(len(names)) if (truth[here, n] == 1).sum() >= least and (truth[here, n] == 0).any()
    ]
    counted = [len(names) - 1] if exclusive and normal is not None else enough
    if not here.any() or not counted:
        raise ValueError(f"no condition has {least} clean films: there is nothing to average")
    return _Table(
        tuple(names),
        tuple(counted),
        kinds,
        np.array([row.file for row in rows]),
        gates,
        np.array([row.reached for row in rows]),
        np.array([row.act == "correct" for row in rows]),
        truth,
        said,
    )


def _row(table: _Table, drawn: Draws, kind: str, gates: bool, clean: Doubles) -> Row:
    mine = (table.gates == gates) & _of_kind(table, kind)
    shown_ = mine | ((table.gates == gates) & (table.kinds == CLEAN) if kind == WRONG_PART else False)
    read = shown_ & table.reached
    macros = _drawn(table, drawn, read)
    value, start = _macro(table, read), _macro(table, (table.kinds == CLEAN) & ~table.gates)
    return Row(
        kind,
        gates,
        int(mine.sum()),
        int((mine & table.corrected).sum()),
        int((mine & ~table.reached).sum()),
        Value(value, areas.interval_of(macros)),
        Value(value - start, areas.interval_of(macros - clean)),
        _before(table, read),
        tuple((name, _label(table, drawn, read, n)) for n, name in enumerate(table.labels)),
    )


def _of_kind(table: _Table, kind: str) -> Flags:
    return np.asarray(table.kinds != CLEAN if kind == MIX else table.kinds == kind)


def _known(table: _Table, read: Flags, n: int) -> Flags:
    return np.asarray(read & ~np.isnan(table.truth[:, n]))


def _macro(table: _Table, read: Flags) -> float:
    values = []
    for n in table.counted:
        which = _known(table, read, n)
        values.append(areas.auc(table.truth[which, n] == 1, table.said[which, n]))
    return float(np.mean(values))


def _drawn(table: _Table, drawn: Draws, read: Flags) -> Doubles:
    """The macro-average of each draw, nan where a condition has only one kind of films left."""
    return np.asarray(np.mean([_draws_of(table, drawn, read, n) for n in table.counted], axis=0))


def _draws_of(table: _Table, drawn: Draws, read: Flags, n: int) -> Doubles:
    which = _known(table, read, n)
    if not which.any():
        return np.full(drawn.draws, math.nan)
    truth, said = table.truth[which, n] == 1, table.said[which, n]
    return drawn.each(which, lambda weights: areas.aucs(truth, said, weights))


def _label(table: _Table, drawn: Draws, read: Flags, n: int) -> Value:
    which = _known(table, read, n)
    value = areas.auc(table.truth[which, n] == 1, table.said[which, n])
    return Value(value, areas.interval_of(_draws_of(table, drawn, read, n)))


def _before(table: _Table, read: Flags) -> float:
    """The macro-average of the very films that were read, had they come as they are."""
    clean = (table.kinds == CLEAN) & ~table.gates
    at = dict(zip(table.files[clean].tolist(), np.flatnonzero(clean).tolist(), strict=True))
    index = np.array([at[file] for file in table.files[read].tolist() if file in at], dtype=np.intp)
    values = []
    for n in table.counted:
        known = index[~np.isnan(table.truth[index, n])]
        values.append(areas.auc(table.truth[known, n] == 1, table.said[known, n]))
    return float(np.mean(values)) if len(index) else math.nan


# --- telling ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """Where the table and the plot are, and the table in Markdown."""

    rows: tuple[Row, ...]
    table: Path
    plot: tuple[str, str]
    markdown: str


def write(out: Path, title: str, rows: Sequence[Row], averaged: str) -> Written:
    """Writes `robustness.csv`, `robustness-labels.csv`, `robustness.md` and the plot into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    table, labels = as_table(rows, averaged), label_table(rows)
    write_csv(out, labels)
    plot = draw(out, title, rows)
    text = f"## {title}: gates off and on\n\n{markdown(table.head, table.rows)}\n{table.note}\n"
    text += f"\n### By condition\n\n{markdown(labels.head, labels.rows)}\n"
    (out / SUMMARY).write_text(text, encoding="utf-8")
    return Written(tuple(rows), write_csv(out, table), plot, text)


def as_table(rows: Sequence[Row], averaged: str) -> Table:
    """The rows as cells."""
    cells = tuple(
        (
            row.kind,
            "with" if row.gates else "without",
            str(row.sent),
            str(row.reached),
            str(row.corrected),
            _value(row.macro),
            _value(row.against_clean),
            share(row.same_films),
        )
        for row in rows
    )
    head = ("films", "gates", "sent", "read", "of these put right", "AUC", "less clean", "same films, clean")
    note = (
        f"AUC: {averaged}; 95 % intervals from drawing patients again, in “less clean” both at once. Films "
        "that are held leave the set, and corrected ones are read after the correction. Films of the wrong "
        "part have no condition; alone they are judged among the clean ones. “Same films, clean”: the films "
        "that were read, had they come undamaged; what differs from it is the damage, not the choice."
    )
    return Table(TABLE, "Gates off and on", head, cells, note)


def label_table(rows: Sequence[Row]) -> Table:
    """A line a condition and kind: without gates and with them."""
    cells = []
    for without, with_ in zip(rows[::2], rows[1::2], strict=True):
        pairs = zip(without.labels, with_.labels, strict=True)
        cells += [(name, without.kind, _value(a), _value(b)) for (name, a), (_, b) in pairs]
    order = {name: n for n, (name, _) in enumerate(rows[0].labels)} if rows else {}
    cells.sort(key=lambda cell: order[cell[0]])
    head = ("condition", "films", "AUC without gates", "AUC with gates")
    return Table(f"{TABLE}-labels", "By condition", head, tuple(cells))


def draw(folder: Path, title: str, rows: Sequence[Row]) -> tuple[str, str]:
    """`robustness-*.svg`: a line a kind; the area without gates and with them, and how many were read."""
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    clean = next(row.macro.value for row in rows if row.kind == CLEAN and not row.gates)

    def draw_in(figure: Figure, look: str) -> None:
        axes = figure.subplots()
        axes.axvline(clean, color=LOOKS[look]["faint"], lw=1, linestyle=":")
        axes.axvline(0.5, color=LOOKS[look]["grid"], lw=1)
        for place, pair in enumerate(pairs):
            for row, colour, marker in zip(pair, (LINES[look][1], LINES[look][0]), "so", strict=True):
                _mark(axes, place, row, colour, marker)
            _read(axes, place, pair, look)
        beside = axes.get_yaxis_transform()  # x in fractions of the axes, y in lines
        axes.text(1.01, -0.7, "with gates, of these films", fontsize=9, transform=beside, va="center")
        names = [f"{one.kind}\n({one.sent:,} films)" for one, _ in pairs]
        axes.set_yticks(range(len(pairs)), names)
        axes.set(ylim=(len(pairs) - 0.4, -0.9), xlabel="AUC (dotted: clean films, no gates)", title=title)
        axes.tick_params(axis="y", labelcolor=LOOKS[look]["ink"], length=0)
        axes.grid(axis="y", visible=False)
        for name, colour, marker in (
            ("without gates", LINES[look][1], "s"),
            ("with gates", LINES[look][0], "o"),
        ):
            axes.plot([], [], marker, color=colour, label=name, linestyle="-")
        figure.legend(loc="outside upper left", ncols=2, frameon=False)

    return save(folder, PLOT, (8.6, 1.4 + 0.52 * len(pairs)), draw_in)


def _mark(axes: Axes, place: int, row: Row, colour: str, marker: str) -> None:
    """A dot with its interval; without gates a little above, with them a little below."""
    if math.isnan(row.macro.value):
        return
    at = place + (0.14 if row.gates else -0.14)
    low, high = row.macro.interval
    if not math.isnan(low):
        axes.plot([low, high], [at, at], color=colour, lw=1.6, solid_capstyle="butt")
    axes.plot(row.macro.value, at, marker, color=colour, ms=6)


def _read(axes: Axes, place: int, pair: tuple[Row, Row], look: str) -> None:
    """At the right: what of these films the classifier read with gates, and how much was put right first."""
    _, row = pair
    read = f"{row.reached / max(row.sent, 1):.1%} read"
    text = f"{read}, {row.corrected / max(row.sent, 1):.1%} put right" if row.corrected else read
    beside, ink = axes.get_yaxis_transform(), LOOKS[look]["ink"]
    axes.text(1.01, place, text, transform=beside, va="center", fontsize=9, color=ink)


def _value(value: Value) -> str:
    return with_interval(value.value, value.interval)
