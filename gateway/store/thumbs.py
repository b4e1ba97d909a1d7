"""Thumbnails: a cache beside the store, which anybody may delete; no film depends on it.

<state>/thumbs/ab/abcd...jpg    under the digest of the object that it shows
"""

from __future__ import annotations

import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

import structlog

from gateway.process import private

log = structlog.get_logger()

MOST_BYTES = 2 << 30  # 200,000 thumbnails
FOLDERS = 256  # digests are spread evenly over them, so each may hold its part of MOST_BYTES
FULL, ENOUGH = 1.0, 0.9  # of that part: what is looked at last is removed until so much is left
LOOK_EVERY = 16  # thumbnails between two looks at how full a folder is
USED_AGAIN_S = 3600.0  # a thumbnail's time of use is not written more often
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Thumbs:
    """JPEG files by digest; every method may be called from any thread or process, and none raises OSError.

    Args:
        state: the state folder.
        most_bytes: of all of them, nearly.
    """

    def __init__(self, state: Path, most_bytes: int = MOST_BYTES) -> None:
        self._root = state / "thumbs"
        self._most_bytes = most_bytes // FOLDERS
        self._written = secrets.randbelow(LOOK_EVERY)  # processes that write a few each look, too

    def get(self, digest: str) -> bytes | None:
        """The thumbnail; None where there is none. Raises ValueError: not a digest."""
        path = self._path(digest)
        try:
            with path.open("rb") as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > USED_AGAIN_S:
                    os.utime(file.fileno())
                return file.read()
        except OSError:
            return None

    def put(self, digest: str, jpeg: bytes) -> None:
        """Keep a thumbnail, if that is possible. Raises ValueError: not a digest."""
        path = self._path(digest)
        part = path.with_name(f"{digest}.{os.getpid()}-{secrets.token_hex(4)}.part")
        try:
            private.make_folder(self._root, private.FOLDER_MODE)
            private.make_folder(path.parent, private.FOLDER_MODE)
            with os.fdopen(
                os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, private.FILE_MODE), "wb"
            ) as file:
                file.write(jpeg)
            part.replace(path)
            self._written += 1
            if self._written % LOOK_EVERY == 0:
                self._make_room(path.parent)
        except OSError as error:
            log.warning("thumbnail not kept", error=error.strerror, meaning="it is made when it is looked at")
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise ValueError("not a sha256 digest in lower-case hex")
        return self._root / digest[:2] / f"{digest}.jpg"

    def _make_room(self, folder: Path) -> None:
        """Remove what was not looked at for longest, until the folder holds no more than its part."""
        there = [(entry.stat(), entry.path) for entry in os.scandir(folder)]
        size = sum(status.st_size for status, _ in there)
        if size <= FULL * self._most_bytes:
            return
        for status, path in sorted(there, key=lambda one: one[0].st_mtime):
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108  scandir gives names
            size -= status.st_size
            if size <= ENOUGH * self._most_bytes:
                return
