"""Named places at which a process can be made to die, so that tests prove what a crash there leaves behind.

Off unless the environment says `FILMGATE_CRASH_AT=stage:n`: then the n-th pass of `stage` ends the process at
once, as kill -9 would. Stages of the listener: `pdu` (a P-DATA-TF PDU arrived), `renamed` (the object lies in
the store, the ledger does not know it), `committed` (the ledger knows it, the sender does not).
"""

from __future__ import annotations

import os
import threading

_stage, _, _count = os.environ.get("FILMGATE_CRASH_AT", "").partition(":")
_left = [int(_count or 1)]
_lock = threading.Lock()


def at(stage: str) -> None:
    """Die here if this is the stage and the pass that the environment names."""
    if stage != _stage:
        return
    with _lock:
        _left[0] -= 1
        if _left[0] == 0:
            os._exit(137)
