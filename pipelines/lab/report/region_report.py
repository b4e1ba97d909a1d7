"""What a region gate is worth: its thresholds, and the tables of its card, from what its networks have seen.

Counts are in patients; a patient counts as an error when any one film of theirs does. Shares have their exact
two-sided 95 % interval (Clopper and Pearson 1934).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models import bundle, card
from pipelines.film import Box
from pipelines.lab.ask.region_ask import LEAST_BOX, Seen
from pipelines.lab.films.data import TERMS
from pipelines.lab.films.region_data import MOST_OTHERS, NO, TURNED, YES, Film, Region, Span
from pipelines.lab.measure.binomial import allowed, clopper_pearson
from pipelines.lab.measure.budget import REGION

AS_IT_IS = "as it is"
FOUND = 0.5  # intersection over union from which an object counts as found
LAXEST = (0.3, 0.7)  # no `low` is higher and no `high` lower, however well the films are told apart
STRICTEST = (0.02, 0.98)
ROOM = 0.5  # log-odds between the lowest film of the region and `low`
ASKEW_PASSES = 0.02  # of the region's patients, turned or inverted, may be called good
BOX_STEPS = np.arange(LEAST_BOX, 0.65, 0.05)


@dataclass(frozen=True, slots=True)
class Share:
    """`good` of `n` patients."""

    good: int
    n: int

    def text(self) -> str:
        """As the tables have it: `96 of 98, .980 (.928 to .998)`."""
        if not self.n:
            return "none"
        low, high = clopper_pearson(self.good, self.n)
        return f"{self.good} of {self.n}, {_short(self.good / self.n)} ({_short(low)} to {_short(high)})"


@dataclass(frozen=True, slots=True)
class Boxes:
    """How the boxes that were found lie over the drawn ones."""

    overlaps: tuple[float, ...]  # of each drawn box: intersection over union with the found one, 0 if none
    spare: int  # boxes found where none is drawn
    films: int

    @property
    def found(self) -> int:
        """How many of the drawn ones were found."""
        return sum(overlap >= FOUND for overlap in self.overlaps)

    def percentile(self, p: float) -> float:
        """Of the overlaps; nan without any."""
        return float(np.percentile(self.overlaps, p)) if self.overlaps else float("nan")


# --- thresholds ---------------------------------------------------------------------------------------------


def thresholds(seen: Sequence[Seen], most: int) -> dict[str, float]:
    """`box`, `low` and `high` from films that the networks had not been trained on, and `most`.

    `box`: where found objects and spare boxes are balanced best (F1). `high`: of the patients of other
    regions no more than the budget's `miss` are called good, with exact confidence (`budget.REGION`),
    and of the region's, shown turned or inverted, no more than ASKEW_PASSES. `low`: below every film of the
    region.
    """
    least = best_box(seen)
    others = np.array(sorted(worst(_of(seen, NO), least).values(), reverse=True))
    askew = [one for one in seen if (one.label == YES and one.case != AS_IT_IS) or one.label == TURNED]
    turned = np.array(sorted(worst(askew, least).values(), reverse=True))
    high = max(
        LAXEST[1],
        _above(others, allowed(len(others), REGION.miss or 0.0)),
        _above(turned, int(ASKEW_PASSES * len(turned))),
    )
    lowest = min(one.score for one in _of(seen, YES) if one.case == AS_IT_IS)
    low = min(LAXEST[0], 1 / (1 + (1 / lowest - 1) * np.exp(ROOM)))
    return {
        "low": round(float(max(low, STRICTEST[0])), 4),
        "high": round(float(min(high, STRICTEST[1])), 4),
        "box": least,
        "most": float(most),
    }


def best_box(seen: Sequence[Seen]) -> float:
    """The least probability of a box, where found objects and spare boxes are balanced best."""
    return round(float(max(BOX_STEPS, key=lambda least: _f1(boxes(seen, float(least))))), 2)


def _above(falling: np.ndarray[tuple[int], np.dtype[np.float64]], spared: int) -> float:
    """A threshold that only so many of these scores, the highest first, reach."""
    return float(falling[spared]) + 1e-4 if spared < len(falling) else 0.0


def _of(seen: Iterable[Seen], label: str) -> list[Seen]:
    return [one for one in seen if one.label == label]


def _f1(found: Boxes) -> float:
    return 2 * found.found / max(1, len(found.overlaps) + found.found + found.spare)


def effective(one: Seen, least: float) -> float:
    """The score that counts: without a box no film is good."""
    return one.score if any(box[4] >= least for box in one.boxes) else min(one.score, LAXEST[0])


def worst(seen: Iterable[Seen], least: float) -> dict[tuple[str, str], float]:
    """By patient (source, patient), the highest score that counts."""
    out: dict[tuple[str, str], float] = {}
    for one in seen:
        key, score = (one.source, one.patient), effective(one, least)
        out[key] = max(out.get(key, score), score)
    return out


# --- counts -------------------------------------------------------------------------------------------------


def answer(one: Seen, chosen: dict[str, float]) -> str:
    """What the gate says of this film: good, unsure or bad."""
    boxed = any(box[4] >= chosen["box"] for box in one.boxes)
    if one.score >= chosen["high"] and boxed:
        return "good"
    return "bad" if one.score <= chosen["low"] else "unsure"


def answers(seen: Iterable[Seen], chosen: dict[str, float]) -> dict[tuple[str, str], set[str]]:
    """All answers to each patient's films, by (source, patient)."""
    out: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in seen:
        out[one.source, one.patient].add(answer(one, chosen))
    return out


