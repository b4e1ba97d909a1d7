"""A person's reject as the field says it: a Key Object Selection with its reason."""

from __future__ import annotations

import highdicom as hd
import pytest
from dicom_files import dx, ramp, real_radiographs
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from readings import AT, EQUIPMENT, again, dumped, errors, needs_dciodvfy, needs_dsrdump

from pipelines.film import Reason
from pipelines.header import read_header
from pipelines.report.identity import NotReportable
from pipelines.report.rejection import quality_reason, rejection_note


def note(
    source: Dataset | None = None,
    *reasons: Reason,
    who: str = "Radiographer^Anna",
    said: str = "repeat it, please",
) -> Dataset:
    made = rejection_note(source or dx(ramp()), reasons, who=who, note=said, at=AT, equipment=EQUIPMENT)
    return again(made)


def contents(made: Dataset) -> dict[str, Dataset]:
    return {item.ConceptNameCodeSequence[0].CodeValue: item for item in made.ContentSequence}


def test_the_note_says_what_was_rejected_why_and_by_whom():
    """Title 113001, modifier from CID 7011, Person Observer Name, description, the film."""
    made = note(None, Reason.ROTATED_180)
    title = made.ConceptNameCodeSequence[0]
    assert (title.CodeValue, title.CodingSchemeDesignator) == ("113001", "DCM")
    said = contents(made)
    assert said["113011"].ConceptCodeSequence[0].CodeMeaning == "Positioning"
    assert said["121005"].ConceptCodeSequence[0].CodeMeaning == "Person"
    assert said["121008"].PersonName == "Radiographer^Anna"
    assert said["113012"].TextValue == "repeat it, please"
    study = made.CurrentRequestedProcedureEvidenceSequence[0]
    film = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert film.ReferencedSOPInstanceUID == "1.2.3.4"
    assert study.StudyInstanceUID == made.StudyInstanceUID == "1.2.3"
    assert (made.ContentDate, made.ContentTime, made.Modality) == ("20261120", "153000", "KO")
    assert read_header(made).ours


@pytest.mark.parametrize("who", ["", "  "])
def test_nobody_rejects_nothing(who):
    """An archive may hide what such a note names: a person stands for it."""
    with pytest.raises(ValueError, match="names the person"):
        note(who=who)


def test_a_film_without_uids_cannot_be_rejected_to_an_archive():
    """There is nothing to refer to."""
    with pytest.raises(NotReportable):
        note(dx(ramp(), SOPInstanceUID=""))


def test_names_and_notes_in_any_script_are_kept():
    """UTF-8; and a note of nothing is left out."""
    made = note(who="Müller^Änne=山田^太郎", said="zu dunkel – größer, 撮り直し")
    assert str(contents(made)["121008"].PersonName) == "Müller^Änne=山田^太郎"
    assert contents(made)["113012"].TextValue == "zu dunkel – größer, 撮り直し"
    assert "113012" not in contents(note(said=" "))


def test_every_reason_has_a_code_of_cid_7011():
    """The first that has one of its own; "Other failure" where none has."""
    allowed = {
        getattr(codes.cid7011, name).value: getattr(codes.cid7011, name) for name in codes.cid7011.dir()
    }
    for reason in Reason:
        coded = quality_reason([reason])
        assert allowed[coded.value].meaning == coded.meaning
    assert quality_reason([]).meaning == "Other failure"
    assert quality_reason([Reason.GATE_FAILED, Reason.UNDEREXPOSED]).meaning == "Under exposed"
    assert quality_reason([Reason.INVERTED, Reason.BLANK]).meaning == "Inappropriate image processing"


def test_a_retry_makes_the_same_note_and_another_reject_another():
    """Who and why are part of what it is."""
    one = note(None, Reason.BLANK)
    others = [
        note(None, Reason.INVERTED),
        note(None, Reason.BLANK, who="B^C"),
        note(None, Reason.BLANK, said="no"),
    ]
    assert one.SOPInstanceUID == note(None, Reason.BLANK).SOPInstanceUID
    assert len({one.SOPInstanceUID, *(other.SOPInstanceUID for other in others)}) == 4


# The judges


def test_highdicom_reads_it():
    """As a Key Object Selection Document that resolves the film."""
    read = hd.ko.KeyObjectSelectionDocument.from_dataset(note(None, Reason.BLANK))
    assert read.content.get_references()[0].referenced_sop_instance_uid == "1.2.3.4"
    assert read.resolve_reference("1.2.3.4") == ("1.2.3", "1.2.3.1", "1.2.3.4")


@needs_dsrdump
def test_dcmtk_reads_it(tmp_path):
    """With name and reason."""
    said = dumped(note(None, Reason.BLANK), tmp_path)
    assert "Rejected for Quality Reasons" in said
    assert "No image" in said


@needs_dciodvfy
@pytest.mark.parametrize("path", real_radiographs(), ids=lambda path: path.name)
def test_real_films_have_notes_without_an_error(tmp_path, path):
    """Every grey radiograph among the real files."""
    assert not errors(note(dcmread(path, stop_before_pixels=True), Reason.CLIPPED), tmp_path)


@needs_dciodvfy
def test_a_film_that_lacks_everything_has_a_note_without_an_error(tmp_path):
    """And a person of one name, and a long note."""
    lacking = dict.fromkeys(("PatientName", "PatientID", "StudyID", "AccessionNumber", "StudyDate"))
    made = note(dx(ramp(), **lacking), Reason.BLANK, who="anna", said="again\n" * 500)
    assert not errors(made, tmp_path)
