"""What a classifier is worth: one page with every table and picture, and the evidence for its card.

What is chosen on which films, and how it is judged, is in lab.measure.classifier_fit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from models.classifiers import bundle
from pipelines.lab.measure import classifier_scores, platt, rules
from pipelines.lab.measure.areas import (
    DRAWS,
    LEAST_IN_MACRO,
    Areas,
    Exclusive,
    Value,
    any_finding,
    areas_of,
    exclusive,
    normal_of,
)
from pipelines.lab.measure.classifier_fit import (
    Fitted,
    Judged,
    base_of,
    fit,
    judge,
    points,
    sets_of,
    swept,
    with_any,
)
from pipelines.lab.measure.classifier_scores import Scores
from pipelines.lab.measure.learning_curve import LearningCurve
from pipelines.lab.measure.platt import Platt
from pipelines.lab.measure.rules import Point, Rule, rounded, share, with_interval
from pipelines.lab.measure.tables import Table, markdown, write_csv
from pipelines.lab.report import classifier_figures as figures
from pipelines.lab.report import page
from pipelines.lab.report.page import Picture, Section

PAGE, EVIDENCE, SUMMARY = "index.html", "evidence.json", "summary.md"
MACRO = "macro-average"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The page and what it says."""

    page: Path
    rule: str
    thresholds: dict[str, float | None]
    calibration: dict[str, tuple[float, float]]  # slope and offset, rounded as the card has them
    evidence: dict[str, Any]
    markdown: str


def evaluate(
    paths: Path | Sequence[Path],
    out: Path,
    *,
    title: str = "classifier",
    rule: str = rules.MAX_F1,
    chosen_on: str | None = None,
    least: int = LEAST_IN_MACRO,
    learning: LearningCurve | None = None,
    draws: int = DRAWS,
    pictures: bool = True,
) -> Evaluation:
    """Writes the page of these tables of scores into the folder `out`, with CSV, SVG, JSON and Markdown.

    Thresholds are chosen by `rule` on the set `chosen_on`: "cv", or the first that is not set aside, unless
    told. Where every set is set aside, none are chosen. Pictures take most of the time. Raises OSError, or
    ValueError for a table, a rule or a set that cannot be used.
    """
    how = rules.parse(rule)
    table = classifier_scores.read(paths)
    base = base_of(table, chosen_on)
    fitted = fit(table.of(base), how) if base else Fitted({}, {})
    out.mkdir(parents=True, exist_ok=True)
    sections, evidence = [_choice(table, how, base, fitted)], dict[str, Any]()
    for name in sets_of(table, base):
        judged = judge(table.of(name), name, fitted, how if name == base else None)
        areas = _areas(judged, least, draws)
        section, evidence[name] = _set(out if pictures else None, judged, areas, least, draws)
        sections.append(section)
    if learning:
        sections.append(_learning(out, learning))
    return _written(out, title, sections, evidence, how, base, fitted, learning)


# --- one set ------------------------------------------------------------------------------------------------


def _set(
    out: Path | None, judged: Judged, areas: Areas, least: int, draws: int
) -> tuple[Section, dict[str, Any]]:
    stem = f"{_stem(judged.name)}-"
    raw = with_any(judged.raw)
    operating = points(judged)
    blocks: list[page.Block] = [
        f"{len(raw):,} films of {len(set(raw.patients.tolist())):,} patients.",
        _area_table(stem, areas, least),
    ]
    groups = _by_group(judged, least, draws)
    if groups:
        blocks.append(_group_table(stem, groups))
    if out:
        blocks += _curves(out, stem, raw, areas)
    evidence: dict[str, Any] = {"films": len(raw), "patients": len(set(raw.patients.tolist()))}
    evidence |= _areas_evidence(areas) | {
        "groups": {name: _areas_evidence(some) for name, some in groups.items()}
    }
    if judged.raw.exclusive:
        classes = exclusive(judged.raw, draws)
        blocks.append(_exclusive_table(stem, classes))
        if out:
            blocks.append(Picture(*figures.draw_confusion(out, classes, stem), CONFUSED))
        evidence["exclusive"] = _exclusive_evidence(classes)
    if operating:
        blocks += _at_thresholds(out, stem, judged, areas, operating)
        evidence["points"] = {
            one.label: one.evidence() for one in operating if one.threshold.value is not None
        }
        evidence["sweep"] = swept(judged).evidence() if judged.called else None
        evidence["calibration error"] = _error_evidence(judged)
        evidence["judged"] = CROSSED if judged.crossed else FIXED
    title = f"Set “{judged.name}”" if judged.name else "All films"
    return Section(title, tuple(blocks)), evidence


