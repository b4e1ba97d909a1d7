"""What a header claims, however odd it is."""

from __future__ import annotations

import pytest
from dicom_files import code, dx, ramp, real_files
from pydicom import Dataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from pipelines.header import read_header


def header_of(**attributes):
    return read_header(dx(ramp(), **attributes))


def test_a_chest_film_says_what_it_is():
    """The plain attributes come out as they stand, the claims in our words."""
    header = header_of()
    assert (header.part, header.view, header.modality) == ("chest", "frontal", "DX")
    assert (header.rows, header.columns, header.frames, header.bits_stored) == (40, 30, 1, 12)
    assert header.presentation_intent == "FOR PRESENTATION"
    assert header.image_type == ("ORIGINAL", "PRIMARY")
    assert header.study_date == "20261101"
    assert not header.ours
    assert not header.urgent


def test_an_empty_dataset_is_silent():
    """Nothing there, nothing claimed, nothing raised."""
    header = read_header(Dataset())
    assert (header.part, header.view, header.age_years, header.frames) == ("", "", None, 1)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("CHEST", "chest"),
        (" chest ", "chest"),
        ("THORAX PA", "chest"),
        ("TSPINE", "other"),
        ("THORACIC SPINE", "other"),
        ("CHESTABDOMEN", "other"),
        ("HAND", "other"),
        ("UNKNOWN", "chest"),  # the coded region speaks then
        ("", "chest"),
        (["CHEST", "HAND"], "chest"),
    ],
)
def test_body_part_goes_before_the_coded_region(value, part):
    """BodyPartExamined wins over AnatomicRegionSequence (Thorax here) when it says something."""
    assert header_of(BodyPartExamined=value).part == part


def test_a_coded_region_that_nobody_knows_is_no_claim():
    """Neither an unknown code nor an unknown meaning is another part; a known meaning is, in any language."""
    told = [("99", "Widget", ""), ("T-D8700", "Mano", "other"), ("99", "Brustkorb", "chest"), ("99", "", "")]
    for value, meaning, part in told:
        item = code(value, "99X", meaning)
        assert header_of(BodyPartExamined="GNUBBEL", AnatomicRegionSequence=[item]).part == part


def test_a_region_alone_is_a_claim():
    """SCT, the retired SRT, or the meaning."""
    for item in (code("816094009", "SCT", "x"), code("T-D3000", "SRT", "x"), code("?", "99X", "Chest")):
        assert header_of(BodyPartExamined=None, AnatomicRegionSequence=[item]).part == "chest"
    assert header_of(BodyPartExamined=None, AnatomicRegionSequence=[]).part == ""


@pytest.mark.parametrize(
    ("value", "view"),
    [
        ("PA", "frontal"),
        ("A.P.", "frontal"),
        ("LL", "lateral"),
        ("LAT", "lateral"),
        ("LLD", "other"),
        ("RAO", "other"),
        ("nonsense", "frontal"),  # the code speaks then
        ("LEFT LAT", "lateral"),
        ("PROFIL", "lateral"),
        ("AP OBLIQUE", "other"),
        (["PA", "LL"], "frontal"),
    ],
)
def test_view_position_goes_before_the_code(value, view):
    """ViewPosition, then ViewCodeSequence (postero-anterior here)."""
    assert header_of(ViewPosition=value).view == view


def test_a_view_modifier_makes_another_view():
    """A lordotic or oblique view is not plain frontal."""
    item = code("399348003", "SCT", "antero-posterior")
    item.ViewModifierCodeSequence = [code("399268006", "SCT", "Lordotic")]
    assert header_of(ViewPosition=None, ViewCodeSequence=[item]).view == "other"


@pytest.mark.parametrize("value", ["WIDGET", "TOWNE", "SUPINE", ["PA", "LL"], "PA+LAT"])
def test_the_plane_does_not_explain_a_view_that_nobody_understands(value):
    """PatientOrientation is often a template's: it speaks only where ViewPosition is silent."""
    assert header_of(ViewPosition=value, ViewCodeSequence=[]).view == ""


@pytest.mark.parametrize("value", ["", " ", "UNKNOWN", "n/a", "-"])
def test_the_plane_speaks_where_view_position_says_nothing(value):
    assert header_of(ViewPosition=value, ViewCodeSequence=[]).view == "frontal"


def test_the_plane_is_the_last_to_be_asked():
    """PatientOrientation L\\F is coronal, A\\F sagittal; silence is silence."""
    silent = {"ViewPosition": None, "ViewCodeSequence": []}
    assert header_of(**silent).view == "frontal"
    assert header_of(**silent, PatientOrientation=["A", "F"]).view == "lateral"
    assert header_of(**silent, PatientOrientation="").view == ""


