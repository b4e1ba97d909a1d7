"""Chooses a gate's two thresholds so that its share of the budget is kept, and says how surely.

A gate's score is 1 for what is surely good. At or above `high` a film is good, at or below `low` it is
called faulty, between them the gate is not sure. Counts are in patients:

- *lost*: any clean picture of the patient lies below `high`; grows with `high`
- *called faulty*: any clean picture lies at or below `low`; grows with `low`
- *missed*: any faulty picture lies at or above `high`; falls with `high`

Each rate is monotone in its threshold, so how many errors a budget allows is settled by the number of
patients before a score is looked at, and the threshold is an order statistic of the scores. For such a
threshold the exact bound of Clopper and Pearson (1934) is the distribution-free tolerance limit of Wilks
(1941): it holds although the threshold was chosen on the same patients. docs/calibration.md explains it.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import bundle, card
from pipelines.lab.films.data import HEART_ON_THE_RIGHT
from pipelines.lab.measure import scores
from pipelines.lab.measure.binomial import CONFIDENCE, Rate, allowed, needed, upper
from pipelines.lab.measure.budget import Share, percent, share_of
from pipelines.lab.measure.platt import calibration, log_odds, sigmoid
from pipelines.lab.measure.scores import GOOD, Score

EXTREME = 0.02  # scores nearer to 0 or 1 count as this near: labels are smoothed by as much in training
ROOM = 1 / 3  # of the gap between faulty and clean films, in log-odds: left on either side
LEAST_HIGH = 0.5  # no film is good that the network holds for faulty, unless the budget demands it
SURE_AT_MOST = 0.995  # a calm network never says more
MARGIN = 0.5  # log-odds below the lowest clean film where there is no gap to share
AS_IT_COMES = ("as it is", "upright", "right polarity")  # a clean film; inverted ones and the like are none
ASIDE = ("tilt", "marker", "letter")  # cases with these words are stress, not films as they come
ALSO = {"lungs": {"touching": 0.15}}  # of an edge, along which a lung counts as cut off: a flag, no hold
SUSPICION_RATES = (0.0002, 0.01)  # false alarms at which the recall of a gate that only suspects is told

Values = NDArray[np.float64]


class CannotPromise(Exception):
    """Raised when the films cannot carry the promise; nothing was changed."""


# --- thresholds -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chosen:
    """Two thresholds, and what they do to the patients they were chosen on."""

    low: float
    high: float
    lost: Rate
    wrong: Rate  # clean, called faulty
    missed: Rate | None  # None for a gate that only suspects, and where no faulty film was shown
    caught: float  # share of faulty patients of whom every picture is called faulty; nan without any

    def thresholds(self, gate: str) -> dict[str, float]:
        """As the card of a gate keeps them."""
        return {"least": self.low} if gate == "lungs" else {"low": self.low, "high": self.high}


def search(
    good: Values,
    bad: Values,
    share: Share,
    confidence: float = CONFIDENCE,
    begin: tuple[float, float] | None = None,
    proven: bool = True,
) -> Chosen:
    """The thresholds for the worst clean (n,) and worst faulty (m,) score of each patient, in [0, 1].

    `high` never costs more clean patients than the budget allows (by its exact bound, where so many patients
    can show one and it is to be `proven`); where the faulty ones leave a choice, it lies in the gap between
    the two, nearer to the clean ones, and `low` nearer to the faulty ones. Without faulty films the
    thresholds to `begin` with are kept as far as the budget allows. Raises ValueError without clean films,
    or without any way to choose.
    """
    if not good.size or not (bad.size or begin or share.one_threshold):
        raise ValueError("thresholds are chosen on clean films and faulty ones, or from thresholds to keep")
    top = _lowest(good, allowed(good.size, share.loss, confidence, proven))
    below = _shifted(_lowest(good, allowed(good.size, share.wrong, confidence, proven)), -MARGIN)
    if share.miss is None:
        saved = good[good > 0] if (good > 0).any() else good  # no threshold saves a film that scores nothing
        worst = _lowest(saved, allowed(good.size, share.loss, confidence))
        high = low = min(_shifted(worst, -MARGIN), 1 - LEAST_HIGH)
    elif bad.size:
        low, high = _in_gap(good, bad, top, allowed(bad.size, share.miss, confidence, proven))
        low = max(min(low, below), 1 - SURE_AT_MOST)
    else:
        assert begin is not None
        low, high = min(begin[0], below), min(begin[1], top)
    return counted(good, bad, share, min(low, high), high, confidence)


def counted(
    good: Values, bad: Values, share: Share, low: float, high: float, confidence: float = CONFIDENCE
) -> Chosen:
    """What these thresholds do to these patients."""
    lost = Rate(int((good < high).sum()), good.size, share.loss, confidence)
    wrong = Rate(int(((good <= low) & (good < high)).sum()), good.size, share.wrong, confidence)
    missed = None
    if bad.size and share.miss is not None:
        missed = Rate(int((bad >= high).sum()), bad.size, share.miss, confidence)
    caught = float(((bad <= low) & (bad < high)).mean()) if bad.size else math.nan
    if share.one_threshold:
        wrong = replace(lost)
        caught = float((bad < high).mean()) if bad.size else math.nan
    return Chosen(low, high, lost, wrong, missed, caught)


def recall_at(good: Values, bad: Values, false_alarms: float) -> tuple[float, int]:
    """(share of faulty patients found, clean patients suspected) with one threshold at that rate."""
    allowed_ = math.floor(false_alarms * good.size)
    threshold = _lowest(good, allowed_)
    return float((bad < threshold).mean()), int((good < threshold).sum())


def _in_gap(good: Values, bad: Values, top: float, may_miss: int) -> tuple[float, float]:
    """(low, high) between faulty and clean films; `top` is the highest `high` that keeps the budget."""
    bottom = float(np.sort(bad)[::-1][may_miss]) if may_miss < bad.size else 0.0
    if bad.max() < good.min():
        edges = float(bad.max()), float(good.min())
    elif bottom < top:
        edges = bottom, top  # what the budgets allow lies outside of it, on either side
    else:
        return min(1 - LEAST_HIGH, top), min(top, SURE_AT_MOST)  # the budget of clean films comes first
    low, high = _between(*edges, ROOM), _between(*edges, 1 - ROOM)
    if top >= LEAST_HIGH:
        high = max(high, LEAST_HIGH)
    return min(low, 1 - LEAST_HIGH), min(high, top)


def _lowest(values: Values, spared: int) -> float:
    """The lowest value when so many lower ones are set aside."""
    return float(np.sort(values)[min(spared, values.size - 1)])


def _between(a: float, b: float, part: float) -> float:
    """The point at `part` of the way from a to b in log-odds, values beyond EXTREME taken as EXTREME."""
    near, far = (min(max(x, EXTREME), 1 - EXTREME) for x in (a, b))
    if near >= far:
        near, far = a, b
    return float(sigmoid((1 - part) * log_odds(near) + part * log_odds(far)))


def _shifted(value: float, by: float) -> float:
    return float(sigmoid(log_odds(value) + by))


# --- the table of scores --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Patients:
    """The worst clean and the worst faulty score of each patient."""

    good: dict[str, float]
    bad: dict[str, float]
    site: dict[str, str]

    @property
    def goods(self) -> Values:
        """(n,)"""
        return np.array(list(self.good.values()), dtype=np.float64)

    @property
    def bads(self) -> Values:
        """(m,)"""
        return np.array(list(self.bad.values()), dtype=np.float64)

    def of(self, site: str) -> Patients:
        """Those of one site."""
        return Patients(
            {group: v for group, v in self.good.items() if self.site[group] == site},
            {group: v for group, v in self.bad.items() if self.site[group] == site},
            self.site,
        )


def is_stress(case: str) -> bool:
    """Whether films of this case are shown to find out what a gate leans on, not because they come so."""
    return any(word in case for word in ASIDE)


def clean(row: Score) -> bool | None:
    """Whether the picture is clean or faulty to this gate.

    None for what chooses no threshold: stress cases, pictures to which no answer is right, or any, and good
    answers to films that do not come as a clean film does (an inverted one to the rotation gate).
    """
    if is_stress(row.case) or not row.wanted or (row.gate == "mirror" and row.file in HEART_ON_THE_RIGHT):
        return None
    right = row.wanted.split("|")
    if GOOD not in right:
        return False
    return None if row.named in right or row.case not in AS_IT_COMES else True


def patients(table: Iterable[Score]) -> Patients:
    """By patient, from the pictures that are clean or faulty and nothing between (`clean`)."""
    good: dict[str, float] = {}
    bad: dict[str, float] = {}
    site: dict[str, str] = {}
    for row in table:
        is_clean = clean(row)
        if is_clean is None:
            continue
        site.setdefault(row.group, row.site)
        if is_clean:
            good[row.group] = min(good.get(row.group, math.inf), row.score)
        else:
            bad[row.group] = max(bad.get(row.group, -math.inf), row.score)
    return Patients(good, bad, site)


def choose(table: Sequence[Score], share: Share, begin: tuple[float, float] | None = None) -> Chosen:
    """The thresholds for a table of one gate. Raises ValueError, as `search` does.

    The observed shares keep the budgets. To prove them on so few patients would take every error away from
    the clean ones and let through what is faulty; the bound is told, and a hospital's own films can prove it.
    """
    worst = patients(table)
    return search(worst.goods, worst.bads, share, begin=begin, proven=False)


def frozen(table: Sequence[Score], share: Share) -> dict[str, Chosen]:
    """For each round, the thresholds chosen without it: frozen with respect to the sites it leaves out.

    Neither the round's films nor their patients in other rounds choose them. The rates in them are of the
    patients they were chosen on. Raises ValueError when there is only one round.
    """
    out = {}
    for round_ in sorted({row.left_out for row in table}):
        unseen = {row.group for row in table if row.left_out == round_}
        out[round_] = choose([row for row in table if row.group not in unseen], share)
    return out


def without_site(table: Sequence[Score], share: Share) -> dict[str, Chosen]:
    """What each round's patients get from thresholds chosen on the others; nothing with a single round."""
    if len({row.left_out for row in table}) < 2:
        return {}
    out = {}
    for round_, chosen in frozen(table, share).items():
        here = patients(row for row in table if row.left_out == round_)
        if here.good:
            out[round_] = counted(here.goods, here.bads, share, chosen.low, chosen.high)
    return out


