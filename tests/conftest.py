"""Fixtures that many tests use."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from gateway import logs
from gateway.process.health import HERE
from gateway.settings import LogSettings

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("filmgate", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("filmgate")

PEERS = {
    "dcmtk": Path("/usr/bin/storescp"),
    "orthanc": Path("/usr/sbin/Orthanc"),
}


# Files of few and long tests begin first, or one of them would run alone in the end.
LONG = (
    "e2e/",
    "test_train",
    "test_console_races",
    "test_console_sheet",
    "test_console_browser",
    "test_decoder",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a peer that is not installed; long files first."""
    items.sort(key=lambda item: not any(name in item.nodeid for name in LONG))
    for item in items:
        for mark, program in PEERS.items():
            if item.get_closest_marker(mark) and not program.exists():
                item.add_marker(pytest.mark.skip(reason=f"{program} is not installed (make peers)"))
        if item.get_closest_marker("redis") and not shutil.which("redis-server"):
            item.add_marker(pytest.mark.skip(reason="redis-server is not installed (make peers)"))


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a gateway configured in the environment; tests do not."""
    for name in os.environ:
        if name.startswith("FILMGATE_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def logs_on_standard_error() -> None:
    """As in every process of the gateway; also undoes what a test set up."""
    logs.configure(LogSettings())


@pytest.fixture(autouse=True)
def nothing_in_trouble() -> None:
    """What failed in an earlier test of this process is none of this one's troubles."""
    for trouble in HERE.troubles():
        HERE.well(trouble.what)


@pytest.fixture
def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
