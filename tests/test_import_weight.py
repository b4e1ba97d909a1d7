"""What a process does not need is not loaded: a command that lists films starts in a fraction of a second."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.ledger import Ledger

# Each module, and the libraries that its import must not bring along.
NOT_LOADED = {
    "gateway.settings": ("pydicom", "numpy", "sqlalchemy", "structlog", "redis", "celery"),
    "gateway.ledger": (
        "pydicom",
        "numpy",
        "alembic",
        "structlog",
        "redis",
        "celery",
        "sqlalchemy.dialects.postgresql",
    ),
}


@pytest.mark.parametrize("module", NOT_LOADED)
def test_an_import_brings_no_library_that_it_does_not_use(module: str) -> None:
    """A list of films needs neither the DICOM dictionary nor migrations."""
    code = f"import sys, {module}; print(*set(sys.modules) & set({NOT_LOADED[module]}))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []


def test_a_ledger_that_is_current_is_opened_without_alembic(tmp_path: Path) -> None:
    """A list reads it, and `up` finds nothing to migrate."""
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    Ledger.open(url, migrate_first=True).close()
    code = (
        "import sys; from gateway.ledger import Ledger; "
        f"Ledger.open({url!r}).films(); Ledger.open({url!r}, migrate_first=True); "
        "print(*set(sys.modules) & {'alembic', 'pydicom', 'numpy'})"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []
