"""Readings as FHIR R4 and as plain JSON; the rules are those of the R4 resource definitions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from dicom_files import dx, ramp
from pydicom import Dataset
from readings import AT, DIGEST, EQUIPMENT, NOT_READ, reading

from pipelines.film import Operations
from pipelines.reading import NotRead, Reading
from pipelines.report.fhir import diagnostic_report
from pipelines.report.identity import NotReportable
from pipelines.report.plain import plain_result

# R4 (4.0.1): what each resource must have, and what it may have; status by its required binding
REQUIRED = {
    "Device": set(),
    "Observation": {"status", "code"},
    "DiagnosticReport": {"status", "code"},
}
ALLOWED = {
    "Device": {"identifier", "status", "manufacturer", "deviceName", "version"},
    "Observation": {
        "identifier",
        "status",
        "category",
        "code",
        "basedOn",
        "subject",
        "issued",
        "valueQuantity",
        "dataAbsentReason",
        "interpretation",
        "method",
        "device",
        "derivedFrom",
        "component",
    },
    "DiagnosticReport": {
        "identifier",
        "status",
        "category",
        "code",
        "basedOn",
        "subject",
        "issued",
        "result",
        "imagingStudy",
        "conclusion",
    },
}
STATUS = {
    "Device": {"active", "inactive", "entered-in-error", "unknown"},
    "Observation": {
        "registered",
        "preliminary",
        "final",
        "amended",
        "corrected",
        "cancelled",
        "entered-in-error",
        "unknown",
    },
    "DiagnosticReport": {"registered", "partial", "preliminary", "final", "cancelled"},
}
SECRETS = {"PatientName": "Geheim^Gerda", "PatientBirthDate": "19331224", "PatientID": "SECRET-1"}


def bundle(read: Reading | NotRead | None = None, source=None, **more: Any) -> dict[str, Any]:
    """Through JSON and back, as a webhook sends it."""
    made = diagnostic_report(source or dx(ramp()), read or reading(), at=AT, equipment=EQUIPMENT, **more)
    return json.loads(json.dumps(made, allow_nan=False))


def resources(made: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [entry["resource"] for entry in made["entry"] if entry["resource"]["resourceType"] == kind]


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within."""
    if isinstance(value, dict):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(one)


def coding(concept: dict[str, Any]) -> tuple[str, str]:
    (one,) = concept["coding"]
    return one["system"], one["code"]


# The structure


@pytest.mark.parametrize("read", [reading(), NOT_READ, reading(conditions=(), shown="", region=None)])
def test_every_resource_has_what_r4_requires_and_nothing_else(read):
    """Cardinalities and required bindings of R4; no empty list or string, which JSON in FHIR forbids."""
    source = dx(ramp(), IssuerOfPatientID="WEST")
    made = bundle(read, source, patient_system="urn:oid:1.2.3", accession_system="urn:oid:1.2.4")
    assert (made["resourceType"], made["type"]) == ("Bundle", "transaction")
    for entry in made["entry"]:
        resource = entry["resource"]
        kind = resource.pop("resourceType")
        assert REQUIRED[kind] <= resource.keys() <= ALLOWED[kind]
        assert resource["status"] in STATUS[kind]
        for inner in walk(resource):
            assert not [name for name, value in inner.items() if value in ("", [], {}, None)]
            if "issued" in inner:  # an instant has seconds and a zone
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", inner["issued"])


