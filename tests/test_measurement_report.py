"""Readings as structured reports: what they say, of what, and that others can read them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from dicom_files import change, dx, part10, ramp, real_radiographs
from pydicom import Dataset, dcmread
from pydicom.uid import ComputedRadiographyImageStorage
from readings import AT, EQUIPMENT, NOT_READ, again, dumped, errors, needs_dciodvfy, needs_dsrdump, reading

from pipelines.film import Box, Operations
from pipelines.header import read_header
from pipelines.lab.films.labels import TASKS
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.reading import Condition, NotRead, Unread
from pipelines.report import codes
from pipelines.report.derived import derive
from pipelines.report.identity import NotReportable, on_original
from pipelines.report.measurement_report import not_analysed_report, reading_report

HARD = {
    "nothing of the patient": dict.fromkeys(
        ("PatientName", "PatientID", "PatientSex", "PatientBirthDate", "StudyID", "AccessionNumber")
    ),
    "an empty name": {"PatientName": "", "StudyID": "", "StudyDate": "", "StudyTime": ""},
    "values that break their VR": {
        "PatientAge": "68",
        "PatientSex": "UNKNOWN",
        "PatientBirthDate": "1. 6. 1976",
        "StudyTime": "noon",
        "TimezoneOffsetFromUTC": "later",
    },
    "MONOCHROME1": {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    "a CR": {
        "SOPClassUID": ComputedRadiographyImageStorage,
        "Modality": "CR",
        "AnatomicRegionSequence": None,
        "ViewCodeSequence": None,
        "PresentationIntentType": None,
        "ImageLaterality": None,
    },
}


def report(source: Dataset | None = None, **changes: object) -> Dataset:
    return again(reading_report(source or dx(ramp()), reading(**changes), at=AT, equipment=EQUIPMENT))


def groups(made: Dataset) -> list[hd.sr.MeasurementsAndQualitativeEvaluations]:
    """By highdicom's own reader."""
    content = hd.sr.ComprehensiveSR.from_dataset(made).content
    return [
        *content.get_planar_roi_measurement_groups(),
        *content.get_image_measurement_groups(),
    ]


# What it says


def test_every_condition_has_a_group_with_its_probability_threshold_and_side():
    """As highdicom reads it back."""
    said = {}
    for group in groups(report()):
        numbers = {m.name.meaning: float(m.value) for m in group.get_measurements()}
        (side,) = group.get_qualitative_evaluations()
        said[group.finding_type.meaning] = (numbers, side.value.meaning)
    assert said == {
        "Pneumothorax": ({"Probability": 0.9123, "Threshold Value": 0.3}, "At or above threshold"),
        "Pleural thickening": ({"Probability": 0.21, "Threshold Value": 0.4}, "Below threshold"),
        "Diaphragmatic hernia": ({"Probability": 0.02}, "No threshold, too few positives"),
    }


def test_every_group_names_the_algorithm_and_its_weights():
    """TID 4019: name, version, and the sha256 as a parameter."""
    for group in report().ContentSequence[-1].ContentSequence:
        told = {
            item.ConceptNameCodeSequence[0].CodeMeaning: item.get("TextValue")
            for item in group.ContentSequence
            if item.ValueType == "TEXT"
        }
        assert (told["Algorithm Name"], told["Algorithm Version"]) == ("chest14", "1.0")
        assert told["Algorithm Parameters"] == "weights sha256:" + "ab" * 32


