"""`filmgate evaluate`: the report of a gate from its rounds, with probes and controls if they are wanted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import bundle, card
from pipelines.decode import Undecodable, decode_film
from pipelines.lab import report
from pipelines.lab.ask import advice_quality, asking, controls, rounds, shortcut_probes
from pipelines.lab.ask import out_of_distribution as never_seen
from pipelines.lab.ask.evaluate import Ask
from pipelines.lab.ask.shortcut_probes import Row
from pipelines.lab.films.data import ROUNDS, left_out, load, read_rows
from pipelines.lab.measure import calibrate
from pipelines.lab.measure.budget import Share, share_of
from pipelines.lab.measure.scores import Score
from pipelines.lab.report import Extra, Measure


def evaluate_gate(
    name: str,
    films: Path,
    runs: Path,
    out: Path,
    cache: Path,
    bundles: Path,
    *,
    with_probes: bool = False,
) -> Path:
    """Writes the report of the gate's rounds into `out`, and its summary into the card; returns the page.

    The thresholds are those of the bundle in `bundles`; where there is none, those that the rounds give.
    Raises ValueError when no round has been scored, OSError, or BundleError.
    """
    share = share_of(name)
    table = rounds.pooled(rounds.named_tables([runs], name), name)
    thresholds = known_thresholds(name, bundles, table, share)
    rows = read_rows(films)
    boxes = rounds.boxes(runs) if name == "lungs" else []
    extra: list[Extra] = [
        ("Thresholds chosen without the site", rounds.measures(rounds.without_site(table, share)))
    ]
    if with_probes and name in shortcut_probes.VIEWS:
        extra += probed(name, films, runs, cache, thresholds[1])
    page = report.write(out, name, table, thresholds, rows, films, extra, boxes, share.loss)
    if (bundles / name / bundle.METADATA).exists():
        text = report.summary(name, table, thresholds, rows, boxes, share.loss)
        card.write_part(bundles / name, "evaluation", f"## Evaluation\n\n{text}")
    return page


def known_thresholds(name: str, bundles: Path, table: list[Score], share: Share) -> tuple[float, float]:
    """(low, high) of the card, else those that the table gives. Raises ValueError, as calibrate.choose."""
    if (bundles / name / bundle.METADATA).exists():
        known = rounds.thresholds_of(bundle.read_card(bundles / name))
        if known:
            return known
    found = calibrate.choose(table, share)
    return found.low, found.high


def probed(name: str, films: Path, runs: Path, cache: Path, high: float) -> list[Extra]:
    """What films of their own kind are needed for, a table a round and one of rules without a network.

    Shortcut probes of each round's network on the films it never saw; of the anatomy gate also the sets that
    no gate ever trains on; and the advice beside the verdicts.
    """
    known = load(films, cache)
    out: list[Extra] = []
    for round_ in ROUNDS:
        folder = runs / round_
        if (folder / name / bundle.METADATA).exists():
            unseen = shortcut_probes.some_patients(
                known.where(left_out(known.rows, round_)), shortcut_probes.PATIENTS
            )
            ask = one_by_one(asking.asks(name, folder))
            told = shortcut_probes.site_probe(
                asking.features(name, folder), shortcut_probes.some_patients(known)
            )
            rows = shortcut_probes.probes(name, ask, unseen)
            out.append((f"Shortcut probes, without {round_}", _measures((*rows, *told))))
            if name == "anatomy":
                sets = never_seen.unseen_sets(known, round_, films.parent / "dicom", displayed)
                frontal = unseen.where(np.array([row.view == "frontal" for row in unseen.rows]))
                rows = never_seen.unseen_rows(ask, frontal, sets, high)
                out.append((f"Never seen, without {round_}", _measures(rows)))
    rules = controls.controls(known, controls.native_sizes(films))
    out.append(("Rules without a network", _measures(row for row in rules if row.name.startswith(name))))
    if name in ADVICE:
        out.append(("Advice beside the verdict", _measures(ADVICE[name](runs, known))))
    return out


ADVICE = {"rotation": advice_quality.tilt_rows, "anatomy": advice_quality.view_rows}


def displayed(path: Path) -> NDArray[np.float32] | None:
    """The pixels of a DICOM file as the gates see them, (H, W) in [0, 1]; None where it has none to show."""
    try:
        return decode_film(path).pixels
    except (Undecodable, ValueError):
        return None


def one_by_one(ask: Ask) -> shortcut_probes.Ask:
    """A gate that is asked about one film, as one that is asked about a batch."""

    def of_batch(x: Tensor) -> Tensor:
        return torch.tensor([ask(film.numpy())[0] for film in x.float()])

    return of_batch


def _measures(rows: Iterable[Row]) -> list[Measure]:
    return [(row.name, _metric(row), row.value, row.n, (row.low, row.high)) for row in rows]


def _metric(row: Row) -> str:
    verdict = {True: ", passes", False: ", FAILS", None: ""}[row.passes]
    return f"{row.metric}{verdict}"
