"""A dataset in another transfer syntax, for a peer that takes nothing else (PS3.5 section 10, Annex A).

The decoder that the gates see through makes it, in its limited child; what arrives here is counted and hashed
before anything of it goes out.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from gateway.errors import DecodeError, FilmgateError, TookTooLong
from gateway.sandbox.parent import BLOCK, Sandbox, integer_in, short_text

TIMEOUT_S = 60.0
MEMORY_MB = 3072
MOST_BYTES = 1 << 32  # pixels of one element are no longer


class CannotTranscode(Exception):
    """Raised when there is no way from a dataset to the transfer syntax wanted."""


class NotTranscodedNow(OSError):
    """Raised when this machine could not do it: no room, or no process. The film is not at fault."""


class Transcoder(Sandbox):
    """Makes datasets for peers in a child process; one at a time."""

    module = "gateway.sandbox.decoder_child"
    who = "decoder"

    def __init__(self) -> None:
        super().__init__(timeout_s=TIMEOUT_S, memory_mb=MEMORY_MB)
        self.used_at = time.monotonic()

    def transcode(self, path: Path, transfer_syntax: str) -> BinaryIO:
        """The dataset of a Part 10 file, uncompressed and little endian, as a nameless temporary file.

        Raises:
            CannotTranscode: its pixels cannot be decoded, in the memory given, or would change.
            NotTranscodedNow: the machine could not do it.
            FileNotFoundError: the file is not there.
        """
        dataset = _temporary_file()
        try:
            path.stat()
            answer, _ = self._ask(
                path, {"do": "transcode", "transfer_syntax": transfer_syntax}, most=MOST_BYTES, into=dataset
            )
            size, digest = integer_in(answer.get("size"), 0, MOST_BYTES), short_text(answer.get("sha256"))
            _check(dataset, size, digest)
        except FileNotFoundError:
            _discard(dataset)
            raise
        except TookTooLong as error:  # a disk that hangs looks like a film that is too much
            _discard(dataset)
            raise NotTranscodedNow(_not_now(error)) from error
        except DecodeError as error:
            _discard(dataset)
            raise CannotTranscode(f"its pixels could not be decoded: {error}") from error
        except (TypeError, ValueError) as error:
            _discard(dataset)
            raise CannotTranscode(f"its pixels could not be decoded: {self._distrust()}") from error
        except (OSError, FilmgateError) as error:
            _discard(dataset)
            raise NotTranscodedNow(_not_now(error)) from error
        finally:
            self.used_at = time.monotonic()
        dataset.seek(0)
        return dataset


def _temporary_file() -> BinaryIO:
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise NotTranscodedNow(_not_now(error)) from error


def _discard(file: BinaryIO) -> None:
    """Closing writes what is still buffered, which fails again where there is no room."""
    with suppress(OSError):
        file.close()


def _check(file: BinaryIO, size: int, digest: str) -> None:
    """Whether the file holds what the child said it made, to the last byte."""
    file.flush()
    file.seek(0)
    sha256 = hashlib.sha256()
    while block := file.read(BLOCK):
        sha256.update(block)
    if sha256.hexdigest() != digest or file.tell() != size:
        raise OSError("what was written there is not what was made")


def _not_now(error: Exception) -> str:
    what = getattr(error, "strerror", None) or str(error)
    return f"it could not be decoded for the peer, as the temporary folder or this machine is short: {what}"
