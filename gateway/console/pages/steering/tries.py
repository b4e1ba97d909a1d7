"""Try-outs of rules: one at a time, in a thread beside the pages, with bounded memory.

A page of decisions is in memory at a time and, of the result, the films that would change. Results are kept
for whoever looks at them, the last few.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from gateway.errors import FilmgateError
from gateway.policies.trying import Tried

MOST_KEPT = 4
_GIVE_WAY = 20  # films after which other threads get the processor for a moment
_GIVE_WAY_S = 0.001

log = structlog.get_logger()

Work = Callable[[Callable[[int], None]], Tried]


class Cancelled(Exception):
    """Raised within the work when somebody began another try-out, or the console ends."""


@dataclass(slots=True)
class Try:
    """One try-out, as it stands now."""

    id: str
    by: str
    of: int  # films that were asked for
    began_s: float = field(default_factory=time.monotonic)
    done: int = 0
    took_s: float = 0.0
    result: Tried | None = None
    error: str = ""
    cancelled: bool = False

    @property
    def running(self) -> bool:
        return self.result is None and not self.error and not self.cancelled


class Busy(FilmgateError):
    """Raised when somebody else's try-out runs."""


class Tries:
    """The try-outs of one console."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Try] = OrderedDict()

    def begin(self, by: str, of: int, work: Work) -> Try:
        """Begin one; that of the same person, if it still runs, ends.

        Raises:
            Busy: somebody else's runs.
        """
        with self._lock:
            for other in self._kept.values():
                if other.running and other.by != by:
                    raise Busy(
                        f"{other.by} tries rules now ({other.done} of {other.of}). Nothing was started; "
                        "try again in some seconds."
                    )
                other.cancelled = other.cancelled or other.running
            one = Try(secrets.token_hex(8), by, of)
            self._kept[one.id] = one
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        threading.Thread(target=self._run, args=(one, work), name="try-out", daemon=True).start()
        return one

    def get(self, try_id: str) -> Try | None:
        with self._lock:
            return self._kept.get(try_id)

    def _run(self, one: Try, work: Work) -> None:
        def progress(done: int) -> None:
            one.done = done
            if one.cancelled:
                raise Cancelled
            if done % _GIVE_WAY == 0:
                time.sleep(_GIVE_WAY_S)

        try:
            result = work(progress)
            one.took_s = time.monotonic() - one.began_s
            one.result = result
        except Cancelled:
            return
        except FilmgateError as error:
            one.error = str(error)
        except Exception as error:  # the edge of a thread: the page says that it did not work
            log.exception("try-out failed")
            kind = type(error).__name__
            one.error = f"the try-out failed ({kind}); filmgate's log says where. Nothing was changed."
