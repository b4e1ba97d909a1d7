"""An object on its way into the store: written, hashed, synced and renamed."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import NoRoom, StoreError
from gateway.process import private
from gateway.store.disk import FULL, store_error
from gateway.store.part10 import hasher

if TYPE_CHECKING:
    from gateway.store.store import Store

_ROOM_EVERY_BYTES = 32 << 20  # a long object looks at the watermark again and again
_MOST_BUFFERS = 512  # of one writev; IOV_MAX is 1024


@dataclass(frozen=True, slots=True)
class Kept:
    """An object that lies safely in the store."""

    digest: str  # sha256 hex
    size_bytes: int  # of the dataset
    path: Path


class Incoming:
    """One object while it arrives: written and hashed as it comes, memory does not grow with it.

    The order is `write` ..., `seal` (fsync), `Store.keep` (rename, folder fsync); `finish` does the last two.
    `abandon` is harmless at any time.
    """

    def __init__(self, store: Store, part: Path, meta: bytes, transfer_syntax: str) -> None:
        self.size_bytes = 0
        self._store = store
        self._part = part
        self._meta = meta  # until it is written, with the dataset's first bytes
        self._hash = hasher(transfer_syntax)
        self._checked = 0
        self._lock = threading.Lock()
        try:
            self._fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, private.FILE_MODE)
        except OSError as error:
            raise self._failed(error) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        try:
            self._write_whole((self._meta, *buffers) if self._meta else buffers)
            self._meta = b""
            for buffer in buffers:
                self._hash.update(buffer)
                self.size_bytes += len(buffer)
            if self.size_bytes - self._checked >= _ROOM_EVERY_BYTES:
                self._checked = self.size_bytes
                self._store.require_room()
        except NoRoom:
            self.abandon()
            raise
        except OSError as error:
            self.abandon()
            raise self._failed(error) from error

    def _write_whole(self, buffers: Sequence[bytes | bytearray | memoryview]) -> None:
        written = os.writev(self._fd, buffers)
        if written < sum(map(len, buffers)):  # a signal, or the last blocks of the disk
            rest = memoryview(b"".join(buffers))[written:]
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def seal(self) -> None:
        """fsync the file. After an error the part file is gone.

        Raises:
            NoRoom: the disk turned out to be full.
            StoreError: the disk failed.
        """
        try:
            if self._meta:  # a dataset without a byte
                self._write_whole((self._meta,))
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
            self._store.move_in(self._part, path)
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
        if error.errno in FULL:
            self._store.full()
        return store_error(error)
