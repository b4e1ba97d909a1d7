"""The pulse: pages are told that the ledger has changed, whoever changed it."""

from __future__ import annotations

from pathlib import Path

from console_client import signed_in
from ledger_films import received

from gateway.bootstrap import Shell
from gateway.ledger import Ledger
from gateway.settings import Settings


def test_it_grows_when_the_ledger_changes_and_rests_when_nothing_does(tmp_path: Path) -> None:
    """The console's own commits count, and those of every other process."""
    settings = Settings(state=tmp_path / "state")
    shell = Shell.open(settings, migrate_first=True)
    worker = Ledger.open(settings.ledger_url)
    with signed_in(shell) as client:

        def seq() -> int:
            return int(client.get("/api/pulse").json()["seq"])

        first = seq()
        assert seq() == first
        worker.record([received("1.2.3")])
        second = seq()
        assert second > first
        assert seq() == second
        shell.ledger.record([received("1.2.4", "b")])
        assert seq() > second
    worker.close()
    shell.close()


def test_it_is_greater_after_a_restart(tmp_path: Path) -> None:
    """A page that outlives the console's process sees that it may have missed something."""
    settings = Settings(state=tmp_path / "state")
    shell = Shell.open(settings, migrate_first=True)
    before = shell.ledger.pulse()
    shell.close()
    shell = Shell.open(settings)
    assert shell.ledger.pulse() > before
    shell.close()
