"""The folder of uploads: <state>/uploads/<person>/<sha256 of the file>.*, private, and emptied after a day.

A file is known by its content. So a connection that broke goes on at the offset that is here, a reload finds
everything again, and no name that somebody gave a file is ever a path.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from gateway.errors import FilmgateError
from gateway.process import private

MIB = 1 << 20
PIECE_BYTES = 4 * MIB  # in one request
FILE_BYTES = 256 * MIB
PERSON_BYTES, PERSON_FILES = 1024 * MIB, 500
TOTAL_BYTES = 4096 * MIB
KEPT_S = 24 * 3600.0
NAME_LENGTH = 200
_SHA256 = re.compile(r"[0-9a-f]{64}")


class State(StrEnum):
    """How far a file is."""

    COMING = "uploading"
    QUEUED = "queued"
    EXAMINING = "examining"
    DONE = "done"
    FAILED = "failed"


class CannotTake(FilmgateError):
    """Raised when a file, or this piece of it, is not taken; nothing was kept of it."""


class OtherOffset(CannotTake):
    """Raised when a piece does not begin where the file here ends; `offset` is where."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"{offset} bytes of this file are here; the next piece begins there.")
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Upload:
    """One file of one person."""

    sha256: str
    name: str  # as the person has it: shown, and nothing else
    size: int  # bytes
    at: float  # of the last change, seconds since 1970
    state: State = State.COMING
    offset: int = 0  # bytes that are here
    error: str = ""
    answer: dict[str, Any] = field(default_factory=dict)  # of the child

    @property
    def ended(self) -> bool:
        return self.state in (State.DONE, State.FAILED)


def owner_of(person: str) -> str:
    """The name of a person's folder, which says nothing of the person."""
    return hashlib.sha256(person.encode()).hexdigest()


