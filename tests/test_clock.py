"""One clock: what we make is dated in the hospital's zone and says so, and studies age by its calendar."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import highdicom as hd
import numpy as np
import pytest
from dicom_files import dx, part10, ramp
from pydicom import Dataset, dcmread
from readings import NOT_READ, again, errors, needs_dciodvfy, reading

from gateway.process import clock
from gateway.sandbox.decoder import Decoder
from gateway.sandbox.reporter import Occasion, Reporter
from pipelines.film import Operations
from pipelines.report.capture import capture
from pipelines.report.derived import derive
from pipelines.report.identity import Equipment, local_time
from pipelines.report.measurement_report import not_analysed_report, reading_report
from pipelines.report.presentation import presentation_state
from pipelines.report.rejection import rejection_note

KINDS = ("sr", "not analysed", "capture", "presentation", "rejection", "copy")
# 08:05 in Tokyo, where by UTC it was still the day before
AT = datetime(2026, 11, 27, 23, 5, tzinfo=UTC)
TODAY = {"StudyDate": "20261128", "StudyTime": "074500"}
SUMMER = {"StudyDate": "20260701", "StudyTime": "101500"}
OBJECTS = ("InstanceCreation", "Content", "PresentationCreation")
ZONES = ("Asia/Tokyo", "America/Los_Angeles", "Pacific/Kiritimati", "Asia/Kathmandu")


def made(kind: str, source: Dataset, zone: tzinfo, at: datetime = AT) -> Dataset:
    """One object of each kind that we make of a film, written and read."""
    said = {"at": at, "equipment": Equipment("1.2.3", {}, zone)}
    match kind:
        case "sr":
            found = reading_report(source, reading(), **said)
        case "not analysed":
            found = not_analysed_report(source, NOT_READ, **said)
        case "capture":
            found = capture(source, np.zeros((40, 30), np.float32), reading(), **said)
        case "presentation":
            found = presentation_state(source, reading(), **said)
        case "rejection":
            found = rejection_note(source, (), who="Radiographer^Anna", note="", **said)
        case _:
            turned = Operations(turn=90)
            found = derive(source, ramp(), turned, equipment=said["equipment"], now=at)
    assert found is not None
    return again(found)


def stated(ds: Dataset, what: str) -> datetime:
    """A date and time of the object as an instant."""
    told = ds[f"{what}Date"].value + str(ds[f"{what}Time"].value)[:6] + ds.TimezoneOffsetFromUTC
    return datetime.strptime(told, "%Y%m%d%H%M%S%z")


def own_times(ds: Dataset, kind: str) -> list[str]:
    """Those that are of our own making; a copy's Content Date is the film's."""
    return [what for what in OBJECTS if f"{what}Date" in ds and (kind, what) != ("copy", "Content")]


# What we make


@pytest.mark.parametrize("kind", KINDS)
def test_what_we_make_is_dated_in_the_hospitals_zone_and_says_so(kind: str) -> None:
    """PS3.3 C.12.1.1.8; in Tokyo no report is dated the day before its film."""
    ds = made(kind, dx(ramp(), **TODAY), ZoneInfo("Asia/Tokyo"))
    assert ds.TimezoneOffsetFromUTC == "+0900"
    assert (ds.StudyDate, str(ds.StudyTime)) == ("20261128", "074500")
    assert (ds.InstanceCreationDate, str(ds.InstanceCreationTime)) == ("20261128", "080500")
    assert {stated(ds, what) for what in own_times(ds, kind)} == {AT}
    assert ds.ContributingEquipmentSequence[-1].ContributionDateTime == "20261128080500+0900"


@pytest.mark.parametrize("name", ZONES)
@pytest.mark.parametrize("kind", KINDS)
def test_in_every_zone_it_is_the_same_instant(kind: str, name: str) -> None:
    ds = made(kind, dx(ramp(), **TODAY), ZoneInfo(name))
    assert {stated(ds, what) for what in own_times(ds, kind)} == {AT}
    assert re.fullmatch(r"[+-]\d{4}", ds.TimezoneOffsetFromUTC)


@pytest.mark.parametrize("kind", KINDS)
def test_a_film_that_states_its_zone_keeps_it(kind: str) -> None:
    """One offset holds for all times of an object: what is repeated stays true, and ours is told by it."""
    ds = made(kind, dx(ramp(), **TODAY, TimezoneOffsetFromUTC="-0330"), ZoneInfo("Asia/Tokyo"))
    assert ds.TimezoneOffsetFromUTC == "-0330"
    assert {stated(ds, what) for what in own_times(ds, kind)} == {AT}
    assert stated(ds, "Study") == datetime(2026, 11, 28, 11, 15, tzinfo=UTC)


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_of_summer_read_in_winter_keeps_its_time(kind: str) -> None:
    """Summer time was in force when it was made: its time is true, and so is ours."""
    ds = made(kind, dx(ramp(), **SUMMER), ZoneInfo("Europe/Berlin"))
    assert ds.TimezoneOffsetFromUTC == "+0200"
    assert stated(ds, "Study") == datetime(2026, 7, 1, 8, 15, tzinfo=UTC)
    assert {stated(ds, what) for what in own_times(ds, kind)} == {AT}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"TimezoneOffsetFromUTC": "later"}, "+0900"),
        ({"TimezoneOffsetFromUTC": "0200"}, "+0900"),
        ({"TimezoneOffsetFromUTC": "+0275"}, "+0900"),
        ({"TimezoneOffsetFromUTC": "+1430"}, "+0900"),
        ({"TimezoneOffsetFromUTC": "-1300"}, "+0900"),
        ({"TimezoneOffsetFromUTC": ""}, "+0900"),
        ({"TimezoneOffsetFromUTC": "-0000"}, "+0000"),
        ({"TimezoneOffsetFromUTC": "+1400"}, "+1400"),
        ({"StudyDate": ""}, "+0900"),
        ({"StudyDate": "20260230"}, "+0900"),
        ({"StudyDate": "00010101"}, "+0900"),
        ({"StudyTime": "noon"}, "+0900"),
        ({"StudyTime": "08"}, "+0900"),
        ({"StudyDate": "18500101"}, "+0900"),  # as films without names have; Tokyo kept local mean time
    ],
)
def test_odd_dates_and_offsets_make_no_odd_object(told: dict[str, str], expected: str) -> None:
    """What is no offset is none (PS3.5 6.2), and where the study has no day, today's counts."""
    source = dx(ramp(), **TODAY | told)
    assert made("sr", source, ZoneInfo("Asia/Tokyo")).TimezoneOffsetFromUTC == expected
    for zone in (ZoneInfo("Asia/Tokyo"), clock.zone("")):
        assert local_time(source, AT, Equipment("1.2.3", {}, zone)) == AT


