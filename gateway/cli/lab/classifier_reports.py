"""`filmgate evaluate classifier | robustness`: what a classifier is worth, and what gates do for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import Common, need_paths
from gateway.cli.output import print_json, say
from gateway.cli.tables import print_table
from gateway.errors import FilmgateError
from models.bundle import BundleError
from pipelines.lab.measure import areas
from pipelines.lab.measure.learning_curve import LearningCurve, learning_curve, read_learned
from pipelines.lab.report import robustness_report
from pipelines.lab.report.classifier_report import Evaluation, into_card
from pipelines.lab.report.classifier_report import evaluate as evaluate_classifier
from pipelines.lab.report.robustness_report import Written, evaluate_robustness

Scores = Annotated[
    list[Path],
    typer.Option("--scores", help="Table of scores, as training writes it; may be given again."),
]
Page = Annotated[Path | None, typer.Option("--out", help="Folder of the report; by default ./report/NAME.")]
Rule = Annotated[
    str,
    typer.Option("--rule", help="How thresholds are chosen: max-f1, youden, sensitivity=S or precision=P."),
]
ChosenOn = Annotated[
    str | None,
    typer.Option(
        "--chosen-on", help="The set that thresholds are chosen on; cv, or the first not set aside."
    ),
]
Bundle = Annotated[
    Path | None,
    typer.Option("--bundle", help="Classifier whose card gets thresholds, calibration and evidence."),
]
Least = Annotated[
    int, typer.Option("--least", min=1, help="Films with a condition, for it to be in the macro-average.")
]
Learning = Annotated[
    Path | None,
    typer.Option("--learning", help="CSV of `films,auc,error`: draws the learning curve, too."),
]
Pictures = Annotated[
    bool, typer.Option("--pictures/--no-pictures", help="Draw curves; they take most of the time.")
]
Title = Annotated[str | None, typer.Option("--title", help="What the page is called.")]
Films = Annotated[Path, typer.Option("--films", help="Folder of labelled films, with manifest.csv in it.")]
Model = Annotated[str, typer.Option("--model", help="The classifier: a name that ships, or a folder.")]
Split = Annotated[str, typer.Option("--split", help="The films set aside under this name in the manifest.")]
Most = Annotated[int | None, typer.Option("--most", min=1, help="Chest films that are shown at most.")]
Bundles = Annotated[
    Path | None, typer.Option("--bundles", help="Folder of the gates' bundles; by default those that ship.")
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Processor cores of one look.")]


@dataclass(frozen=True, slots=True)
class Judging:
    """Which scores are reported, by which rule thresholds are chosen, and where everything goes."""

    scores: Scores
    out: Page = None
    rule: Rule = "max-f1"
    chosen_on: ChosenOn = None
    least: Least = areas.LEAST_IN_MACRO
    learning: Learning = None
    bundle: Bundle = None
    title: Title = None
    pictures: Pictures = True


@dataclass(frozen=True, slots=True)
class Damaging:
    """Which films are damaged and shown, and to which classifier."""

    films: Films
    model: Model
    out: Page = None
    split: Split = "accept"
    most: Most = None
    least: Least = robustness_report.LEAST
    bundles: Bundles = None
    threads: Threads = 1


def classifier(common: Common, judging: Judging) -> None:
    """Report what a classifier's scores say: areas, thresholds, calibration; see docs/validation.md."""
    bundle, learning = judging.bundle, judging.learning
    title = judging.title or (bundle.name if bundle else "classifier")
    with _usable([*judging.scores, *([learning] if learning else [])]):
        evaluation = evaluate_classifier(
            judging.scores,
            judging.out or Path("report") / title,
            title=title,
            rule=judging.rule,
            chosen_on=judging.chosen_on,
            least=judging.least,
            learning=_curve(learning),
            pictures=judging.pictures,
        )
        if bundle:
            into_card(bundle, evaluation)
    if common.json:
        item = {
            "title": title,
            "bundle": bundle,
            "page": evaluation.page,
            "thresholds": evaluation.thresholds,
            "calibration": evaluation.calibration,
            "evidence": evaluation.evidence,
        }
        print_json([item])
    else:
        _show(evaluation, bundle)


def robustness(common: Common, damaging: Damaging) -> None:
    """Show damaged films to a classifier, with gates off and on: one table and one plot."""
    with _usable([damaging.films]):
        written = evaluate_robustness(
            damaging.films,
            damaging.model,
            damaging.out or Path("report") / f"{Path(damaging.model).name}-robustness",
            split=damaging.split,
            most=damaging.most,
            least=damaging.least,
            bundles=damaging.bundles,
            threads=damaging.threads,
        )
    if common.json:
        print_json(_rows(written))
    else:
        print_table(
            ("films", "gates", "sent", "read", "put right", "AUC", "less clean", "same films, clean"),
            ([_cell(value) for value in row.values()] for row in _short(written)),
        )
        say(f"table: {written.table}   plot: {written.table.parent / written.plot[0]}")


def _curve(path: Path | None) -> LearningCurve | None:
    return learning_curve(read_learned(path)) if path else None


def _show(evaluation: Evaluation, bundle: Path | None) -> None:
    rows = []
    for name, one_set in evaluation.evidence["sets"].items():
        for label, one in one_set["labels"].items():
            threshold = evaluation.thresholds.get(label)
            area = " ".join("–" if value is None else f"{value:.3f}" for value in one["AUC"])
            rows.append((name, label, one["with it"], one["without"], area, threshold or ""))
        area = " ".join("–" if value is None else f"{value:.3f}" for value in one_set["macro AUC"])
        rows.append((name, "macro-average", "", "", area, ""))
    print_table(("set", "label", "with it", "without", "AUC, 95 % interval", "threshold"), rows)
    say(f"report: {evaluation.page}" + (f"   card: {bundle}" if bundle else ""))


def _rows(written: Written) -> Iterator[dict[str, object]]:
    for row in written.rows:
        yield {
            "films": row.kind,
            "gates": row.gates,
            "sent": row.sent,
            "read": row.reached,
            "corrected": row.corrected,
            "auc": _plain(row.macro.value),
            "interval": [_plain(end) for end in row.macro.interval],
            "less_clean": _plain(row.against_clean.value),
            "less_clean_interval": [_plain(end) for end in row.against_clean.interval],
            "same_films_clean": _plain(row.same_films),
        }


def _short(written: Written) -> Iterator[dict[str, object]]:
    """The same without intervals, for a table that fits a screen."""
    for row in _rows(written):
        yield {key: value for key, value in row.items() if not key.endswith("interval")}


def _cell(value: object) -> object:
    """A number as it is printed; "–" where there is none."""
    if isinstance(value, bool):
        return "with" if value else "without"
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else value


def _plain(value: float) -> float | None:
    return None if isnan(value) else round(value, 5)  # JSON knows no nan


@contextmanager
def _usable(paths: list[Path]) -> Iterator[None]:
    """
    Raises:
        FilmgateError: a path is not there, or what is there cannot be used.
    """
    need_paths(paths)
    try:
        yield
    except (BundleError, ValueError, OSError) as error:
        raise FilmgateError(f"{error}. Look at the tables and folders that were named.") from error