@dataclass(frozen=True, slots=True)
class SiteLine:
    """What the thresholds do to the patients of one site."""

    site: str
    clean: int  # patients
    lost: int
    called_faulty: int
    faulty: int  # patients with altered or other films
    missed: int
    unsure: int  # not missed, but not all called faulty


def by_site(worst: Patients, low: float, high: float) -> tuple[SiteLine, ...]:
    """A line a site."""
    return tuple(_site_line(site, worst.of(site), low, high) for site in sorted(set(worst.site.values())))


def _site_line(site: str, worst: Patients, low: float, high: float) -> SiteLine:
    good, bad = worst.goods, worst.bads
    return SiteLine(
        site,
        good.size,
        int((good < high).sum()),
        int(((good <= low) & (good < high)).sum()),
        bad.size,
        int((bad >= high).sum()),
        int(((bad > low) & (bad < high)).sum()),
    )


# --- the card -------------------------------------------------------------------------------------------

CLAIM = (
    "At {confidence} confidence, for films exchangeable with these: of these sites, made with the same "
    "equipment and habits in the same period. It is void on a drift alarm."
)
POOLED = (
    "The scores are of networks that never saw the sites they were asked about. The network that ships was "
    "trained on other sites than most of them: its thresholds are carried over, not proven for it."
)