def test_it_is_about_the_original_and_is_nobodys_report():
    """Evidence, own series in the same study, preliminary and unverified, and we know it again."""
    source = dx(ramp())
    made = report(source)
    study = made.CurrentRequestedProcedureEvidenceSequence[0]
    film = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert film.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert made.StudyInstanceUID == study.StudyInstanceUID == source.StudyInstanceUID
    assert made.SeriesInstanceUID != source.SeriesInstanceUID
    assert made.SeriesDescription == "filmgate chest14 results"
    assert (made.PreliminaryFlag, made.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert (made.ContentDate, made.ContentTime) == ("20261120", "153000")
    assert read_header(made).ours


def test_the_same_reading_makes_the_same_object_and_another_does_not():
    """A retry is the same instance; another film, model, version, copy or time is not."""
    one, two = report(), report()
    assert one.SOPInstanceUID == two.SOPInstanceUID
    copied = reading_report(dx(ramp()), reading(), at=AT, equipment=EQUIPMENT, operations=Operations(turn=90))
    others = [
        report(dx(ramp(), SOPInstanceUID="1.2.3.5")),
        report(model_digest="cd" * 32),
        report(version="1.1"),
        report(classifier="other"),
        again(not_analysed_report(dx(ramp()), NOT_READ, at=AT, equipment=EQUIPMENT)),
        copied,
        reading_report(dx(ramp()), reading(), at=AT + timedelta(hours=1), equipment=EQUIPMENT),
        not_analysed_report(dx(ramp()), replace(NOT_READ, why="held"), at=AT, equipment=EQUIPMENT),
    ]
    assert len({one.SOPInstanceUID, *(other.SOPInstanceUID for other in others)}) == 9
    assert one.SeriesInstanceUID == others[0].SeriesInstanceUID != others[3].SeriesInstanceUID


def test_times_are_in_the_films_zone():
    """Timezone Offset From UTC governs all dates and times of an instance."""
    made = report(dx(ramp(), TimezoneOffsetFromUTC="+1000"))
    assert (made.ContentDate, made.ContentTime) == ("20261121", "013000")
    assert made.TimezoneOffsetFromUTC == "+1000"


# The region


def test_the_region_lies_on_the_original_in_its_pixels():
    """A closed polyline in column and row, with the condition that is shown."""
    made = report(dx(ramp(400, 200)))
    (group,) = hd.sr.ComprehensiveSR.from_dataset(made).content.get_planar_roi_measurement_groups()
    assert group.finding_type.meaning == "Pneumothorax"
    expected = [(120, 80), (150, 80), (150, 180), (120, 180), (120, 80)]
    assert group.roi.value == pytest.approx(np.array(expected))


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", [None, Box(0.1, 0.25, 0.8, 0.75)])
def test_a_region_on_the_copy_is_brought_back_to_the_original(turn, crop):
    """A bright patch of the original, found on the copy that `derive` makes, lies again where it was."""
    operations = Operations(crop=crop, turn=turn, invert=True)
    pixels = np.full((80, 60), 4000, "<u2")
    pixels[30:40, 20:25] = 10
    made = derive(dx(pixels), pixels, operations, equipment=EQUIPMENT, now=AT)
    rows, columns = np.nonzero(made.pixel_array == 4085)
    height, width = made.pixel_array.shape
    found = Box(
        columns.min() / width, rows.min() / height, (columns.max() + 1) / width, (rows.max() + 1) / height
    )
    box = on_original(found, operations, 80, 60)
    assert (box.x0 * 60, box.x1 * 60, box.y0 * 80, box.y1 * 80) == pytest.approx((20, 25, 30, 40))


def test_without_a_region_there_is_no_roi():
    """Every group then refers to the whole film."""
    content = hd.sr.ComprehensiveSR.from_dataset(report(region=None)).content
    assert not content.get_planar_roi_measurement_groups()
    assert len(content.get_image_measurement_groups()) == 3


# Names and hard sources


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Grüße^Jörg"),
        ("ISO_IR 126", "Διονυσιος"),
        ("ISO_IR 144", "Люкceмбypг"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
    ],
)
def test_names_survive_whatever_the_character_set_was(character_set, name):
    """Read from a file in the source's character set, said again in UTF-8."""
    source = again(part_of(dx(ramp(), SpecificCharacterSet=character_set, PatientName=name)))
    made = report(source)
    assert made.SpecificCharacterSet == "ISO_IR 192"
    assert str(made.PatientName) == str(source.PatientName) == name


def part_of(ds: Dataset) -> Dataset:
    part10(ds)  # gives it a file meta
    return ds


@pytest.mark.parametrize("attributes", HARD.values(), ids=HARD)
@needs_dciodvfy
def test_hard_sources_make_good_reports(tmp_path, attributes):
    """No error, whatever the source lacks or has wrong."""
    source = dx(ramp(), **attributes)
    assert not errors(reading_report(source, reading(), at=AT, equipment=EQUIPMENT), tmp_path)
    assert not errors(not_analysed_report(source, NOT_READ, at=AT, equipment=EQUIPMENT), tmp_path)


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SOPClassUID"])
def test_a_film_without_uids_cannot_be_reported_on(keyword):
    """There is nothing to refer to."""
    with pytest.raises(NotReportable):
        report(change(dx(ramp()), **{keyword: ""}))


def test_a_reading_without_conditions_is_no_report():
    """Nothing is not "nothing found"."""
    with pytest.raises(NotReportable):
        report(conditions=())


def test_a_film_of_an_unknown_sop_class_cannot_be_reported_on():
    """A private class, as old modalities send."""
    with pytest.raises(NotReportable):
        report(dx(ramp(), SOPClassUID="1.2.826.0.1.3680043.2.135.1066.101"))


