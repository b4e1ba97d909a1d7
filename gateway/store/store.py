"""The store itself: where objects lie, how they come into it, and whether it can take more."""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from gateway.errors import Damaged, Missing, NoRoom, StoreError
from gateway.process import private
from gateway.store.disk import READ_BYTES, opened, store_error
from gateway.store.incoming import Incoming, Kept
from gateway.store.part10 import Meta, file_meta, hasher, read_meta

_DIGEST = re.compile(r"[0-9a-f]{64}")
_ROOM_TTL_S = 1.0


class Store:
    """Content-addressed files below `root`; every method may be called from any thread or process.

    Args:
        root: the state folder; `store/` and `incoming/` are made in it.
        min_free_mb: below this much free space nothing more is taken in.
    """

    def __init__(self, root: Path, min_free_mb: int) -> None:
        self.incoming = root / "incoming"
        self._objects = root / "store"
        self._min_free_bytes = min_free_mb << 20
        self._room = (0.0, True)  # (looked at: monotonic seconds, the answer)
        self._numbers = itertools.count()
        self._token = secrets.token_hex(4)  # makes names of part files unlike those of any other process
        self._durable: set[str] = set()  # of the 256 folders, those whose own name is synced
        private.make_folder(root)
        private.make_folder(self.incoming, private.FOLDER_MODE)
        private.make_folder(self._objects, private.FOLDER_MODE)
        self.sync_folders((root,))
        watched = (os.fspath(self.incoming), os.fspath(self._objects))
        self._folders = {folder: private.identity(folder) for folder in watched}

    def begin(
        self, sop_class: str, sop_instance: str, transfer_syntax: str, *, copy: bool = False
    ) -> Incoming:
        """Open a part file with preamble and group 2, ready for the dataset's bytes.

        Raises:
            NoRoom: the disk is above its watermark, or full.
            StoreError: the file cannot be made.
        """
        self.require_folders()
        self.require_room()
        name = f"{os.getpid()}-{next(self._numbers)}-{self._token}.part"
        return Incoming(
            self,
            self.incoming / name,
            file_meta(sop_class, sop_instance, transfer_syntax, copy=copy),
            transfer_syntax,
        )

    def keep(self, sealed: Sequence[Incoming]) -> list[Kept]:
        """Move sealed objects into the store, then sync each folder once (PS3.10 files, one rename each).

        Raises:
            StoreError: a rename or a sync failed; none of the objects may be reported as kept.
        """
        kept = [one.publish() for one in sealed]
        self.sync_folders(one.path.parent for one in kept)
        self.require_folders()
        return kept

    def put_file(self, path: Path) -> Kept:
        """Copy a finished Part 10 file that we made ourselves into the store.

        Raises:
            Missing: there is no such file.
            StoreError: it is not a Part 10 file, or cannot be kept.
        """
        with opened(path) as source:
            meta = read_meta(source)
            incoming = self.begin(
                meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, copy=True
            )
            try:
                while chunk := source.read(READ_BYTES):
                    incoming.write(chunk)
            except OSError as error:
                incoming.abandon()
                raise StoreError(f"a finished file could not be read: {error.strerror}") from error
        return incoming.finish()

    def path(self, digest: str) -> Path:
        """Where the object of this digest lies, or would lie.

        Raises:
            StoreError: not a digest.
        """
        if not _DIGEST.fullmatch(digest):
            raise StoreError("not a sha256 digest in lower-case hex")
        return Path(f"{self._objects}/{digest[:2]}/{digest}.dcm")

    def has(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def open(self, digest: str) -> BinaryIO:
        """The whole Part 10 file, to read.

        Raises:
            Missing: it is not in the store.
        """
        return opened(self.path(digest))

    def open_dataset(self, digest: str) -> tuple[Meta, BinaryIO]:
        """Group 2, and the file placed at the first byte of the dataset.

        Raises:
            Missing: it is not in the store.
            StoreError: it is not the file we wrote.
        """
        file = self.open(digest)
        try:
            return read_meta(file), file
        except StoreError:
            file.close()
            raise

    def verify(self, digest: str) -> bool:
        """Whether the file's content still has its digest.

        Raises:
            Missing: it is not in the store.
        """
        try:
            meta, file = self.open_dataset(digest)
        except Missing:
            raise
        except StoreError:
            return False
        found = hasher(meta.transfer_syntax_uid)
        with file:
            while chunk := file.read(READ_BYTES):
                found.update(chunk)
        return found.hexdigest() == digest

    def copy_to(self, other: Store, digest: str) -> int:
        """Copy an object's file as it is into another store, checking its digest on the way; its bytes.

        The folder's name is not synced: see `sync_folders`.

        Raises:
            Missing: it is not here.
            Damaged: its content no longer has its digest.
            NoRoom, StoreError: it cannot be written there.
        """
        try:
            meta, source = self.open_dataset(digest)
        except Missing:
            raise
        except StoreError as error:
            raise Damaged(f"the file cannot be read: {error}") from error
        found, path = hasher(meta.transfer_syntax_uid), other.path(digest)
        part = path.with_suffix(".part")
        with source:
            source.seek(0)
            try:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                with part.open("wb") as target:
                    part.chmod(0o600)
                    target.write(source.read(meta.offset))
                    while chunk := source.read(READ_BYTES):
                        found.update(chunk)
                        target.write(chunk)
                    size = target.tell()
                    target.flush()
                    os.fsync(target.fileno())
                if found.hexdigest() != digest:
                    raise Damaged("the file's content no longer has the digest that names it")
                part.replace(path)
            except OSError as error:
                raise store_error(error) from error
            finally:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
        return size

    def digests(self, prefix: str = "") -> Iterator[str]:
        """Every digest in the store, or those that begin with these two digits; in no order."""
        for folder in self._objects.glob(prefix or "*"):
            for file in folder.iterdir() if folder.is_dir() else ():
                if file.suffix == ".dcm" and _DIGEST.fullmatch(file.stem):
                    yield file.stem

    def changed(self) -> list[str]:
        """First two digits of the digests among which files came or went since `note_checked`."""
        since_s = self._checked().stat().st_mtime if self._checked().exists() else 0.0
        if since_s > time.time():  # the clock was put back: it says nothing
            since_s = 0.0
        folders = (one for one in self._objects.iterdir() if one.is_dir())
        return sorted(one.name for one in folders if one.stat().st_mtime >= since_s)

    def note_checked(self, at_s: float) -> None:
        """Remember that ledger and store agreed about all that came before `at_s` (seconds since 1970)."""
        self._checked().touch()
        os.utime(self._checked(), (at_s, at_s))

    def _checked(self) -> Path:
        return self._objects / ".checked"

    def remove(self, digest: str) -> None:
        """Delete an object; nothing happens when it is not there."""
        self.path(digest).unlink(missing_ok=True)

    def remove_spoiled(self, digest: str) -> bool:
        """Delete an object if its content has no longer its digest: whether that was so.

        One that is received meanwhile, under the same digest, is the better one, and stays.

        Raises:
            Missing: it is not in the store.
        """
        path, seen = self.path(digest), private.identity(self.path(digest))
        if self.verify(digest):
            return False
        aside = self.incoming / f"spoiled-{digest}.part"  # which a start sweeps away
        try:
            path.replace(aside)
            if private.identity(aside) != seen:
                aside.replace(path)
                return False
            aside.unlink()
        except OSError as error:
            raise store_error(error) from error
        return True

    def room(self) -> bool:
        """Whether the disk is below its watermark; looked at once a second at most."""
        looked, answer = self._room
        now = time.monotonic()
        if now - looked < _ROOM_TTL_S:
            return answer
        try:
            disk = os.statvfs(self.incoming)
            answer = disk.f_bavail * disk.f_frsize >= self._min_free_bytes
            self.require_folders()
        except (OSError, StoreError):
            answer = False
        self._room = (now, answer)
        return answer

    def require_folders(self) -> None:
        """
        Raises:
            StoreError: a folder of the store was removed, replaced or unmounted while we ran: what is written
                there now would be missing when the right one is back.
        """
        if any(private.identity(folder) != known for folder, known in self._folders.items()):
            raise StoreError(
                "a folder of the store was removed, replaced or unmounted while filmgate ran. No film is "
                "taken (senders get 0xA700 and keep it). Mount it or put it back; where it is gone for good, "
                "start filmgate again."
            )

    def require_room(self) -> None:
        """
        Raises:
            NoRoom: the disk is above its watermark.
        """
        if not self.room():
            raise NoRoom(
                f"less than {self._min_free_bytes >> 20} MB are free where the films are kept; "
                "nothing more is taken in until there is room"
            )

    def full(self) -> None:
        """Remember that a write found the disk full."""
        self._room = (time.monotonic(), False)

    def sweep_incoming(self) -> int:
        """Delete part files whose writer is dead, and count them; a living writer locks its own."""
        swept = 0
        for part in self.incoming.glob("*.part"):
            with suppress(OSError), part.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()
                swept += 1
        return swept

    def sync_folders(self, folders: Iterable[Path]) -> None:
        """fsync each folder once, so that the names in it survive a power cut.

        Raises:
            StoreError: a folder could not be synced.
        """
        for folder in sorted(set(folders)):
            try:
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
            except OSError as error:
                raise store_error(error) from error

    def make_folders(self) -> None:
        """Make all 256 folders and sync their names at once: no film has to wait for the one it goes into.

        Raises:
            StoreError: they could not be made or synced.
        """
        self._make_folders({f"{number:02x}" for number in range(256)} - self._durable)

    def _make_folders(self, names: set[str]) -> None:
        """Make these of the 256, durably: whoever made one, this process syncs its name once."""
        try:
            for name in names:
                (self._objects / name).mkdir(private.FOLDER_MODE, exist_ok=True)
        except OSError as error:
            raise store_error(error) from error
        self.sync_folders((self._objects,))
        self._durable |= names

    def move_in(self, part: Path, path: Path) -> None:
        """Rename a sealed part file to its place, in a folder whose name is durable.

        Raises:
            OSError, StoreError: it could not be renamed, or its folder not be made.
        """
        folder = path.parent.name
        if folder in self._durable:
            with suppress(FileNotFoundError):  # somebody removed the folder
                part.replace(path)
                return
        self._make_folders({folder})
        part.replace(path)
