"""The ledger's database: SQLite with WAL and full sync, transactions without deadlocks, checkpoints.

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
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.errors import LedgerBusy, LedgerError
from gateway.process import private

LONG_WAL_BYTES = 256 << 20  # a WAL beyond this is worth a warning
_WAL_KEPT_BYTES = 64 << 20  # a WAL that grew beyond this shrinks to it when it starts anew
_PRAGMAS = ("foreign_keys=ON", "wal_autocheckpoint=0", f"journal_size_limit={_WAL_KEPT_BYTES}")
_TRY_AGAIN_S, _PATIENCE_S = 0.001, 5.0
_FIXED = (3, 51, 3)
_FIXED_TOO = ((3, 44, 6), (3, 50, 7))  # and what follows in the same minor version


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Result of one checkpoint, in WAL frames of one database page each."""

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
        with suppress(OSError):  # opening it says why it cannot be made
            private.make_file(Path(parsed.database))  # SQLite would make it for all to read, and -wal like it
    engine = create_engine(
        parsed,
        connect_args={"timeout": busy_timeout_s, "check_same_thread": False},
        max_overflow=-1,  # a thread that waits for the database's lock must not wait for a connection first
        pool_use_lifo=True,  # the connection that was used last has the pages that are asked for next
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
        if connection.get_execution_options().get("filmgate_reading", False):
            connection.exec_driver_sql("BEGIN")
        else:
            _begin_immediate(driver_of(connection), busy_timeout_s)

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
        raise LedgerError(f"the ledger cannot be used: {first_line(error)}.{room}") from error
    except sqlite3.Error as error:  # of what we ask the driver without SQLAlchemy
        if _is_busy(error):
            raise LedgerBusy("the ledger is locked by another process") from error
        raise LedgerError(f"the ledger cannot be used: {error}") from error
    except DBAPIError as error:
        raise LedgerError(f"the ledger refused a statement: {first_line(error)}") from error
    except PoolTimeout as error:
        raise LedgerBusy("the ledger has no connection left") from error


def first_line(error: DBAPIError) -> str:
    """The driver's own words; the lines after them may quote values."""
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
        self._identity = private.identity(self._path) if self._path else None
        wal = Path(f"{self._path}-wal")
        self._wal = wal if wal.exists() else None

    def require(self) -> None:
        """
        Raises:
            LedgerError: the file was removed or replaced.
        """
        if self._path and private.identity(self._path) != self._identity:
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
        wal = private.identity(self._wal)  # while a connection is open, SQLite itself never removes it
        if wal is None or connection.info.setdefault("filmgate_wal", wal) != wal:
            raise LedgerError(
                "the ledger's write-ahead log was removed while filmgate ran: what was written last may be "
                "lost. The film at hand is not taken (its sender gets 0xA700 and keeps it). Start filmgate "
                "again, and run `filmgate fsck`."
            )


class Database:
    """Transactions on one engine; the parts of `Ledger` build on it."""

    def __init__(self, engine: Engine, leases: Engine, wake: Callable[[], None] = lambda: None) -> None:
        """`wake` is called when something that may be due at once has been committed."""
        self._engine = engine
        self._leases = leases
        self._wake = wake
        self._reader = engine.execution_options(filmgate_reading=True)
        self._file = LedgerFile(engine)
        self._changes = _Changes(engine)

    @contextmanager
    def writing(self, *, quiet: bool = False) -> Iterator[Connection]:
        """One transaction, committed and synced when the block ends without an error.

        It wakes whoever sends and rings, unless it is `quiet`: nothing becomes due by it.
        """
        with self._transaction(self._engine) as connection:
            yield connection
        if not quiet:
            self._wake()

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
            holder, copier = driver_of(first), driver_of(second)
            with _nobody_commits(holder, _PATIENCE_S):
                _, frames, copied = copier.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return Checkpoint(frames, copied) if frames >= 0 else None  # -1: not in WAL mode

    def pulse(self) -> int:
        """A number that has grown when anybody, in any process, has changed the ledger since then."""
        return self._changes.seq()

    def copy_to(self, target: Path) -> None:
        """Copy the ledger, while others work on it, into a file of its own, whole or not at all.

        Raises:
            LedgerError: it is no SQLite file, or cannot be read.
            OSError, sqlite3.Error: the copy cannot be written.
        """
        if self._engine.dialect.name != "sqlite":
            raise LedgerError("the ledger is no SQLite file: back it up with its database's own tools")
        with self._engine.connect() as connection:
            copy_whole(driver_of(connection), target)

    @property
    def wal_bytes(self) -> int:
        """The size of the WAL file; 0 where there is none."""
        return self._bytes("-wal")

    @property
    def file_bytes(self) -> int:
        """The size of the ledger's file; 0 where it is none."""
        return self._bytes("")

    def _bytes(self, ending: str) -> int:
        database = self._engine.url.database
        if self._engine.dialect.name != "sqlite" or not database:
            return 0
        try:
            return Path(f"{database}{ending}").stat().st_size
        except OSError:
            return 0

    def close(self) -> None:
        self._changes.close()
        self._engine.dispose()
        self._leases.dispose()


class _Changes:
    """Looks at the ledger's version for all who want to know whether it changed.

    SQLite tells each connection whether *another* one has committed (PRAGMA data_version): a look of
    microseconds that reads no table and takes no lock that a writer waits for. So one connection is kept for
    this alone. The numbers grow, also over a restart, and say nothing but that something changed.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._version = -1
        self._seq = time.time_ns() // 1_000_000  # beyond every number of an earlier process

    def seq(self) -> int:
        with self._lock, honest_errors():
            if self._connection is None:
                self._connection = self._engine.connect()
            version = driver_of(self._connection).execute("PRAGMA data_version").fetchone()[0]
            if version != self._version:
                self._version = version
                self._seq += 1
            return self._seq

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None


def driver_of(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection; its errors are the driver's, too."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


@contextmanager
def _nobody_commits(holder: sqlite3.Connection, patience_s: float) -> Iterator[None]:
    """Hold the lock that every commit needs.

    Raises:
        sqlite3.OperationalError: it was not free for `patience_s`.
    """
    _begin_immediate(holder, patience_s)
    try:
        yield
    finally:
        holder.execute("ROLLBACK")


def _begin_immediate(driver: sqlite3.Connection, patience_s: float) -> None:
    """Begin a transaction with the lock that every commit needs.

    Others hold it for milliseconds. SQLite's own wait sleeps longer and longer, up to a tenth of a second:
    beside busy workers a film that came would wait for nobody, and a checkpoint miss its turn for seconds.

    Raises:
        sqlite3.OperationalError: it was not free for `patience_s`, or the ledger cannot be used.
    """
    usual_ms = driver.execute("PRAGMA busy_timeout").fetchone()[0]
    until = time.monotonic() + patience_s
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() >= until:
                    raise
                time.sleep(_TRY_AGAIN_S)
            else:
                return
    finally:
        driver.execute(f"PRAGMA busy_timeout={usual_ms}")


def _is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else holds a lock: SQLITE_BUSY, and its finer kinds in the upper bits."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # the module's own errors have none
    return code & 0xFF == sqlite3.SQLITE_BUSY


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
