"""A kept object on its way out: hashed as it is read, so that nothing spoiled is sent whole."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import Damaged
from gateway.store.disk import READ_BYTES
from gateway.store.part10 import hasher, read_meta

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


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
        self._hash = hasher(self.meta.transfer_syntax_uid)
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
        block = memoryview(bytearray(READ_BYTES))
        while self.readinto(block):
            pass
        self.rewind()


class ReadFailed(OSError):
    """Raised when a kept object could not be read: the disk's trouble, not its own nor its receiver's."""
