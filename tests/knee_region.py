"""The manifest of a region with two knees and two chests, for tests to change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

SETTINGS = "name: knee\nmost: 2\nterms: {knees: open, chests: open}\n"
LABELS = "file,label,patient\nknees/a.png,yes,p1\nknees/b.png,turned,p2\nchests/*,no,\n"
BOXES = "file,x0,y0,x1,y1,which\nknees/a.png,.1,.2,.5,.6,left\nknees/a.png,.6,.2,.9,.6,right\n"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Two knees and two chests."""
    folder = tmp_path / "films"
    for name in ("knees/a.png", "knees/b.png", "chests/c.png", "chests/d.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 30), 90).save(folder / name)
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A manifest with parts of it changed; returns its region.yaml."""

    def written(settings: str = SETTINGS, labels: str = LABELS, boxes: str = BOXES) -> Path:
        for name, text in (("region.yaml", settings), ("labels.csv", labels), ("boxes.csv", boxes)):
            (tmp_path / name).write_text(text)
        return tmp_path / "region.yaml"

    return written
