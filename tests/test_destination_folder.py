"""A folder as destination: whole files or none, and names that nobody outside can choose."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from storage_peers import kept, small_disk

from gateway.destinations import Destination, build
from gateway.destinations.folder import file_name
from gateway.errors import Busy, Damaged, Refused, Unreachable
from gateway.settings import FolderDestination as FolderSettings
from gateway.store import Outgoing, ReadFailed


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def to(folder: Path) -> Destination:
    return build("research", FolderSettings(kind="folder", path=folder), "FILMGATE")


def test_the_file_arrives_as_it_is(inbox: Path, tmp_path: Path) -> None:
    """Once, however often it is delivered."""
    path, delivery = kept(tmp_path, b"the dataset")
    to(inbox).deliver(path, delivery)
    to(inbox).deliver(path, delivery)
    (arrived,) = inbox.iterdir()
    assert arrived.name == f"1.2.3.4-{delivery.digest[:16]}.dcm"
    assert arrived.read_bytes() == path.read_bytes()


def test_it_is_synced_before_it_has_its_name(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever watches the folder for *.dcm never sees half a file."""
    seen: list[list[str]] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        seen.append([file.suffix for file in inbox.iterdir()])
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    to(inbox).deliver(*kept(tmp_path, b"1234"))
    assert seen == [[".part"], [".dcm"]]


def test_another_version_lies_beside_the_first(inbox: Path, tmp_path: Path) -> None:
    to(inbox).deliver(*kept(tmp_path, b"1234"))
    to(inbox).deliver(*kept(tmp_path, b"5678"))
    assert len(list(inbox.iterdir())) == 2


@pytest.mark.parametrize("spoiled", [b"12X4", b"123", b"", b"12345"])
def test_what_a_disk_spoiled_is_not_written(inbox: Path, tmp_path: Path, spoiled: bytes) -> None:
    """Another byte, fewer or more of them: nothing appears in the folder."""
    _, delivery = kept(tmp_path, b"1234")
    path, _ = kept(tmp_path, spoiled)
    with pytest.raises(Damaged):
        to(inbox).deliver(path, delivery)
    assert list(inbox.iterdir()) == []


@pytest.mark.parametrize("uid", ["../../etc/passwd", "a/b", "", ".", "..", "1.2\0", "1" * 65, "é"])
def test_no_path_is_made_from_a_uid(tmp_path: Path, uid: str) -> None:
    """What is not digits and dots becomes a digest."""
    _, delivery = kept(tmp_path, b"")
    name = file_name(replace(delivery, sop_instance_uid=uid))
    assert name.startswith("uid")
    assert set(name) <= set("0123456789abcdef.-uidcm")


def test_a_digest_that_is_none_is_refused(inbox: Path, tmp_path: Path) -> None:
    path, delivery = kept(tmp_path, b"12")
    with pytest.raises(Refused):
        to(inbox).deliver(path, replace(delivery, digest="../x"))
    assert list(inbox.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A share that is not mounted comes back."""
    with pytest.raises(Unreachable, match="No such file"):
        to(tmp_path / "unmounted").deliver(*kept(tmp_path, b"12"))


@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, Busy), (errno.EDQUOT, Busy), (errno.EIO, Unreachable)]
)
def test_a_disk_that_fails_leaves_nothing_behind(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    def fails(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(error):
        to(inbox).deliver(*kept(tmp_path, b"12"))
    assert list(inbox.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """A real one; what fits still goes."""
    with small_disk(tmp_path / "small", 256) as inbox:
        with pytest.raises(Busy, match="no room"):
            to(inbox).deliver(*kept(tmp_path, bytes(1_000_000)))
        assert list(inbox.iterdir()) == []
        to(inbox).deliver(*kept(tmp_path, bytes(1000)))
        assert len(list(inbox.iterdir())) == 1


def test_a_disk_that_cannot_be_read_is_not_the_folders_fault(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's disk fails: later, and the folder is not said to be away."""

    def fails(self: Outgoing, buffer: object) -> int:
        raise ReadFailed(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Outgoing, "readinto", fails)
    with pytest.raises(ReadFailed):
        to(inbox).deliver(*kept(tmp_path, b"12"))
    assert list(inbox.iterdir()) == []


def test_a_file_missing_in_the_store_is_not_the_folders_fault(inbox: Path, tmp_path: Path) -> None:
    _, delivery = kept(tmp_path, b"12")
    with pytest.raises(FileNotFoundError):
        to(inbox).deliver(tmp_path / "gone.dcm", delivery)
