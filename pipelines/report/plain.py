"""A reading as a plain JSON object: for webhooks, and for whoever reads results without DICOM.

It names the film by its UIDs and holds nothing of the patient.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydicom import Dataset

from pipelines.film import Box, Operations
from pipelines.reading import Condition, NotRead, Reading
from pipelines.report.identity import Equipment, on_original, referenced

DECIMALS = 4  # of probabilities and fractions


def plain_result(
    source: Dataset,
    read: Reading | NotRead,
    *,
    at: datetime,
    equipment: Equipment,
    operations: Operations = Operations(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """What a classifier says of a film; `not_read` is null for a reading and holds code and reason else.

    The region is on the original, in fractions of its width and height and in pixels; `operations` made the
    copy that was read, if one was. `at` is aware. Raises NotReportable when the film has no UIDs.
    """
    film = referenced(source)
    values: dict[str, Any] = {
        "sop_instance_uid": film.SOPInstanceUID,
        "series_instance_uid": film.SeriesInstanceUID,
        "study_instance_uid": film.StudyInstanceUID,
        "classifier": read.classifier,
        "version": read.version,
        "model_sha256": read.model_digest,
        "filmgate": equipment.version,
        "at": at.astimezone(UTC).isoformat(timespec="seconds"),
        "exclusive": False,
        "conditions": [],
        "shown": None,
        "region": None,
        "not_read": None,
    }
    if isinstance(read, NotRead):
        return values | {"not_read": {"code": read.code.value, "why": read.why}}
    values |= {"exclusive": read.exclusive, "conditions": [_condition(c) for c in read.conditions]}
    if read.shown:
        values["shown"] = read.shown
    if read.region is not None:
        values["region"] = _region(on_original(read.region, operations, film.Rows, film.Columns), film)
    return values


def _condition(condition: Condition) -> dict[str, Any]:
    threshold = condition.threshold
    return {
        "name": condition.name,
        "probability": round(float(condition.probability), DECIMALS),
        "threshold": None if threshold is None else round(float(threshold), DECIMALS),
        "positive": condition.positive,
    }


def _region(box: Box, film: Dataset) -> dict[str, Any]:
    sides = (("x0", film.Columns), ("y0", film.Rows), ("x1", film.Columns), ("y1", film.Rows))
    fractions = {side: round(float(getattr(box, side)), DECIMALS) for side, _ in sides}
    pixels = {side: round(float(getattr(box, side)) * whole, 1) for side, whole in sides}
    return {"fractions": fractions, "pixels": pixels}
