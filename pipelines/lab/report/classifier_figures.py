"""The pictures of a classifier's evaluation, each as two SVG files: for light pages and for dark ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipelines.lab.measure import platt, rules
from pipelines.lab.measure.areas import Areas, Exclusive, Value
from pipelines.lab.measure.classifier_scores import Scores
from pipelines.lab.measure.learning_curve import LearningCurve
from pipelines.lab.measure.rules import Sweep, Threshold
from pipelines.lab.report.drawing import LINES, LOOKS, STROKES, save

HALVES = (0.0, 0.5, 1.0)
COLUMNS = 4  # panels side by side
PANEL = (2.35, 2.25)  # inches
FEW_PANELS = (3.3, 3.0)  # inches, where there are no more than two of them
NAMES = Mapping[str, tuple[float, Threshold]]
Panel = Callable[[Axes, str, str], None]  # draws a label's panel in a look

Drawn = tuple[str, str]  # the names of the two files


def draw_rocs(folder: Path, scores: Scores, areas: Areas, stem: str = "") -> Drawn:
    """`roc-*.svg`: sensitivity over false alarms, a panel a condition."""

    def panel(axes: Axes, label: str, look: str) -> None:
        truth, p, _ = scores.known(label)
        area = areas.of(label)
        axes.plot([0, 1], [0, 1], color=LOOKS[look]["faint"], lw=0.8, linestyle=":")
        if area.positives and area.negatives:
            _, tp, fp = rules.swept(truth, p)
            axes.plot(
                np.append(0, fp / area.negatives),
                np.append(0, tp / area.positives),
                color=LINES[look][0],
                lw=1.8,
            )
        _told(axes, f"AUC {_value(area.auc)}", look, "lower right")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=HALVES, yticks=HALVES)

    return _panels(folder, f"{stem}roc", scores.labels, panel, "1 − specificity", "sensitivity", areas)


def draw_precision(folder: Path, scores: Scores, areas: Areas, stem: str = "") -> Drawn:
    """`precision-*.svg`: precision over recall, a panel a condition; dotted: what chance gives."""

    def panel(axes: Axes, label: str, look: str) -> None:
        truth, p, _ = scores.known(label)
        area = areas.of(label)
        axes.axhline(area.prevalence, color=LOOKS[look]["faint"], lw=0.8, linestyle=":")
        if area.positives:
            _, tp, fp = rules.swept(truth, p)
            axes.step(tp / area.positives, tp / (tp + fp), where="pre", color=LINES[look][1], lw=1.6)
        _told(axes, f"AP {_value(area.precision)}\nchance {area.prevalence:.3f}", look, "upper right")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=HALVES, yticks=HALVES)

    return _panels(
        folder, f"{stem}precision", scores.labels, panel, "recall (sensitivity)", "precision (PPV)", areas
    )


def draw_reliability(folder: Path, before: Scores, after: Scores, areas: Areas, stem: str = "") -> Drawn:
    """`reliability-*.svg`: the share that had it over what was said, before and after scaling."""

    def panel(axes: Axes, label: str, look: str) -> None:
        highest = 0.02
        errors = []
        for index, (name, scores) in enumerate((("as it is", before), ("scaled", after))):
            truth, p, _ = scores.known(label)
            bins = platt.reliability(truth, p)
            if not bins:
                continue
            said, was = np.array([one.said for one in bins]), np.array([one.was.value for one in bins])
            ends = np.array([one.was.interval for one in bins]).T
            errors.append(f"{platt.calibration_error(truth, p):.3f}")
            axes.errorbar(
                said,
                was,
                yerr=np.abs(ends - was),
                label=name,
                color=LINES[look][index],
                fmt="os"[index],
                ms=3.5,
                lw=1,
                linestyle=STROKES[index],
                elinewidth=0.6,
            )
            highest = max(highest, float(said.max()), float(was.max()))
        axes.plot([0, 1], [0, 1], color=LOOKS[look]["faint"], lw=0.8, linestyle=":")
        _told(axes, "error " + " → ".join(errors), look, "upper left")
        end = min(1.02, highest * 1.15)
        axes.set(xlim=(-0.02 * end, end), ylim=(-0.02 * end, end))
        axes.locator_params(nbins=3)

    return _panels(
        folder,
        f"{stem}reliability",
        before.labels,
        panel,
        "probability said",
        "share that has it",
        areas,
        shared=False,
    )


def draw_thresholds(
    folder: Path, scores: Scores, areas: Areas, chosen: Mapping[str, Threshold], stem: str = ""
) -> Drawn:
    """`thresholds-*.svg`: sensitivity, specificity, PPV and F1 over the threshold; a line where it stands."""

    def panel(axes: Axes, label: str, look: str) -> None:
        truth, p, _ = scores.known(label)
        if truth.any() and not truth.all():
            values, tp, fp = rules.swept(truth, p)
            positives, negatives = truth.sum(), (~truth).sum()
            curves = (
                ("sensitivity", tp / positives),
                ("specificity", 1 - fp / negatives),
                ("PPV", tp / (tp + fp)),
                ("F1", 2 * tp / (tp + fp + positives)),
            )
            for index, (name, curve) in enumerate(curves):
                axes.plot(
                    values, curve, label=name, color=LINES[look][index], linestyle=STROKES[index], lw=1.4
                )
        threshold = chosen.get(label, Threshold(None)).value
        if threshold is not None:
            axes.axvline(threshold, color=LOOKS[look]["ink"], lw=1)
        end = float(np.quantile(p, 0.995)) if len(p) else 1.0
        axes.set(xlim=(0, min(1.0, max(end, 2 * (threshold or 0), 0.02))))
        axes.set(ylim=(-0.02, 1.02), yticks=HALVES)
        axes.xaxis.set_major_locator(MaxNLocator(3))

    return _panels(
        folder, f"{stem}thresholds", scores.labels, panel, "threshold", "share", areas, shared=False
    )


def draw_sweep(folder: Path, sweep: Sweep, stem: str = "") -> Drawn:
    """`sweep-*.svg`: macro- and micro-F1 against one threshold for all labels, beside one for each."""

    def draw(figure: Figure, look: str) -> None:
        axes = figure.subplots()
        each = (("macro-F1", sweep.macro, sweep.macro_each), ("micro-F1", sweep.micro, sweep.micro_each))
        for index, (name, curve, level) in enumerate(each):
            colour = LINES[look][index]
            best = int(np.argmax(curve))
            axes.plot(sweep.thresholds, curve, color=colour, lw=1.8, label=f"{name}, one threshold for all")
            axes.plot(sweep.thresholds[best], curve[best], "o", color=colour, ms=5)
            axes.axhline(
                level, color=colour, lw=1.4, linestyle="--", label=f"{name}, a threshold for each label"
            )
        axes.axvline(0.5, color=LOOKS[look]["faint"], lw=0.8, linestyle=":")
        top = max(*sweep.macro, *sweep.micro, sweep.macro_each, sweep.micro_each)
        axes.set(xlim=(0, 1), ylim=(0, min(1.02, 1.15 * top)), xlabel="the one threshold", ylabel="F1")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0)

    return save(folder, f"{stem}sweep", (8.6, 3.8), draw)


def draw_confusion(folder: Path, exclusive: Exclusive, stem: str = "") -> Drawn:
    """`confusion-*.svg`: how many of each true class were called what, and which share of it that is."""

    def draw(figure: Figure, look: str) -> None:
        axes = figure.subplots()
        rows = exclusive.confusion.sum(axis=1, keepdims=True)
        shares = exclusive.confusion / np.maximum(rows, 1)
        ground = {"light": "#fbfaf7", "dark": "#17171a"}[look]
        colours = LinearSegmentedColormap.from_list("blues", [ground, LINES[look][0]])
        axes.imshow(shares, cmap=colours, vmin=0, vmax=1)
        for (true, said), count in np.ndenumerate(exclusive.confusion):
            strong = shares[true, said] > 0.55
            axes.text(
                said,
                true,
                f"{count}\n{shares[true, said]:.1%}",
                ha="center",
                va="center",
                color="#ffffff" if strong else LOOKS[look]["ink"],
            )
        places = range(len(exclusive.labels))
        axes.set(xticks=places, yticks=places, xlabel="said", ylabel="true")
        axes.set_xticklabels(exclusive.labels, rotation=30 if len(exclusive.labels) > 4 else 0)
        axes.set_yticklabels(exclusive.labels)
        axes.grid(False)
        axes.spines[:].set_visible(False)

    side = 2.2 + 0.85 * len(exclusive.labels)
    return save(folder, f"{stem}confusion", (side + 0.6, side), draw)


def draw_learning(folder: Path, curve: LearningCurve, goal: float | None = None, stem: str = "") -> Drawn:
    """`learning-*.svg`: what was measured, the fit with its band, and the straight line over log n."""

    def draw(figure: Figure, look: str) -> None:
        axes = figure.subplots()
        axes.fill_between(
            curve.films, curve.low, curve.high, color=LINES[look][0], alpha=0.18, lw=0, label="95 % of draws"
        )
        law = f"{curve.a:.3f} − {curve.b:.3g} · n$^{{−{curve.c:.2f}}}$"
        axes.plot(curve.films, curve.power, color=LINES[look][0], lw=1.8, label=law)
        axes.plot(
            curve.films, curve.log_line, color=LINES[look][1], lw=1.4, linestyle="--", label="line over log n"
        )
        axes.errorbar(
            [point.films for point in curve.points],
            [point.auc for point in curve.points],
            yerr=[1.96 * point.error for point in curve.points],
            fmt="o",
            ms=5,
            lw=1.2,
            color=LOOKS[look]["ink"],
            label="measured",
        )
        if goal is not None:
            axes.plot(curve.films[-1], goal, "*", ms=12, color=LINES[look][3], label=f"published: {goal:.3f}")
        axes.set(xscale="log", xlabel="films trained with", ylabel="AUC")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda n, _: f"{n:,.0f}"))
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0)

    return save(folder, f"{stem}learning", (8.2, 3.8), draw)


# --- panels -------------------------------------------------------------------------------------------------


def _panels(
    folder: Path,
    name: str,
    labels: Sequence[str],
    panel: Panel,
    across: str,
    up: str,
    areas: Areas,
    *,
    shared: bool = True,
) -> Drawn:
    """A panel a label, with how many films have it; one legend for all."""
    columns = min(COLUMNS, len(labels))
    rows = math.ceil(len(labels) / columns)
    width, height = FEW_PANELS if len(labels) <= 2 else PANEL

    def draw(figure: Figure, look: str) -> None:
        grid = figure.subplots(rows, columns, sharex=shared, sharey=shared, squeeze=False)
        for axes, label in zip(grid.flat, labels, strict=False):
            panel(axes, label, look)
            axes.set_title(f"{label.replace('_', ' ')} ({areas.of(label).positives})")
        for axes in grid.flat[len(labels) :]:
            axes.set_visible(False)
        figure.supxlabel(across, fontsize=10)
        figure.supylabel(up, fontsize=10)
        handles, names = grid[0, 0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, names, loc="outside upper left", ncols=len(names), frameon=False)

    return save(folder, name, (width * columns + 0.4, height * rows + 0.5), draw)


def _told(axes: Axes, text: str, look: str, where: str) -> None:
    up, across = where.split()
    axes.text(
        0.98 if across == "right" else 0.02,
        0.97 if up == "upper" else 0.03,
        text,
        transform=axes.transAxes,
        ha=across,
        va="top" if up == "upper" else "bottom",
        fontsize=8,
        color=LOOKS[look]["ink"],
    )


def _value(value: Value) -> str:
    if math.isnan(value.value):
        return "–"
    low, high = value.interval
    return f"{value.value:.3f}\n({low:.3f}–{high:.3f})"
