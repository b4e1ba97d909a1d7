"""What lies in the state folder is for the user that runs the gateway: films, ledger, settings with secrets.

A folder that came with the usual mode, 0755, as systemd, Docker and `mkdir` make it, is made 0700. One that
is open to a group and not to others was made so on purpose, for a backup perhaps, and stays as it is.
"""

from __future__ import annotations

import errno
import os
import pwd
import resource
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from gateway.errors import FilmgateError

FOLDER_MODE = 0o750  # of folders below the state folder, which is 0700 unless it is shared on purpose
FILE_MODE = 0o640
OTHERS = 0o007
_OURS = ("store", "incoming", "thumbs", "uploads", "redis", "run", "demo", "up.lock", "dispatch.lock")
_LEDGER = "ledger.sqlite"  # and what SQLite and migrations lay beside it
_HARMLESS = ("filmgate.yaml", "policy.yaml", "lost+found")


def claim(state: Path) -> str:
    """Make the state folder, or make it private; what was changed, or could not be, in words.

    Raises:
        FilmgateError: it cannot be made, belongs to another user, or anybody may write to it.
    """
    try:
        make_folder(state)
        there = state.stat()
        if there.st_uid != os.geteuid():
            owner = _user(there.st_uid)
            raise FilmgateError(
                f"the state folder {state} belongs to {owner}, and this runs as {_user(os.geteuid())}: one "
                "of them could not use what the other writes. Nothing was started or changed. "
                f"Run this as {owner}, give the folder away (chown), or name another with --state."
            )
        return _close(state, there.st_mode)
    except OSError as error:
        raise FilmgateError(
            f"the state folder {state} cannot be used: {error.strerror}. Nothing was started. "
            "Choose another with --state, or `state:` in filmgate.yaml."
        ) from error


def _close(state: Path, mode: int) -> str:
    entries = [path for path in state.iterdir() if is_ours(path.name)]
    if not mode & OTHERS:
        _close_entries(path for path in entries if path.is_symlink())
        return ""
    foreign = [path.name for path in state.iterdir() if not (is_ours(path.name) or path.name in _HARMLESS)]
    shared = bool(foreign) or bool(mode & stat.S_ISVTX)
    if shared and mode & stat.S_IWOTH:
        raise FilmgateError(
            f"anybody may write to the state folder {state}, and it is not filmgate's alone"
            f"{f' (it holds {foreign[0]!r})' if foreign else ''}: films could be taken away or exchanged. "
            f"Nothing was started. Name a folder inside it, such as --state {state / 'filmgate'}: it is made "
            "for this user."
        )
    if shared:
        _close_entries(entries)
        return "open to others; it holds other things too and stays so, what is filmgate's in it is private"
    state.chmod(0o700)
    if state.stat().st_mode & OTHERS:
        raise FilmgateError(
            f"the state folder {state} is open to others, and its file system knows no other mode: they "
            "could read films. Nothing was started. Choose one on a local disk, or mount it for one user."
        )
    _close_entries(path for path in entries if path.is_symlink())
    return "was open to others; its mode is 0700 now"


def _close_entries(entries: Iterable[Path]) -> None:
    for path in entries:
        with suppress(FileNotFoundError):  # SQLite's files come and go
            mode = path.stat().st_mode
            if mode & OTHERS:
                path.chmod(stat.S_IMODE(mode) & 0o700)


def is_ours(name: str) -> bool:
    """Whether filmgate made the entry of that name in a state folder."""
    return name in _OURS or name.startswith(_LEDGER)


def open_to_others(state: Path) -> Iterator[str]:
    """What other users of this machine could do to a state folder, in words."""
    with suppress(OSError):
        there = state.stat()
        if there.st_uid != os.geteuid():
            yield f"it belongs to {_user(there.st_uid)}, not to {_user(os.geteuid())}"
        if there.st_mode & OTHERS:
            yield f"its mode is {stat.S_IMODE(there.st_mode):04o}, open to others; `up` makes it 0700"
        elif there.st_mode & 0o070:
            yield f"its mode is {stat.S_IMODE(there.st_mode):04o}: its group can reach what is in it"
        for path in sorted(state.iterdir()):
            inside = path.stat() if is_ours(path.name) else there
            if inside.st_uid != there.st_uid:
                yield f"{path.name} in it belongs to {_user(inside.st_uid)}"
            reached = there.st_mode & OTHERS or path.is_symlink()
            if inside is not there and reached and inside.st_mode & OTHERS:
                yield f"{path.name} in it has mode {stat.S_IMODE(inside.st_mode):04o}"
    for folder in state.absolute().parents:
        with suppress(OSError):
            mode = folder.stat().st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                yield f"anybody may write to {folder}, and so put another folder in its place"


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Make a folder for us alone, where it is not there yet; folders above it get the usual mode."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=mode, exist_ok=True)


def make_file(path: Path) -> None:
    """Make an empty file that others cannot read, unless there is one.

    One that is there is not opened: SQLite's locks on it would be gone with our closing it, for POSIX drops
    all locks that a process has on a file when it closes any descriptor of it (fcntl(2)).
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))


def lock_file(path: Path) -> TextIO:
    """A file to lock, made if need be; a link, a pipe or somebody else's file is none.

    Raises:
        OSError: it cannot be opened; `strerror` says why.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    there = os.fstat(fd)
    if not stat.S_ISREG(there.st_mode) or there.st_uid != os.geteuid():
        os.close(fd)
        raise OSError(errno.EPERM, f"{path.name} in it is no file of this user")
    return os.fdopen(fd, "r+", encoding="ascii", errors="replace")


def dump_no_core() -> None:
    """Neither this process nor what it starts leaves its memory, with films in it, in a core file.

    PR_SET_DUMPABLE would also keep its own user, and py-spy, from looking at /proc, so it is left alone;
    systemd-coredump and apport respect this limit as well.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _user(uid: int) -> str:
    try:
        return f"{pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return f"user {uid}"


def identity(path: str | Path) -> tuple[int, int] | None:
    """Device and inode; None when it is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116  asked four times a film
    except OSError:
        return None
    return status.st_dev, status.st_ino
