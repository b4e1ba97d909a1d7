"""Files that people name: regular ones, of a bounded size. A pipe is waited for, and a device never ends."""

from __future__ import annotations

import errno
import json
import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

MOST_TEXT_BYTES = 1 << 20  # of settings, rules, cards: hundreds of times what one holds


def opened(path: Path) -> BinaryIO:
    """
    Raises:
        OSError: it is not there, may not be read, or is a folder, pipe or device; `strerror` says which.
    """
    try:
        # Without O_NONBLOCK a pipe would be waited for here.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL
        raise OSError(
            errno.EINVAL, "its name holds a character that no file's name can", str(path)
        ) from error
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
        raise OSError(errno.EINVAL, f"it is {what}, and a file is expected", str(path))
    return os.fdopen(fd, "rb")


def read_bytes(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> bytes:
    """
    Raises:
        OSError: see `opened`; or it is larger than that.
    """
    with opened(path) as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes >> 10} KiB", str(path))
    return data


def read_text(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """
    Raises:
        OSError: see `read_bytes`.
        UnicodeDecodeError: it is not UTF-8.
    """
    return read_bytes(path, most_bytes).decode("utf-8")


def read_json(path: Path) -> Any:
    """
    Raises:
        OSError: see `read_bytes`.
        ValueError: it is not JSON in UTF-8, or nested too deep.
    """
    try:
        return json.loads(read_text(path))
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def sha256_of(path: Path) -> str:
    """sha256 of a file, in hex. Raises OSError: see `opened`."""
    digest = sha256()
    with opened(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
