"""What is installed at a hospital: all that runs, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("gateway", "pipelines", "models")
MOST_BYTES = 60_000_000  # with the weights of every bundle


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The files of a wheel that is built now."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("filmgate-*.whl")
    assert wheel.stat().st_size < MOST_BYTES
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def tracked(*rooms: str) -> set[str]:
    """What of these folders is kept in the repository; nothing where git cannot say it."""
    shown = subprocess.run(["git", "ls-files", *rooms], cwd=ROOT, capture_output=True, text=True, check=False)
    return set(shown.stdout.split())


def test_the_wheel_holds_every_file_of_what_ships(names: list[str]) -> None:
    """Modules, rules, migrations, bundles with weights: what is forgotten fails at a customer."""
    if not (kept := tracked(*ROOMS)):
        pytest.skip("no list of what is kept: a source archive, or a checkout of another user")
    assert kept - set(names) == set()


def test_the_wheel_holds_nothing_else(names: list[str]) -> None:
    """No tests, no benches, no films, no state of the machine that built it."""
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == set(ROOMS)
    assert [name for name in names if name.endswith((".dcm", ".pyc", ".sqlite", ".part"))] == []


def test_the_wheel_brings_licence_and_command(names: list[str]) -> None:
    """`filmgate` is on the PATH after the installation."""
    of_installation = {name.split("/", 1)[1] for name in names if ".dist-info/" in name}
    assert {"entry_points.txt", "licenses/LICENSE", "METADATA"} <= of_installation
