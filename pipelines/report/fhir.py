"""A reading as HL7 FHIR R4 (4.0.1): one transaction Bundle of Device, Observations and DiagnosticReport.

Every entry is a conditional create by its identifier, so that sending it again makes nothing twice. The study
is named by its UID (urn:dicom:uid), the film as Media by its SOP Instance UID; patient and order are named by
identifier alone (a logical reference), and only where the caller gives the identifier's system. Status is
preliminary: a machine's reading is nobody's report.
"""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from typing import Any

from pydicom import Dataset

from pipelines.film import Operations
from pipelines.header import items, quietly
from pipelines.reading import Condition, NotRead, Reading
from pipelines.report import codes
from pipelines.report.codes import Coded
from pipelines.report.identity import (
    MANUFACTURER,
    NAMESPACE,
    Equipment,
    canonical,
    on_original,
    referenced,
    said_by,
)

SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    codes.SCHEME: f"urn:oid:{codes.SCHEME_UID}",
}
UCUM = "http://unitsofmeasure.org"
URI = "urn:ietf:rfc:3986"
TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
DECIMALS = 4  # of a probability
ACCESSION = {"coding": [{"system": f"{TERMINOLOGY}/v2-0203", "code": "ACSN", "display": "Accession ID"}]}
# Universal Entity ID Type (PS3.3 Table 10-17): what such an ID looks like, and what makes a URI of it
UNIVERSAL = {
    "ISO": (r"[0-2](\.(0|[1-9]\d*))+", "urn:oid:"),
    "UUID": (r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "urn:uuid:"),
    "URI": (r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+", ""),
}

Json = dict[str, Any]


def diagnostic_report(
    source: Dataset,
    read: Reading | NotRead,
    *,
    at: datetime,
    equipment: Equipment,
    operations: Operations = Operations(),  # noqa: B008 - frozen
    patient_system: str | None = None,
    accession_system: str | None = None,
) -> Json:
    """The Bundle. `source` is the original's header, also when a copy made with `operations` was read.

    `patient_system` is the system of Patient ID ("urn:oid:…", "" for none); without it no subject is named.
    `accession_system` is that of Accession Number, by which the order is named. Where the film says who
    issued a number, in a form that holds everywhere, that is its system. `at` is aware. Raises NotReportable
    when the film has no UIDs.
    """
    film = referenced(source)
    key = (film.SOPInstanceUID, read.classifier, read.version, read.model_digest, canonical(operations))
    device = _device(read, equipment)
    common = _common(source, at, patient_system, accession_system)
    if isinstance(read, NotRead):
        observations = [_not_analysed(read, key)]
    else:
        observations = [_observation(condition, read, key) for condition in read.conditions]
        _add_region(observations, read, film, operations)
    for observation in observations:
        observation |= common | {
            "device": {"reference": _urn(device)},
            "derivedFrom": [_study(film), _film(film)],
        }
    report = _report(read, observations, key) | common | {"imagingStudy": [_study(film)]}
    entries = [_entry(resource) for resource in (device, *observations, report)]
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "timestamp": _instant(at),
        "entry": entries,
    }


# Resources


def _device(read: Reading | NotRead, equipment: Equipment) -> Json:
    return {
        "resourceType": "Device",
        "identifier": [_identifier("device", read.classifier, read.version, read.model_digest)],
        "status": "active",
        "manufacturer": MANUFACTURER,
        "deviceName": [{"name": read.classifier, "type": "model-name"}],
        "version": [
            {"type": {"text": "classifier"}, "value": read.version},
            {"type": {"text": "weights sha256"}, "value": read.model_digest},
            {"type": {"text": "filmgate"}, "value": equipment.version},
        ],
    }


def _common(source: Dataset, at: datetime, patient_system: str | None, accession_system: str | None) -> Json:
    common: Json = {"issued": _instant(at)}
    with quietly():
        if patient_system is not None and (value := said_by(source, "PatientID")):
            issuer = _issuer(source, "IssuerOfPatientIDQualifiersSequence")
            number = _number(value, issuer or patient_system, said_by(source, "IssuerOfPatientID"))
            common["subject"] = {"type": "Patient", "identifier": number}
        if accession_system is not None and (value := said_by(source, "AccessionNumber")):
            issuer = _issuer(source, "IssuerOfAccessionNumberSequence")
            number = {"type": ACCESSION} | _number(value, issuer or accession_system)
            common["basedOn"] = [{"type": "ServiceRequest", "identifier": number}]
    return common


def _number(value: str, system: str, assigner: str = "") -> Json:
    """An identifier that others assigned; `assigner` is a name that only they know."""
    number = {"system": system} if system else {}
    return number | {"value": value} | ({"assigner": {"display": assigner}} if assigner else {})


def _issuer(source: Dataset, keyword: str) -> str:
    """The system that a hierarchic designator of HL7v2 names (PS3.3 Table 10-17); "" for a local one."""
    item = next(iter(items(source, keyword)), Dataset())
    entity = said_by(item, "UniversalEntityID")
    form, prefix = UNIVERSAL.get(said_by(item, "UniversalEntityIDType"), ("", ""))
    return prefix + entity if entity and re.fullmatch(form, entity) else ""