def test_no_log_names_the_film(caplog):
    """highdicom logs UIDs as it copies; our logs hold none."""
    with caplog.at_level("DEBUG"):
        report(dx(ramp(), PatientName="Single"))
        report(dx(ramp(), SpecificCharacterSet="ISO_IR 192", PatientID="x" * 80))
    assert not caplog.records


# The codes


def test_a_name_that_is_not_in_the_table_gets_a_code_of_our_own():
    """Told from every other, within the limits of the VR, and identified in the object."""
    names = ["Oedema, acute and chronic", "Oedema, acute and cured", "Tb", "肺炎", "X" * 300, ""]
    coded = [codes.condition(name) for name in names]
    assert len({c.value for c in coded}) == len(names)
    assert all(0 < len(c.value) <= 16 and 0 < len(c.meaning) <= 64 for c in coded)
    made = report(conditions=tuple(Condition(name, 0.5, 0.4) for name in names), shown="", region=None)
    assert made.CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99FILMGATE"
    assert [g.finding_type.value for g in groups(made)] == [c.value for c in coded]


def test_the_table_holds_every_label_of_our_classifiers_and_no_code_twice():
    """A code used for two names would make them one."""
    coded = list(codes.CONDITIONS.values())
    assert len({(c.scheme, c.value) for c in coded}) == len(coded)
    assert {label for task in TASKS.values() for label in task.labels} <= set(codes.CONDITIONS)
    assert all(c.source and len(c.value) <= 16 and len(c.meaning) <= 64 for c in coded)


def test_every_code_is_documented():
    """The tables of conditions and of reasons for a rejection in docs/results.md are the ones in the code."""
    manual = (Path(__file__).parents[1] / "docs" / "results.md").read_text()
    for name, c in codes.CONDITIONS.items():
        assert f"| {name} | {c.scheme} | {c.value} | {c.meaning} | {c.source} |" in manual
    rows = [line for line in manual.splitlines() if line.startswith("| ")]
    for reason, c in codes.REJECTION.items():
        assert [row for row in rows if reason in row and f"| {c.value} {c.meaning} |" in row]


# Not analysed


def test_a_film_that_was_not_analysed_has_a_report_that_says_so():
    """Title, status and reason, in words that a viewer shows; and the film that it is about."""
    made = again(not_analysed_report(dx(ramp()), NOT_READ, at=AT, equipment=EQUIPMENT))
    assert made.ConceptNameCodeSequence[0].CodeMeaning == "Film not analysed"
    items = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in made.ContentSequence}
    assert items["Status of analysis"].ConceptCodeSequence[0].CodeMeaning == "Not Attempted"
    assert items["Reason for no analysis"].TextValue == (
        "Not analysed by chest14 1.0: the film is outside what the classifier's card covers (OUTSIDE_CARD)"
    )
    (film,) = items["Film that was not analysed"].ReferencedSOPSequence
    assert film.ReferencedSOPInstanceUID == "1.2.3.4"
    assert read_header(made).ours
    other = NotRead("chest14", "1.0", "ab" * 32, Unread.NO_LUNG_BOX, "no lung field")
    assert (
        made.SOPInstanceUID
        != not_analysed_report(dx(ramp()), other, at=AT, equipment=EQUIPMENT).SOPInstanceUID
    )


# The judges


@needs_dsrdump
def test_dcmtk_reads_both(tmp_path):
    """dsrdump, which checks relationships and value types, finds nothing to complain of."""
    source = phantom_dx("frontal", 3)
    said = dumped(reading_report(source, reading(), at=AT, equipment=EQUIPMENT), tmp_path)
    assert 'Probability")="0.9123"' in said
    said = dumped(not_analysed_report(source, NOT_READ, at=AT, equipment=EQUIPMENT), tmp_path)
    assert "Not Attempted" in said


def test_highdicom_reads_both(tmp_path):
    """By its own function, from a file."""
    for make, read in ((reading_report, reading()), (not_analysed_report, NOT_READ)):
        path = tmp_path / "sr.dcm"
        made = make(phantom_dx("frontal", 3), read, at=AT, equipment=EQUIPMENT)
        made.save_as(path, enforce_file_format=True)
        assert hd.sr.srread(path).SOPInstanceUID == made.SOPInstanceUID


@needs_dciodvfy
@pytest.mark.parametrize("path", real_radiographs(), ids=lambda path: path.name)
def test_real_films_have_reports_without_an_error(tmp_path, path):
    """Every grey radiograph among the real files."""
    source = dcmread(path, stop_before_pixels=True)
    assert not errors(reading_report(source, reading(), at=AT, equipment=EQUIPMENT), tmp_path)