@pytest.mark.parametrize(
    ("age", "birth", "years"),
    [
        ("050Y", None, 50.0),
        ("018M", None, 1.5),
        ("026W", None, 0.498),
        ("010D", None, 0.027),
        ("000Y", None, 0.0),  # completed years: an infant's
        ("030M", None, 2.0),
        ("215M", None, 17.0),
        ("115Y", None, 115.0),
        (None, "20161101", 10.0),
        (None, "20161102", 9.0),
        ("050Y", "20231101", 3.0),  # they disagree: who may be a child counts as one
        ("003Y", "19761101", 3.0),
        ("018Y", "20090101", 18.0),  # less than a year apart: PatientAge
        ("017Y", "20081102", 17.0),
        ("017Y", "20071101", 17.0),
        ("018Y", "20091102", 16.0),
        ("004M", "20260615", 4 / 12),
        ("020M", "20241101", 20 / 12),
        (None, "20300101", None),  # born after the study
        (None, None, None),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_age_in_years_from_age_or_birth_date(age, birth, years):
    """Days, weeks, months, years, or the birth date at the study (2026-11-01)."""
    found = header_of(PatientAge=age, PatientBirthDate=birth).age_years
    assert found == (years if years is None else pytest.approx(years, abs=0.01))


@pytest.mark.parametrize(
    ("age", "years"),
    [
        ("42", 42.0),
        ("42 Y", 42.0),
        ("042A", 42.0),
        ("42y", 42.0),
        ("42 years", 42.0),
        ("42 Jahre", 42.0),
        ("42 ans", 42.0),
        ("42 años", 42.0),
        ("42 yrs.", 42.0),
        ("42.7", 42.0),
        ("90+", 90.0),
        ("090Y+", 90.0),
        ("90+ Y", 90.0),
        (">89", 89.0),
        ("0Y", 0.0),
        ("18 months", 1.5),
        ("18 Monate", 1.5),
        ("1Y6M", 1.5),
        ("6 mois", 0.5),
        ("3 Wochen", 0.057),
        ("10 jours", 0.027),
        ("１２Ｙ", 12.0),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_ages_as_people_type_them_are_read(age, years):
    header = header_of(PatientAge=age, PatientBirthDate=None)
    assert header.age_years == pytest.approx(years, abs=0.001)
    assert header.age_doubt == ""


@pytest.mark.parametrize("day", ["20261031", "20261101", "20261102"])
def test_years_are_completed_on_the_birthday_itself(day):
    """By the calendar, not by days of a mean year: 2008-11-01 is 18 on 2026-11-01 and not a day sooner."""
    header = header_of(PatientAge=None, PatientBirthDate="20081101", StudyDate=day)
    assert header.age_years == (17.0 if day == "20261031" else 18.0)
    infant = header_of(PatientAge=None, PatientBirthDate="20251101", StudyDate=day)
    assert (infant.age_years >= 1) == (day != "20261031")


def test_who_was_born_on_the_29th_of_february_completes_a_year_on_the_1st_of_march():
    for day, years in (("20260228", 17.0), ("20260301", 18.0), ("20280229", 20.0)):
        assert header_of(PatientAge=None, PatientBirthDate="20080229", StudyDate=day).age_years == years


@pytest.mark.parametrize(
    ("age", "birth", "years", "doubt"),
    [
        (None, "19000101", None, "the birth date is one that people write where they know none"),
        (None, "18991230", None, "the birth date is one that people write where they know none"),
        ("003Y", "19000101", 3.0, ""),
        ("050Y", "19000101", 50.0, ""),  # not the smaller, but the only one
        (None, "19101031", None, "the birth date gives 116 years, which cannot be"),
        (None, "20300101", None, "the birth date gives -4 years, which cannot be"),
        (None, "not a date", None, "the birth date could not be read"),
        ("999Y", None, None, "the age '999Y' is over 115 years"),
        ("116Y", "20161101", 10.0, "the age '116Y' is over 115 years"),
        ("abc", None, None, "the age 'abc' could not be read"),
        ("abc", "20161101", 10.0, "the age 'abc' could not be read"),
        ("042J", None, None, "the age '042J' could not be read"),  # Jahre or jours
        ("42 43", None, None, "the age '42 43' could not be read"),
        ("-5", None, None, "the age '-5' could not be read"),
        ("19760601", None, None, "the age '19760601' could not be read"),
        ("?", "19000101", None, "the age '?' could not be read; the birth date is one that people write"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_an_age_that_cannot_be_read_or_believed_is_told(age, birth, years, doubt):
    """Unknown rather than guessed, and never without a word."""
    header = header_of(PatientAge=age, PatientBirthDate=birth)
    assert header.age_years == years
    assert header.age_doubt.startswith(doubt)
    assert bool(header.age_doubt) == bool(doubt)


def test_on_an_old_film_too_1900_is_no_birth_date():
    """In 2004 it would have given 104 years, an age that somebody may have."""
    header = header_of(PatientAge=None, PatientBirthDate="19000101", StudyDate="20040826")
    assert header.age_years is None


def test_a_study_date_that_stands_for_none_is_passed_over():
    """The date of the acquisition (2026-11-01) is asked then."""
    header = header_of(PatientAge=None, PatientBirthDate="20161101", StudyDate="19000101")
    assert header.age_years == 10.0


def test_our_own_work_is_known_again():
    """By the manufacturer in Contributing Equipment."""
    item = Dataset()
    item.Manufacturer = "filmgate"
    assert header_of(ContributingEquipmentSequence=[item]).ours


def test_urgent_companion_and_processing():
    """STAT requests, companion views, and FOR PROCESSING known by the SOP class alone."""
    assert header_of(RequestedProcedurePriority="STAT").urgent
    assert header_of(ImageType=["DERIVED", "PRIMARY", "COMPANION"]).words == ("COMPANION",)
    assert header_of(SeriesDescription="Chest companion view").words == ("COMPANION",)
    raw = header_of(PresentationIntentType=None, SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1.1")
    assert raw.presentation_intent == "FOR PROCESSING"


def raw(keyword: str, vr: str | None, value: bytes) -> RawDataElement:
    return RawDataElement(Tag(keyword), vr, len(value), value, 0, False, True)


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("Rows", "US", b"\x01"),
        ("Rows", "LT", b"many"),
        ("NumberOfFrames", "IS", b"1.5e400"),
        ("BodyPartExamined", "SQ", b"\xfe\xff\x00\xe0garbage"),
        ("ViewCodeSequence", "LO", b"PA"),
        ("AnatomicRegionSequence", "OB", b"\x00" * 9),
        ("PatientAge", "DS", b"\xff\xfe\xfd"),
        ("StudyDate", "UN", b"2026.11.01"),
        ("ImageType", "FD", b"123"),
        ("SpecificCharacterSet", "CS", b"ISO 2022 IR 999\\NONSENSE"),
        ("ViewPosition", "LT", b"PA" * 32768),
        ("BodyPartExamined", "CS", b"<script>alert(1)</script>"),
        ("BodyPartExamined", "CS", b"\xc4\xd6\xdc\x1b$B"),
    ],
)
def test_odd_values_are_absent_values(keyword, vr, value):
    """Wrong VRs, broken numbers, wrong character sets, 64 k of text: never an exception."""
    ds = dx(ramp())
    element = raw(keyword, vr, value)
    ds._dict[element.tag] = element
    header = read_header(ds)
    assert len(header.body_part) <= 64
    assert len(header.view_position) <= 64
    assert header.body_part.isprintable()


@pytest.mark.parametrize(
    ("keyword", "value", "charset", "body_part", "part"),
    [
        ("BodyPartExamined", b"T\xd3RAX", None, "TÓRAX", "chest"),  # Latin-1, whatever is declared
        ("BodyPartExamined", b"T\xd3RAX ", "ISO_IR 192", "TÓRAX", "chest"),
        ("BodyPartExamined", "TÓRAX".encode(), "ISO_IR 100", "TÓRAX", "chest"),  # UTF-8, whatever is declared
        ("BodyPartExamined", "胸部".encode(), None, "胸部", "chest"),
        ("BodyPartExamined", "胸部".encode("gb18030"), "GB18030", "胸部", "chest"),
        ("BodyPartExamined", b"\x1b$B6;It\x1b(B", "\\ISO 2022 IR 87", "胸部", "chest"),
        ("BodyPartExamined", "Грудь".encode("iso8859_5"), "ISO_IR 144", "ГРУДЬ", "chest"),
        ("BodyPartExamined", "Płuca".encode("iso8859_2"), "ISO_IR 101", "PŁUCA", "chest"),
        ("BodyPartExamined", "HÜFTE".encode(), None, "HÜFTE", "other"),
        ("BodyPartExamined", b"T\xd3RAX\\HAND", None, "TÓRAX\\HAND", ""),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_words_are_read_in_the_character_set_they_are_written_in(keyword, value, charset, body_part, part):
    """A CS is ASCII by the Standard, so pydicom takes it for Latin-1; rooms write it like any other text."""
    ds = dx(ramp(), AnatomicRegionSequence=None, SpecificCharacterSet=charset and charset.split("\\"))
    ds._dict[Tag(keyword)] = raw(keyword, "CS", value)
    header = read_header(ds)
    assert (header.body_part, header.part) == (body_part, part)


@pytest.mark.filterwarnings("ignore")
def test_every_real_header_can_be_read():
    """The real files, hard ones among them."""
    files = real_files()
    if not files:
        pytest.skip("the real DICOM files are not here")
    headers = [read_header(dcmread(path, force=True, stop_before_pixels=True)) for path in files]
    assert sum(header.part == "chest" for header in headers) >= 6
    assert {header.part for header in headers} <= {"chest", "other", ""}
    assert {header.view for header in headers} <= {"frontal", "lateral", "other", ""}