def test_references_within_the_bundle_resolve_and_every_entry_is_created_once():
    """urn:uuid addresses; a conditional create by identifier, so that a retry makes nothing twice."""
    made = bundle()
    addresses = [entry["fullUrl"] for entry in made["entry"]]
    assert len(set(addresses)) == len(addresses) == 1 + 3 + 1
    assert all(re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", a) for a in addresses)
    inner = [found["reference"] for found in walk(made) if "reference" in found]
    assert len(inner) == 3 + 3
    assert set(inner) <= set(addresses)
    for entry in made["entry"]:
        request, resource = entry["request"], entry["resource"]
        assert (request["method"], request["url"]) == ("POST", resource["resourceType"])
        identifier = resource["identifier"][0]
        assert request["ifNoneExist"] == f"identifier={identifier['system']}|{identifier['value']}"


def test_a_retry_is_the_same_and_another_reading_is_not():
    """But for the time, every byte."""
    assert bundle() == bundle()
    other = bundle(reading(version="2"))
    assert {e["fullUrl"] for e in bundle()["entry"]}.isdisjoint(e["fullUrl"] for e in other["entry"])


# What it says


def test_an_observation_a_condition_with_probability_threshold_and_side():
    """A quantity of UCUM 1; POS or NEG by the threshold, nothing where there is none."""
    found = {o["code"]["text"]: o for o in resources(bundle(), "Observation")}
    one, two, three = found["Pneumothorax"], found["Pleural_Thickening"], found["Hernia"]
    assert coding(one["code"]) == ("http://snomed.info/sct", "36118008")
    assert two["code"]["coding"][0]["system"].startswith("urn:oid:2.25.")
    assert one["valueQuantity"] == {
        "value": 0.9123,
        "unit": "probability",
        "system": "http://unitsofmeasure.org",
        "code": "1",
    }
    assert [coding(o["interpretation"][0])[1] for o in (one, two)] == ["POS", "NEG"]
    assert one["component"][0]["valueQuantity"]["value"] == 0.3
    assert "interpretation" not in three
    assert "component" not in three
    assert one["component"][1]["valueString"] == "columns 18.0 to 22.5, rows 8.0 to 18.0 of 30 x 40 pixels"
    assert len(two["component"]) == 1


def test_the_report_is_preliminary_and_names_study_film_and_model():
    """By their UIDs; the device by classifier, version and sha256."""
    made = bundle()
    (report,), (device,) = resources(made, "DiagnosticReport"), resources(made, "Device")
    assert report["status"] == "preliminary"
    assert report["imagingStudy"][0]["identifier"] == {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}
    assert report["conclusion"] == (
        "At or above threshold: Pneumothorax 0.91. Without a threshold, so not judged: Hernia. "
        "Read by chest14 1.0, not for diagnosis."
    )
    assert [v["value"] for v in device["version"]] == ["1.0", DIGEST, "1.2.3"]
    for observation in resources(made, "Observation"):
        study, film = observation["derivedFrom"]
        assert (study["type"], film["type"]) == ("ImagingStudy", "Media")
        assert film["identifier"]["value"] == "urn:oid:1.2.3.4"


def test_not_analysed_is_cancelled_with_its_reason():
    """Neither negative nor positive, and it says so."""
    made = bundle(NOT_READ)
    (observation,), (report,) = resources(made, "Observation"), resources(made, "DiagnosticReport")
    assert observation["status"] == report["status"] == "cancelled"
    assert coding(observation["dataAbsentReason"])[1] == "not-performed"
    assert observation["dataAbsentReason"]["text"].startswith("OUTSIDE_CARD: ")
    assert "valueQuantity" not in observation
    assert "says nothing of what the film shows" in report["conclusion"]


@pytest.mark.parametrize(
    ("system", "identifier"),
    [
        ("urn:oid:1.2.3", {"system": "urn:oid:1.2.3", "value": "SECRET-1"}),
        ("", {"value": "SECRET-1"}),
        (None, None),
    ],
)
def test_the_patient_is_named_by_identifier_alone_and_only_where_told(system, identifier):
    """No name, no birth date; no identifier without its configuration."""
    made = bundle(source=dx(ramp(), **SECRETS), patient_system=system)
    for kind in ("Observation", "DiagnosticReport"):
        for resource in resources(made, kind):
            assert resource.get("subject", {}).get("identifier") == identifier
    said = json.dumps(made)
    assert "Geheim" not in said
    assert "19331224" not in said
    assert ("SECRET-1" in said) == (identifier is not None)
    lacking = bundle(source=dx(ramp(), PatientID=None), patient_system="urn:oid:1.2.3")
    assert not [found for found in walk(lacking) if "subject" in found]


def test_the_order_is_named_by_accession_number_and_only_where_told():
    """A logical reference to a ServiceRequest by an identifier of type ACSN, in reports and observations."""
    made = bundle(source=dx(ramp(), AccessionNumber="A-77"), accession_system="https://ris.example/order")
    acsn = {
        "coding": [
            {
                "system": "http://terminology.hl7.org/CodeSystem/v2-0203",
                "code": "ACSN",
                "display": "Accession ID",
            }
        ]
    }
    told = {"type": acsn, "system": "https://ris.example/order", "value": "A-77"}
    for resource in resources(made, "Observation") + resources(made, "DiagnosticReport"):
        assert resource["basedOn"] == [{"type": "ServiceRequest", "identifier": told}]
        assert "subject" not in resource
    assert "A-77" not in json.dumps(bundle(source=dx(ramp(), AccessionNumber="A-77")))
    lacking = bundle(source=dx(ramp(), AccessionNumber=""), accession_system="urn:oid:1.2.3")
    assert not [found for found in walk(lacking) if "basedOn" in found]


@pytest.mark.parametrize(
    ("entity", "kind", "system"),
    [
        ("1.2.276.0.76", "ISO", "urn:oid:1.2.276.0.76"),
        ("https://west.example/mrn", "URI", "https://west.example/mrn"),
        ("12345678-1234-1234-1234-1234567890ab", "UUID", "urn:uuid:12345678-1234-1234-1234-1234567890ab"),
        ("west.example", "DNS", "urn:oid:2.999.1"),
        ("not an oid", "ISO", "urn:oid:2.999.1"),
        ("west", "URI", "urn:oid:2.999.1"),
        ("1.2.276.0.76", "", "urn:oid:2.999.1"),
        ("", "ISO", "urn:oid:2.999.1"),
    ],
)
def test_who_issued_a_number_by_the_films_own_word_is_its_system(entity: str, kind: str, system: str):
    """A film that came from another hospital names no patient of ours; a local issuer is repeated."""
    issuer = Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = entity, kind
    source = dx(ramp(), PatientID="7", AccessionNumber="8", IssuerOfPatientID="WEST")
    source.IssuerOfPatientIDQualifiersSequence = source.IssuerOfAccessionNumberSequence = [issuer]
    made = bundle(source=source, patient_system="urn:oid:2.999.1", accession_system="urn:oid:2.999.1")
    (report,) = resources(made, "DiagnosticReport")
    told = {"system": system, "value": "7", "assigner": {"display": "WEST"}}
    assert report["subject"] == {"type": "Patient", "identifier": told}
    assert report["basedOn"][0]["identifier"]["system"] == system
    silent = json.dumps(bundle(source=source))
    assert "WEST" not in silent
    assert system not in silent


# Plain JSON


def test_the_plain_result_holds_the_reading_and_nothing_of_the_patient():
    """UIDs, classifier, conditions, region on the original in fractions and pixels."""
    source = dx(ramp(), **SECRETS)
    made = json.loads(json.dumps(plain_result(source, reading(), at=AT, equipment=EQUIPMENT)))
    assert (made["sop_instance_uid"], made["study_instance_uid"]) == ("1.2.3.4", "1.2.3")
    assert (made["classifier"], made["version"], made["model_sha256"]) == ("chest14", "1.0", DIGEST)
    assert made["conditions"] == [
        {"name": "Pneumothorax", "probability": 0.9123, "threshold": 0.3, "positive": True},
        {"name": "Pleural_Thickening", "probability": 0.21, "threshold": 0.4, "positive": False},
        {"name": "Hernia", "probability": 0.02, "threshold": None, "positive": None},
    ]
    assert (made["shown"], made["not_read"]) == ("Pneumothorax", None)
    assert made["region"]["fractions"] == {"x0": 0.6, "y0": 0.2, "x1": 0.75, "y1": 0.45}
    assert made["region"]["pixels"] == {"x0": 18.0, "y0": 8.0, "x1": 22.5, "y1": 18.0}
    assert datetime.fromisoformat(made["at"]) == AT
    assert not [secret for secret in SECRETS.values() if secret in json.dumps(made)]


def test_the_region_of_a_turned_copy_is_on_the_original():
    """In both: half a turn exchanges the corners."""
    turned = Operations(turn=180)
    plain = plain_result(dx(ramp()), reading(), at=AT, equipment=EQUIPMENT, operations=turned)
    assert plain["region"]["fractions"] == {"x0": 0.25, "y0": 0.55, "x1": 0.4, "y1": 0.8}
    found = resources(bundle(operations=turned), "Observation")[0]["component"][1]["valueString"]
    assert found == "columns 7.5 to 12.0, rows 22.0 to 32.0 of 30 x 40 pixels"


def test_the_plain_result_says_when_nothing_was_analysed():
    """The same keys, no conditions, and why."""
    made = plain_result(dx(ramp()), NOT_READ, at=AT, equipment=EQUIPMENT)
    assert made.keys() == plain_result(dx(ramp()), reading(), at=AT, equipment=EQUIPMENT).keys()
    assert made["not_read"] == {"code": "OUTSIDE_CARD", "why": NOT_READ.why}
    assert made["conditions"] == []


@pytest.mark.parametrize("made", [plain_result, diagnostic_report])
def test_without_uids_there_is_nothing_to_tell_of(made):
    """As with the DICOM results."""
    with pytest.raises(NotReportable):
        made(dx(ramp(), StudyInstanceUID=""), reading(), at=AT, equipment=EQUIPMENT)