def test_a_retry_makes_the_same_bytes_and_another_zone_another_object() -> None:
    """Also half a year later: the offset is that of the study, whenever the object is made."""
    source, berlin = dx(ramp(), **SUMMER), ZoneInfo("Europe/Berlin")
    one, two = made("sr", source, berlin), made("sr", source, berlin)
    assert one == two
    assert made("sr", source, ZoneInfo("Asia/Tokyo")).SOPInstanceUID != one.SOPInstanceUID
    assert made("copy", source, berlin).SOPInstanceUID == made("copy", source, UTC).SOPInstanceUID


@needs_dciodvfy
@pytest.mark.parametrize("kind", KINDS)
def test_the_standards_checker_finds_no_fault(kind: str, tmp_path: Path) -> None:
    assert not errors(made(kind, dx(ramp(), **TODAY), ZoneInfo("Asia/Kathmandu")), tmp_path)


def test_highdicom_reads_what_states_a_zone() -> None:
    ds = made("sr", dx(ramp(), **TODAY), ZoneInfo("Pacific/Kiritimati"))
    assert hd.sr.ComprehensiveSR.from_dataset(ds).TimezoneOffsetFromUTC == "+1400"


# The processes


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.dcm"
    path.write_bytes(part10(dx(ramp(), **TODAY)))
    return path


