"""The tags of a film in words, with and without who the patient is."""

from __future__ import annotations

from dicom_files import change, dx, part10, ramp, real_files
from pydicom import Dataset

from pipelines.instance.part10 import Undecodable, parse
from pipelines.instance.tags import MASKED, MOST_CHARACTERS, MOST_ROWS, Tag, tags_of

SECRETS = ("CANARY^NAME", "CANARYID", "CANARYACC", "19011231", "CANARY text", "CANARY private")


def film() -> Dataset:
    ds = dx(ramp(8, 8), PatientName="CANARY^NAME", PatientID="CANARYID", AccessionNumber="CANARYACC")
    change(ds, PatientBirthDate="19011231", ImageComments="CANARY text")
    block = ds.private_block(0x0011, "ACME", create=True)
    block.add_new(1, "LO", "CANARY private")
    inside = Dataset()
    inside.PatientName = "CANARY^NAME"
    inside.PatientID = "CANARYID"
    return change(ds, ReferencedPatientSequence=[inside], OtherPatientIDsSequence=[inside])


def tags(ds: Dataset, *, revealed: bool = False) -> tuple[Tag, ...]:
    return tags_of(parse(part10(ds)), revealed=revealed)


def test_who_the_patient_is_is_masked_wherever_it_stands() -> None:
    """In groups of the patient, in names and free text, in private attributes, in sequences."""
    shown = str(tags(film()))
    assert not any(secret in shown for secret in SECRETS)
    assert MASKED in shown
    assert "2048" in shown  # what says nothing of the patient is there


def test_orders_trials_and_physicians_say_who_it_is_too() -> None:
    """After PS3.15 table E.1-1; what was done to the patient is for IT to see."""
    keywords = ("ConfidentialityConstraintOnPatientDataDescription", "ClinicalTrialSubjectID")
    keywords += ("ReasonForTheImagingServiceRequest", "ReferringPhysicianTelephoneNumbers", "TopicAuthor")
    ds = change(dx(ramp(8, 8)), **dict.fromkeys(keywords, "CANARY"))
    person = Dataset()
    person.CodeMeaning = "CANARY"
    change(ds, PersonIdentificationCodeSequence=[person], PerformedProcedureStepDescription="CHEST PA")
    shown = str(tags(ds))
    assert "CANARY" not in shown
    assert "CHEST PA" in shown


def test_a_name_is_one_whatever_its_file_calls_it() -> None:
    """A wrong representation neither shows a name nor keeps it from who may see it."""
    ds = dx(ramp(8, 8))
    ds.add_new("ReferringPhysicianName", "SH", "CANARY")
    assert "CANARY" not in str(tags(ds))
    assert "CANARY" in str(tags(ds, revealed=True))


def test_who_asks_sees_it() -> None:
    shown = str(tags(film(), revealed=True))
    assert all(secret in shown for secret in SECRETS)


def test_a_tag_has_its_number_name_and_representation() -> None:
    found = {tag.tag: tag for tag in tags(dx(ramp(8, 8)))}
    assert found["(0008,0060)"] == Tag(0, "(0008,0060)", "Modality", "CS", "DX", personal=False)


def test_items_of_a_sequence_are_set_in() -> None:
    rows = tags(dx(ramp(8, 8)))
    at = next(number for number, tag in enumerate(rows) if tag.name == "Anatomic Region Sequence")
    assert (rows[at].value, rows[at + 1].name, rows[at + 2].depth) == ("1 item", "item 1", 1)


def test_long_values_and_many_are_cut() -> None:
    """64 k of LT, and more attributes than a page holds."""
    ds = dx(ramp(8, 8), ImageComments="x" * 65000)
    for number in range(2 * MOST_ROWS):
        ds.add_new((0x0013, 0x1000 + number), "LO", "y")
    rows = tags(ds, revealed=True)
    assert len(rows) == MOST_ROWS
    assert max(len(tag.value) for tag in rows) <= MOST_CHARACTERS


def test_characters_that_steer_are_blanks() -> None:
    """A right-to-left override would turn the line round."""
    ds = dx(ramp(8, 8), ImageComments="a\x1b[2Jb\u202ec", SpecificCharacterSet="ISO_IR 192")
    (comment,) = (tag.value for tag in tags(ds, revealed=True) if tag.name == "Image Comments")
    assert comment.isprintable()


def test_odd_values_are_said_to_be_unreadable() -> None:
    """Not one of the real files that nobody should write raises anything but that it is no DICOM."""
    for path in real_files():
        try:
            part = parse(path)
        except Undecodable:
            continue
        assert tags_of(part, revealed=True)


def test_a_character_set_that_is_none_is_no_trouble() -> None:
    ds = dx(ramp(8, 8), SpecificCharacterSet="ISO_IR 192", PatientName="Ä^Ö")
    data = part10(ds).replace(b"ISO_IR 192", b"NO_SUCH_ 1")
    assert tags_of(parse(data), revealed=True)
