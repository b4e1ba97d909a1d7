"""Rows of a manifest, answers and lung boxes of a gate, for tests of what is counted and shown."""

from __future__ import annotations

from collections.abc import Iterable

from pipelines.lab.films.data import Row
from pipelines.lab.measure.scores import BoxScore, Score


def row(file: str, group: str = "", site: str = "nih", **other: str) -> Row:
    """A frontal film of the manifest, of an adult if nothing else is said."""
    known = {
        "source": site,
        "view": "frontal",
        "part": "chest",
        "terms": "open",
        "age": "50",
        "note": "",
        "mask": "",
    }
    return Row(file=file, site=site, group=group or file, **(known | other))


def score(group: str, value: float, case: str = "upright", wanted: str = "good", **other: str) -> Score:
    """One answer of the rotation gate, if nothing else is said."""
    known = {
        "gate": "rotation",
        "left_out": "nih",
        "file": f"{group}.png",
        "source": "nih",
        "site": "nih",
        "view": "frontal",
        "part": "chest",
        "named": "ROTATED_90",
    }
    return Score(group=group, case=case, wanted=wanted, score=value, **(known | other))  # type: ignore[arg-type]


def boxes(overlaps: Iterable[float], site: str = "web") -> list[BoxScore]:
    """Lung boxes with these overlaps; every lung inside."""
    return [
        BoxScore("web", f"{i}.png", site, site, str(i), iou, 1.0, "0.1 0.1 0.9 0.5", "0.1 0.1 0.9 0.9")
        for i, iou in enumerate(overlaps)
    ]
