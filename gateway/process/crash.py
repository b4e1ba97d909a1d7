"""Named places at which a process can be made to die, so that tests prove what a crash there leaves behind.

Off unless the environment says `FILMGATE_CRASH_AT=stage:n`: then the n-th pass of `stage` ends the process at
once, as kill -9 would. Stages of the listener: `pdu` (a P-DATA-TF PDU arrived), `renamed` (the object lies in
the store, the ledger does not know it), `committed` (the ledger knows it, the sender does not).

Or it names a folder, `FILMGATE_CRASH_AT=/folder`: whoever passes `stage` and can remove a file `stage.*` from
there, dies. So of several processes one dies for each file, whenever a test puts files there.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

_where = os.environ.get("FILMGATE_CRASH_AT", "")
_folder = Path(_where) if _where.startswith("/") else None
_stage, _, _count = _where.partition(":")
_left = [int(_count or 1)]
_lock = threading.Lock()


def at(stage: str) -> None:
    """Die here if this is the stage and the pass that the environment names."""
    if _folder is not None:
        for lot in _folder.glob(f"{stage}.*"):
            with suppress(FileNotFoundError):
                lot.unlink()
                os._exit(137)
    if stage != _stage:
        return
    with _lock:
        _left[0] -= 1
        if _left[0] == 0:
            os._exit(137)