def _curves(out: Path, stem: str, raw: Scores, areas: Areas) -> list[page.Block]:
    chance = "Precision over recall. Dotted: the share of films that have it, which is what chance gives."
    return [
        Picture(*figures.draw_rocs(out, raw, areas, stem), "ROC curves; in brackets: films that have it."),
        Picture(*figures.draw_precision(out, raw, areas, stem), chance),
    ]


def _at_thresholds(
    out: Path | None, stem: str, judged: Judged, areas: Areas, operating: Sequence[Point]
) -> list[page.Block]:
    how = CROSSED if judged.crossed else FIXED
    blocks: list[page.Block] = [rules.as_table(f"{stem}points", f"Operating points, {how}", operating)]
    if out:
        reliable = figures.draw_reliability(out, with_any(judged.raw), judged.scaled, areas, stem)
        curves = figures.draw_thresholds(out, judged.scaled, areas, judged.thresholds, stem)
        blocks += [Picture(*reliable, RELIABLE.format(how)), Picture(*curves, EACH)]
    if judged.called:
        single = swept(judged)
        if out:
            blocks.append(Picture(*figures.draw_sweep(out, single, stem), SWEPT))
        at, best = single.best
        blocks.append(ONE_THRESHOLD.format(len(single.labels), at, best, single.macro_each, how))
    return blocks


RELIABLE = (
    "Reliability with exact 95 % intervals, before and after scaling ({}); in each panel the expected "
    "calibration error. On the dotted line a probability means what it says."
)
EACH = "What each threshold would give, on scaled probabilities; the line is where the rule puts it."
CROSSED, FIXED = "each fold by the thresholds of the others", "by the thresholds of the card"
ONE_THRESHOLD = (
    "One threshold for all {} labels is best at {:.2f}, with a macro-F1 of {:.3f}; thresholds for each label "
    "reach {:.3f} ({})."
)
CONFUSED = "Rows are what a film is, columns what was said: films, and their share of the row."
SWEPT = (
    "One threshold for all labels, from 0 to 1, on probabilities as the network says them. Dashed: a "
    "threshold for each label. Dots: the best single threshold, read off the very films it is judged on."
)


def _areas(judged: Judged, least: int, draws: int) -> Areas:
    """Of all labels, and of "any but normal", which is not averaged."""
    areas = areas_of(judged.raw, least, draws)
    normal = normal_of(judged.raw.labels) if judged.raw.exclusive else None
    if normal is None:
        return areas
    more = areas_of(any_finding(judged.raw, normal), least, draws)
    return replace(areas, areas=areas.areas + more.areas)


def _by_group(judged: Judged, least: int, draws: int) -> dict[str, Areas]:
    """Each stratum by itself, where there is more than one."""
    names = sorted(set(judged.raw.groups.tolist()))
    if len(names) < 2:
        return {}
    some = {
        name or "no group": replace(judged, raw=judged.raw.where(judged.raw.groups == name)) for name in names
    }
    return {name: _areas(one, least, draws) for name, one in some.items()}


# --- tables -------------------------------------------------------------------------------------------------


def _area_table(stem: str, areas: Areas, least: int) -> Table:
    head = ("label", "with it", "without", "AUC", "mean of folds", "average precision", "by chance")
    rows = [
        (
            one.label,
            str(one.positives),
            str(one.negatives),
            _text(one.auc),
            share(one.by_fold),
            _text(one.precision),
            share(one.prevalence),
        )
        for one in areas.areas
    ]
    rows.append((MACRO, "", "", _text(areas.macro), share(areas.by_fold), "", ""))
    note = (
        f"95 % intervals from drawing patients again. The macro-average is over the {len(areas.averaged)} "
        f"labels with at least {least} films. Pooled areas compare the scores of different networks where "
        "there are folds; the mean of folds does not."
    )
    return Table(f"{stem}areas", "How well films are told apart", head, tuple(rows), note)


