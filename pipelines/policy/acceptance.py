"""Which qualified films an AI destination takes, and why it does not take one."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from pydicom.uid import ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation

from models.classifiers.accepts import Accepts
from pipelines.film import Finding, Header
from pipelines.policy import regions
from pipelines.policy.regions import CHEST
from pipelines.words import vocabulary

CLASS_MODALITY: dict[str, str] = {
    ComputedRadiographyImageStorage: "CR",
    DigitalXRayImageStorageForPresentation: "DX",
}


@dataclass(frozen=True, slots=True)
class Acceptance(Accepts):
    """Which qualified films an AI destination takes: what a card can say, how old a study may be, and the
    regions that are taken beside the chest, or in its place."""

    max_study_age_days: int | None = None
    regions: tuple[str, ...] = (CHEST,)

    @classmethod
    def of(cls, accepts: Accepts, **more: Any) -> Acceptance:
        """What a card says, with `more` in its place."""
        return cls(**{**asdict(accepts), **more})


def would_take(
    header: Header,
    findings: Iterable[Finding],
    *,
    destinations: Mapping[str, Acceptance],
    today: date,
    region_gates: Collection[str] = (),
) -> tuple[str, ...]:
    """The AI destinations that take such a film by its header: where a person's release sends it."""
    shown = regions.released_as(findings, region_gates)
    return tuple(name for name, ai in destinations.items() if accepts(ai, header, today, shown)[0])


def accepts(
    acceptance: Acceptance, header: Header, today: date, shown: tuple[str, ...] = (CHEST,)
) -> tuple[bool, str]:
    """Whether a destination takes a film that shows one of these regions, and if not, why not.

    A film of the chest is a frontal one by its pixels.
    """
    refusals = (
        _region_refused(acceptance, shown),
        _modality_refused(acceptance, header),
        _view_refused(acceptance, header, shown),
        _age_refused(acceptance, header),
        _study_refused(acceptance, header, today),
    )
    why_not = "; ".join(filter(None, refusals))
    return not why_not, why_not


def claimed_view(header: Header) -> str:
    """PA or AP where ViewPosition says so ("AP SUPINE" is AP), else "frontal", as the pixels say."""
    beam = vocabulary.beam(header.view_position) if header.view in ("frontal", "") else ""
    return beam or "frontal"


def _modality_refused(acceptance: Acceptance, header: Header) -> str:
    modality = header.modality or CLASS_MODALITY.get(header.sop_class_uid, "")
    return "" if modality in acceptance.modalities else f"modality {modality or 'unknown'} is not taken"


def _region_refused(acceptance: Acceptance, shown: tuple[str, ...]) -> str:
    taken = any(region in acceptance.regions for region in shown)
    return "" if taken else f"region {', '.join(shown)} is not taken"


def _view_refused(acceptance: Acceptance, header: Header, shown: tuple[str, ...]) -> str:
    """Of a chest the pixels say that it is frontal; of other regions only the header speaks of the view."""
    view = claimed_view(header)
    if CHEST not in shown and view == "frontal":
        view = header.view
        if not view:
            return ""
    return "" if view in acceptance.views else f"view {view} is not taken"


def _age_refused(acceptance: Acceptance, header: Header) -> str:
    """Ages are completed years, so a whole `max_age` takes its whole year: 17 until the 18th birthday."""
    age = header.age_years
    if age is None or not math.isfinite(age):
        because = f": {header.age_doubt}" if header.age_doubt else ""
        return "" if acceptance.unknown_age else f"the age is unknown{because}"
    if age < acceptance.min_age:
        return f"age {_years(age)} is under {acceptance.min_age:g}"
    counted = math.floor(age) if float(acceptance.max_age).is_integer() else age
    return f"age {_years(age)} is over {acceptance.max_age:g}" if counted > acceptance.max_age else ""


def _study_refused(acceptance: Acceptance, header: Header, today: date) -> str:
    """By the calendar: how old a study is whose date lies in the future, nobody can say."""
    if acceptance.max_study_age_days is None:
        return ""
    try:
        days = (today - date.fromisoformat(header.study_date)).days
    except ValueError:
        return "the study date is unknown"
    if days < -1:  # a day ahead is a zone to the east of ours, no fault
        return f"the study is dated {-days} days ahead"
    return f"the study is {days} days old" if days > acceptance.max_study_age_days else ""


def _years(age: float) -> str:
    return f"{math.floor(age * 10) / 10:g}"  # rounded down: "age 10 is under 10" helps nobody
