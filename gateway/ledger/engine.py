"""Opening the ledger: SQLite with WAL and full sync, one schema revision, no deadlocks.

SQLite 3.7.0 to 3.51.2 can lose committed pages (sqlite.org/wal.html, "The WAL-Reset Bug"; 3.44.6 and 3.50.7
have the correction, too). What it takes: the whole WAL has been checkpointed; a further checkpoint begins, by
whichever connection, and reads how long the WAL is; before it reads how much of that was copied, a commit
starts the WAL anew. The checkpoint then marks as copied what was not, and a later one passes over it. It is
not enough that one connection alone checkpoints: the commit between its two reads is somebody else's. It is
enough that nobody can commit meanwhile. So no connection checkpoints by itself (wal_autocheckpoint=0), and
`Database.checkpoint` copies while another connection of ours holds the lock that every commit needs. SQLite's
own checkpoint, when the last connection closes, holds the database's exclusive lock: nobody is there.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.errors import LedgerBusy, LedgerError, SchemaTooNew, SchemaTooOld
from gateway.ledger.tables import SCHEMA
from gateway.process import private

LONG_WAL_BYTES = 256 << 20  # a WAL beyond this is worth a warning
RESTORING = ".restoring"  # ends the name of a ledger that is being put back
_WAL_KEPT_BYTES = 64 << 20  # a WAL that grew beyond this shrinks to it when it starts anew
_PRAGMAS = ("foreign_keys=ON", "wal_autocheckpoint=0", f"journal_size_limit={_WAL_KEPT_BYTES}")
_TRY_AGAIN_S, _PATIENCE_S = 0.001, 5.0
_FIXED = (3, 51, 3)
_FIXED_TOO = ((3, 44, 6), (3, 50, 7))  # and what follows in the same minor version


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What one checkpoint found and did, in WAL frames of one database page each."""

    frames: int  # in the WAL
    copied: int  # of these, into the ledger's file; fewer than `frames` while somebody reads an older state