def boxes(seen: Iterable[Seen], least: float) -> Boxes:
    """Of the films with drawn boxes, as they are: each drawn box with the found one that fits it best."""
    overlaps: list[float] = []
    spare = films = 0
    for one in seen:
        if one.drawn and one.case == AS_IT_IS and one.label != NO:
            films += 1
            boxes_found = [box[:4] for box in one.boxes if box[4] >= least]
            pairs = sorted(
                ((Box(*f).iou(Box(*d)), f, d) for f in boxes_found for d in one.drawn), reverse=True
            )
            used: set[Span] = set()
            best: dict[Span, float] = {}
            for overlap, f, d in pairs:
                if f not in used and d not in best and overlap > 0:
                    used.add(f)
                    best[d] = overlap
            overlaps += [best.get(d, 0.0) for d in one.drawn]
            spare += len(boxes_found) - sum(overlap >= FOUND for overlap in best.values())
    return Boxes(tuple(overlaps), spare, films)


# --- tables -------------------------------------------------------------------------------------------------

CASES = "| films | patients called good | only unsure | called another region |\n|---|---|---|---|\n"


def region_table(seen: Sequence[Seen], chosen: dict[str, float]) -> str:
    """What the gate says of films of its region, as they are and shown wrongly."""
    shown: dict[str, list[Seen]] = defaultdict(list)
    for one in seen:
        if one.label != NO:
            shown["of the region, lying on their side" if one.label == TURNED else _case(one.case)].append(
                one
            )
    return CASES + "".join(_row(case, group, chosen) for case, group in shown.items())


def other_table(seen: Sequence[Seen], chosen: dict[str, float]) -> str:
    """What the gate says of the films of other regions, a row a source."""
    by_source: dict[str, list[Seen]] = defaultdict(list)
    for one in _of(seen, NO):
        by_source[one.source].append(one)
    lines = "".join(_row(source, by_source[source], chosen) for source in sorted(by_source))
    return CASES + lines + _row("**all**", _of(seen, NO), chosen)


def _case(case: str) -> str:
    return "of the region, as they are" if case == AS_IT_IS else f"of the region, {case}"


def _row(name: str, group: Sequence[Seen], chosen: dict[str, float]) -> str:
    patients = list(answers(group, chosen).values())
    region = group[0].label != NO
    # of the region a patient counts with the worst answer, of others with the most dangerous one
    order = ("bad", "unsure", "good") if region else ("good", "unsure", "bad")
    worst_ = [next(word for word in order if word in one) for one in patients]
    good, unsure, bad = (worst_.count(word) for word in ("good", "unsure", "bad"))
    return f"| {name} | {Share(good, len(patients)).text()} | {unsure} | {bad} |\n"


def precision(seen: Sequence[Seen], chosen: dict[str, float]) -> Share:
    """Of the patients of whom a film, as it is, was called good: those of the region."""
    plain = [one for one in seen if one.case == AS_IT_IS]
    good = [
        label
        for label in (YES, NO)
        for words in answers(_of(plain, label), chosen).values()
        if "good" in words
    ]
    return Share(sum(label != NO for label in good), len(good))


def box_table(sets: Iterable[tuple[str, Boxes]]) -> str:
    """How well objects are boxed."""
    head = (
        "| films | boxes drawn | found | overlap, median | 10th percentile | 1st percentile | spare boxes |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    return head + "".join(_box_rows(sets))


def _box_rows(sets: Iterable[tuple[str, Boxes]]) -> Iterator[str]:
    for name, one in sets:
        if one.overlaps:
            percentiles = " | ".join(_short(one.percentile(p)) for p in (50, 10, 1))
            yield (
                f"| {name} ({one.films}) | {len(one.overlaps)} "
                f"| {Share(one.found, len(one.overlaps)).text()} | {percentiles} | {one.spare} |\n"
            )


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if value < 1 else "1"


# --- the card -----------------------------------------------------------------------------------------------

ALONE = """## How it was measured

A third of the patients was held out. The network that ships was asked about them, and about the sources that
are `test_only` in the manifest; it saw nothing of either. The thresholds were chosen on the first and then
frozen. Counts are in patients, a patient counts with the worst answer to any of their films; shares have
their exact 95 % interval. Of other regions at most one film a patient was shown.
"""
HOW = """## How it was measured

{folds} networks, each trained without a third of the patients, were asked about the patients that they had
not seen; the network that ships was asked about the sources that are `test_only` in the manifest, of which
it saw nothing. The thresholds were chosen on the first and then frozen. Counts are in patients, a patient
counts with the worst answer to any of their films; shares have their exact 95 % interval. Of other regions at
most one film a patient was shown. The network that ships is trained on all films but those of the sources
`test_only`; for the others the figures are those of its {folds} siblings, not its own.
"""


ABOUT = """# {name}: a gate for another region

Made from a manifest of labels and boxes (docs/new-gate.md). It says whether a film is one of these, upright
and of right polarity: {what}. It gives at most {most} boxes, in fractions of the film. One look at 128 px.

**Use**: to send films of this region to those who read them, and to crop. **Not** for measuring, not for
diagnosis; it does not tell left from right.

**How trained**: `configs/train.json`. Turned and inverted films of the region are taught as doubtful on
purpose: no gate puts them right, so a person should see them.
"""
PRECISION = "Of the patients with a film that was called good, this many show the region: {}.\n"
BOXES = """### Boxes

A drawn box is found when one of the gate's shares half or more of their joint area with it (intersection over
union of .5); spare ones fit no drawn box.

"""
DATA = """## Data

Of each source at most {most} films of other regions are trained on. The manifest's sha256 is `{digest}`.

| source | terms | used | films of the region | others | patients | boxes |
|---|---|---|---|---|---|---|
"""


def write(
    out: Path, region: Region, crossed: Sequence[Seen], apart: Sequence[Seen], folds: int
) -> dict[str, float]:
    """Writes thresholds, evidence and tables into the card of the bundle `out`; returns the thresholds."""
    chosen = thresholds(crossed, region.most)
    card_ = replace(bundle.read_card(out), thresholds=chosen)
    bundle.save_card(out, card_, evidence(region, crossed, apart, chosen))
    about = out / bundle.README
    if not about.exists() or not about.read_text().startswith(f"# {region.name}:"):
        about.write_text(
            ABOUT.format(name=region.name, what=region.what or "films of one region", most=region.most)
        )
    card.write_part(out, "data", data_table(region))
    card.write_part(out, "evaluation", report(crossed, apart, chosen, folds))
    return chosen


def report(crossed: Sequence[Seen], apart: Sequence[Seen], chosen: dict[str, float], folds: int) -> str:
    """The figures as Markdown."""
    elsewhere = [one for one in apart if one.label != NO]
    parts = [
        HOW.format(folds=folds) if folds > 1 else ALONE,
        f"### Films of the region\n\n{region_table(crossed, chosen)}",
        f"Of sources never trained on:\n\n{region_table(elsewhere, chosen)}" if elsewhere else "",
        f"### Films of other regions\n\nOf sources trained on:\n\n{other_table(crossed, chosen)}",
        f"Of sources never trained on:\n\n{other_table(apart, chosen)}" if apart else "",
        PRECISION.format(precision([*crossed, *apart], chosen).text()),
        BOXES + box_table(box_sets(crossed, apart, chosen)),
    ]
    return "\n".join(part for part in parts if part)


def box_sets(
    crossed: Sequence[Seen], apart: Sequence[Seen], chosen: dict[str, float]
) -> tuple[tuple[str, Boxes], ...]:
    """The boxes of films as they are, of those on their side, and of other sources."""
    least = chosen["box"]
    return (
        ("as they are", boxes(_of(crossed, YES), least)),
        ("lying on their side", boxes(_of(crossed, TURNED), least)),
        ("of sources never trained on", boxes(apart, least)),
    )


def data_table(region: Region) -> str:
    """What it was trained on, and what was kept to test with."""
    films: dict[tuple[str, str, str], list[Film]] = defaultdict(list)
    for film in region.films:
        used = "tested only" if film.row.source in region.test_only else "trained"
        films[film.row.source, film.row.terms, used].append(film)
    lines = "".join(
        f"| {source} | {TERMS.get(terms, terms)} | {used} "
        f"| {sum(film.row.view != NO for film in group)} | {sum(film.row.view == NO for film in group)} "
        f"| {len({film.row.group for film in group})} | {sum(len(film.boxes) for film in group)} |\n"
        for (source, terms, used), group in sorted(films.items(), key=lambda item: (item[0][2], item[0][0]))
    )
    return DATA.format(most=MOST_OTHERS, digest=region.digest) + lines


def evidence(
    region: Region, crossed: Sequence[Seen], apart: Sequence[Seen], chosen: dict[str, float]
) -> dict[str, Any]:
    """What was counted, for the machine-readable card."""

    def good(seen: Iterable[Seen]) -> dict[str, int]:
        patients = list(answers(seen, chosen).values())
        return {
            "patients": len(patients),
            "called good": sum("good" in one for one in patients),
            "only unsure": sum("good" not in one and "unsure" in one for one in patients),
        }

    plain = [one for one in crossed if one.case == AS_IT_IS]
    return {
        "manifest sha256": region.digest,
        "held-out patients of the region": good(_of(plain, YES)),
        "held-out patients of other regions": good(_of(plain, NO)),
        "patients of the region, sources never trained on": good(
            [one for one in apart if one.label == YES and one.case == AS_IT_IS]
        ),
        "patients of other regions, sources never trained on": good(_of(apart, NO)),
        "boxes": {
            name: {
                "drawn": len(one.overlaps),
                "found": one.found,
                "spare": one.spare,
                "overlap median": round(one.percentile(50), 4),
                "overlap 10th percentile": round(one.percentile(10), 4),
                "overlap 1st percentile": round(one.percentile(1), 4),
            }
            for name, one in box_sets(crossed, apart, chosen)
            if one.overlaps
        },
    }
