"""What an evaluation puts on a classifier's card: thresholds, calibration and evidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from models.classifiers import bundle
from pipelines.lab.report.classifier_report import Evaluation


def into_card(folder: Path, made: Evaluation) -> None:
    """Writes thresholds, calibration and evidence into the card of a classifier's bundle.

    Raises BundleError, or ValueError where the evaluation is of other labels, chose nothing, or the card has
    operating points of its own, which are not on the scale that thresholds are chosen on.
    """
    card = bundle.read_card(folder)
    if not made.thresholds:
        raise ValueError("no thresholds were chosen: every set of the table is set aside")
    if card.operating:
        raise ValueError(f"{card.name} has operating points of its own; nothing else is put in their place")
    if set(made.thresholds) != set(card.classes):
        raise ValueError(f"the table is about {', '.join(made.thresholds)}, the card is not")
    named = replace(card, thresholds=dict(made.thresholds), calibration=dict(made.calibration))
    bundle.save_card(folder, named, evidence=made.evidence)
