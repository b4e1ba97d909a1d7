"""Wait for what has no event."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def until(what: Callable[[], object], timeout: float = 30.0) -> bool:
    """Poll what has no event."""
    end = time.monotonic() + timeout
    pause = threading.Event()
    while not what() and time.monotonic() < end:
        pause.wait(0.02)
    return bool(what())
