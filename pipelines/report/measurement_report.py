"""A reading as a Structured Report: TID 1500 (PS3.16), Comprehensive SR, about the original film.

One measurement group a condition: its code, the probability, the threshold where there is one, and on which
side of it the probability lies. The group of the condition that is shown holds its region on the original.
A film that was not analysed has a small report of its own that says so: silence is never read as negative.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
from highdicom import sr
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import UID

from pipelines.film import Box, Operations
from pipelines.reading import Condition, NotRead, Reading
from pipelines.report import codes as ours
from pipelines.report.codes import Coded
from pipelines.report.identity import (
    MANUFACTURER,
    Equipment,
    NotReportable,
    Series,
    built,
    canonical,
    identify,
    local_time,
    made_uid,
    on_original,
    referenced,
    result_uid,
)

READING_SERIES, NOT_ANALYSED_SERIES = 8901, 8902
DECIMALS = 4  # of a probability
NO_UNITS = sr.CodedConcept("1", "UCUM", "no units")


def reading_report(
    source: Dataset,
    reading: Reading,
    *,
    at: datetime,
    equipment: Equipment,
    operations: Operations = Operations(),  # noqa: B008 - frozen
) -> Dataset:
    """The reading of a film as a report on its original.

    `source` is the original's header, also when the classifier read a copy made with `operations`; the region
    is brought back to the original. `at` is aware. Raises NotReportable when the film has no UIDs, or the
    reading no conditions.
    """
    if not reading.conditions:
        raise NotReportable("a reading without conditions says nothing")
    key = (reading.classifier, reading.version, reading.model_digest, canonical(operations))
    evidence, at = referenced(source), local_time(source, at, equipment)
    uid = result_uid("sr", evidence, *key, at=at, equipment=equipment)
    with built():
        groups = [
            _group(evidence, reading, condition, made_uid("condition", uid, condition.name), operations)
            for condition in reading.conditions
        ]
        content = sr.MeasurementReport(
            observation_context=_observer(reading),
            procedure_reported=codes.cid100.XRUnspecifiedBodyRegion,
            title=codes.cid7021.ImagingMeasurementReport,
            imaging_measurements=groups,
        )
        document = _document(sr.ComprehensiveSR, content, evidence)
    series = Series(
        ("reading", reading.classifier), "SR", READING_SERIES, f"filmgate {reading.classifier} results"
    )
    contribution_text = f"read by {reading.classifier} {reading.version}"
    return identify(
        document, source, uid, series, contribution_text=contribution_text, at=at, equipment=equipment
    )


def not_analysed_report(source: Dataset, not_read: NotRead, *, at: datetime, equipment: Equipment) -> Dataset:
    """That a film was not analysed, by which classifier, and why, as an Enhanced SR. Raises NotReportable."""
    evidence, at = referenced(source), local_time(source, at, equipment)
    key = (not_read.classifier, not_read.version, not_read.model_digest, not_read.code, not_read.why)
    uid = result_uid("not analysed", evidence, *key, at=at, equipment=equipment)
    with built():
        document = _document(sr.EnhancedSR, _not_analysed(evidence, not_read), evidence)
    series = Series(
        ("not analysed", not_read.classifier),
        "SR",
        NOT_ANALYSED_SERIES,
        f"filmgate {not_read.classifier}: not analysed",
    )
    contribution_text = f"not analysed by {not_read.classifier} {not_read.version}: {not_read.code}"
    return identify(
        document, source, uid, series, contribution_text=contribution_text, at=at, equipment=equipment
    )


def _document(kind: type[Dataset], content: Dataset | Sequence, evidence: Dataset) -> Dataset:
    """`identify` says the rest; what stands here are the words that highdicom asks for."""
    document: Dataset = kind(
        evidence=[evidence],
        content=content,
        series_instance_uid=evidence.SeriesInstanceUID,
        series_number=1,
        sop_instance_uid=evidence.SOPInstanceUID,
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
    )
    document.CodingSchemeIdentificationSequence = [ours.scheme_identification()]
    return document


def _concept(coded: Coded) -> sr.CodedConcept:
    return sr.CodedConcept(coded.value, coded.scheme, coded.meaning)


def _observer(read: Reading | NotRead) -> sr.ObservationContext:
    """TID 1001: a device observed this, not a person."""
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=made_uid("device", read.classifier, read.version, read.model_digest),
        name=read.classifier,
        manufacturer_name=MANUFACTURER,
        model_name=read.classifier,
        serial_number=read.version,
    )
    return sr.ObservationContext(
        observer_device_context=sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )


def _algorithm(read: Reading | NotRead) -> sr.AlgorithmIdentification:
    """TID 4019."""
    return sr.AlgorithmIdentification(
        name=read.classifier,
        version=read.version,
        manufacturer=MANUFACTURER,
        parameters=[f"weights sha256:{read.model_digest}"],
    )


# A condition


def _group(
    evidence: Dataset, reading: Reading, condition: Condition, uid: UID, operations: Operations
) -> sr.MeasurementsAndQualitativeEvaluations | sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    """TID 1501, or TID 1410 with the region for the condition that is shown."""
    parts: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(uid=uid, identifier=condition.name or "unnamed"),
        "finding_type": _concept(ours.condition(condition.name)),
        "algorithm_id": _algorithm(reading),
        "measurements": list(_measurements(condition)),
        "qualitative_evaluations": [
            sr.QualitativeEvaluation(name=_concept(ours.RELATION), value=_concept(_relation(condition)))
        ],
    }
    if reading.region is not None and condition.name == reading.shown:
        region = on_original(reading.region, operations, evidence.Rows, evidence.Columns)
        return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=_region(evidence, region), **parts
        )
    image = sr.SourceImageForMeasurementGroup(evidence.SOPClassUID, evidence.SOPInstanceUID)
    return sr.MeasurementsAndQualitativeEvaluations(source_images=[image], **parts)


def _measurements(condition: Condition) -> list[sr.Measurement]:
    found = [(ours.PROBABILITY, condition.probability)]
    if condition.threshold is not None:
        found.append((ours.THRESHOLD, condition.threshold))
    return [
        sr.Measurement(name=_concept(name), value=round(float(value), DECIMALS), unit=NO_UNITS)
        for name, value in found
    ]


def _relation(condition: Condition) -> Coded:
    if condition.positive is None:
        return ours.NO_THRESHOLD
    return ours.ABOVE if condition.positive else ours.BELOW


def _region(evidence: Dataset, box: Box) -> sr.ImageRegion:
    """A closed polyline in column, row of the original's pixel matrix (PS3.3 C.18.6)."""
    x0, y0, x1, y1 = box.in_pixels(evidence.Rows, evidence.Columns)
    corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)])
    return sr.ImageRegion(
        graphic_type=sr.GraphicTypeValues.POLYLINE,
        graphic_data=corners.round(1),
        source_image=sr.SourceImageForRegion(evidence.SOPClassUID, evidence.SOPInstanceUID),
    )


# Not analysed


def _not_analysed(evidence: Dataset, not_read: NotRead) -> sr.ContainerContentItem:
    root = sr.ContainerContentItem(name=_concept(ours.NOT_ANALYSED))
    contains = sr.RelationshipTypeValues.CONTAINS
    why = f"Not analysed by {not_read.classifier} {not_read.version}: {not_read.why} ({not_read.code})"
    root.ContentSequence = sr.ContentSequence(
        [
            *sr.LanguageOfContentItemAndDescendants(sr.CodedConcept("en", "RFC5646", "English")),
            *_observer(not_read),
            *_algorithm(not_read),
            sr.CodeContentItem(_concept(ours.STATUS), _concept(ours.NOT_ATTEMPTED), contains),
            sr.TextContentItem(_concept(ours.WHY), why, contains),
            sr.ImageContentItem(
                _concept(ours.FILM),
                evidence.SOPClassUID,
                evidence.SOPInstanceUID,
                relationship_type=contains,
            ),
        ]
    )
    return root
