"""A film's whole way, with DCMTK as modality, AI and archive."""

from __future__ import annotations

import json
import re
import subprocess
import time
from itertools import count
from pathlib import Path
from typing import Any

import pydicom
import pytest
from highdicom import ko
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid
from rig import DCMSEND, Gateway, Receiver, wait_for

from gateway.destinations import scu
from pipelines.lab.films.phantom_dx import phantom_dx

_numbers = count()


def saved(ds: Dataset, folder: Path) -> Path:
    path = folder / f"{next(_numbers)}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


def film(kind: str = "frontal", **options: Any) -> Dataset:
    """A phantom that no test has sent before."""
    return phantom_dx(kind, 3, salt=f"{time.time_ns()}", **options)


def sent(line: Gateway, ds: Dataset, folder: Path) -> dict[str, Any]:
    """Push one film and wait until it is settled; its row."""
    line.send(saved(ds, folder))
    films = line.settled({str(ds.SOPInstanceUID)}, 60)
    return next(f for f in films if f["sop_instance_uid"] == ds.SOPInstanceUID)


def at(receiver: Receiver, uid: str) -> list[Path]:
    return [path for path in receiver.files() if path.name.endswith(f".{uid}")]


def copies_of(receiver: Receiver, uid: str) -> list[Dataset]:
    found = [pydicom.dcmread(path) for path in receiver.files()]
    return [
        ds
        for ds in found
        if any(s.ReferencedSOPInstanceUID == uid for s in ds.get("SourceImageSequence", []))
    ]


def _sources(ds: Dataset) -> list[str]:
    return [str(item.ReferencedSOPInstanceUID) for item in ds.get("SourceImageSequence", [])]


def dataset_bytes(path: Path) -> bytes:
    data = path.read_bytes()
    return data[144 + int.from_bytes(data[140:144], "little") :]


def test_a_clean_film_reaches_the_ai_and_the_archive_byte_for_byte(line: Gateway, folder: Path) -> None:
    ds = film()
    row = sent(line, ds, folder)
    source = dataset_bytes(saved(ds, folder))
    assert row["decision"] == "pass", row["reasons"]
    assert [dataset_bytes(p) for p in at(line.ai, ds.SOPInstanceUID)] == [source]
    assert [dataset_bytes(p) for p in at(line.archive, ds.SOPInstanceUID)] == [source]


@pytest.mark.parametrize("fault", [{"turn": 90}, {"turn": 180}, {"turn": 270}, {"inverted": True}], ids=str)
def test_a_turned_or_inverted_film_arrives_as_one_upright_copy(
    line: Gateway, folder: Path, fault: dict[str, Any]
) -> None:
    """The AI never sees the original; the copy shows the picture as it would have been."""
    ds = film(**fault)
    row = sent(line, ds, folder)
    assert row["decision"] == "correct", row
    assert at(line.ai, ds.SOPInstanceUID) == []
    (copy,) = copies_of(line.ai, ds.SOPInstanceUID)
    upright = phantom_dx("frontal", 3).pixel_array.astype(float)
    assert copy.pixel_array.shape == upright.shape
    assert abs(copy.pixel_array.astype(float) - upright).mean() < 8  # of 4095
    assert len(at(line.archive, ds.SOPInstanceUID)) == 1


@pytest.mark.parametrize("kind", ["lateral", "hand"])
def test_a_wrong_film_that_claims_to_be_a_chest_is_held(line: Gateway, folder: Path, kind: str) -> None:
    ds = film(kind)
    row = sent(line, ds, folder)
    assert row["decision"] == "quarantine"
    assert row["reasons"]
    assert at(line.ai, ds.SOPInstanceUID) == []


@pytest.mark.parametrize("kind", ["lateral", "hand"])
def test_an_honest_wrong_film_is_withheld_without_anybody(line: Gateway, folder: Path, kind: str) -> None:
    row = sent(line, film(kind, honest=True), folder)
    assert row["decision"] == "withhold", row
    assert row["reasons"]


def test_a_child_is_withheld_from_the_adult_ai(line: Gateway, folder: Path) -> None:
    row = sent(line, film(age="003Y"), folder)
    assert (row["decision"], row["reasons"]) == ("withhold", ["NO_AI_ACCEPTS"])


def _without_pixels(ds: Dataset) -> None:
    del ds.PixelData


def _lying_rows(ds: Dataset) -> None:
    ds.Rows += 1


