"""Readings for tests, and the judges of what is made of them."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from pipelines.film import Box
from pipelines.reading import UNREAD_TEXT, Condition, NotRead, Reading, Unread
from pipelines.report.identity import Equipment

AT = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
DIGEST = "ab" * 32
EQUIPMENT = Equipment("1.2.3", {"chest14": DIGEST})
NOT_READ = NotRead("chest14", "1.0", DIGEST, Unread.OUTSIDE_CARD, UNREAD_TEXT[Unread.OUTSIDE_CARD])
needs_dciodvfy = pytest.mark.skipif(not shutil.which("dciodvfy"), reason="needs the package dicom3tools")
needs_dsrdump = pytest.mark.skipif(not Path("/usr/bin/dsrdump").exists(), reason="needs the package dcmtk")


def reading(**changes: object) -> Reading:
    """A pneumothorax in the upper part of the film, one condition below its threshold, one without any."""
    rows, columns = np.mgrid[:28, :28]
    heat = np.exp(-((rows - 9) ** 2 + (columns - 20) ** 2) / 20).astype(np.float32)
    said = {
        "classifier": "chest14",
        "version": "1.0",
        "model_digest": DIGEST,
        "conditions": (
            Condition("Pneumothorax", 0.91234, 0.3),
            Condition("Pleural_Thickening", 0.21, 0.4),
            Condition("Hernia", 0.02),
        ),
        "crop": Box(0.1, 0.05, 0.9, 0.8),
        "shown": "Pneumothorax",
        "region": Box(0.6, 0.2, 0.75, 0.45),
        "heat": heat,
    }
    return Reading(**(said | changes))  # type: ignore[arg-type]


def written(made: Dataset) -> bytes:
    out = BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


def again(made: Dataset) -> Dataset:
    """Written and read."""
    return dcmread(BytesIO(written(made)))


def errors(made: Dataset, folder: Path) -> list[str]:
    """What dciodvfy calls an error."""
    path = folder / "judged.dcm"
    path.write_bytes(written(made))
    said = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace", check=False)
    return [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")]


def dumped(made: Dataset, folder: Path) -> str:
    """What DCMTK's dsrdump reads; it fails where a structured report cannot be read."""
    path = folder / "dumped.dcm"
    path.write_bytes(written(made))
    command = ["/usr/bin/dsrdump", "+Pl", path]
    said = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert said.returncode == 0
    assert not [line for line in said.stderr.splitlines() if line.startswith("E:")]
    return said.stdout
