"""Memory that a process of many threads does not need any more goes back to the system."""

from __future__ import annotations

import ctypes

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # malloc.h of glibc
LARGE = 256 * 1024  # bytes
ARENAS = 2


def give_back_early() -> None:
    """Ask glibc for few heaps, and for pages of its own for each large buffer; other C libraries do so.

    Left to itself it makes a heap a thread and learns to keep what large buffers took (mallopt(3)): a console
    that sent pictures of 8 MB for a while had 172 MB, with this 134.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(M_ARENA_MAX, ARENAS)
        mallopt(M_MMAP_THRESHOLD, LARGE)
