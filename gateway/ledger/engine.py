"""Opening the ledger: SQLite with WAL and full sync, one schema revision, no deadlocks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway import private
from gateway.errors import LedgerBusy, LedgerError, SchemaTooNew, SchemaTooOld
from gateway.ledger.tables import SCHEMA


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
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON"):
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
        raise LedgerError(f"the ledger cannot be used: {_first_line(error)}") from error
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

    def close(self) -> None:
        self._engine.dispose()
        self._leases.dispose()


def revision(engine: Engine) -> str | None:
    """The schema revision that the database says it has; None for an empty one."""
    with honest_errors(), engine.connect() as connection:
        if not engine.dialect.has_table(connection, "alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


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
    copy = Path(f"{database}.before-{found}-to-{SCHEMA}")
    private.make_file(copy)
    with (
        closing(sqlite3.connect(database)) as source,
        closing(sqlite3.connect(copy)) as backup,
    ):
        source.backup(backup)  # the WAL's pages included