def _cut(ds: Dataset) -> None:
    ds.PixelData = ds.PixelData[: len(ds.PixelData) // 2]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(_without_pixels, "NO_PIXELS"), (_lying_rows, "PIXELS_MISMATCH"), (_cut, "PIXELS_MISMATCH")],
)
def test_bad_pixels_are_held_with_their_reason_and_reach_the_archive(
    line: Gateway, folder: Path, spoil: Any, reason: str
) -> None:
    ds = film()
    spoil(ds)
    row = sent(line, ds, folder)
    assert (row["decision"], row["reasons"]) == ("quarantine", [reason])
    assert len(at(line.archive, ds.SOPInstanceUID)) == 1


def test_text_renamed_to_dcm_is_named_and_the_rest_is_sent(line: Gateway, folder: Path) -> None:
    """`filmgate send` says which file is no DICOM, sends the others, and ends with 1."""
    (folder / "text.dcm").write_text("this is no film")
    good = film()
    saved(good, folder)
    done = line.cli("send", str(folder), "--to", f"FILMGATE@127.0.0.1:{line.port}", "--json")
    results = {Path(r["path"]).name: r for r in json.loads(done.stdout)}
    assert done.returncode == 1
    assert not results["text.dcm"]["ok"]
    assert sum(r["ok"] for r in results.values()) == 1
    assert line.settled({str(good.SOPInstanceUID)}, 60)


def test_a_wrong_called_ae_title_is_rejected_and_audited(line: Gateway, folder: Path) -> None:
    path = saved(film(), folder)
    command = [DCMSEND, "-v", "-aec", "SOMEBODY", "127.0.0.1", str(line.port), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "Association Rejected" in done.stderr
    wait_for(lambda: "called AE title" in "".join(line.lines), 5, "the refusal is not in the log")


def test_the_same_object_twice_is_one_film(line: Gateway, folder: Path) -> None:
    ds = film()
    sent(line, ds, folder)
    row = sent(line, ds, folder)
    assert len(row["deliveries"]) == 2  # archive and AI, once each


def test_a_corrected_header_goes_to_the_archive_and_not_again_to_the_ai(line: Gateway, folder: Path) -> None:
    """The same pixels with another patient name: a new version, no second delivery to the AI."""
    ds = film()
    sent(line, ds, folder)
    ds.PatientName = "Corrected^Name"
    line.send(saved(ds, folder))
    wait_for(lambda: len(row_of(line, ds)["deliveries"]) == 3, 30, "no second version")
    row = sent(line, ds, folder)
    assert sorted(d["destination"] for d in row["deliveries"]) == ["archive", "archive", "chest-ai"]
    assert row["decision"] == "pass"


def row_of(line: Gateway, ds: Dataset) -> dict[str, Any]:
    return next(f for f in line.films() if f["sop_instance_uid"] == ds.SOPInstanceUID)


def test_other_pixels_under_the_same_uid_are_both_kept_and_held(line: Gateway, folder: Path) -> None:
    ds = film()
    sent(line, ds, folder)
    other = phantom_dx("frontal", 4, salt=f"{time.time_ns()}")
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    line.send(saved(other, folder))
    wait_for(lambda: "OTHER_PIXELS" in row_of(line, ds)["reasons"], 30, "not held")
    assert row_of(line, ds)["decision"] == "quarantine"
    assert len([d for d in row_of(line, ds)["deliveries"] if d["destination"] == "chest-ai"]) == 1


def test_a_held_film_is_released_with_who_and_why(line: Gateway, folder: Path) -> None:
    ds = film("hand")
    sent(line, ds, folder)
    done = line.cli("quarantine", "release", ds.SOPInstanceUID, "--by", "ann", "--note", "asked for")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: at(line.ai, ds.SOPInstanceUID), 30, "not delivered")
    again = line.cli("quarantine", "release", ds.SOPInstanceUID, "--by", "ann")
    assert again.returncode == 1
    assert "not held" in again.stderr


def test_a_word_is_ruled_on_once_for_those_that_wait_and_those_that_come(line: Gateway, folder: Path) -> None:
    """Two clean films with BONE in the header wait for one answer of a person; a third needs none."""
    films = [film() for _ in range(3)]
    for ds in films:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "", "BONE"]
    rows = [sent(line, ds, folder) for ds in films[:2]]
    assert [(row["decision"], row["reasons"]) for row in rows] == [("quarantine", ["HEADER_WORD"])] * 2
    asked = line.cli("quarantine", "list").stdout
    sender = re.search(r"settles 2 films .*\(sender (\S+), word BONE\)", asked)
    assert sender, asked
    done = line.cli("quarantine", "rule", sender[1], "BONE", "always", "--by", "ann", "--note", "seen")
    assert done.returncode == 0, done.stderr
    uids = [ds.SOPInstanceUID for ds in films]
    wait_for(lambda: all(at(line.ai, uid) for uid in uids[:2]), 30, "not delivered")
    assert sent(line, films[2], folder)["flags"] == ["HEADER_WORD"]
    wait_for(lambda: at(line.ai, uids[2]), 15, "not delivered")
    assert line.cli("quarantine", "take-back", sender[1], "BONE", "--by", "ann").returncode == 0


