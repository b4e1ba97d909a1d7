"""Backups: the ledger as it is at one moment, and every object that it names, in a folder of their own.

    <dest>/manifest.json         what the backup holds; written last, so what it names is whole
    <dest>/ledger-<id>.sqlite    the ledger, copied while the gateway runs; <id> begins its sha256
    <dest>/store/ab/abcd...dcm   every object that the ledger names, as in the state folder

Objects never change, so a further backup into the same folder copies the new ones alone. One that breaks off
leaves the one before it whole: its manifest and its ledger are replaced last.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path

from gateway.errors import BackupError, Damaged, FilmgateError, LedgerError, Missing, NoRoom, StoreError
from gateway.ledger import Ledger
from gateway.ledger.migrations import RESTORING
from gateway.ledger.tables import SCHEMA
from gateway.store import Store

FORMAT = 1
_MANIFEST = "manifest.json"
_LEDGER = "ledger.sqlite"
_BEGUN = {"store", "incoming"}  # what a first backup that broke off leaves
_COUNTED = ("instances", "versions", "decisions", "deliveries", "holds", "events")

Progress = Callable[[int, int], None]  # objects done, of so many


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of a backup."""

    format: int
    made_at: str  # UTC, when it began: what was acknowledged before is in it
    schema: str
    ledger: str  # the file's name
    ledger_sha256: str
    rows: dict[str, int]  # of the ledger's chief tables
    ledger_only: bool
    objects: int  # in the store's copy, of those that the ledger names
    lacking: tuple[str, ...] = ()  # digests that the ledger names and that were gone or damaged already


@dataclass(frozen=True, slots=True)
class Done:
    """The result of one backup or restore."""

    folder: str
    made_at: str
    films: int
    objects: int
    copied: int  # of the objects; the others were there
    copied_bytes: int
    lacking: tuple[str, ...]
    ledger_only: bool


def back_up(
    ledger: Ledger,
    store: Store,
    dest: Path,
    *,
    ledger_only: bool = False,
    progress: Progress = lambda _done, _all: None,
) -> Done:
    """Make, or bring up to date, the backup in `dest`; the gateway may run meanwhile.

    Raises:
        BackupError: it could not be made; the backup that was there before is as it was.
        LedgerError: the ledger cannot be read.
    """
    began = datetime.now(UTC)
    with _told(dest, "The backup that was there before, if any, is whole."), _private(), _alone(dest):
        draft = dest / f"{_LEDGER}.new"
        ledger.copy_to(draft)
        rows, digests = _checked(draft)
        sha256 = _sha256(draft)
        copied = _Copied() if ledger_only else _copy_all(store, Store(dest, 0), digests, progress)
        named = dest / f"ledger-{sha256[:16]}.sqlite"
        draft.replace(named)
        manifest = Manifest(
            format=FORMAT,
            made_at=began.isoformat(),
            schema=SCHEMA,
            ledger=named.name,
            ledger_sha256=sha256,
            rows=rows,
            ledger_only=ledger_only,
            objects=0 if ledger_only else len(digests) - len(copied.lacking),
            lacking=copied.lacking,
        )
        _write(dest / _MANIFEST, json.dumps(asdict(manifest), indent=1))
        for old in dest.glob("ledger-*.sqlite"):
            if old.name != named.name:
                old.unlink()
    return _done(dest, manifest, copied)


def restore(source: Path, state: Path, *, progress: Progress = lambda _done, _all: None) -> Done:
    """Make a state folder of a backup. Its ledger comes last: without it nothing looks restored.

    Raises:
        BackupError: there is no whole backup, or the folder is not empty; nothing was changed, or what is
            there says that it is not complete.
    """
    manifest = read_manifest(source)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(state.iterdir()):
        raise BackupError(
            f"{state} is not empty: a backup is restored into a new folder alone. Nothing was changed. "
            "Stop a gateway that works there, move the folder away, or name another with --state."
        )
    with _told(state, f"It is not complete: remove {state} before you try again."), _private():
        draft = state / f"{_LEDGER}{RESTORING}"
        _copy_file(source / manifest.ledger, draft)
        if _sha256(draft) != manifest.ledger_sha256:
            raise BackupError("the ledger's copy is not the one that was read; the disk may be failing.")
        _, digests = _checked(draft)
        there, copied = Store(state, 0), _Copied()
        if not manifest.ledger_only:
            copied = _copy_all(Store(source, 0), there, digests - set(manifest.lacking), progress)
        draft.replace(state / _LEDGER)
        there.sync_folders((state,))
    return _done(state, manifest, copied)


