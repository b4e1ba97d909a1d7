"""What damaged films do to a classifier, and what gates in front of it change: one table and one plot.

Films are shown as they are and damaged in every way of DAMAGES, and films of other parts are put among them.
The classifier is asked twice: about everything, and about what a gate lets through or puts right. A film
of another part has none of the conditions. It knows no gates: `gate` and `ask` are handed in.
"""

from __future__ import annotations

import csv
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.random import Generator
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.lab.ask.evaluate import mirrored, negative, turned
from pipelines.lab.films.exposure_faults import Frame, framed
from pipelines.lab.measure import discrimination
from pipelines.lab.measure.classifier_scores import Doubles, Flags
from pipelines.lab.measure.discrimination import DRAWS, Draws, Value
from pipelines.lab.measure.rules import share, with_interval
from pipelines.lab.measure.tables import Table, markdown, write_csv
from pipelines.lab.report.curves import LINES, LOOKS, save

Greys = NDArray[np.float32]  # (H, W) in [0, 1], as displayed
Ask = Callable[[Greys], Doubles]  # -> (L,) probabilities
Read = Callable[[str], Greys]  # the pixels of a film by its name

KEPT = 0.6  # of the width and height of a film that was cropped, anywhere in it
SQUEEZED = 0.5  # width and height of a film in a border, against the picture
CHUNK = 50  # films between two writings of the answers: what a stopped run loses at most
LEAST = 10  # clean films with a condition, for it to count in the macro-average
CLEAN, WRONG_PART, MIX = "clean", "wrong part", "damaged mix"
ANSWERS, TABLE, SUMMARY, PLOT = "answers.csv", "robustness", "robustness.md", "robustness"


@dataclass(frozen=True, slots=True)
class Gated:
    """What gates make of a film: it passes, or is put right (`pixels`), or is held for a `reason`."""

    act: Literal["pass", "correct", "held"]
    pixels: Greys | None = None
    reason: str = ""


Gate = Callable[[Greys], Gated]


@dataclass(frozen=True, slots=True)
class Film:
    """One film: of a chest with what is known of it (nan: unknown), or of another part, with nothing."""

    file: str
    patient: str
    truth: tuple[float, ...] = ()  # () for another part