def _group_table(stem: str, groups: Mapping[str, Areas]) -> Table:
    rows = []
    for name, areas in groups.items():
        rows.append((name, MACRO, f"{len(areas.averaged)} labels", _text(areas.macro)))
        rows += [
            (name, one.label, f"{one.positives} / {one.negatives}", _text(one.auc)) for one in areas.areas
        ]
    note = "Each group by itself: a label that is frequent in one and rare in the other looks easier pooled."
    return Table(f"{stem}groups", "By group", ("group", "label", "with / without", "AUC"), tuple(rows), note)


def _exclusive_table(stem: str, classes: Exclusive) -> Table:
    low, high = classes.by_patient
    rows = (
        ("accuracy", _text(classes.accuracy), f"patients drawn again: {low:.3f} to {high:.3f}"),
        ("accuracy of always saying the most frequent class", share(classes.largest), ""),
        ("macro-F1", _text(classes.macro_f1), "patients drawn again"),
    )
    return Table(f"{stem}classes", "The likeliest class", ("measure", "value", "interval"), rows)


def _choice(table: Scores, rule: Rule, base: str | None, fitted: Fitted) -> Section:
    if base is None:
        text = "Every set of the table is set aside: no threshold and no scaling is chosen on it."
        return Section("Thresholds", (text,))
    rows = []
    for label, threshold in fitted.thresholds.items():
        value = "–" if threshold.value is None else f"{threshold.value:.4f}"
        scaling = fitted.scalings.get(label, Platt(math.nan, math.nan))
        positives = with_any(table.of(base)).positives(label)
        rows.append((label, str(positives), value, _number(scaling.a), _number(scaling.b), threshold.why))
    head = ("label", "with it", "threshold", "slope", "offset", "why none")
    films = table.of(base)
    note = (
        f"By the rule {rule}, on the {len(films):,} films of set “{base}”; slope and offset scale log-odds. "
        f"Under {rules.LEAST_POSITIVES} films with a condition there is no threshold."
    )
    return Section("Thresholds", (Table("thresholds", "For the card", head, tuple(rows), note),))


def _learning(out: Path, curve: LearningCurve) -> Section:
    far = curve.at(curve.films[-1])
    low, high = far["width"]
    text = (
        f"Extrapolated to {far['films']:,} films: {far['auc']:.3f} by the fit, {far['by log']:.3f} by the "
        f"line over log n; anything from {low:.3f} to {high:.3f} agrees with the points."
    )
    return Section("Learning curve", (Picture(*figures.draw_learning(out, curve), text), text))


# --- writing ------------------------------------------------------------------------------------------------


def _written(
    out: Path,
    title: str,
    sections: Sequence[Section],
    sets: dict[str, Any],
    rule: Rule,
    base: str | None,
    fitted: Fitted,
    learning: LearningCurve | None,
) -> Evaluation:
    evidence: dict[str, Any] = {"rule": str(rule), "chosen on": base, "sets": sets}
    evidence["without threshold"] = {
        label: threshold.why for label, threshold in fitted.thresholds.items() if threshold.value is None
    }
    extra = {k: t.value for k, t in fitted.thresholds.items() if k not in fitted.scalings and " but " in k}
    if extra:
        evidence["threshold of any"] = {label: _short(value) for label, value in extra.items()}
    if learning:
        evidence["learning curve"] = learning.at(learning.films[-1])
    thresholds = {k: _short(t.value) for k, t in fitted.thresholds.items() if k not in extra}
    calibration = {k: (round(x.a, 6), round(x.b, 6)) for k, x in fitted.scalings.items()}
    text = "".join(_in_markdown(section) for section in sections)
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Table):
                write_csv(out, block)
    evidence_json = json.dumps(
        evidence | {"thresholds": thresholds, "calibration": calibration}, indent=1, ensure_ascii=False
    )
    (out / EVIDENCE).write_text(evidence_json + "\n", encoding="utf-8")
    (out / SUMMARY).write_text(text, encoding="utf-8")
    where = page.write(out / PAGE, html(title, sections))
    return Evaluation(where, str(rule), thresholds, calibration, evidence, text)


