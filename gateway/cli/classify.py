"""`filmgate classify`: what a classifier says of single files, without a gateway. This loads torch, too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import options
from gateway.cli.output import clean, console, print_json, say
from gateway.errors import FilmgateError, NotFound
from gateway.settings import Settings, load

if TYPE_CHECKING:
    from gateway.sandbox.decoder import Decoder
    from models.pictures import Known
    from pipelines.examine import Examination
    from pipelines.film import Decision, Film, Finding
    from pipelines.gates import Gates
    from pipelines.policy import Correct, Policy
    from pipelines.reading import Condition, NotRead, Reading
    from pipelines.reading.classifier import Classifier

DEFAULT = "chest14"
MAX_MPX = 400  # models.pictures.MOST_PX; models.pictures, which knows both, is not loaded for --help
POLARITIES = ("min-is-black", "min-is-white")


def _polarity(word: str | None) -> str | None:
    if word is not None and word not in POLARITIES:
        raise typer.BadParameter(f"one of {', '.join(POLARITIES)}")
    return word


Paths = Annotated[
    list[Path], typer.Argument(help="DICOM, PNG, JPEG or TIFF files, or folders of them.", exists=True)
]
Model = Annotated[str, typer.Option("--model", help="A classifier that ships, or the folder of a bundle.")]
Heatmap = Annotated[
    Path | None,
    typer.Option("--heatmap", help="PNG of film, heat and conditions; with several films a folder of them."),
]
NoGates = Annotated[
    bool, typer.Option("--no-gates", help="Read every film as it lies, whatever gates and card say of it.")
]
Bits = Annotated[
    int | None,
    typer.Option(
        "--bits", min=9, max=32, help="Of pictures in 16 or 32 bits: how many are used. Else it is inferred."
    ),
]
Polarity = Annotated[
    str | None,
    typer.Option(
        "--polarity", callback=_polarity, help="Of pictures: min-is-black or min-is-white, whatever they say."
    ),
]
MaxMpx = Annotated[
    int, typer.Option("--max-mpx", min=1, help="Largest picture that is read, in millions of pixels.")
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Processor cores for one film.")]

BAR = 30  # characters of a bar from 0 to 1
FULL, EMPTY, MARK = "█", "·", "|"


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one file."""

    path: Path
    answer: Reading | NotRead
    film: Film | None = None
    findings: tuple[Finding, ...] = ()
    gated: str = ""  # what the gates found, in words
    heatmap: Path | None = None
    notes: tuple[str, ...] = ()  # what a picture file said of its values, and what was assumed


