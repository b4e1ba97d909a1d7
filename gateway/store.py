"""KEEP: DICOM objects as Part 10 files named by their content.

    <root>/incoming/<pid>-<n>-<random>.part   being received; its writer holds a lock (flock) on it while it
    lives <root>/store/ab/abcd...ef.dcm             kept: preamble and group 2 written anew by us, dataset as
    received

The digest is sha256 over transfer syntax UID, a NUL, and the dataset's bytes; group 2 is not part of it, so
the same object from another sender is the same file. No path is made from anything that came over the
network.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import itertools
import os
import re
import secrets
import struct
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from gateway.errors import Damaged, Missing, NoRoom, StoreError
from gateway.process import private
from pipelines.instance.first_elements import (
    EXPLICIT_LITTLE_ENDIAN,
    IMPLEMENTATION_VERSION,
    LAST_OF_GROUP_2,
    MEDIA_SOP_CLASS,
    MEDIA_SOP_INSTANCE,
    TRANSFER_SYNTAX,
    elements,
    has_prefix,
)

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

IMPLEMENTATION_CLASS_UID = "2.25.90830521677406739298854848985053473188"
IMPLEMENTATION_VERSION_NAME = "FILMGATE_0_1"
COPY_VERSION_NAME = "FILMGATE_COPY"  # of objects that we made ourselves

_DIGEST = re.compile(r"[0-9a-f]{64}")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ROOM_TTL_S = 1.0
_ROOM_EVERY_BYTES = 32 << 20  # a long object looks at the watermark again and again
_MOST_BUFFERS = 512  # of one writev; IOV_MAX is 1024
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """An object that lies safely in the store."""

    digest: str  # sha256 hex
    size_bytes: int  # of the dataset
    path: Path


@dataclass(frozen=True, slots=True)
class Meta:
    """What group 2 of a stored file says (PS3.10 section 7.1), and where its dataset begins."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int  # of the dataset, in bytes
    copy: bool = False  # made by this gateway, not received


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
        self._durable: set[Path] = set()  # folders whose own name is synced
        private.make_folder(root)
        private.make_folder(self.incoming, private.FOLDER_MODE)
        private.make_folder(self._objects, private.FOLDER_MODE)
        self.sync_folders((root,))
        self._folders = {folder: _identity(folder) for folder in (self.incoming, self._objects)}

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
        name = f"{os.getpid()}-{next(self._numbers)}-{secrets.token_hex(4)}.part"
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
        with _opened(path) as source:
            meta = read_meta(source)
            incoming = self.begin(
                meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, copy=True
            )
            try:
                while chunk := source.read(_READ_BYTES):
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
        return self._objects / digest[:2] / f"{digest}.dcm"

    def has(self, digest: str) -> bool:
        return self.path(digest).is_file()

    def open(self, digest: str) -> BinaryIO:
        """The whole Part 10 file, to read.

        Raises:
            Missing: it is not in the store.
        """
        return _opened(self.path(digest))

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
        found = _hasher(meta.transfer_syntax_uid)
        with file:
            while chunk := file.read(_READ_BYTES):
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
        found, path = _hasher(meta.transfer_syntax_uid), other.path(digest)
        part = path.with_suffix(".part")
        with source:
            source.seek(0)
            try:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                with part.open("wb") as target:
                    part.chmod(0o600)
                    target.write(source.read(meta.offset))
                    while chunk := source.read(_READ_BYTES):
                        found.update(chunk)
                        target.write(chunk)
                    size = target.tell()
                    target.flush()
                    os.fsync(target.fileno())
                if found.hexdigest() != digest:
                    raise Damaged("the file's content no longer has the digest that names it")
                part.replace(path)
            except OSError as error:
                raise _store_error(error) from error
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
        path, seen = self.path(digest), _identity(self.path(digest))
        if self.verify(digest):
            return False
        aside = self.incoming / f"spoiled-{digest}.part"  # which a start sweeps away
        try:
            path.replace(aside)
            if _identity(aside) != seen:
                aside.replace(path)
                return False
            aside.unlink()
        except OSError as error:
            raise _store_error(error) from error
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
        if any(_identity(folder) != identity for folder, identity in self._folders.items()):
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
                raise _store_error(error) from error

    def make_folder(self, folder: Path) -> None:
        """Make one of the 256 folders, durably: whoever made it, this process syncs its name once.

        Raises:
            StoreError: it could not be made or synced.
        """
        if folder in self._durable and folder.is_dir():
            return
        try:
            folder.mkdir(private.FOLDER_MODE, exist_ok=True)
        except OSError as error:
            raise _store_error(error) from error
        self.sync_folders((self._objects,))
        self._durable.add(folder)


