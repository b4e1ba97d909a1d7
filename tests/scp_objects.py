"""Objects that tests send, and what lies in the store."""

from __future__ import annotations

import struct
from pathlib import Path

from dicom_peers import (
    DX,
    files,
)

IMPLICIT = "1.2.840.10008.1.2"
J2K = "1.2.840.10008.1.2.4.90"


def stored(state: Path) -> list[Path]:
    return files(state / "store")


def header_of(sop_instance: str) -> bytes:
    """A dataset that says what it is, and nothing else."""
    uids = ((0x16, DX.encode()), (0x18, sop_instance.encode()))
    return b"".join(struct.pack("<HH2sH", 8, at, b"UI", len(uid) + 1) + uid + b"\0" for at, uid in uids)
