"""The advice beside the verdicts is measured on films that a round never saw, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models import bundle, nets
from models.bundle import Card
from pipelines.lab.ask import advice_quality
from pipelines.lab.films.data import CACHE_PX, Films, Row


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """One round whose networks were never trained."""
    torch.manual_seed(0)
    for name, kind, outputs in (
        ("rotation", "Turns", 8),
        ("inversion", "Polarity", 1),
        ("anatomy", "Parts", 10),
    ):
        card = Card(name, kind, tuple(map(str, range(outputs))))
        bundle.save(tmp_path / "nih" / name, card, nets.KINDS[kind](outputs))
    return tmp_path


def films(patients: int) -> Films:
    """So many patients of the site that the round leaves out, AP and PA by turns, and one of another site."""
    rows = tuple(
        Row(
            f"{n}",
            "nih_talo",
            "nih",
            f"g{n}",
            "frontal",
            "chest",
            "open",
            "50",
            "",
            "",
            "M",
            ("PA", "AP")[n % 2],
        )
        for n in range(patients)
    )
    other = Row("x", "cohen", "web", "x", "frontal", "chest", "nc", "50", "", "", "M", "AP")
    greys = np.random.default_rng(0).integers(0, 255, (patients + 1, CACHE_PX, CACHE_PX), dtype=np.uint8)
    return Films((*rows, other), greys, np.zeros_like(greys))


def test_the_tilt_is_compared_with_the_one_that_was_applied(runs: Path) -> None:
    """Only the unseen site counts, and an untrained network is off by degrees."""
    median, most = advice_quality.tilt_rows(runs, films(12))
    assert (median.n, most.n) == (12, 12)
    assert 0 < median.value < most.value


def test_ap_and_pa_are_told_apart_or_not_told_of(runs: Path) -> None:
    """Too few patients of either kind give no figure, and where there is no child there is none."""
    (row,) = advice_quality.view_rows(runs, films(12))
    assert row.name == "AP against PA, without nih"
    assert 0 <= row.low <= row.value <= row.high <= 1
    assert not list(advice_quality.view_rows(runs, films(4)))
