"""Shows damaged films to a classifier, with gates in front of it and without, and keeps what it answers.

Films are shown as they are and damaged in every way of DAMAGES, and films of other parts are put among them.
The classifier is asked twice: about everything, and about what the gates let through or put right. A film
of another part has none of the conditions.

The gates work as they do for patients: the policy decides, a corrected film is gated again in full, and what
does not pass then is held. Every film claims to be a frontal chest of somebody whom the classifier reads; the
header helps nobody.
"""

from __future__ import annotations

import csv
import hashlib
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipelines.examine import Rules, examine
from pipelines.film import PREVIEW_PX, WHOLE, Act, Film, Finding, Header, Operations, Reason, Verdict
from pipelines.gates import Gates
from pipelines.gates.lungs import LungsGate
from pipelines.lab.ask.chain import CLAIMS
from pipelines.lab.ask.gate_cases import mirrored, negative, turned
from pipelines.lab.films import samples
from pipelines.lab.films.data import Row, read_rows
from pipelines.lab.films.exposure_faults import Frame, framed
from pipelines.lab.films.labels import CHEST14, NO_FINDING, PNEUMONIA3, Task
from pipelines.lab.measure.classifier_scores import Doubles
from pipelines.policy import Acceptance, Policy
from pipelines.reading import Reading
from pipelines.reading.classifier import Classifier

Greys = NDArray[np.float32]  # (H, W) in [0, 1], as displayed
Ask = Callable[[Greys], Doubles]  # -> (L,) probabilities
Read = Callable[[str], Greys]  # the pixels of a film by its name

SPLIT = "accept"  # films that neither gates nor classifiers were trained with
EVERYBODY = Acceptance(min_age=0.0, unknown_age=True)
ADULT, CHILD = 50.0, 3.0  # years: what the header says of the people whom a classifier was made for
NO_BOX = Finding(LungsGate.name, Verdict.GOOD, box=WHOLE)
KEPT = 0.6  # of the width and height of a film that was cropped, anywhere in it
SQUEEZED = 0.5  # width and height of a film in a border, against the picture
CHUNK = 50  # films between two writings of the answers: what a stopped run loses at most
CLEAN, WRONG_PART, MIX = "clean", "wrong part", "damaged mix"
ANSWERS = "answers.csv"


@dataclass(frozen=True, slots=True)
class Gated:
    """What gates make of a film: it passes, or is put right (`pixels`), or is held for a `reason`."""

    act: Literal["pass", "correct", "held"]
    pixels: Greys | None = None
    reason: str = ""


Gate = Callable[[Greys], Gated]


@dataclass(frozen=True, slots=True)
class Listed:
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
    films: Sequence[Listed],
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


def shown(film: Listed, pixels: Greys, ask: Ask, gate: Gate) -> list[Answer]:
    """The answers about one film in all its ways."""
    if not film.truth:
        return _both(film, WRONG_PART, pixels, ask, gate)
    out = _both(film, CLEAN, pixels, ask, gate)
    for damage in DAMAGES:
        rng = np.random.default_rng(zlib.crc32(f"{film.file} {damage.name}".encode()))
        out += _both(film, damage.name, damage.make(pixels, rng), ask, gate)
    return out


def _both(film: Listed, kind: str, pixels: Greys, ask: Ask, gate: Gate) -> list[Answer]:
    pixels = np.ascontiguousarray(pixels, dtype=np.float32)
    answer = ask(pixels)
    truth, plain = film.truth or (0.0,) * len(answer), _numbers(answer)
    without = Answer(film.file, film.patient, kind, False, "pass" if plain else "held", "", truth, plain)
    gated = gate(pixels)
    if gated.act == "correct" and gated.pixels is not None:
        said = _numbers(ask(gated.pixels))
    else:
        said = plain if gated.act == "pass" else ()
    return [without, replace(without, gates=True, act=gated.act, reason=gated.reason, said=said)]


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


# --- the films, the gates and the classifier ----------------------------------------------------------------