class Shelf:
    """Uploads by owner (`owner_of`) and content; every method may be called from any thread.

    Args:
        state: the state folder.
        min_free_mb: as of the store: below this much free space nothing more is taken in.
        clock: seconds since 1970.
    """

    def __init__(self, state: Path, min_free_mb: int, clock: Callable[[], float] = time.time) -> None:
        self._root = state / "uploads"
        self._min_free = min_free_mb * MIB
        self._clock = clock
        self._lock = threading.RLock()

    def announce(self, owner: str, sha256: str, name: str, size: int) -> Upload:
        """Make room for a file, or find what is here of it.

        Raises:
            CannotTake: it is empty or too large, or there is no room for it.
        """
        with self._lock:
            if (known := self.get(owner, sha256)) is not None:
                return known
            if not 0 < size <= FILE_BYTES:
                raise CannotTake(f"it has {_in_mib(size)}; files of up to {FILE_BYTES // MIB} MiB are taken.")
            self._require_room(owner, size)
            upload = Upload(sha256, name[:NAME_LENGTH], size, self._clock())
            self.file(owner, sha256).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.file(owner, sha256).touch(0o600)
            return self.put(owner, upload)

    def append(self, owner: str, sha256: str, offset: int, piece: bytes) -> Upload:
        """Keep a piece of a file; the last one queues it.

        Raises:
            CannotTake: nobody announced it; or the piece is none of it (OtherOffset).
        """
        with self._lock:
            upload = self.get(owner, sha256)
            if upload is None:
                raise CannotTake("nobody announced this file, or its day is over. Choose it again.")
            if upload.state is not State.COMING:
                return upload
            if offset != upload.offset:
                raise OtherOffset(upload.offset)
            if not piece or offset + len(piece) > upload.size:
                raise CannotTake("this piece is empty, or reaches past the end of the file.")
            with self.file(owner, sha256).open("r+b") as file:
                file.seek(offset)
                file.write(piece)
            here = replace(upload, offset=offset + len(piece), at=self._clock())
            if here.offset < here.size:
                return self.put(owner, here)
        return self._completed(owner, here)

    def _completed(self, owner: str, upload: Upload) -> Upload:
        """Compare the whole file with its digest, without keeping others waiting for that."""
        with self.file(owner, upload.sha256).open("rb") as file:
            whole = hashlib.file_digest(file, "sha256").hexdigest() == upload.sha256
        with self._lock:
            if whole:
                return self.put(owner, replace(upload, state=State.QUEUED))
            words = "what arrived is not the file that was announced. Choose it again."
            self._unlink(owner, upload.sha256, ".film")
            return self.put(owner, replace(upload, state=State.FAILED, error=words))

    def of(self, owner: str) -> list[Upload]:
        """A person's files, oldest first."""
        with self._lock:
            found = [self._read(path) for path in self._folder(owner).glob("*.json")]
        return sorted((one for one in found if one is not None), key=lambda one: (one.at, one.sha256))

    def get(self, owner: str, sha256: str) -> Upload | None:
        """One of a person's files, or None."""
        return self._read(self._path(owner, sha256, ".json"))

    def put(self, owner: str, upload: Upload) -> Upload:
        """Keep how far a file is."""
        target = self._path(owner, upload.sha256, ".json")
        part = target.with_suffix(".part")
        with self._lock:
            part.write_text(json.dumps(asdict(upload)))
            part.replace(target)
        return upload

    def again(self, owner: str, upload: Upload) -> Upload:
        """Queue a file once more."""
        anew = replace(upload, state=State.QUEUED, at=self._clock(), error="", answer={})
        return self.put(owner, anew)

    def forget(self, owner: str, sha256: str) -> None:
        """Delete a file and what came of it."""
        with self._lock:
            for ending in (".json", ".film", ".png", ".heat.png"):
                self._unlink(owner, sha256, ending)

    def queued(self) -> Iterator[tuple[str, Upload]]:
        """What waits to be examined: owners and files, oldest first."""
        waiting = [
            (folder.name, upload)
            for folder in self._folders()
            for path in folder.glob("*.json")
            if (upload := self._read(path)) is not None and upload.state in (State.QUEUED, State.EXAMINING)
        ]
        yield from sorted(waiting, key=lambda one: one[1].at)

    def sweep(self) -> int:
        """Delete what is older than a day; how many files."""
        before, count = self._clock() - KEPT_S, 0
        for folder in self._folders():
            for path in folder.glob("*.json"):
                upload = self._read(path)
                if upload is None or upload.at < before:
                    self.forget(folder.name, path.stem)
                    count += 1
            with suppress(OSError):  # there is more in it
                folder.rmdir()
        return count

    def file(self, owner: str, sha256: str) -> Path:
        """Where the bytes are."""
        return self._path(owner, sha256, ".film")

    def picture(self, owner: str, sha256: str, *, heat: bool = False) -> Path:
        """Where the child draws the film, or the film with its heat map."""
        return self._path(owner, sha256, ".heat.png" if heat else ".png")

    def _require_room(self, owner: str, size: int) -> None:
        self.sweep()
        own = self.of(owner)
        if len(own) >= PERSON_FILES or sum(one.size for one in own) + size > PERSON_BYTES:
            raise CannotTake(
                f"you have {len(own)} files here; {PERSON_FILES} or {PERSON_BYTES // MIB} MiB is the most. "
                "Remove some; all are deleted after a day."
            )
        taken = sum(upload.size for folder in self._folders() for upload in self.of(folder.name))
        self._root.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._root.parent).free
        if taken + size > TOTAL_BYTES or free - size < self._min_free:
            raise CannotTake("there is no room for uploads now. Films are taken as ever. Try later.")

    def _folders(self) -> list[Path]:
        return [path for path in self._root.glob("*") if path.is_dir()]

    def _folder(self, owner: str) -> Path:
        if not _SHA256.fullmatch(owner):
            raise ValueError("an owner is what owner_of says")
        private.make_folder(self._root)
        return self._root / owner

    def _path(self, owner: str, sha256: str, ending: str) -> Path:
        if not _SHA256.fullmatch(sha256):
            raise CannotTake("a file is named by its sha256.")
        return self._folder(owner) / f"{sha256}{ending}"

    def _unlink(self, owner: str, sha256: str, ending: str) -> None:
        self._path(owner, sha256, ending).unlink(missing_ok=True)

    def _read(self, path: Path) -> Upload | None:
        try:
            values = json.loads(path.read_text())
            return Upload(**values | {"state": State(values["state"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError):  # half written by a machine that lost its power
            return None


def _in_mib(size: int) -> str:
    return "no bytes" if size <= 0 else f"{size / MIB:,.0f} MiB"