def into_card(folder: Path, evaluation: Evaluation) -> None:
    """Writes thresholds, calibration and evidence into the card of a classifier's bundle.

    Raises BundleError, or ValueError where the evaluation is of other labels, chose nothing, or the card has
    operating points of its own, which are not on the scale that thresholds are chosen on.
    """
    card = bundle.read_card(folder)
    if not evaluation.thresholds:
        raise ValueError("no thresholds were chosen: every set of the table is set aside")
    if card.operating:
        raise ValueError(f"{card.name} has operating points of its own; nothing else is put in their place")
    if set(evaluation.thresholds) != set(card.classes):
        raise ValueError(f"the table is about {', '.join(evaluation.thresholds)}, the card is not")
    named = replace(card, thresholds=dict(evaluation.thresholds), calibration=dict(evaluation.calibration))
    bundle.save_card(folder, named, evidence=evaluation.evidence)


ABOUT = (
    "Whether films with a condition are told from films without, how sure that is, and what a threshold "
    "makes of it. Accuracy is never quality by itself: where few films have a condition, calling every film "
    "negative is right most of the time, so that number stands beside it."
)


def html(title: str, sections: Sequence[Section]) -> str:
    """The whole page: one folder, relative links, no script."""
    links = "".join(f'<li><a href="#part-{n}">{escape(one.title)}</a></li>' for n, one in enumerate(sections))
    body = "".join(
        f'<h2 id="part-{n}">{escape(one.title)}</h2>' + "".join(map(page.block, one.blocks))
        for n, one in enumerate(sections)
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{page.CSS.read_text(encoding='utf-8')}</style></head><body>"
        f'<p class="kicker">filmgate · evaluation</p><h1>{escape(title)}</h1><p>{ABOUT}</p>'
        f"<nav><ul>{links}</ul></nav>{body}</body></html>\n"
    )


def _in_markdown(section: Section) -> str:
    parts_ = [f"## {section.title}\n\n"]
    for block in section.blocks:
        if isinstance(block, Table):
            parts_.append(f"### {block.title}\n\n{markdown(block.head, block.rows)}\n{block.note}\n\n")
        elif isinstance(block, str):
            parts_.append(f"{block}\n\n")
    return "".join(parts_)


def _areas_evidence(areas: Areas) -> dict[str, Any]:
    return {
        "macro AUC": _values(areas.macro),
        "macro AUC, mean of folds": rounded(areas.by_fold),
        "averaged": list(areas.averaged),
        "labels": {
            one.label: {
                "with it": one.positives,
                "without": one.negatives,
                "AUC": _values(one.auc),
                "AUC, mean of folds": rounded(one.by_fold),
                "AUC by fold": [rounded(value) for value in one.folds],
                "average precision": _values(one.precision),
            }
            for one in areas.areas
        },
    }


def _exclusive_evidence(classes: Exclusive) -> dict[str, Any]:
    return {
        "labels": list(classes.labels),
        "confusion": classes.confusion.tolist(),
        "accuracy": _values(classes.accuracy),
        "accuracy, patients drawn again": [rounded(end) for end in classes.by_patient],
        "accuracy of the most frequent class": rounded(classes.largest),
        "macro-F1": _values(classes.macro_f1),
    }


def _error_evidence(judged: Judged) -> dict[str, Any]:
    raw, out = with_any(judged.raw), {}
    for label in raw.labels:
        before, after = raw.known(label), judged.scaled.known(label)
        out[label] = [
            rounded(platt.calibration_error(before[0], before[1])),
            rounded(platt.calibration_error(after[0], after[1])),
        ]
    return out


def _text(value: Value) -> str:
    return with_interval(value.value, value.interval)


def _values(value: Value) -> list[float | None]:
    return [rounded(value.value), *map(rounded, value.interval)]


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _stem(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower()) or "all"