def test_a_held_film_is_corrected_by_hand(line: Gateway, folder: Path) -> None:
    ds = film("lateral")
    sent(line, ds, folder)
    done = line.cli("quarantine", "correct", ds.SOPInstanceUID, "--turn", "90", "--by", "ann")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: copies_of(line.ai, ds.SOPInstanceUID), 30, "no copy")
    (copy,) = copies_of(line.ai, ds.SOPInstanceUID)
    assert (copy.Rows, copy.Columns) == (ds.Columns, ds.Rows)


def test_a_rejected_film_reaches_no_ai(line: Gateway, folder: Path) -> None:
    ds = film("hand")
    sent(line, ds, folder)
    assert line.cli("quarantine", "reject", ds.SOPInstanceUID, "--by", "ann").returncode == 0
    held = json.loads(line.cli("quarantine", "list", "--json").stdout)
    assert ds.SOPInstanceUID not in {h["sop_instance_uid"] for h in held}
    assert at(line.ai, ds.SOPInstanceUID) == []


def test_what_a_room_rejected_is_withdrawn_and_answered_with_a_warning(line: Gateway, folder: Path) -> None:
    """A Key Object names a film that is here and one that is not; both come (again) and reach no AI."""
    here, later = film(), film()
    sent(line, here, folder)
    for ds in (here, later):
        content = ko.KeyObjectSelection(codes.DCM.RejectedForQualityReasons, [ds])
        note = ko.KeyObjectSelectionDocument(
            [ds], content, generate_uid(), 1, generate_uid(), 1, manufacturer="room"
        )
        assert sent(line, note, folder)["decision"] == "withhold"
    paths = [saved(ds, folder) for ds in (here, later)]
    results = scu.send(paths, "127.0.0.1", line.port, "FILMGATE", calling="ROOM")
    assert [(one.status, one.ok) for one in results] == [(0xB000, True)] * 2
    films = {
        f["sop_instance_uid"]: f
        for f in line.settled({str(here.SOPInstanceUID), str(later.SOPInstanceUID)}, 60)
    }
    assert [films[ds.SOPInstanceUID]["reasons"] for ds in (here, later)] == [["REJECTED"]] * 2
    assert len(at(line.archive, later.SOPInstanceUID)) == 1
    assert at(line.ai, later.SOPInstanceUID) == []


def test_what_we_made_is_kept_and_never_gated_when_it_comes_back(line: Gateway, folder: Path) -> None:
    """An archive that reflects our copies makes no loop."""
    ds = film(turn=180)
    sent(line, ds, folder)
    (copy,) = copies_of(line.ai, ds.SOPInstanceUID)
    before = len(line.ai.files()), len(line.archive.files())
    row = sent(line, copy, folder)
    assert (row["decision"], row["reasons"], row["deliveries"]) == ("withhold", ["OURS"], [])
    assert (len(line.ai.files()), len(line.archive.files())) == before


def test_copies_have_no_dciodvfy_error(line: Gateway, folder: Path) -> None:
    dciodvfy = Path("/usr/bin/dciodvfy")
    if not dciodvfy.exists():
        pytest.skip("dciodvfy is missing: apt-get install dicom3tools")
    ds = film(turn=90, inverted=True)
    sent(line, ds, folder)
    (copy,) = copies_of(line.ai, ds.SOPInstanceUID)
    done = subprocess.run([dciodvfy, saved(copy, folder)], capture_output=True, text=True)
    assert "Error" not in done.stdout + done.stderr


def test_every_object_sent_is_listed_with_the_promised_keys(line: Gateway) -> None:
    for row in line.films():
        promised = {"sop_instance_uid", "received_at", "decision", "reasons", "findings", "deliveries"}
        assert promised <= set(row)
        assert row["decision"] == "pass" or row["reasons"]


def test_the_books_balance(line: Gateway) -> None:
    """fsck reads every byte and finds nothing to tell."""
    done = line.cli("fsck", "--deep", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


def test_no_patient_reaches_the_log(line: Gateway) -> None:
    """Names, numbers and UIDs of the films above are nowhere in what the gateway printed."""
    text = "".join(line.lines)
    assert "Phantom^" not in text
    assert "PHANTOM-" not in text
    assert not any(row["sop_instance_uid"] in text for row in line.films())