@pytest.mark.parametrize(
    ("here", "name", "expected"),
    [
        ("Asia/Tokyo", "", "20261128 080500 +0900"),
        ("America/Los_Angeles", "", "20261127 150500 -0800"),
        ("Pacific/Kiritimati", "", "20261128 130500 +1400"),
        ("UTC", "Asia/Tokyo", "20261128 080500 +0900"),
        ("Asia/Tokyo", "America/Los_Angeles", "20261127 150500 -0800"),
    ],
)
def test_reports_and_copies_follow_the_machine_unless_a_zone_is_named(
    here: str, name: str, expected: str, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The children that make them know where they are."""
    monkeypatch.setenv("TZ", here)
    with Reporter(timeout_s=60, zone=name) as reporter, Decoder(timeout_s=30, zone=name) as decoder:
        result = reporter.result("not_analysed", film, NOT_READ, Occasion(AT, {}))
        decoder.derive(film, Operations(turn=90), {}, tmp_path / "copy.dcm", now=AT)
    assert result is not None
    (tmp_path / "report.dcm").write_bytes(result.data)
    for path in (tmp_path / "report.dcm", tmp_path / "copy.dcm"):
        ds = dcmread(path, force=True)
        told = (ds.InstanceCreationDate, str(ds.InstanceCreationTime), ds.TimezoneOffsetFromUTC)
        assert " ".join(told) == expected


def elsewhere(zone: str, words: str, imports: str = "from gateway.process import clock") -> str:
    """What a Python of another zone prints of an expression."""
    code = f"from datetime import *; {imports}; print({words})"
    told = {**os.environ, "TZ": zone}
    return subprocess.run(
        [sys.executable, "-c", code], env=told, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize(
    ("here", "name", "expected"),
    [
        ("Asia/Tokyo", "", "2026-11-28"),
        ("Pacific/Kiritimati", "", "2026-11-28"),
        ("America/Los_Angeles", "", "2026-11-27"),
        ("Asia/Tokyo", "America/Los_Angeles", "2026-11-27"),
        ("America/Los_Angeles", "Europe/Berlin", "2026-11-28"),
    ],
)
def test_the_day_is_that_of_the_zone(here: str, name: str, expected: str) -> None:
    instant = "datetime(2026, 11, 27, 23, 5, tzinfo=UTC)"
    assert elsewhere(here, f"clock.today({name!r}, {instant})") == expected


@pytest.mark.parametrize(
    ("study", "expected"), [("20260701", "-0700"), ("20261128", "-0800"), ("99991231", "-0800")]
)
def test_the_machines_zone_knows_its_summers(study: str, expected: str) -> None:
    """By the rules of its C library; beyond the end of its days it counts as no day."""
    imports = "from gateway.process import clock; from pydicom import Dataset; "
    imports += "from pipelines.report.identity import *; ds = Dataset(); "
    imports += f"ds.StudyDate, ds.StudyTime = '{study}', '235900'; at = datetime(2026, 11, 27, tzinfo=UTC)"
    words = "local_time(ds, at, Equipment('1', {}, clock.zone(''))).strftime('%z')"
    assert elsewhere("America/Los_Angeles", words, imports) == expected


def test_the_hour_that_comes_twice_is_told_apart() -> None:
    """01:30 of 1 November in Los Angeles, in summer time and then in winter time."""
    for hour, offset in ((8, "-0700"), (9, "-0800")):
        words = f"datetime(2026, 11, 1, {hour}, 30, tzinfo=UTC).astimezone(clock.zone('')).strftime('%H%M%z')"
        assert elsewhere("America/Los_Angeles", words) == f"0130{offset}"


# Names


@pytest.mark.parametrize("name", ["", "Europe/Berlin", "UTC", "Etc/GMT+5"])
def test_zones_of_the_database_are_known(name: str) -> None:
    assert clock.known(name) == name
    assert clock.today(name, datetime(2026, 11, 28, 12, tzinfo=UTC)) >= date(2026, 11, 28)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berln", "did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("Los Angeles", "did you mean 'America/Los_Angeles'?"),
        ("Tokio", "did you mean 'Asia/Tokyo'?"),
        ("CEST", "as Europe/Berlin"),
        ("+0200", "as Europe/Berlin"),
        ("../../etc/passwd", "as Europe/Berlin"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest_place(name: str, hint: str) -> None:
    """Never with an abbreviation that differs by a letter and by an ocean."""
    with pytest.raises(ValueError, match=re.escape(hint)):
        clock.known(name)