class Incoming:
    """One object while it arrives: written and hashed as it comes, memory does not grow with it.

    The order is `write` ..., `seal` (fsync), `Store.keep` (rename, folder fsync); `finish` does the last two.
    `abandon` is harmless at any time.
    """

    def __init__(self, store: Store, part: Path, meta: bytes, transfer_syntax: str) -> None:
        self.size_bytes = 0
        self._store = store
        self._part = part
        self._hash = _hasher(transfer_syntax)
        self._checked = 0
        self._lock = threading.Lock()
        try:
            self._fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, private.FILE_MODE)
        except OSError as error:
            raise self._failed(error) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write_rest(memoryview(meta))
        except OSError as error:
            self.abandon()
            raise self._failed(error) from error

    def write(self, *buffers: bytes | bytearray | memoryview) -> None:
        """Append pieces of the dataset. After an error the part file is gone.

        Raises:
            NoRoom: the disk is full, or above its watermark.
            StoreError: the disk failed.
        """
        for first in range(0, len(buffers), _MOST_BUFFERS):
            self._write(buffers[first : first + _MOST_BUFFERS])

    def _write(self, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        total = sum(map(len, buffers))
        try:
            written = os.writev(self._fd, buffers)
            if written < total:  # a signal, or the last blocks of the disk
                self._write_rest(memoryview(b"".join(buffers))[written:])
            for buffer in buffers:
                self._hash.update(buffer)
            self.size_bytes += total
            if self.size_bytes - self._checked >= _ROOM_EVERY_BYTES:
                self._checked = self.size_bytes
                self._store.require_room()
        except NoRoom:
            self.abandon()
            raise
        except OSError as error:
            self.abandon()
            raise self._failed(error) from error

    def _write_rest(self, rest: memoryview) -> None:
        while rest:
            rest = rest[os.write(self._fd, rest) :]

    def seal(self) -> None:
        """fsync the file. After an error the part file is gone.

        Raises:
            NoRoom: the disk turned out to be full.
            StoreError: the disk failed.
        """
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self.abandon()
            raise self._failed(error) from error

    def publish(self) -> Kept:
        """Rename the sealed file into the store. Only `Store.keep` calls this: it also syncs the folder.

        Raises:
            StoreError: the rename failed; the part file is gone.
        """
        digest = self._hash.hexdigest()
        path = self._store.path(digest)
        try:
            self._store.make_folder(path.parent)
            self._part.replace(path)
        except StoreError:
            self.abandon()
            raise
        except OSError as error:
            self.abandon()
            raise self._failed(error) from error
        self._close()
        return Kept(digest, self.size_bytes, path)

    def finish(self) -> Kept:
        """Seal, and keep this object alone.

        Raises:
            NoRoom, StoreError: it is not kept, and the part file is gone.
        """
        self.seal()
        return self._store.keep([self])[0]

    def abandon(self) -> None:
        """Close and delete the part file."""
        with suppress(OSError):
            self._part.unlink(missing_ok=True)
        self._close()

    def _close(self) -> None:
        with self._lock:  # a file descriptor is closed once, whoever abandons
            fd, self._fd = getattr(self, "_fd", -1), -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)

    def _failed(self, error: OSError) -> StoreError:
        if error.errno in _FULL:
            self._store.full()
        return _store_error(error)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Device and inode; None when it is not there."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Outgoing(io.FileIO):
    """The dataset of a kept object on its way out, hashed as it is read.

    Its last bytes come only when all of it is what was kept: what a disk spoiled, or cut off, is never sent
    whole. `readinto` is the way to read it.
    """

    def __init__(self, path: Path, digest: str) -> None:
        """
        Raises:
            FileNotFoundError: it is not there.
            StoreError: it is not a file that we wrote, or nothing is left of it.
        """
        super().__init__(path, "rb")
        try:
            self.meta = read_meta(self)
            self._dataset_bytes = os.fstat(self.fileno()).st_size - self.meta.offset
            self._digest = digest
            self.rewind()
        except BaseException:
            self.close()
            raise

    def rewind(self) -> None:
        """To the dataset's first byte."""
        self.seek(self.meta.offset)
        self._left = self._dataset_bytes
        self._hash = _hasher(self.meta.transfer_syntax_uid)
        self._check_end()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill `buffer`, or as much of it as there is.

        Raises:
            Damaged: this was the end, and it is not what was kept.
            ReadFailed: the disk could not read it.
        """
        try:
            got = super().readinto(buffer) or 0
        except OSError as error:
            raise ReadFailed(error.errno, f"its file cannot be read: {error.strerror}") from error
        self._hash.update(memoryview(buffer)[:got])
        self._left -= got
        self._check_end()
        return got

    def _check_end(self) -> None:
        if self._left <= 0 and self._hash.hexdigest() != self._digest:
            raise Damaged("it is not what was received: the disk lost or changed some of it")

    def verify(self) -> None:
        """Read all of it once, and go back to its beginning. Raises as `readinto` does."""
        self.rewind()
        block = memoryview(bytearray(_READ_BYTES))
        while self.readinto(block):
            pass
        self.rewind()


class ReadFailed(OSError):
    """Raised when a kept object could not be read: the disk's trouble, not its own nor its receiver's."""


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str, *, copy: bool = False) -> bytes:
    """Preamble and File Meta Information (PS3.10 section 7.1), as we write them; `copy` marks what we made.

    Raises:
        StoreError: a UID is not ASCII.
    """
    try:
        elements = b"".join(
            (
                struct.pack("<HH2sHL2s", 2, 0x01, b"OB", 0, 2, b"\0\1"),
                _element(0x02, b"UI", sop_class),
                _element(0x03, b"UI", sop_instance),
                _element(0x10, b"UI", transfer_syntax),
                _element(0x12, b"UI", IMPLEMENTATION_CLASS_UID),
                _element(0x13, b"SH", COPY_VERSION_NAME if copy else IMPLEMENTATION_VERSION_NAME),
            )
        )
    except UnicodeEncodeError as error:
        raise StoreError("a UID holds characters that no UID has") from error
    return bytes(128) + b"DICM" + struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(elements)) + elements


def read_meta(file: BinaryIO) -> Meta:
    """Read group 2 and leave `file` at the first byte of the dataset.

    Raises:
        StoreError: this is not a Part 10 file with a File Meta group length.
    """
    start = file.read(144)
    if not has_prefix(start) or start[132:138] != b"\2\0\0\0UL":
        raise StoreError("not a Part 10 file")
    group = file.read(int.from_bytes(start[140:144], "little"))
    texts = {
        one.tag: one.text(group) for one in elements(group, 0, EXPLICIT_LITTLE_ENDIAN, last=LAST_OF_GROUP_2)
    }
    if not {MEDIA_SOP_CLASS, MEDIA_SOP_INSTANCE, TRANSFER_SYNTAX} <= texts.keys():
        raise StoreError("the File Meta group of a Part 10 file is not complete")
    copy = texts.get(IMPLEMENTATION_VERSION) == COPY_VERSION_NAME
    uids = texts[MEDIA_SOP_CLASS], texts[MEDIA_SOP_INSTANCE], texts[TRANSFER_SYNTAX]
    return Meta(*uids, 144 + len(group), copy)


def _element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    value += b"" if len(value) % 2 == 0 else b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def _hasher(transfer_syntax: str) -> hashlib._Hash:
    return hashlib.sha256(transfer_syntax.encode("ascii", "replace") + b"\0")


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise Missing("an object that should be kept is not in the store") from error
    except OSError as error:
        raise _store_error(error) from error


def _store_error(error: OSError) -> StoreError:
    if error.errno in _FULL:
        return NoRoom("the disk is full; nothing more is taken in until there is room")
    return StoreError(f"the store cannot be used: {error.strerror}")