def classify(
    paths: Paths,
    model: Model = DEFAULT,
    heatmap: Heatmap = None,
    no_gates: NoGates = False,
    bits: Bits = None,
    polarity: Polarity = None,
    max_mpx: MaxMpx = MAX_MPX,
    threads: Threads = 1,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Read films with a classifier; exit code 1 when one was not read. Not for diagnosis."""
    settings = load(config, state)
    options.quiet_logs()
    files = list(_files(paths))
    if not files:
        raise NotFound("there is no film among these. Nothing was read. Name DICOM, PNG, JPEG or TIFF files.")
    from models.pictures import Known

    look = Look(Known(bits, polarity or ""), max_mpx * 1_000_000)
    with _desk(settings, model, threads, look, no_gates=no_gates) as desk:
        told: list[Told] = []
        for path in _with_bar(files):
            one = desk.read(path, heat=heatmap is not None)
            told.append(_drawn(one, heatmap, len(files), len(told)))
            if not json:
                _show(told[-1])
    if json:
        print_json(_item(desk.reader, one) for one in told)
    if any(_silent(one) for one in told):
        raise typer.Exit(1)


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

    def read(self, path: Path, *, heat: bool) -> Told:
        """Decode, gate, read. Nothing is raised for a film."""
        from gateway.errors import DecodeError, NoTime
        from models.pictures import is_picture
        from pipelines.film import Act
        from pipelines.reading import Unread

        picture = is_picture(path)
        try:
            film, notes = self._pictured(path) if picture else (self.decoder.film(path), ())
        except (DecodeError, NoTime, ValueError, OSError) as error:
            return Told(path, self.reader.not_read(Unread.NOT_DECODED, str(error)))
        examined = self._examined(film)
        findings, decision = (examined.findings, examined.decision) if examined else ((), None)
        words = _words(decision, findings)
        if decision and decision.act is not Act.PASS and not self.no_gates:
            return Told(
                path,
                self.reader.not_read(Unread.NOT_QUALIFIED, decision.why),
                film,
                findings,
                words,
                notes=notes,
            )
        # Of a picture nothing is known but its pixels: for age and modality answers who names it.
        answer = self.reader.read(film, findings, heat=heat, any_film=picture or self.no_gates)
        return Told(path, answer, film, findings, words, notes=notes)

    def _pictured(self, path: Path) -> tuple[Film, tuple[str, ...]]:
        """Raises PictureError or OSError."""
        from models import pictures
        from pipelines.pixels.film_files import picture_film

        picture = pictures.read(path, self.look.known, most_px=self.look.most_px)
        return picture_film(picture), picture.notes

    def _examined(self, film: Film) -> Examination[Any] | None:
        """None where no gate can be asked."""
        from pipelines.examine import Rules, examine

        if self.gates is None:
            return None
        rules = Rules(self.policy, date.max, mode="alone", correct=self.correct)
        return examine(film, self.gates.look, rules)


def _desk(settings: Settings, model: str, threads: int, look: Look, *, no_gates: bool) -> Desk:
    """
    Raises:
        FilmgateError: the classifier cannot be used.
    """
    import torch

    from gateway.sandbox.decoder import Decoder
    from models.bundle import BundleError
    from models.classifiers.bundle import find
    from pipelines import gates
    from pipelines.policy import Policy
    from pipelines.reading.classifier import Classifier

    torch.set_num_threads(threads)
    work = settings.work
    try:
        reader = Classifier.open(find(model), cache=settings.state / "engines", threads=threads)
    except BundleError as error:
        raise FilmgateError(
            f"{error}. Nothing was read. `filmgate models list` shows what there is."
        ) from error
    variants = {str(name): variant for name, variant in work.variants.items()}
    ready = gates.load(Path(work.bundles) if work.bundles else None, variants)
    if ready.problems() and not no_gates:
        raise FilmgateError(
            f"a gate cannot work: {ready.problems()[0]}. Nothing was read. --no-gates reads them as they are."
        )
    file = settings.policy.file
    policy = Policy.load(file.read_text(encoding="utf-8")) if file else Policy.default()
    decoder = Decoder(timeout_s=work.decode_timeout_s, memory_mb=work.decode_memory_mb)
    asked = None if ready.problems() else ready
    return Desk(reader, asked, policy, decoder, look, no_gates, settings.policy.correct)


def _files(paths: list[Path]) -> Iterator[Path]:
    """Files as they are named; of a folder, all that may be films."""
    from pipelines.pixels.film_files import film_files

    for path in paths:
        if path.is_dir():
            yield from film_files(path)
        else:
            yield path


def _with_bar(files: list[Path]) -> Iterator[Path]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console(stderr=True), transient=True)
    with bar if len(files) > 1 and sys.stderr.isatty() else nullcontext():
        task = bar.add_task("", total=len(files))
        for path in files:
            yield path
            bar.advance(task)


def _words(decision: Decision | None, findings: tuple[Finding, ...]) -> str:
    """What the gates found, in words for people."""
    from pipelines.film import REASON_TEXT, Act

    if decision is None:
        return "the gates were not asked"
    if decision.act is not Act.PASS:
        return decision.why
    noted = [REASON_TEXT[f.reason] for f in findings if f.reason is not None]
    return "; ".join(["the gates would pass it", *dict.fromkeys(noted)])


def _drawn(one: Told, heatmap: Path | None, files: int, number: int) -> Told:
    """Writes the picture of film, heat and conditions."""
    from dataclasses import replace

    from PIL import Image

    from pipelines.reading import Reading
    from pipelines.report.capture import painted

    if heatmap is None or one.film is None or not isinstance(one.answer, Reading):
        return one
    target = heatmap if files == 1 else heatmap / f"{number + 1:04}-{one.path.stem}.png"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(painted(one.film.pixels, one.answer)).save(target, format="PNG")
    except OSError as error:
        raise FilmgateError(f"{target}: cannot be written: {error.strerror or error}") from error
    return replace(one, heatmap=target)


# Shown to people


def _show(one: Told) -> None:
    """A film's conditions, the likeliest first, with bars from 0 to 1 and the threshold in them."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from pipelines.reading import NotRead

    say(f"{clean(str(one.path))}")
    for note in one.notes:
        say(f"  picture: {clean(note)}")
    if one.gated:
        say(f"  gates: {clean(one.gated)}")
    if isinstance(one.answer, NotRead):
        say(f"  not read: {one.answer.code}: {clean(one.answer.why)}")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("condition", "p", "", "threshold", "positive"):
        table.add_column(column, justify="right" if column in ("p", "threshold") else "left")
    for condition in one.answer.conditions:
        style = "bold red" if condition.positive and not condition.nothing else ""
        cells = (condition.name, f"{condition.probability:.3f}", _bar(condition), *_judged(condition))
        table.add_row(*(Text(cell, style=style) for cell in cells))
    target = console()
    if not target.is_terminal:
        target.width = max(target.width, 120)
    with target.capture() as drawn:
        target.print(table)
    say("\n".join(line.rstrip() for line in drawn.get().strip("\n").splitlines()))
    reading = one.answer
    say(f"  {reading.classifier} {reading.version}, sha256 {reading.model_digest[:16]}. Not for diagnosis.")
    if one.heatmap:
        said = f"heat for {reading.shown}" if reading.shown else "no heat, as nothing spoke for a condition"
        say(f"  picture in {clean(str(one.heatmap))}: {said}")


def _bar(condition: Condition) -> str:
    filled = round(condition.probability * BAR)
    bar = list(FULL * filled + EMPTY * (BAR - filled))
    if condition.threshold is not None:
        bar[min(int(condition.threshold * BAR), BAR - 1)] = MARK
    return "".join(bar)


def _judged(condition: Condition) -> tuple[str, str]:
    if condition.threshold is None:
        return "none", "not judged"
    return f"{condition.threshold:.3f}", "positive" if condition.positive else ""


# Shown to programs


def _item(reader: Classifier, one: Told) -> dict[str, Any]:
    """One film of `--json`."""
    from pipelines.reading import Reading

    card, answer = reader.card, one.answer
    item: dict[str, Any] = {
        "path": one.path,
        "model": card.name,
        "version": card.version,
        "sha256": card.weights_sha256,
        "probabilities": {},
        "thresholds": {name: card.thresholds.get(name) for name in card.classes},
        "positive": [],
        "not_read": None,
        "notes": list(one.notes),
        "gates": {"said": one.gated, "findings": [_finding(finding) for finding in one.findings]},
        "region": None,
        "heatmap": one.heatmap,
    }
    if not isinstance(answer, Reading):
        return item | {"not_read": {"code": answer.code.value, "why": answer.why}}
    box = answer.region
    return item | {
        "probabilities": {c.name: round(c.probability, 6) for c in answer.conditions},
        "positive": [c.name for c in answer.conditions if c.positive],
        "shown": answer.shown,
        "region": None if box is None else [round(x, 4) for x in (box.x0, box.y0, box.x1, box.y1)],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "gate": finding.gate,
        "verdict": finding.verdict.value,
        "score": round(finding.score, 4),
        "reason": finding.reason.value if finding.reason else None,
        "detail": finding.detail,
    }


def _silent(one: Told) -> bool:
    from pipelines.reading import NotRead

    return isinstance(one.answer, NotRead)