def thresholds_of(card_: bundle.Card) -> tuple[float, float] | None:
    """(low, high) of a card, the same twice for a gate with one threshold; None when it has none yet."""
    known = card_.thresholds
    if "least" in known:
        return known["least"], known["least"]
    return (known["low"], known.get("high", known["low"])) if "low" in known else None


def digest(paths: Sequence[Path]) -> str:
    """The sha256 of the tables one after the other; of one table what `sha256sum` says."""
    sha = hashlib.sha256()
    for path in paths:
        sha.update(path.read_bytes())
    return sha.hexdigest()


def calibrate(folder: Path, tables: Sequence[Path]) -> Chosen:
    """Chooses the thresholds of the bundle in `folder` on tables of scores and writes them into its card.

    Raises BundleError, OSError, or ValueError when the tables hold no scores of this gate to choose by.
    """
    ours = bundle.read_card(folder)
    table = scores.pooled(tables, ours.name)
    chosen = choose(table, share_of(ours.name))
    counted_ = evidence(ours.name, table, chosen) | {"tables sha256": digest(tables), "note": POOLED}
    write(folder, ours, table, chosen, counted_)
    return chosen


def calibrate_on_site(
    folder: Path, out: Path, table: Sequence[Score], share: Share, period: str, site: str
) -> Chosen:
    """Chooses the thresholds on a hospital's own films and writes a copy of the bundle to `out`.

    Raises CannotPromise when there are too few patients, or the budgets cannot both be kept; then nothing
    is written. Raises BundleError as well.
    """
    ours = bundle.read_card(folder)
    seen = patients(scores.of_gate(table, ours.name))
    enough(ours.name, len(seen.good), share)
    begin = (ours.thresholds["low"], ours.thresholds["high"]) if "low" in ours.thresholds else None
    chosen = search(seen.goods, seen.bads, share, begin=begin)
    if chosen.missed and chosen.missed.observed > chosen.missed.budget:
        raise CannotPromise(
            f"{ours.name}: no thresholds keep both promises on these films. At {chosen.high:.4f}, which "
            f"keeps the budget of clean films, it would call faulty films good: {chosen.missed.text()}"
        )
    if folder.resolve() != out.resolve():
        shutil.copytree(folder, out, dirs_exist_ok=True)
    about = {"site": site, "period": period, "rows sha256": rows_digest(table)}
    write(out, ours, table, chosen, evidence(ours.name, table, chosen) | about)
    return chosen