def read_manifest(source: Path) -> Manifest:
    """The manifest of a whole backup: its ledger is the one that it names.

    Raises:
        BackupError: there is none, or it is not whole.
    """
    try:
        read = json.loads((source / _MANIFEST).read_text(encoding="utf-8"))
        manifest = Manifest(**{**read, "lacking": tuple(read["lacking"])})
        sha256 = _sha256(source / Path(manifest.ledger).name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackupError(
            f"there is no whole backup in {source}: {error}. Nothing was changed. Name the folder that "
            "`filmgate backup` was given."
        ) from error
    if manifest.format != FORMAT or manifest.schema > SCHEMA:
        raise BackupError(
            f"the backup in {source} was made by a newer filmgate (schema {manifest.schema}; this one knows "
            f"{SCHEMA}). Nothing was changed. Restore it with that one."
        )
    if sha256 != manifest.ledger_sha256:
        raise BackupError(
            f"the ledger in {source} is not the one that its manifest names: it was changed or damaged. "
            "Nothing was changed. Take another copy of the backup."
        )
    return manifest


@dataclass(frozen=True, slots=True)
class _Copied:
    objects: int = 0
    size_bytes: int = 0
    lacking: tuple[str, ...] = ()


def _copy_all(store: Store, other: Store, digests: set[str], progress: Progress) -> _Copied:
    """Copy what is not there yet; nothing is begun where there is no room for all of it."""
    todo = sorted(digest for digest in digests if not _same_file(store.path(digest), other.path(digest)))
    _require_room(other, sum(_size(store.path(digest)) or 0 for digest in todo))
    lacking, objects, size_bytes = list[str](), 0, 0
    for number, digest in enumerate(todo, 1):
        try:
            size_bytes += store.copy_to(other, digest)
            objects += 1
        except (Missing, Damaged):
            lacking.append(digest)
        progress(number, len(todo))
    folders = {other.path(digest).parent for digest in todo}
    other.sync_folders(folder for folder in (*folders, other.path("0" * 64).parent.parent) if folder.exists())
    return _Copied(objects, size_bytes, tuple(lacking))


def _same_file(here: Path, there: Path) -> bool:
    """Files are named by their content, and come whole or not at all; the size shows one that was cut."""
    size = _size(there)
    return size is not None and _size(here) in (size, None)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _require_room(store: Store, needed: int) -> None:
    disk = os.statvfs(store.incoming)
    free = disk.f_bavail * disk.f_frsize
    if needed > free:
        raise NoRoom(f"{(needed >> 20) + 1} MiB of films are to be copied and {free >> 20} MiB are free")


def _require_ours(dest: Path) -> None:
    """A backup goes into a new folder or one of its own; never into a state folder."""
    names = {path.name for path in dest.iterdir()}
    begun = {name for name in names if name in _BEGUN or name.startswith(f"{_LEDGER}.new")}
    if _MANIFEST not in names and names - begun:
        raise BackupError("it is not empty and holds no backup: name another folder.")


def _checked(file: Path) -> tuple[dict[str, int], set[str]]:
    """Rows of the chief tables, and every digest that must be in the store, of a copied ledger.

    Raises:
        LedgerError: it is not whole.
    """
    try:
        with closing(sqlite3.connect(file)) as db:
            faults = [row[0] for row in db.execute("PRAGMA integrity_check(3)")]
            rows = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _COUNTED}  # noqa: S608  our own names
    except sqlite3.Error as error:
        raise LedgerError(f"the copied ledger cannot be read: {error}") from error
    if faults != ["ok"]:
        raise LedgerError(f"the ledger is damaged: {'; '.join(faults)}")
    copy = Ledger.open(f"sqlite:///{file}")
    try:
        digests = copy.digests()
    finally:
        copy.close()
    with closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA journal_mode=DELETE")  # it is read from media that cannot be written, too
    return rows, digests


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.part")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _copy_file(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as written:
        while chunk := read.read(1 << 20):
            written.write(chunk)
        written.flush()
        os.fsync(written.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _done(folder: Path, manifest: Manifest, copied: _Copied) -> Done:
    return Done(
        folder=str(folder),
        made_at=manifest.made_at,
        films=manifest.rows["instances"],
        objects=manifest.objects,
        copied=copied.objects,
        copied_bytes=copied.size_bytes,
        lacking=tuple(dict.fromkeys((*manifest.lacking, *copied.lacking))),
        ledger_only=manifest.ledger_only,
    )


@contextmanager
def _alone(dest: Path) -> Iterator[None]:
    """Make the folder, for this user's eyes, and hold it: two backups in one would mix."""
    dest.mkdir(parents=True, exist_ok=True)
    _require_ours(dest)
    dest.chmod(0o700)
    fd = os.open(dest, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise BackupError("another backup is being made there: wait for its end.") from error
    finally:
        os.close(fd)


@contextmanager
def _private() -> Iterator[None]:
    """Files made meanwhile are for this user alone: a backup holds patients' films."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _told(folder: Path, meaning: str) -> Iterator[None]:
    """Say of what goes wrong where it did, and what it means; no half-written file stays."""
    try:
        yield
    except (OSError, sqlite3.Error, StoreError, LedgerError, BackupError) as error:
        for name in (f"{_LEDGER}.new", f"{_LEDGER}{RESTORING}", f"{_MANIFEST}.part"):
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        doing = f"{folder} could not be written" if not isinstance(error, FilmgateError) else f"{folder}"
        raise BackupError(
            f"{doing}: {words.rstrip('.')}. {meaning} No film of the gateway is touched."
        ) from error
