"""Undo of a rejection, with an archive that takes such notes at their word: the object is there again.

Orthanc keeps a Key Object like any other object and hides nothing. So that it does as IHE's IOCM has it for
an archive that does not keep what is rejected, a Lua script of its own removes what a note of title 113001
names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from orthanc_peer import ORTHANC, Orthanc, orthanc
from pydicom import Dataset
from rig import free_port, wait_for

sys.path.append(str(Path(__file__).parents[1]))

from dicom_files import part10

from gateway.bootstrap import Shell
from gateway.dispatcher.dispatcher import courier_of
from gateway.ledger.acting.records import Acted
from gateway.ledger.acting.table import DoneBy, FilmState
from gateway.ledger.records import Judged, Received
from gateway.settings import Settings
from pipelines.film import Act, Decision, Reason
from pipelines.lab.films.phantom_dx import phantom_dx

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ORTHANC.exists(), reason=f"{ORTHANC} is missing: apt-get install orthanc"),
]
HEEDS_NOTES = """
function OnStoredInstance(id, tags, metadata)
  if tags['Modality'] ~= 'KO' then return end
  local whole = ParseJson(RestApiGet('/instances/' .. id .. '/simplified-tags'))
  if whole['ConceptNameCodeSequence'][1]['CodeValue'] ~= '113001' then return end
  for _, study in pairs(whole['CurrentRequestedProcedureEvidenceSequence']) do
    for _, series in pairs(study['ReferencedSeriesSequence']) do
      for _, one in pairs(series['ReferencedSOPSequence']) do
        local found = ParseJson(RestApiPost('/tools/lookup', one['ReferencedSOPInstanceUID']))
        for _, hit in pairs(found) do
          if hit['Type'] == 'Instance' then RestApiDelete('/instances/' .. hit['ID']) end
        end
      end
    end
  end
end
"""
HELD = Decision(Act.QUARANTINE, (Reason.BLANK,), "blank", "nothing is seen on it")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Orthanc, int]]:
    """An archive that removes what a rejection note names, and its DICOM port."""
    folder, port = tmp_path_factory.mktemp("archive"), free_port()
    script = folder / "iocm.lua"
    script.write_text(HEEDS_NOTES)
    with orthanc(folder, "ARCHIVE", port, free_port(), LuaScripts=[str(script)]) as running:
        yield running, port


@contextmanager
def gateway_with(tmp_path: Path, port: int, delay_s: float) -> Iterator[Shell]:
    """Ledger, store and a real courier that sends to the archive."""
    where = {"kind": "dicom", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": port}
    settings = Settings.model_validate(
        {
            "state": tmp_path / "state",
            "store": {"min_free_mb": 0},
            "destinations": {"archive": where},
            "routes": {"always": ["archive"]},
            "quarantine": {"rejection_notes": ["archive"], "release_delay_s": delay_s},
        }
    )
    with closing(Shell.open(settings, migrate_first=True)) as shell:
        courier = courier_of(shell)
        courier.start()
        try:
            yield shell
        finally:
            courier.stop(5)


def held_film(shell: Shell, tmp_path: Path) -> Dataset:
    """A film that the archive has and that waits for a person."""
    ds, path = phantom_dx("frontal", 5, salt=tmp_path.name), tmp_path / "film.dcm"
    path.write_bytes(part10(ds))
    kept = shell.store.put_file(path)
    syntax = str(ds.file_meta.TransferSyntaxUID)
    now = datetime.now(UTC)
    row = Received(ds.SOPClassUID, ds.SOPInstanceUID, syntax, kept.digest, kept.size_bytes, None, now)
    shell.ledger.record([row], always=("archive",))
    job = shell.ledger.claim("w")
    assert job is not None
    shell.ledger.judge(job, Judged(HELD, (), "enforce", {}, hold=True), now=now)
    return ds


def there(archive: Orthanc, ds: Dataset) -> bool:
    return bool(json.loads(archive.ask("/tools/lookup", str(ds.SOPInstanceUID).encode())))


def notes(archive: Orthanc, ds: Dataset) -> int:
    """How many notes it has about a film."""
    found = [tags for tags in archive.tags() if tags["Modality"] == "KO"]
    return sum(str(ds.SOPInstanceUID) in str(tags) for tags in found)


def states(shell: Shell) -> list[str]:
    return [one["state"] for one in shell.ledger.film(1).deliveries]


def rejected(shell: Shell) -> Acted:
    return shell.quarantine().one(DoneBy.REJECT, 1, by="Ann Other", reason="111210")


def test_what_a_note_removed_from_the_archive_is_there_again(
    tmp_path: Path, archive: tuple[Orthanc, int]
) -> None:
    """Byte for byte, under its own UID; and the film is held again."""
    orthanc_server, port = archive
    with gateway_with(tmp_path, port, 0.0) as shell:
        ds = held_film(shell, tmp_path)
        wait_for(lambda: there(orthanc_server, ds), 30, "the archive did not get the film")
        acted = rejected(shell)
        wait_for(lambda: states(shell) == ["delivered"] * 2, 30, "the archive did not get the note")
        wait_for(lambda: not there(orthanc_server, ds), 30, "the archive did not heed the note")
        assert notes(orthanc_server, ds) == 1
        (back,) = shell.quarantine().undo([acted.act_id or 0], by="Ann Other")
        assert (back.ok, back.state, back.error) == (True, FilmState.HELD, "")
        wait_for(lambda: there(orthanc_server, ds), 30, "the archive did not get the film again")
        assert orthanc_server.pixels(orthanc_server.instance(ds.SOPInstanceUID)["id"]) == ds.PixelData
        assert shell.ledger.open_hold(1).closed_at is None


def test_a_rejection_undone_in_time_never_reaches_the_archive(
    tmp_path: Path, archive: tuple[Orthanc, int]
) -> None:
    """No note, and the film stays where it was; what is sent after it arrives meanwhile."""
    orthanc_server, port = archive
    with gateway_with(tmp_path, port, 60.0) as shell:
        ds = held_film(shell, tmp_path)
        wait_for(lambda: there(orthanc_server, ds), 30, "the archive did not get the film")
        acted = rejected(shell)
        (back,) = shell.quarantine().undo([acted.act_id or 0], by="Ann Other")
        assert back.ok, back.error
        later = datetime.now(UTC).replace(year=2100)
        assert shell.ledger.let_go(later) == 0
        assert (there(orthanc_server, ds), notes(orthanc_server, ds)) == (True, 0)
