"""The store keeps every byte, under its digest, and never a half of one."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from dicom_peers import DX, EXPLICIT, encoded, film

from gateway.errors import Missing, NoRoom, StoreError
from gateway.store import Store

ROOT = Path(__file__).parents[1]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, min_free_mb=0)


def keep(store: Store, data: bytes, uid: str = "1.2.3"):
    incoming = store.begin(DX, uid, EXPLICIT)
    incoming.write(data)
    return incoming.finish()


def test_an_object_is_kept_under_the_digest_of_its_syntax_and_bytes(store: Store) -> None:
    """Group 2 is ours, the dataset is untouched, and a DICOM reader reads the file."""
    one = film()
    data = encoded(one)
    kept = keep(store, data, one.SOPInstanceUID)
    assert kept.digest == hashlib.sha256(EXPLICIT.encode() + b"\0" + data).hexdigest()
    assert kept.size_bytes == len(data)
    assert kept.path.read_bytes().endswith(data)
    read = pydicom.dcmread(kept.path)
    assert read.SOPInstanceUID == read.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    assert read.file_meta.TransferSyntaxUID == EXPLICIT
    assert list(store.incoming.iterdir()) == []


def test_pieces_and_whole_give_the_same_digest(store: Store) -> None:
    """However the fragments fell, the object is one."""
    data = encoded(film())
    incoming = store.begin(DX, "1.2.3", EXPLICIT)
    incoming.write(*(data[at : at + 1] for at in range(700)))
    incoming.write(data[700:])
    assert incoming.finish().digest == keep(store, data).digest
    assert list(store.digests()) == [keep(store, data).digest]


def test_an_abandoned_object_leaves_nothing(store: Store, tmp_path: Path) -> None:
    """No part file, no object; abandoning twice is harmless."""
    incoming = store.begin(DX, "1.2.3", EXPLICIT)
    incoming.write(b"x" * 1000)
    incoming.abandon()
    incoming.abandon()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_file_rename_and_folder_are_synced_in_this_order(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data before it gets its name, the name before it is reported; a new folder's own name first."""
    calls: list[tuple[str, str]] = []

    def noting(name: str, path_of: Callable[..., Path]) -> None:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append((name, str(path_of(*args).relative_to(tmp_path))))
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    for sync in ("fsync", "fdatasync"):
        noting(sync, lambda fd: Path(f"/proc/self/fd/{fd}").readlink())
    noting("replace", lambda _part, path: Path(path))
    for made_before in (False, True):
        if made_before:
            store.make_folders()
        calls.clear()
        digest = keep(store, encoded(film())).digest
        part = calls[0][1]
        assert part.startswith("incoming/")
        assert calls == [
            ("fdatasync", part),
            *([] if made_before else [("fsync", "store")]),
            ("replace", f"store/{digest[:2]}/{digest}.dcm"),
            ("fsync", f"store/{digest[:2]}"),
        ]


def test_a_folder_that_somebody_removed_is_made_again(store: Store, tmp_path: Path) -> None:
    """All 256 are made at the start; one that is gone costs no film."""
    store.make_folders()
    folders = sorted(one.name for one in (tmp_path / "store").iterdir())
    assert folders == [f"{number:02x}" for number in range(256)]
    for folder in folders:
        (tmp_path / "store" / folder).rmdir()
    assert store.verify(keep(store, encoded(film())).digest)


def test_an_object_without_a_byte_is_a_whole_file(store: Store) -> None:
    """Preamble and group 2 are there, though no dataset's bytes brought them along."""
    kept = store.begin(DX, "1.2.3", EXPLICIT).finish()
    assert kept.size_bytes == 0
    assert store.verify(kept.digest)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n"])
def test_what_is_no_digest_is_no_path(store: Store, digest: str) -> None:
    """Only 64 lower-case hex digits lead anywhere."""
    with pytest.raises(StoreError):
        store.path(digest)


@pytest.mark.parametrize("uid", ["../../x", "/etc/passwd", "a" * 64, "", "\0"])
def test_a_uid_never_becomes_a_path(store: Store, tmp_path: Path, uid: str) -> None:
    """Whatever a UID says, the file lies where its digest says."""
    kept = keep(store, encoded(film()), uid)
    assert kept.path == tmp_path / "store" / kept.digest[:2] / f"{kept.digest}.dcm"


def test_above_the_watermark_nothing_is_taken_in(tmp_path: Path) -> None:
    """`begin` says so before a byte is written."""
    store = Store(tmp_path, min_free_mb=1 << 40)
    assert not store.room()
    with pytest.raises(NoRoom):
        store.begin(DX, "1.2.3", EXPLICIT)
    assert list(store.incoming.iterdir()) == []


FULL = """
import resource, signal, sys
from pathlib import Path
from gateway.errors import NoRoom
from gateway.store import Store
store = Store(Path(sys.argv[1]), 0)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
incoming = store.begin("1.2", "1.2.3", "1.2.840.10008.1.2.1")
try:
    for _ in range(10):
        incoming.write(b"x" * 50_000)
except NoRoom:
    print("no room", list(store.incoming.iterdir()), store.room())
"""


def test_a_full_disk_is_no_room_and_the_part_file_goes(tmp_path: Path) -> None:
    """A write that the system refuses for lack of space (here by a file size limit)."""
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert run.stdout.strip() == "no room [] False", run.stderr


HOLD = """
import sys
from pathlib import Path
from gateway.store import Store
incoming = Store(Path(sys.argv[1]), 0).begin("1.2", "1.2.3", "1.2.840.10008.1.2.1")
incoming.write(b"half")
print("written", flush=True)
sys.stdin.read()
"""


def test_only_part_files_of_the_dead_are_swept(store: Store, tmp_path: Path) -> None:
    """A living process keeps its part file; once it is killed the next start removes it."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "written\n"
        mine = store.begin(DX, "1.2.3", EXPLICIT)
        assert store.sweep_incoming() == 0
        child.kill()
        child.wait()
    assert store.sweep_incoming() == 1
    mine.write(b"rest")
    assert mine.finish().path.exists()


def test_a_file_of_ours_is_adopted(store: Store, tmp_path: Path) -> None:
    """A corrected copy written elsewhere gets a digest and a place; its dataset can be read again."""
    one = film()
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID
    one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID
    path = tmp_path / "copy.dcm"
    one.save_as(path, enforce_file_format=True)
    kept = store.put_file(path)
    meta, file = store.open_dataset(kept.digest)
    with file:
        assert file.read() == kept.path.read_bytes()[meta.offset :]
    assert (meta.sop_class_uid, meta.sop_instance_uid) == (one.SOPClassUID, one.SOPInstanceUID)
    assert kept.digest == keep(store, kept.path.read_bytes()[meta.offset :]).digest


def test_what_is_no_part_10_file_is_not_adopted(store: Store, tmp_path: Path) -> None:
    """A file without preamble and group 2 is an error, and leaves no part file."""
    path = tmp_path / "note.txt"
    path.write_text("hello")
    with pytest.raises(StoreError):
        store.put_file(path)
    assert list(store.incoming.iterdir()) == []


def test_a_changed_bit_is_found(store: Store) -> None:
    """`verify` reads the bytes again; a file that is gone is Missing."""
    kept = keep(store, encoded(film()))
    assert store.verify(kept.digest)
    data = bytearray(kept.path.read_bytes())
    data[-1] ^= 1
    kept.path.write_bytes(data)
    assert not store.verify(kept.digest)
    store.remove(kept.digest)
    store.remove(kept.digest)
    assert not store.has(kept.digest)
    with pytest.raises(Missing):
        store.open(kept.digest)
