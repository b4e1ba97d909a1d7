"""What the operating system says of files and folders, in our words."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import BinaryIO

from gateway.errors import Missing, NoRoom, StoreError

READ_BYTES = 1 << 20  # read at a time
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise Missing("an object that should be kept is not in the store") from error
    except OSError as error:
        raise store_error(error) from error


def store_error(error: OSError) -> StoreError:
    if error.errno in FULL:
        return NoRoom("the disk is full; nothing more is taken in until there is room")
    return StoreError(f"the store cannot be used: {error.strerror}")