def task_of(classes: Sequence[str]) -> Task:
    """What the manifest can tell of these classes: a label that nobody looked for is no negative.

    Raises ValueError where it can tell nothing.
    """
    if set(classes) <= set(PNEUMONIA3):
        return Task("pneumonia3", tuple(classes), exclusive=True)
    known = tuple(name for name in classes if name in (*CHEST14, NO_FINDING))
    if not known:
        raise ValueError(f"the manifest tells nothing of {', '.join(classes)}")
    return Task("chest14", known)


def films_of(films: Path, task: Task, split: str, most: int | None = None) -> list[Listed]:
    """Chests with their truth, then films of other parts, no more of these. Raises ValueError without any."""
    listed = samples.from_manifest(films, task).rows
    rows = [row for row in listed if row.split == split and not all(map(math.isnan, row.targets))]
    if not rows:
        raise ValueError(f"{films} has no films for {task.name} that are set aside as {split!r}")
    rows = sorted(rows, key=lambda row: _digest(row.patient))[:most]
    chests = [Listed(row.file, row.patient, row.targets) for row in rows]
    parts = sorted(filter(_other_part, read_rows(films, split)), key=lambda row: _digest(row.file))
    return chests + [Listed(row.file, f"{row.site} {row.group}") for row in parts[: len(chests)]]


def gate_of(ready: Gates, header: Header = CLAIMS) -> Gate:
    """The gates and the default policy as one question."""
    rules = Rules(Policy.default(), date.max, {"classifier": EVERYBODY})  # no film has a date

    def put_right(film: Film, operations: Operations) -> tuple[Film, Greys]:
        pixels = corrected(film.pixels, operations)
        return Film(header, pixels), pixels

    def gate(pixels: Greys) -> Gated:
        examined = examine(Film(header, pixels), ready.look, rules, correct=put_right)
        decision = examined.decision
        reason = "|".join(decision.reasons) or decision.rule
        match decision.act:
            case Act.PASS:
                return Gated("pass", pixels)
            case Act.CORRECT if examined.corrected:
                return Gated("correct", examined.corrected.copy, reason)
            case _ if Reason.COPY_FAILED in decision.reasons:
                return Gated("held", reason=Reason.COPY_FAILED.value)
            case _:
                return Gated("held", reason=reason)

    return gate


def corrected(pixels: Greys, operations: Operations) -> Greys:
    """The film cropped, then turned clockwise, then inverted."""
    if box := operations.crop:
        pixels = pixels[box.cut(*pixels.shape)]
    pixels = np.rot90(pixels, -operations.turn // 90)
    return np.ascontiguousarray(1 - pixels if operations.invert else pixels, dtype=np.float32)


def asks(
    classifier: Classifier, labels: Sequence[str], ready: Gates | None = None, header: Header = CLAIMS
) -> Ask:
    """The classifier as a question: pixels -> probabilities of these labels, in their order.

    One that reads the lung field is given the box that the gates `ready` find, whatever else they say; where
    they find none it is given the whole film. What it does not read at all is nan.
    """

    def ask(pixels: Greys) -> Doubles:
        findings: tuple[Finding, ...] = ()
        film = Film(header, pixels)
        if classifier.card.input.crop == "lungs" and ready is not None:
            boxed = (f for f in ready.look(film) if f.gate == LungsGate.name and f.box)
            findings = (next(boxed, NO_BOX),)
        reading = classifier.read(film, findings, heat=False, any_film=True)
        if not isinstance(reading, Reading):
            return np.full(len(labels), math.nan)
        probabilities = {condition.name: condition.probability for condition in reading.conditions}
        return np.array([probabilities[label] for label in labels])

    return ask


def preview(pixels: Greys) -> Greys:
    """The film with its long side at most PREVIEW_PX, area averaged, as gates and readers get it."""
    shrink = PREVIEW_PX / max(pixels.shape)
    if shrink >= 1:
        return pixels
    size = tuple(max(1, round(side * shrink)) for side in reversed(pixels.shape))
    return np.asarray(Image.fromarray(pixels).resize((size[0], size[1]), Image.Resampling.BOX))


def _other_part(row: Row) -> bool:
    return row.view == "not_chest" and not row.part.startswith("non-radiograph")


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
