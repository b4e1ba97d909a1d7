"""`filmgate evaluate classifier | robustness`: what a classifier is worth, and what gates do for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import options
from gateway.cli.output import print_json, say
from gateway.cli.tables import print_table
from gateway.errors import FilmgateError

if TYPE_CHECKING:
    from pipelines.lab.measure.learning_curve import LearningCurve
    from pipelines.lab.report.classifier_report import Evaluation
    from pipelines.lab.report.robustness_report import Written

Scores = Annotated[
    list[Path],
    typer.Option("--scores", help="Table of scores, as training writes it; may be given again."),
]
Page = Annotated[Path | None, typer.Option("--out", help="Folder of the report; ./report/NAME unless told.")]
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
    Path | None, typer.Option("--bundles", help="Folder of the gates' bundles; ours unless told.")
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Processor cores of one look.")]


def classifier(
    scores: Scores,
    out: Page = None,
    rule: Rule = "max-f1",
    chosen_on: ChosenOn = None,
    least: Least = 40,
    learning: Learning = None,
    bundle: Bundle = None,
    title: Title = None,
    pictures: Pictures = True,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Report what a classifier's scores say: areas, thresholds, calibration; see docs/validation.md."""
    del config, state
    with _ready_to_judge([*scores, *([learning] if learning else [])]):
        from pipelines.lab.report.classifier_report import evaluate

        name = title or (bundle.name if bundle else "classifier")
        made = evaluate(
            scores,
            out or Path("report") / name,
            title=name,
            rule=rule,
            chosen_on=chosen_on,
            least=least,
            learning=_curve(learning),
            pictures=pictures,
        )
        if bundle:
            from pipelines.lab.report.classifier_report import into_card

            into_card(bundle, made)
    if json:
        told = {"page": made.page, "thresholds": made.thresholds, "calibration": made.calibration}
        print_json([{"title": name, "bundle": bundle, **told, "evidence": made.evidence}])
    else:
        _show(made, bundle)


def robustness(
    films: Films,
    model: Model,
    out: Page = None,
    split: Split = "accept",
    most: Most = None,
    least: Least = 10,
    bundles: Bundles = None,
    threads: Threads = 1,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Show damaged films to a classifier, with gates off and on: one table and one plot."""
    del config, state
    with _ready_to_judge([films]):
        from pipelines.lab.report.robustness_report import evaluate_robustness

        folder = out or Path("report") / f"{Path(model).name}-robustness"
        made = evaluate_robustness(
            films, model, folder, split=split, most=most, least=least, bundles=bundles, threads=threads
        )
    if json:
        print_json(_rows(made))
    else:
        print_table(
            ("films", "gates", "sent", "read", "put right", "AUC", "less clean", "same films, clean"),
            ([_cell(value) for value in row.values()] for row in _short(made)),
        )
        say(f"table: {made.table}   plot: {made.table.parent / made.plot[0]}")


def _curve(path: Path | None) -> LearningCurve | None:
    if path is None:
        return None
    from pipelines.lab.measure.learning_curve import learning_curve, read_learned

    return learning_curve(read_learned(path))


def _show(made: Evaluation, bundle: Path | None) -> None:
    rows = []
    for name, told in made.evidence["sets"].items():
        for label, one in told["labels"].items():
            threshold = made.thresholds.get(label)
            area = " ".join("–" if value is None else f"{value:.3f}" for value in one["AUC"])
            rows.append((name, label, one["with it"], one["without"], area, threshold or ""))
        area = " ".join("–" if value is None else f"{value:.3f}" for value in told["macro AUC"])
        rows.append((name, "macro-average", "", "", area, ""))
    print_table(("set", "label", "with it", "without", "AUC, 95 % interval", "threshold"), rows)
    say(f"report: {made.page}" + (f"   card: {bundle}" if bundle else ""))


def _rows(made: Written) -> Iterator[dict[str, object]]:
    for row in made.rows:
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


def _short(made: Written) -> Iterator[dict[str, object]]:
    """The same without intervals, for a table that fits a screen."""
    for row in _rows(made):
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
def _ready_to_judge(paths: list[Path]) -> Iterator[None]:
    """
    Raises:
        FilmgateError: the extra is not installed, a path is not there, or what is there cannot be used.
    """
    options.need_training("evaluation", paths)
    from models.bundle import BundleError

    try:
        yield
    except (BundleError, ValueError, OSError) as error:
        raise FilmgateError(f"{error}. Look at the tables and folders that were named.") from error
