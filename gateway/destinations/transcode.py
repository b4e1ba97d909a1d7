"""A dataset in another transfer syntax, for a peer that takes nothing else (PS3.5 section 10, Annex A).

Pixels that came over the network are decoded on the way, so a child does it, limited in memory and time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

TIMEOUT_S = 60.0
_CHILD = Path(__file__).with_name("transcoder.py")


class CannotTranscode(Exception):
    """Raised when there is no way from a dataset to the transfer syntax wanted."""


def transcode(path: Path, transfer_syntax: str) -> BinaryIO:
    """The dataset of a Part 10 file in an uncompressed little endian syntax, as a nameless temporary file.

    Raises:
        CannotTranscode: the pixels cannot be decoded, in the time and memory given.
    """
    made = tempfile.TemporaryFile()  # noqa: SIM115 # the caller closes it
    command = [sys.executable, "-P", str(_CHILD), str(path), transfer_syntax]
    try:
        subprocess.run(command, stdout=made, stderr=subprocess.DEVNULL, timeout=TIMEOUT_S, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        made.close()
        limit = f" in {TIMEOUT_S:g} s" if isinstance(error, subprocess.TimeoutExpired) else ""
        raise CannotTranscode(f"its pixels could not be decoded{limit}") from error
    made.seek(0)
    return made
