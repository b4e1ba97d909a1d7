"""One `up` for one state folder: the lock, and what it tells of the `up` that holds it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import structlog

from gateway.errors import FilmgateError
from gateway.process import private
from gateway.settings import Settings
from gateway.supervisor.snapshot import snapshot_of
from models import plain_files

log = structlog.get_logger()

ASKED_S = 5.0  # a lock that is shared so long is no passing question


@contextmanager
def alone(state: Path) -> Iterator[bool]:
    """Hold the lock of a state folder; make the folder, or make it private, if need be.

    True when whoever held it before did not come to its end.
    """
    if changed := private.claim(state):
        log.warning("state folder", folder=str(state), meaning=changed)
    try:
        lock = private.lock_file(state / "up.lock")
    except OSError as error:
        raise FilmgateError(
            f"the state folder {state} cannot be used: {error.strerror}. Nothing was started. "
            "Choose another with --state, or `state:` in filmgate.yaml."
        ) from error
    with lock:
        killed = _lock(lock, state)
        try:
            yield killed
        finally:
            with suppress(OSError):
                os.ftruncate(lock.fileno(), 0)


def running(settings: Settings) -> str:
    """The process of the `up` that runs with this state folder on this port; "" when there is none."""
    try:
        with plain_files.opened(settings.state / "up.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return ""  # nobody holds it
    except BlockingIOError:
        pass
    except OSError:
        return ""
    try:
        started = json.loads(snapshot_of(settings.state).read_text(encoding="utf-8"))
        same = started["gateway"]["port"] == settings.gateway.port
        pid = (settings.state / "up.lock").read_text(encoding="ascii").strip()
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return pid or "unknown" if same else ""


def _lock(lock: TextIO, state: Path) -> bool:
    """Whether the last holder left its number in it."""
    try:
        _flock(lock)
    except BlockingIOError as error:
        lock.seek(0)
        raise FilmgateError(
            f"another filmgate (process {lock.read().strip() or 'unknown'}) runs on {state}. It goes on, and "
            "nothing was started here. Stop that one first, or give this one another --state and port."
        ) from error
    killed = bool(lock.read(1))
    with suppress(OSError):  # on a full disk nobody can read who we are, and the lock holds all the same
        os.ftruncate(lock.fileno(), 0)
        os.pwrite(lock.fileno(), b"%d\n" % os.getpid(), 0)
    return killed


def _flock(lock: TextIO) -> None:
    """
    Raises:
        BlockingIOError: an `up` holds it. Somebody who only asks (`running`) shares it for an instant.
    """
    until = time.monotonic() + ASKED_S
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # refused while an `up` holds it
            fcntl.flock(lock, fcntl.LOCK_UN)
            if time.monotonic() >= until:
                raise
        time.sleep(0.01)