def _observation(condition: Condition, reading: Reading, key: tuple[str, ...]) -> Json:
    """The probability as the value, the side of the threshold as the interpretation."""
    observation = _blank_observation("preliminary", codes.condition(condition.name), condition.name)
    observation["identifier"] = [_identifier("observation", *key, condition.name)]
    observation["method"] = {"text": f"{reading.classifier} {reading.version}, not for diagnosis"}
    observation["valueQuantity"] = _quantity(condition.probability, "probability")
    if condition.threshold is not None:
        word = ("POS", "Positive") if condition.positive else ("NEG", "Negative")
        observation["interpretation"] = [_concept(f"{TERMINOLOGY}/v3-ObservationInterpretation", *word)]
        observation["component"] = [
            {"code": _coded(codes.THRESHOLD), "valueQuantity": _quantity(condition.threshold, "probability")}
        ]
    return observation


def _add_region(observations: list[Json], reading: Reading, film: Dataset, operations: Operations) -> None:
    """Where the classifier looked, with the condition that is shown."""
    if reading.region is None:
        return
    box = on_original(reading.region, operations, film.Rows, film.Columns)
    left, top, right, bottom = box.in_pixels(film.Rows, film.Columns)
    place = (
        f"columns {left:.1f} to {right:.1f}, rows {top:.1f} to {bottom:.1f} "
        f"of {film.Columns} x {film.Rows} pixels"
    )
    for condition, observation in zip(reading.conditions, observations, strict=True):
        if condition.name == reading.shown:
            component = {"code": _coded(codes.REGION), "valueString": place}
            observation["component"] = [*observation.get("component", ()), component]


def _not_analysed(not_read: NotRead, key: tuple[str, ...]) -> Json:
    observation = _blank_observation("cancelled", codes.NOT_ANALYSED, codes.NOT_ANALYSED.meaning)
    observation["identifier"] = [_identifier("not analysed", *key, not_read.code)]
    observation["dataAbsentReason"] = _concept(
        f"{TERMINOLOGY}/data-absent-reason", "not-performed", "Not Performed"
    ) | {"text": f"{not_read.code}: {not_read.why}"}
    return observation


def _blank_observation(status: str, coded: Coded, name: str) -> Json:
    return {
        "resourceType": "Observation",
        "status": status,
        "category": [_concept(f"{TERMINOLOGY}/observation-category", "imaging", "Imaging")],
        "code": _coded(coded) | {"text": name},
    }


def _report(read: Reading | NotRead, observations: list[Json], key: tuple[str, ...]) -> Json:
    unread = isinstance(read, NotRead)
    results = [{"reference": _urn(observation)} for observation in observations]
    return {
        "resourceType": "DiagnosticReport",
        "identifier": [_identifier("report", *key, "not analysed" if unread else "")],
        "status": "cancelled" if unread else "preliminary",
        "category": [_concept(f"{TERMINOLOGY}/v2-0074", "RAD", "Radiology")],
        "code": _concept("http://loinc.org", "18748-4", "Diagnostic imaging study"),
        **({"result": results} if results else {}),  # JSON in FHIR has no empty lists
        "conclusion": _conclusion(read),
    }


def _conclusion(read: Reading | NotRead) -> str:
    who = f"{read.classifier} {read.version}"
    if isinstance(read, NotRead):
        return f"Not analysed by {who}: {read.why}. This says nothing of what the film shows."
    above = [f"{c.name} {c.probability:.2f}" for c in read.conditions if c.positive]
    unjudged = ", ".join(c.name for c in read.conditions if c.threshold is None)
    sentences = [f"At or above threshold: {', '.join(above) or 'nothing'}."]
    sentences += [f"Without a threshold, so not judged: {unjudged}."] if unjudged else []
    return " ".join([*sentences, f"Read by {who}, not for diagnosis."])


# Data types


def _coded(coded: Coded) -> Json:
    return _concept(SYSTEMS[coded.scheme], coded.value, coded.meaning)


def _concept(system: str, code: str, display: str) -> Json:
    return {"coding": [{"system": system, "code": code, "display": display}]}


def _quantity(value: float, unit: str) -> Json:
    return {"value": round(float(value), DECIMALS), "unit": unit, "system": UCUM, "code": "1"}


def _identifier(*parts: str) -> Json:
    return {"system": URI, "value": uuid.uuid5(NAMESPACE, "|".join(("fhir", *parts))).urn}


def _urn(resource: Json) -> str:
    """The identifier is also the address within the Bundle."""
    return str(resource["identifier"][0]["value"])


def _study(film: Dataset) -> Json:
    return {"type": "ImagingStudy", "identifier": _dicom(film.StudyInstanceUID)}


def _film(film: Dataset) -> Json:
    return {"type": "Media", "identifier": _dicom(film.SOPInstanceUID)}


def _dicom(uid: str) -> Json:
    return {"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


def _entry(resource: Json) -> Json:
    identifier = resource["identifier"][0]
    kind = resource["resourceType"]
    only_once = f"identifier={identifier['system']}|{identifier['value']}"
    return {
        "fullUrl": _urn(resource),
        "resource": resource,
        "request": {"method": "POST", "url": kind, "ifNoneExist": only_once},
    }
