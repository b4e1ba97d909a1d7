"""A desk to read single files at: decoder, gates, policy, classifier. This loads torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from gateway.cli.classify import command
from gateway.cli.classify.shown import Result, item, say_result
from gateway.cli.output import print_json
from gateway.cli.tables import progress
from gateway.errors import DecodeError, FilmgateError, NotFound, NoTime
from gateway.sandbox.decoder import Decoder
from gateway.settings import Settings
from models import pictures
from models.bundle import BundleError
from models.classifiers.bundle import find
from models.pictures import Known, is_picture
from pipelines import gates
from pipelines.examine import Examination, Rules, examine
from pipelines.film import REASON_TEXT, Act, Decision, Film, Finding
from pipelines.gates import Gates
from pipelines.pictures import picture_film
from pipelines.policy import Correct, Policy
from pipelines.reading import NotRead, Reading, Unread
from pipelines.reading.classifier import Classifier
from pipelines.report.capture import painted


def read_all(
    settings: Settings,
    paths: list[Path],
    reading: command.Reading,
    known: command.Pictures,
    *,
    json: bool,
) -> bool:
    """Read all films among these and print the results; whether each could be read.

    Raises:
        NotFound: there is none.
        FilmgateError: the classifier or the gates cannot be used.
    """
    files = list(_files(paths))
    if not files:
        raise NotFound("there is no film among these. Nothing was read. Name DICOM, PNG, JPEG or TIFF files.")
    look = Look(Known(known.bits, known.polarity or ""), known.max_mpx * 1_000_000)
    results: list[Result] = []
    with (
        _desk(settings, reading, look) as desk,
        progress("reading", shown=len(files) > 1) as (_, advance),
    ):
        for path in files:
            result = desk.read(path, heat=reading.heatmap is not None)
            results.append(_drawn(result, reading.heatmap, len(files), len(results)))
            advance(len(results), len(files))
            if not json:
                say_result(results[-1])
    if json:
        print_json(item(desk.reader, result) for result in results)
    return not any(isinstance(result.answer, NotRead) for result in results)


@dataclass(frozen=True, slots=True)
class Look:
    """How picture files are read."""

    known: Known
    most_px: int


@dataclass(frozen=True, slots=True)
class Desk:
    """All that is needed to read a file."""

    reader: Classifier
    gates: Gates | None  # None: none of their models can be used
    policy: Policy
    decoder: Decoder
    look: Look
    no_gates: bool
    correct: Correct = "propose"  # of the settings: what a gateway would do

    def __enter__(self) -> Desk:
        return self

    def __exit__(self, *_: object) -> None:
        self.decoder.close()

    def read(self, path: Path, *, heat: bool) -> Result:
        """Decode, gate, read. Nothing is raised for a film."""
        picture = is_picture(path)
        try:
            film, notes = self._pictured(path) if picture else (self.decoder.film(path), ())
        except (DecodeError, NoTime, ValueError, OSError) as error:
            return Result(path, self.reader.not_read(Unread.NOT_DECODED, str(error)))
        examined = self._examined(film)
        findings, decision = (examined.findings, examined.decision) if examined else ((), None)
        words = _words(decision, findings)
        if decision and decision.act is not Act.PASS and not self.no_gates:
            return Result(
                path,
                self.reader.not_read(Unread.NOT_QUALIFIED, decision.why),
                film,
                findings,
                words,
                notes=notes,
            )
        # Of a picture nothing is known but its pixels: for age and modality answers who names it.
        answer = self.reader.read(film, findings, heat=heat, any_film=picture or self.no_gates)
        return Result(path, answer, film, findings, words, notes=notes)

    def _pictured(self, path: Path) -> tuple[Film, tuple[str, ...]]:
        """Raises PictureError or OSError."""
        picture = pictures.read(path, self.look.known, most_px=self.look.most_px)
        return picture_film(picture), picture.notes

    def _examined(self, film: Film) -> Examination[Any] | None:
        """None where no gate can be asked."""
        if self.gates is None:
            return None
        rules = Rules(self.policy, date.max, mode="alone", correct=self.correct)
        return examine(film, self.gates.look, rules)


def _desk(settings: Settings, reading: command.Reading, look: Look) -> Desk:
    """
    Raises:
        FilmgateError: the classifier cannot be used.
    """
    torch.set_num_threads(reading.threads)
    work = settings.work
    try:
        reader = Classifier.open(
            find(reading.model), cache=settings.state / "engines", threads=reading.threads
        )
    except BundleError as error:
        raise FilmgateError(
            f"{error}. Nothing was read. `filmgate models list` shows what there is."
        ) from error
    variants = {str(name): variant for name, variant in work.variants.items()}
    ready = gates.load(Path(work.bundles) if work.bundles else None, variants)
    if ready.problems() and not reading.no_gates:
        raise FilmgateError(
            f"a gate cannot work: {ready.problems()[0]}. Nothing was read. --no-gates reads without gates."
        )
    file = settings.policy.file
    policy = Policy.load(file.read_text(encoding="utf-8")) if file else Policy.default()
    decoder = Decoder(timeout_s=work.decode_timeout_s, memory_mb=work.decode_memory_mb)
    asked = None if ready.problems() else ready
    return Desk(reader, asked, policy, decoder, look, reading.no_gates, settings.policy.correct)


def _files(paths: list[Path]) -> Iterator[Path]:
    """Files as they are named; of a folder, all that may be films."""
    for path in paths:
        if path.is_file():
            yield path
            continue
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            if is_picture(file) or _is_dicom(file):
                yield file


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(132)[128:] == b"DICM"


def _words(decision: Decision | None, findings: tuple[Finding, ...]) -> str:
    """What the gates found, in words for people."""
    if decision is None:
        return "the gates were not asked"
    if decision.act is not Act.PASS:
        return decision.why
    noted = [REASON_TEXT[f.reason] for f in findings if f.reason is not None]
    return "; ".join(["the gates would pass it", *dict.fromkeys(noted)])


def _drawn(one: Result, heatmap: Path | None, files: int, number: int) -> Result:
    """Writes the picture of film, heat and conditions."""
    if heatmap is None or one.film is None or not isinstance(one.answer, Reading):
        return one
    target = heatmap if files == 1 else heatmap / f"{number + 1:04}-{one.path.stem}.png"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(painted(one.film.pixels, one.answer)).save(target, format="PNG")
    except OSError as error:
        raise FilmgateError(f"{target}: cannot be written: {error.strerror or error}") from error
    return replace(one, heatmap=target)