def enough(gate: str, n: int, share: Share, confidence: float = CONFIDENCE) -> None:
    """Raises CannotPromise when `n` patients are too few for the budget even without an error."""
    needs = needed(share.loss, 0, confidence)
    if n < needs:
        raise CannotPromise(
            f"{gate}: {needs - n:,} patients are missing. To promise that at most {percent(share.loss)} of "
            f"clean films are lost takes {needs:,} patients without an error at {percent(confidence)} "
            f"confidence; these films show {n:,}, enough for {percent(upper(0, n, confidence))} at best"
        )


def rows_digest(table: Sequence[Score]) -> str:
    """The sha256 of the rows, whatever their order."""
    lines = sorted(json.dumps(asdict(row), sort_keys=True) for row in table)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def evidence(gate: str, table: Sequence[Score], chosen: Chosen) -> dict[str, Any]:
    """What the card keeps of a calibration: counts, bounds, confidence, budgets, a line a site."""
    seen = patients(table)
    fitted = calibration([row for row in table if clean(row) is not None])
    suspects = chosen.missed is None and seen.bad
    return {
        "gate": gate,
        "pictures": len(table),
        "patients": len(seen.site),
        "rounds": sorted({row.left_out for row in table}),
        "lost": chosen.lost.evidence(),
        "called faulty": chosen.wrong.evidence(),
        "missed": chosen.missed.evidence() if chosen.missed else None,
        "caught": round(chosen.caught, 5) if seen.bad else None,
        "recall at false alarms": {
            percent(rate): round(recall_at(seen.goods, seen.bads, rate)[0], 5) for rate in SUSPICION_RATES
        }
        if suspects
        else None,
        "by site": [asdict(line) for line in by_site(seen, chosen.low, chosen.high)],
        "probability": fitted[1] if fitted else None,
        "claim": CLAIM.format(confidence=percent(chosen.lost.confidence)),
    }


def write(
    folder: Path, ours: bundle.Card, table: Sequence[Score], chosen: Chosen, counted_: dict[str, Any]
) -> None:
    """Writes thresholds and evidence into the card, for the program and for people."""
    fitted = calibration([row for row in table if clean(row) is not None])
    scaling = {"platt_a": fitted[0].a, "platt_b": fitted[0].b} if fitted else {}
    thresholds = ALSO.get(ours.name, {}) | ours.thresholds | chosen.thresholds(ours.name) | scaling
    bundle.save_card(
        folder,
        replace(ours, thresholds=thresholds),
        bundle.evidence(folder) | {"calibration": counted_},
    )
    card.write_part(folder, "calibration", markdown(chosen, counted_))


def markdown(chosen: Chosen, counted_: dict[str, Any]) -> str:
    """The calibration for people, with the lines of the sites."""
    lines = [
        "## Calibration",
        "",
        f"Good at or above {chosen.high:.4f}, faulty at or below {chosen.low:.4f}, between them not sure.",
        "",
        f"- clean patients lost: {chosen.lost.text()}",
        f"- clean patients called faulty: {chosen.wrong.text()}",
    ]
    if chosen.missed:
        lines.append(f"- faulty patients missed: {chosen.missed.text()}")
    for rate, recall in (counted_["recall at false alarms"] or {}).items():
        lines.append(f"- recall at {rate} false alarms: {recall:.4f}")
    if counted_["probability"]:
        p = counted_["probability"]
        lines.append(
            f"- expected calibration error: {p['error before']:.4f}, with Platt's scaling "
            f"{p['error after']:.4f} ({p['judged']})"
        )
    lines += ["", f"{counted_['claim']} {counted_.get('note', '')}".rstrip(), ""]
    lines += [
        "| site | clean | lost | called faulty | faulty | missed | not sure |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {x['site']} | {x['clean']} | {x['lost']} | {x['called_faulty']} | {x['faulty']} | {x['missed']} "
        f"| {x['unsure']} |"
        for x in counted_["by site"]
    ]
    return "\n".join(lines) + "\n"
