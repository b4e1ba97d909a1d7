"""A destination that is a folder: Part 10 files, whole or not there at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from gateway.errors import Busy, DeliveryError, Refused, StoreError, Unreachable
from gateway.ledger.records import Delivery
from gateway.settings import FolderDestination as FolderSettings
from gateway.store import Outgoing, ReadFailed

_FULL = {errno.ENOSPC, errno.EDQUOT}
_UID = re.compile(r"[0-9.]{1,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class FolderDestination:
    """Writes `<SOP Instance UID>-<first of digest>.dcm` below one folder, synced, by atomic rename.

    The same object delivered twice is the same file; another version of it lies beside it.
    """

    associations = 1

    def __init__(self, name: str, settings: FolderSettings) -> None:
        self.name = name
        self._folder = settings.path

    def deliver(self, path: Path, delivery: Delivery) -> None:
        """Copy the file.

        Raises:
            Busy: the disk is full.
            Unreachable: the folder is not there, or cannot be written to.
            Refused: the delivery names no digest, so no safe file name can be made.
            StoreError, ReadFailed: the store's file is damaged, or cannot be read.
        """
        target = self._folder / file_name(delivery)
        part = self._folder / f"{target.stem}.{secrets.token_hex(4)}.part"
        with Outgoing(path, delivery.digest) as source:
            try:
                with part.open("xb") as copy:
                    _copy(source, copy)
                    copy.flush()
                    os.fsync(copy.fileno())
                part.replace(target)
                _sync(self._folder)
            except (StoreError, ReadFailed):  # the store's trouble is not the folder's
                _remove(part)
                raise
            except OSError as error:
                _remove(part)
                raise _sorted(error) from error

    def rest(self) -> None:
        """Nothing is kept open."""

    def close(self) -> None:
        """Nothing is kept open."""


def file_name(delivery: Delivery) -> str:
    """A name made of digits, dots and hex alone: what came over the network is never part of a path.

    Raises:
        Refused: the digest is none.
    """
    if not _DIGEST.fullmatch(delivery.digest):
        raise Refused("the ledger names no digest for this object; nothing was written")
    uid = delivery.sop_instance_uid
    if not _UID.fullmatch(uid) or uid.startswith("."):
        uid = "uid" + hashlib.sha256(uid.encode("utf-8", "replace")).hexdigest()[:32]
    return f"{uid}-{delivery.digest[:16]}.dcm"


def _copy(source: Outgoing, copy: BinaryIO) -> None:
    """Group 2, then the dataset, which is checked on its way."""
    source.seek(0)
    copy.write(source.read(source.meta.offset))
    source.rewind()
    block = memoryview(bytearray(1 << 20))
    while got := source.readinto(block):
        copy.write(block[:got])


def _remove(part: Path) -> None:
    with suppress(OSError):
        part.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sorted(error: OSError) -> DeliveryError:
    if error.errno in _FULL:
        return Busy("no room is left in the folder; films wait until there is")
    return Unreachable(f"the folder cannot be written to: {error.strerror}")