@dataclass(frozen=True, slots=True)
class Damage:
    """One way in which a film arrives damaged."""

    name: str
    make: Callable[[Greys, Generator], Greys]


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said of one film, shown in one way, with or without gates."""

    file: str
    patient: str
    kind: str  # CLEAN, a damage or WRONG_PART
    gates: bool
    act: str  # "pass", "correct" or "held"
    reason: str
    truth: tuple[float, ...]
    said: tuple[float, ...]  # () when it was held

    @property
    def reached(self) -> bool:
        """Whether the classifier read it."""
        return bool(self.said)


# --- damage -------------------------------------------------------------------------------------------------


def cropped(film: Greys, rng: Generator) -> Greys:
    """A window of KEPT of each side, anywhere in the film: lungs are cut off on one side or more."""
    sizes = [max(8, round(side * KEPT)) for side in film.shape]
    top, left = (int(rng.integers(side - size + 1)) for side, size in zip(film.shape, sizes, strict=True))
    return film[top : top + sizes[0], left : left + sizes[1]]


def bordered(film: Greys, rng: Generator) -> Greys:
    """The film made small inside a border, black or white, in the middle or off it."""
    frame = Frame(SQUEEZED, level=float(rng.integers(2)), off=float(rng.uniform(0, 0.8)))
    return framed(film, rng, frame)


def _certain(make: Callable[[Greys], Greys]) -> Callable[[Greys, Generator], Greys]:
    return lambda film, _rng: make(film)


DAMAGES: tuple[Damage, ...] = (
    Damage("turned 90", _certain(turned(1))),
    Damage("turned 180", _certain(turned(2))),
    Damage("turned 270", _certain(turned(3))),
    Damage("inverted", _certain(negative)),
    Damage("mirrored", _certain(mirrored)),
    Damage("cropped", cropped),
    Damage("in a border", bordered),
)


# --- asking -------------------------------------------------------------------------------------------------


def answers(
    films: Sequence[Film],
    read: Read,
    ask: Ask,
    gate: Gate,
    labels: Sequence[str],
    out: Path | None = None,
    progress: bool = True,
) -> list[Answer]:
    """Shows every film in every way, without gates and with them.

    With `out` the answers are written there every CHUNK films, and what it already holds is not asked again:
    remove it when the classifier or a gate has changed. The damage of a film depends on its name alone.
    """
    done = read_answers(out, labels) if out and out.exists() else []
    known = {answer.file for answer in done}
    todo = [film for film in films if film.file not in known]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("damaged films", total=len(todo))
        for count, film in enumerate(todo, start=1):
            done += shown(film, read(film.file), ask, gate)
            bar.advance(task)
            if out and count % CHUNK == 0:
                write_answers(out, labels, done)
    if out and todo:
        write_answers(out, labels, done)
    return done


def shown(film: Film, pixels: Greys, ask: Ask, gate: Gate) -> list[Answer]:
    """The answers about one film in all its ways."""
    if not film.truth:
        return _both(film, WRONG_PART, pixels, ask, gate)
    out = _both(film, CLEAN, pixels, ask, gate)
    for damage in DAMAGES:
        rng = np.random.default_rng(zlib.crc32(f"{film.file} {damage.name}".encode()))
        out += _both(film, damage.name, damage.make(pixels, rng), ask, gate)
    return out


def _both(film: Film, kind: str, pixels: Greys, ask: Ask, gate: Gate) -> list[Answer]:
    pixels = np.ascontiguousarray(pixels, dtype=np.float32)
    answer = ask(pixels)
    truth, plain = film.truth or (0.0,) * len(answer), _numbers(answer)
    without = Answer(film.file, film.patient, kind, False, "pass" if plain else "held", "", truth, plain)
    found = gate(pixels)
    if found.act == "correct" and found.pixels is not None:
        said = _numbers(ask(found.pixels))
    else:
        said = plain if found.act == "pass" else ()
    return [without, replace(without, gates=True, act=found.act, reason=found.reason, said=said)]


def _numbers(said: Doubles) -> tuple[float, ...]:
    """() for what the classifier does not read: nan."""
    return tuple(float(value) for value in said) if np.isfinite(said).all() else ()


def write_answers(path: Path, labels: Sequence[str], rows: Iterable[Answer]) -> None:
    """Writes the answers as CSV, beside first and then renamed."""
    part = path.with_suffix(".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("w", newline="") as handle:
        out = csv.writer(handle)
        head = [*HEAD, *(f"y:{label}" for label in labels), *(f"p:{label}" for label in labels)]
        out.writerow(head)
        for row in rows:
            truth = ("" if math.isnan(value) else f"{value:g}" for value in row.truth)
            said = (f"{value:.9g}" for value in row.said) if row.said else ("",) * len(labels)
            cells = (row.file, row.patient, row.kind, "with" if row.gates else "without", row.act, row.reason)
            out.writerow([*cells, *truth, *said])
    part.replace(path)


HEAD = ("file", "patient", "kind", "gates", "act", "reason")


def read_answers(path: Path, labels: Sequence[str]) -> list[Answer]:
    """Reads such a table. Raises OSError, or ValueError for one of other labels."""
    with path.open(newline="") as handle:
        lines = csv.DictReader(handle)
        wanted = [*HEAD, *(f"y:{label}" for label in labels), *(f"p:{label}" for label in labels)]
        if lines.fieldnames is None or list(lines.fieldnames) != wanted:
            raise ValueError(f"{path} holds answers of another classifier; remove it")
        return [_answer(line, labels) for line in lines]


def _answer(line: dict[str, str], labels: Sequence[str]) -> Answer:
    truth = tuple(float(line[f"y:{label}"] or "nan") for label in labels)
    said = tuple(float(line[f"p:{label}"]) for label in labels) if line[f"p:{labels[0]}"] else ()
    gates = line["gates"] == "with"
    return Answer(
        line["file"], line["patient"], line["kind"], gates, line["act"], line["reason"], truth, said
    )


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
    normal = discrimination.normal_of(names)
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
        Value(value, discrimination.interval_of(macros)),
        Value(value - start, discrimination.interval_of(macros - clean)),
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
        values.append(discrimination.auc(table.truth[which, n] == 1, table.said[which, n]))
    return float(np.mean(values))


def _drawn(table: _Table, drawn: Draws, read: Flags) -> Doubles:
    """The macro-average of each draw, nan where a condition has only one kind of films left."""
    return np.asarray(np.mean([_draws_of(table, drawn, read, n) for n in table.counted], axis=0))


def _draws_of(table: _Table, drawn: Draws, read: Flags, n: int) -> Doubles:
    which = _known(table, read, n)
    if not which.any():
        return np.full(drawn.draws, math.nan)
    truth, said = table.truth[which, n] == 1, table.said[which, n]
    return drawn.each(which, lambda weights: discrimination.aucs(truth, said, weights))


def _label(table: _Table, drawn: Draws, read: Flags, n: int) -> Value:
    which = _known(table, read, n)
    value = discrimination.auc(table.truth[which, n] == 1, table.said[which, n])
    return Value(value, discrimination.interval_of(_draws_of(table, drawn, read, n)))


def _before(table: _Table, read: Flags) -> float:
    """The macro-average of the very films that were read, had they come as they are."""
    clean = (table.kinds == CLEAN) & ~table.gates
    at = dict(zip(table.files[clean].tolist(), np.flatnonzero(clean).tolist(), strict=True))
    index = np.array([at[file] for file in table.files[read].tolist() if file in at], dtype=np.intp)
    values = []
    for n in table.counted:
        known = index[~np.isnan(table.truth[index, n])]
        values.append(discrimination.auc(table.truth[known, n] == 1, table.said[known, n]))
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
