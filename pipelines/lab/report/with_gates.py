"""The gates in front of a classifier, for `filmgate evaluate robustness`: what they pass, put right or hold.

As at work: the policy decides, a corrected film is gated again in full, and what does not pass then is held.
Every film claims to be a frontal chest of somebody whom the classifier reads; the header helps nobody.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from models.bundle import BundleError
from models.classifiers import bundle
from models.pictures import NOTHING, read_pixels
from pipelines import film as gated
from pipelines import gates
from pipelines.examine import Rules, examine
from pipelines.film import PREVIEW_PX, WHOLE, Act, Finding, Header, Operations, Reason, Verdict
from pipelines.gates import Gates
from pipelines.gates.lungs import LungsGate
from pipelines.lab.ask.chain import CLAIMS
from pipelines.lab.films import samples
from pipelines.lab.films.data import Row, read_rows
from pipelines.lab.films.labels import CHEST14, NO_FINDING, PNEUMONIA3, Task
from pipelines.lab.measure import discrimination
from pipelines.lab.measure.classifier_scores import Doubles
from pipelines.lab.report import robustness
from pipelines.lab.report.robustness import Ask, Film, Gate, Gated, Greys, Written
from pipelines.policy import Acceptance, Policy
from pipelines.reading import Reading
from pipelines.reading.classifier import Classifier

SPLIT = "accept"  # films that neither gates nor classifiers were trained with
EVERYBODY = Acceptance(min_age=0.0, unknown_age=True)
ADULT, CHILD = 50.0, 3.0  # years: what the header says of the people whom a classifier was made for
NO_BOX = Finding(LungsGate.name, Verdict.GOOD, box=WHOLE)


def evaluate_robustness(
    films: Path,
    model: str | Path,
    out: Path,
    *,
    split: str = SPLIT,
    most: int | None = None,
    least: int = robustness.LEAST,
    bundles: Path | None = None,
    threads: int = 1,
) -> Written:
    """Writes table and plot of a classifier on the films of a manifest that are set aside as `split`.

    `most` is how many films are shown at most, chosen by the digest of their patients' names; there are no
    more films of wrong parts than of chests. Answers are kept in `out` and not asked again. Raises OSError,
    BundleError for a classifier or gates that cannot be used, or ValueError where there are no such films.
    """
    torch.set_num_threads(threads)
    reader = Classifier.open(bundle.find(model), threads=threads)
    task = task_of(reader.card.classes)
    ready = gates.load(bundles)
    if problems := ready.problems():
        raise BundleError(problems[0])
    header = replace(CLAIMS, age_years=CHILD if task.exclusive else ADULT)
    shown = films_of(films, task, split, most)
    ask, gate = asks(reader, task.labels, ready, header), gate_of(ready, header)

    known = {row.file: row.known for row in read_rows(films, split)}

    def read(file: str) -> Greys:
        return preview(read_pixels(films / file, known.get(file, NOTHING)))

    told = robustness.answers(shown, read, ask, gate, task.labels, out / robustness.ANSWERS)
    rows = robustness.judged(told, task.labels, exclusive=task.exclusive, least=least)
    normal = discrimination.normal_of(task.labels)
    averaged = (
        f"of “any but {normal}”"
        if task.exclusive and normal
        else f"mean of the conditions with at least {least} clean films"
    )
    return robustness.write(out, reader.card.name, rows, averaged)


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


def films_of(films: Path, task: Task, split: str, most: int | None = None) -> list[Film]:
    """Chests with their truth, then films of other parts, no more of these. Raises ValueError without any."""
    listed = samples.from_manifest(films, task).rows
    rows = [row for row in listed if row.split == split and not all(map(math.isnan, row.targets))]
    if not rows:
        raise ValueError(f"{films} has no films for {task.name} that are set aside as {split!r}")
    rows = sorted(rows, key=lambda row: _digest(row.patient))[:most]
    chests = [Film(row.file, row.patient, row.targets) for row in rows]
    parts = sorted(filter(_other_part, read_rows(films, split)), key=lambda row: _digest(row.file))
    return chests + [Film(row.file, f"{row.site} {row.group}") for row in parts[: len(chests)]]


def gate_of(ready: Gates, header: Header = CLAIMS) -> Gate:
    """The gates and the default policy as one question."""
    rules = Rules(Policy.default(), date.max, {"classifier": EVERYBODY})  # no film has a date

    def put_right(film: gated.Film, operations: Operations) -> tuple[gated.Film, Greys]:
        pixels = corrected(film.pixels, operations)
        return gated.Film(header, pixels), pixels

    def gate(pixels: Greys) -> Gated:
        examined = examine(gated.Film(header, pixels), ready.look, rules, correct=put_right)
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
    reader: Classifier, labels: Sequence[str], ready: Gates | None = None, header: Header = CLAIMS
) -> Ask:
    """The classifier as a question: pixels -> probabilities of these labels, in their order.

    One that reads the lung field is given the box that the gates `ready` find, whatever else they say; where
    they find none it is given the whole film. What it does not read at all is nan.
    """

    def ask(pixels: Greys) -> Doubles:
        findings: tuple[Finding, ...] = ()
        film = gated.Film(header, pixels)
        if reader.card.input.crop == "lungs" and ready is not None:
            found = (f for f in ready.look(film) if f.gate == LungsGate.name and f.box)
            findings = (next(found, NO_BOX),)
        reading = reader.read(film, findings, heat=False, any_film=True)
        if not isinstance(reading, Reading):
            return np.full(len(labels), math.nan)
        told = {condition.name: condition.probability for condition in reading.conditions}
        return np.array([told[label] for label in labels])

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