def has_wal_reset_bug(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Whether an SQLite of this version has the bug that this module's text describes."""
    if version < (3, 7, 0) or version >= _FIXED:
        return False
    return not any(version[:2] == fixed[:2] and version >= fixed for fixed in _FIXED_TOO)


def make_engine(url: str, busy_timeout_s: float, *, synchronous: str = "FULL") -> Engine:
    """An engine whose SQLite connections wait `busy_timeout_s` for a lock and sync every commit.

    With `synchronous` NORMAL a commit survives the death of any process, and a power cut only once a
    synced commit followed it.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True, max_overflow=-1, hide_parameters=True)
    if parsed.database:
        private.make_folder(Path(parsed.database).parent)
        with suppress(OSError):  # what keeps it from being made is said when it is opened
            private.make_file(Path(parsed.database))  # SQLite would make it for all to read, and -wal like it
    engine = create_engine(
        parsed,
        connect_args={"timeout": busy_timeout_s, "check_same_thread": False},
        max_overflow=-1,  # a thread that waits for the database's lock must not wait for a connection first
        hide_parameters=True,  # they hold UIDs, and errors are logged
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", *_PRAGMAS):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A deferred transaction that upgrades to writing fails at once, whatever the timeout.
        reading = connection.get_execution_options().get("filmgate_reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def honest_errors() -> Iterator[None]:
    """Turn the driver's errors into ours.

    Raises:
        LedgerBusy: the database stayed locked for the whole timeout.
        LedgerError: it is full, read-only, gone or broken.
    """
    try:
        yield
    except OperationalError as error:
        if "locked" in str(error.orig) or "busy" in str(error.orig):
            raise LedgerBusy("the ledger is locked by another process") from error
        room = " Make room where it lies; what is kept is safe." if "is full" in str(error.orig) else ""
        raise LedgerError(f"the ledger cannot be used: {_first_line(error)}.{room}") from error
    except sqlite3.OperationalError as error:
        raise LedgerError(f"the ledger cannot be used: {error}") from error
    except DBAPIError as error:
        raise LedgerError(f"the ledger refused a statement: {_first_line(error)}") from error
    except PoolTimeout as error:
        raise LedgerBusy("the ledger has no connection left") from error


def _first_line(error: DBAPIError) -> str:
    """What the driver says; what follows may quote values."""
    return str(error.orig).partition("\n")[0]


class LedgerFile:
    """The SQLite file as it was when it was opened, so that its removal is seen.

    SQLite writes on into a file that nobody can reach any more and says that all is well (and mixes an old
    WAL with a new file); so each transaction looks whether path and inode still belong together, before it
    begins and after its commit. A look is two `stat`: microseconds.

    Args:
        engine: a connection of it is open, so that the WAL is there where SQLite can have one.
    """

    def __init__(self, engine: Engine) -> None:
        on_disk = engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:")
        self._path = Path(str(engine.url.database)) if on_disk else None
        self._identity = _identity(self._path) if self._path else None
        wal = Path(f"{self._path}-wal")
        self._wal = wal if wal.exists() else None

    def require(self) -> None:
        """
        Raises:
            LedgerError: the file was removed or replaced.
        """
        if self._path and _identity(self._path) != self._identity:
            raise LedgerError(
                "the ledger's file was removed or replaced while filmgate ran. Nothing is written, and no "
                "film is taken (senders get 0xA700 and keep it). Put the file back, or restore the backup, "
                "and start filmgate again."
            )

    def require_wal(self, connection: Connection) -> None:
        """After a commit: this connection's WAL, without which the commit is lost, is still there too.

        Raises:
            LedgerError: it, or the file, was removed or replaced.
        """
        self.require()
        if self._wal is None:
            return
        wal = _identity(self._wal)  # while a connection is open, SQLite itself never removes it
        if wal is None or connection.info.setdefault("filmgate_wal", wal) != wal:
            raise LedgerError(
                "the ledger's write-ahead log was removed while filmgate ran: what was written last may be "
                "lost. The film at hand is not taken (its sender gets 0xA700 and keeps it). Start filmgate "
                "again, and run `filmgate fsck`."
            )


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode; None when nothing is there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Database:
    """Transactions on one engine; the parts of `Ledger` build on it."""

    def __init__(self, engine: Engine, leases: Engine) -> None:
        self._engine = engine
        self._leases = leases
        self._reader = engine.execution_options(filmgate_reading=True)
        self._file = LedgerFile(engine)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction, committed and synced when the block ends without an error."""
        with self._transaction(self._engine) as connection:
            yield connection

    @contextmanager
    def leasing(self) -> Iterator[Connection]:
        """A transaction that says who works on what: not synced, for a power cut ends that work anyway.

        Half of all syncs of a busy gateway would be these, and each makes the listener's wait.
        """
        with self._transaction(self._leases) as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        self._file.require()
        with honest_errors(), self._reader.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        self._file.require()
        with honest_errors(), engine.connect() as connection:
            with connection.begin():
                yield connection
            self._file.require_wal(connection)

    def checkpoint(self) -> Checkpoint | None:
        """Copy the WAL into the ledger's file, so that it can start anew; None where there is no WAL.

        Commits wait meanwhile, see this module's text; without a new commit this costs next to nothing.
        """
        if self._engine.dialect.name != "sqlite":
            return None
        with honest_errors(), self._engine.connect() as first, self._engine.connect() as second:
            holder, copier = _driver(first), _driver(second)
            with _nobody_commits(holder, _PATIENCE_S):
                _, frames, copied = copier.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return Checkpoint(frames, copied) if frames >= 0 else None  # -1: not in WAL mode

    def copy_to(self, target: Path) -> None:
        """Copy the ledger, while others work on it, into a file of its own, whole or not at all.

        Raises:
            LedgerError: it is no SQLite file, or cannot be read.
            OSError, sqlite3.Error: the copy cannot be written.
        """
        if self._engine.dialect.name != "sqlite":
            raise LedgerError("the ledger is no SQLite file: back it up with its database's own tools")
        with self._engine.connect() as connection:
            copy_whole(_driver(connection), target)

    @property
    def wal_bytes(self) -> int:
        """The size of the WAL file; 0 where there is none."""
        database = self._engine.url.database
        if self._engine.dialect.name != "sqlite" or not database:
            return 0
        try:
            return Path(f"{database}-wal").stat().st_size
        except OSError:
            return 0

    def close(self) -> None:
        self._engine.dispose()
        self._leases.dispose()


def _driver(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection; its errors are the driver's, too."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


@contextmanager
def _nobody_commits(holder: sqlite3.Connection, patience_s: float) -> Iterator[None]:
    """Hold the lock that every commit needs.

    Busy writers leave it for moments, and SQLite's own wait, which sleeps longer and longer, misses them for
    seconds while the WAL grows.

    Raises:
        sqlite3.OperationalError: it was not free for `patience_s`.
    """
    usual_ms = holder.execute("PRAGMA busy_timeout").fetchone()[0]
    until = time.monotonic() + patience_s
    holder.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                holder.execute("BEGIN IMMEDIATE")
                break
            except sqlite3.OperationalError:
                if time.monotonic() >= until:
                    raise
                time.sleep(_TRY_AGAIN_S)
        try:
            yield
        finally:
            holder.execute("ROLLBACK")
    finally:
        holder.execute(f"PRAGMA busy_timeout={usual_ms}")


def revision(engine: Engine) -> str | None:
    """The schema revision that the database says it has; None for an empty one.

    Every command asks that first: who only reads must not need the lock of those who write.
    """
    with honest_errors(), engine.execution_options(filmgate_reading=True).connect() as connection:
        if not engine.dialect.has_table(connection, "alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def require_there(url: str) -> None:
    """Who does not migrate makes no ledger either: an empty one in the place of one that was taken away.

    Raises:
        SchemaTooOld: there is no SQLite file.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return
    file = Path(str(parsed.database))
    if not file.exists():
        raise SchemaTooOld(
            f"there is no ledger {file.name} in {file.parent}, and none was made. No film is touched. "
            "Was it moved? Put it back, or restore the backup; for a new gateway run `filmgate up`."
        )


def check_schema(engine: Engine) -> None:
    """
    Raises:
        SchemaTooOld: the ledger is empty or older; `filmgate up` migrates it.
        SchemaTooNew: a newer filmgate wrote it.
    """
    found = revision(engine)
    if found == SCHEMA:
        return
    if found is None or found < SCHEMA:
        raise SchemaTooOld(
            f"the ledger has schema {found or 'none'}, this filmgate needs {SCHEMA}. No film is touched. "
            "Run `filmgate up` (it backs the ledger up and migrates it) before other commands."
        )
    raise SchemaTooNew(
        f"the ledger has schema {found}, newer than the {SCHEMA} this filmgate knows. No film is touched. "
        "Start the newer filmgate again, or restore the backup made before its migration."
    )


def migrate(engine: Engine) -> None:
    """Bring the database to SCHEMA; an older SQLite file is copied beside itself first."""
    from alembic import command  # noqa: PLC0415  only migrations need Alembic; every process opens a ledger
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    found = revision(engine)
    if found is None and Path(f"{engine.url.database}{RESTORING}").exists():
        raise LedgerError(
            "a `filmgate restore` into this state folder did not end. Nothing was started. Remove the folder "
            "and restore into a new one."
        )
    if found is not None:
        if found > SCHEMA:
            check_schema(engine)
        if found == SCHEMA:
            return
        _back_up(engine, found)
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.execution_options(filmgate_reading=False).connect() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise LedgerError(f"the ledger cannot be migrated from schema {found}: {error}") from error


def _back_up(engine: Engine, found: str) -> None:
    database = engine.url.database
    if engine.dialect.name != "sqlite" or not database or database == ":memory:":
        return
    target = Path(f"{database}.before-{found}-to-{SCHEMA}")
    _require_room(Path(database), found)
    try:
        with engine.connect() as connection:
            copy_whole(_driver(connection), target)
    except (OSError, sqlite3.Error, DBAPIError) as error:
        raise LedgerError(
            f"the ledger could not be backed up before its migration from schema {found}: {_words(error)}. "
            "It is as it was, and nothing was started. Make room beside it and run `filmgate up` again."
        ) from error


def _require_room(database: Path, found: str) -> None:
    """A migration writes the backup, and may write every page of the ledger into WAL and ledger again.

    Raises:
        LedgerError: there is no room for that.
    """
    disk = os.statvfs(database.parent)
    free = disk.f_bavail * disk.f_frsize
    needed = 3 * sum(file.stat().st_size for file in (database, Path(f"{database}-wal")) if file.exists())
    if free < needed:
        raise LedgerError(
            f"there is no room to migrate the ledger from schema {found} to {SCHEMA}: with its backup that "
            f"takes up to {(needed >> 20) + 1} MiB beside it, and {free >> 20} MiB are free. It is as "
            "it was, and nothing was started. Make room, or start the filmgate that ran before: it goes on."
        )


def copy_whole(source: sqlite3.Connection, target: Path) -> None:
    """Copy a ledger that others may be writing, its WAL included, into one file that is whole or not there.

    Raises:
        OSError, sqlite3.Error: it could not be written; nothing of it is left.
    """
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    try:
        with closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # it is read from media that cannot be written, too
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    fd = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _words(error: Exception) -> str:
    if isinstance(error, DBAPIError):
        return _first_line(error)
    return str(error.strerror) if isinstance(error, OSError) else str(error)
