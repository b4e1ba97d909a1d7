"""A film of another body region goes to the AI of that region, and chests go where they always went."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from rig import DCMSEND, NO_CONSOLE, ROOT, STORESCP, Gateway, gateway
from test_line import at, film, sent

from models import bundle
from models.pictures import read_pixels
from pipelines.lab.films.data import read_rows

pytestmark = [pytest.mark.dcmtk, pytest.mark.redis, pytest.mark.slow]

FILMS = ROOT.parent / "shared" / "films"
HIPS = ROOT / "config" / "regions" / "hip" / "boxes.csv"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a gate for hips, and an AI for them beside that for chests."""
    for program in (DCMSEND, STORESCP):
        if not os.access(program, os.X_OK):
            pytest.skip(f"{program} is missing: apt-get install dcmtk")
    if not FILMS.exists():
        pytest.skip("the films are not there: ../shared/films")
    root = tmp_path_factory.mktemp("regions")
    hip_ai = {"kind": "folder", "path": str(root / "hip-ai"), "accepts": {"regions": ["hip"]}}
    (root / "hip-ai").mkdir()
    with gateway(
        root,
        console=NO_CONSOLE,
        destinations={"hip-ai": hip_ai},
        routes={"always": ["archive"], "pass": ["chest-ai", "hip-ai"]},
        work={"regions": [str(bundle.BUNDLES / "hip")], "workers": 1},
    ) as running:
        yield running


def real_hip(part: str) -> Dataset:
    """A hip film that somebody boxed, under a header that names this part."""
    with HIPS.open(newline="") as handle:
        boxed = {line["file"] for line in csv.DictReader(handle) if line["file"].startswith("fracatlas")}
    name = min(row.file for row in read_rows(FILMS) if row.file in boxed)
    ds = film("pelvis", honest=True)
    pixels = np.round(read_pixels(FILMS / name) * 4095).astype("<u2")
    ds.Rows, ds.Columns = pixels.shape
    ds.PixelData = pixels.tobytes()
    ds.BodyPartExamined = part
    return ds


def files_in(folder: Path, uid: str) -> list[Path]:
    return [path for path in folder.rglob("*") if uid in path.name]


def test_a_hip_goes_to_the_hip_ai_and_to_no_other(both: Gateway, folder: Path) -> None:
    """It passes by the rule of its region, and the finding has the boxes."""
    ds = real_hip("HIP")
    row = sent(both, ds, folder)
    assert (row["decision"], row["rule"]) == ("pass", "region hip"), row
    assert files_in(both.root / "hip-ai", str(ds.SOPInstanceUID))
    assert not at(both.ai, ds.SOPInstanceUID)


def test_a_hip_called_chest_waits_for_a_person(both: Gateway, folder: Path) -> None:
    """The header claims a chest: nobody's AI gets it."""
    ds = real_hip("CHEST")
    assert sent(both, ds, folder)["decision"] == "quarantine"
    assert not files_in(both.root / "hip-ai", str(ds.SOPInstanceUID))
    assert not at(both.ai, ds.SOPInstanceUID)


def test_a_chest_goes_to_the_chest_ai_alone(both: Gateway, folder: Path) -> None:
    """As if there were no other region."""
    ds = film()
    assert sent(both, ds, folder)["decision"] == "pass"
    assert at(both.ai, ds.SOPInstanceUID)
    assert not files_in(both.root / "hip-ai", str(ds.SOPInstanceUID))
