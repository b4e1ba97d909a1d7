"""The ledger's schema: what revision a database has, and how an older one is brought to ours.

Every command asks for the revision; Alembic is loaded where there is something to migrate.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError

from gateway.errors import LedgerError, SchemaTooNew, SchemaTooOld
from gateway.ledger.engine import copy_whole, driver_of, first_line, honest_errors
from gateway.ledger.tables import SCHEMA

RESTORING = ".restoring"  # ends the name of a ledger that is being put back


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
    before = revision(engine)
    if before == SCHEMA:
        return
    if before is None:
        _require_no_restore(engine)
    elif before > SCHEMA:
        check_schema(engine)
    else:
        _back_up(engine, before)
    _upgrade(engine, before)


def _require_no_restore(engine: Engine) -> None:
    """
    Raises:
        LedgerError: a ledger was being put back here, and only a part of it is there.
    """
    if Path(f"{engine.url.database}{RESTORING}").exists():
        raise LedgerError(
            "a `filmgate restore` into this state folder did not end. Nothing was started. Remove the folder "
            "and restore into a new one."
        )


def _upgrade(engine: Engine, before: str | None) -> None:
    from alembic import command  # noqa: PLC0415  who opens a ledger that is current does not load Alembic
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    with engine.execution_options(filmgate_reading=False).connect() as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise LedgerError(f"the ledger cannot be migrated from schema {before}: {error}") from error


def _back_up(engine: Engine, found: str) -> None:
    database = engine.url.database
    if engine.dialect.name != "sqlite" or not database or database == ":memory:":
        return
    target = Path(f"{database}.before-{found}-to-{SCHEMA}")
    _require_room(Path(database), found)
    try:
        with engine.connect() as connection:
            copy_whole(driver_of(connection), target)
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


def _words(error: Exception) -> str:
    if isinstance(error, DBAPIError):
        return first_line(error)
    return str(error.strerror) if isinstance(error, OSError) else str(error)
