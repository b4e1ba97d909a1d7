"""How memory is kept, for a process that is to stay small and answer at once: mallopt(3), and Python's gc."""

from __future__ import annotations

import ctypes
import gc
import sqlite3
from contextlib import closing, suppress

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
LARGE_BYTES = 1 << 20
ARENAS = 2
SQLITE_BYTES = 6 << 20  # of all connections together


def keep_little() -> None:
    """Give back what is large as soon as it is free, and have few arenas for many threads.

    Left alone, glibc learns from the first large block that is freed (19 MiB for a password) to keep the next
    ones, and each thread has an arena of its own that keeps what its largest page took. SQLite keeps pages of
    its file for each connection, 2 MB; those that are asked for again the kernel has, too.
    """
    with suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        libc.mallopt(_M_ARENA_MAX, ARENAS)
    with closing(sqlite3.connect(":memory:")) as db:  # it holds for every connection of this process
        db.execute(f"PRAGMA soft_heap_limit={SQLITE_BYTES}")


def settle() -> None:
    """After start: what was made until now stays, and is never again looked through for garbage.

    Else now and then a page waits until the collector has gone through every module that was loaded.
    """
    gc.collect()
    gc.freeze()
    give_back()


def give_back() -> None:
    """Give back what lies free now: after start, what loading modules took."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
