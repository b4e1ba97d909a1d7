"""Keeps a flood of events from becoming a flood of log lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class LogLimiter:
    """Lets `most` log lines of one event through in `window_s`, and says how many it kept back.

    Args:
        most: lines of one event in a window.
        window_s: its length in seconds.
    """

    def __init__(self, most: int = 20, window_s: float = 60.0) -> None:
        self._most = most
        self._window_s = window_s
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[float, int]] = {}

    def allows(self, event: str) -> tuple[bool, int]:
        """Whether to log `event` now, and how often it was kept back in the window before."""
        now = time.monotonic()
        with self._lock:
            start, count = self._windows.get(event, (now, 0))
            kept_back = 0
            if now - start >= self._window_s:
                kept_back = max(count - self._most, 0)
                start, count = now, 0
            self._windows[event] = (start, count + 1)
            return count < self._most, kept_back

    def warning(self, event: str, **details: Any) -> None:
        """Log a warning, unless there were too many of them."""
        self._write(log.warning, event, details)

    def info(self, event: str, **details: Any) -> None:
        """Log what is no trouble, unless there was too much of it."""
        self._write(log.info, event, details)

    def _write(self, write: Callable[..., Any], event: str, details: dict[str, Any]) -> None:
        allowed, kept_back = self.allows(event)
        if allowed:
            write(event, **details, **({"kept_back": kept_back} if kept_back else {}))
