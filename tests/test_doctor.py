"""What `filmgate doctor` says of models: which are in use, and whether what is accepted can come."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import get_args

import pytest

from gateway.bootstrap import Shell, now
from gateway.cli.upkeep import console_checks, ledger_checks, machine_checks, model_checks, peer_checks
from gateway.cli.upkeep.check import Check
from gateway.ledger import Ledger
from gateway.ledger.people.records import Role
from gateway.settings import BundleName, ConsoleSettings, Settings
from gateway.supervisor.lock import alone
from gateway.supervisor.snapshot import write_snapshot

WEIGHTS = b"weights"


def make(folder: Path, *, whole: bool = True) -> None:
    """A bundle with weights that are those of its card, or are not."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "models" / "model.safetensors").write_bytes(WEIGHTS if whole else b"others")
    card = {"filmgate": {"weights_sha256": sha256(WEIGHTS).hexdigest()}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(card))


def checks(folder: Path, **work: object) -> dict[str, Check]:
    settings = Settings.model_validate({"work": {"bundles": str(folder), **work}})
    return {check.what: check for check in model_checks.bundles(settings)}


def test_the_plain_bundle_is_in_use_unless_a_variant_is_named(tmp_path: Path) -> None:
    for name in (*get_args(BundleName), "anatomy-open"):
        make(tmp_path / name)
    plain = checks(tmp_path)
    assert {one.result for one in plain.values()} == {"ok"}
    assert [name for name, one in plain.items() if "not in use" in one.detail] == ["bundle anatomy-open"]
    chosen = checks(tmp_path, variants={"anatomy": "open"})
    assert [name for name, one in chosen.items() if "not in use" in one.detail] == ["bundle anatomy"]


def test_a_broken_bundle_matters_only_while_it_is_in_use(tmp_path: Path) -> None:
    make(tmp_path / "anatomy", whole=False)
    make(tmp_path / "anatomy-open")
    assert checks(tmp_path)["bundle anatomy"].result == "error"
    assert checks(tmp_path, variants={"anatomy": "open"})["bundle anatomy"].result == "warning"


def test_a_variant_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    make(tmp_path / "anatomy")
    found = checks(tmp_path, variants={"anatomy": "open"})["bundle anatomy-open"]
    assert (found.result, "films are held" in found.detail) == ("error", True)


def test_a_bundle_that_a_gate_needs_and_is_not_there_is_an_error(tmp_path: Path) -> None:
    make(tmp_path / "anatomy")
    found = checks(tmp_path)
    assert [name for name, one in found.items() if one.result == "ok"] == ["bundle anatomy"]
    assert found["bundle lungs"].result == "error"
    assert [one.result for one in checks(tmp_path / "none").values()] == ["error"]


def test_each_region_is_looked_at(tmp_path: Path) -> None:
    make(tmp_path / "bundles" / "anatomy")
    make(tmp_path / "hip")
    found = checks(tmp_path / "bundles", regions=[str(tmp_path / "hip"), str(tmp_path / "knee")])
    assert (found["region hip"].result, found["region knee"].result) == ("ok", "error")


@pytest.mark.parametrize(
    ("accepts", "regions", "result", "words"),
    [
        (["chest"], [], "ok", "the chest alone"),
        (["chest", "hip"], ["models/hip"], "ok", "hip"),
        (["hip"], [], "warning", "accept hip: work.regions has no gate"),
        (["knee"], ["models/hip"], "warning", "accept knee: work.regions has no gate"),
        (["chest"], ["models/hip"], "warning", "accepts hip: the gate has no use"),
    ],
)
def test_what_destinations_accept_must_be_able_to_come(
    accepts: list[str], regions: list[str], result: str, words: str
) -> None:
    settings = Settings.model_validate(
        {
            "destinations": {"ai": {"kind": "folder", "path": "ai", "accepts": {"regions": accepts}}},
            "routes": {"pass": ["ai"]},
            "work": {"regions": regions},
        }
    )
    found = model_checks.regions(settings)
    assert found.result == result
    assert words in found.detail


def test_a_region_has_the_name_on_its_card(tmp_path: Path) -> None:
    """Whatever the folder is called."""
    make(tmp_path / "v7")
    card = tmp_path / "v7" / "configs" / "metadata.json"
    card.write_text(json.dumps({"filmgate": {"name": "hip"}}))
    settings = Settings.model_validate(
        {
            "destinations": {"ai": {"kind": "folder", "path": "ai", "accepts": {"regions": ["hip"]}}},
            "routes": {"pass": ["ai"]},
            "work": {"regions": [str(tmp_path / "v7")]},
        }
    )
    assert model_checks.regions(settings).result == "ok"


def as_classifier(folder: Path, **words: object) -> None:
    make(folder)
    card = {"kind": "classifier", "name": "chest14", "version": "1", "network": "small", **words}
    told = {"filmgate": card | {"weights_sha256": sha256(WEIGHTS).hexdigest(), "accepts": {}}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(told))


def with_classifier(folder: Path, **block: object) -> Settings:
    chest = {"kind": "classifier", "bundle": str(folder), "results": {"sr": ["archive"]}} | block
    archive = {"kind": "folder", "path": "archive"}
    tree = {"destinations": {"archive": archive, "chest": chest}, "routes": {"pass": ["chest"]}}
    return Settings.model_validate(tree)


def of_classifier(folder: Path, **block: object) -> list[Check]:
    return list(model_checks.classifiers(with_classifier(folder, **block)))


def test_a_classifier_is_looked_at_by_its_own_card(tmp_path: Path) -> None:
    """It is no gate: that it is broken, off, or speaks to nobody is said of it alone."""
    as_classifier(tmp_path / "chest14")
    (found,) = of_classifier(tmp_path / "chest14")
    assert (found.what, found.result) == ("classifier chest", "ok")
    assert [one.result for one in of_classifier(tmp_path / "chest14", results={})] == ["warning"]
    assert [one.result for one in of_classifier(tmp_path / "none")] == ["error"]
    (tmp_path / "chest14" / "models" / "model.safetensors").write_bytes(b"others")
    (found,) = of_classifier(tmp_path / "chest14")
    assert (found.result, "sent again" in found.detail) == ("error", True)
    as_classifier(tmp_path / "kids", off=True)
    assert [one.result for one in of_classifier(tmp_path / "kids")] == ["ok"]
    refused = [
        one.detail for one in peer_checks.routes(with_classifier(tmp_path / "kids")) if one.result == "error"
    ]
    assert ["this classifier is off" in words for words in refused] == [True]
    assert "error" not in {
        one.result for one in peer_checks.routes(with_classifier(tmp_path / "kids", on=True))
    }
    make(tmp_path / "anatomy")
    assert "bundle chest14" not in checks(tmp_path)


@pytest.mark.parametrize(
    ("here", "name", "result", "words"),
    [
        ("UTC", "", "warning", "set gateway.time_zone"),
        ("Asia/Tokyo", "", "ok", "JST, UTC+0900, of this machine"),
        ("UTC", "Asia/Kathmandu", "ok", "Asia/Kathmandu, UTC+0545"),
        ("Asia/Tokyo", "UTC", "ok", "UTC, UTC+0000"),
    ],
)
def test_a_clock_that_shows_utc_unasked_is_no_hospitals(
    here: str, name: str, result: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers do; whoever names it means it."""
    with monkeypatch.context() as patched:
        patched.setenv("TZ", here)
        time.tzset()
        found = machine_checks.time_zone(Settings.model_validate({"gateway": {"time_zone": name}}))
    time.tzset()
    assert (found.result, words in found.detail) == (result, True)


@contextmanager
def listening(settings: Settings) -> Iterator[None]:
    """A real listener with these settings."""
    Shell.open(settings, migrate_first=True).close()
    command = [sys.executable, "-m", "gateway.cli", "listen", "--config", str(write_snapshot(settings))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listener:
        try:
            assert listener.stdout is not None
            assert "ready" in listener.stdout.readline()
            yield
        finally:
            listener.terminate()


OUTSIDE = [{"ae_title": "*", "from": "10.20.30.0/24"}]
FULL = 1 << 40  # MiB that no disk has


@pytest.mark.parametrize(
    ("own", "allow", "free_mb", "result", "words"),
    [
        (True, None, 0, "ok", "the gateway runs"),
        (True, OUTSIDE, 0, "ok", "and has 127.0.0.1:{port}; it takes nothing from here"),
        (True, None, FULL, "warning", "it takes nothing in for now"),
        (False, OUTSIDE, 0, "error", "a DICOM listener has 127.0.0.1:{port} and takes nothing from here"),
        (False, None, FULL, "error", "is busy"),
    ],
)
def test_a_gateway_knows_itself_on_its_port(
    tmp_path: Path,
    free_port: int,
    own: bool,
    allow: list[dict[str, str]] | None,
    free_mb: int,
    result: str,
    words: str,
) -> None:
    """Also when it lets nobody in from here, or has no room: it is not for stopping."""
    gateway = {"port": free_port} | ({"allow": allow} if allow else {})
    tree = {"state": tmp_path / "state", "gateway": gateway, "store": {"min_free_mb": free_mb}}
    settings = Settings.model_validate(tree)
    with alone(settings.state) if own else nullcontext(), listening(settings):
        found = machine_checks.port(settings)
    assert (found.result, words.format(port=free_port) in found.detail) == (result, True), found
    assert ("Stop the program" in found.detail) is not own


def test_doctor_says_that_there_is_no_archive(tmp_path: Path) -> None:
    """The default runs without a file, and originals are kept only here."""
    (found,) = peer_checks.routes(Settings(state=tmp_path))
    assert (found.what, found.result) == ("archive", "warning")
    assert "kept only here" in found.detail


def test_it_names_sqlite_and_what_guards_from_its_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(state=tmp_path)
    monkeypatch.setattr(ledger_checks, "has_wal_reset_bug", lambda: True)
    assert [
        (c.result, "nobody can commit meanwhile" in c.detail) for c in ledger_checks.sqlite(settings)
    ] == [("ok", True)]
    monkeypatch.setattr(ledger_checks, "has_wal_reset_bug", lambda: False)
    assert [c.detail for c in ledger_checks.sqlite(settings)] == [sqlite3.sqlite_version]


def test_a_ledger_that_cannot_be_read_is_a_line_and_not_the_end(tmp_path: Path) -> None:
    """Whatever is damaged in it, the other checks are told."""
    settings = Settings(state=tmp_path)
    Ledger.open(settings.ledger_url, migrate_first=True).close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        db.execute("ALTER TABLE deliveries RENAME TO gone")
    found = [ledger_checks.ledger(settings), *ledger_checks.deliveries(settings)]
    assert {(c.result, "no such table" in c.detail) for c in found} == {("error", True)}
    assert [c.what for c in found] == ["ledger", "deliveries"]


def test_it_warns_of_a_wal_that_nobody_copies(tmp_path: Path) -> None:
    with (tmp_path / "ledger.sqlite-wal").open("wb") as wal:
        wal.truncate(300 << 20)  # a hole: takes no room
    told = {check.what: check for check in ledger_checks.sqlite(Settings(state=tmp_path))}
    assert told["ledger's WAL"].result == "warning"
    assert "300 MiB" in told["ledger's WAL"].detail


def test_the_console_is_looked_at_and_is_never_an_error(tmp_path: Path, free_port: int) -> None:
    """A free port, one that somebody else has, nobody who can sign in, an admin; or it is off."""

    def said(**console: object) -> list[tuple[str, str]]:
        block = ConsoleSettings.model_validate({"port": free_port, **console})
        looked = console_checks.console(Settings(state=tmp_path / "state", console=block))
        return [(check.result, check.detail) for check in looked]

    assert [result for result, _ in said()] == ["ok", "warning"]
    assert "users add" in said()[1][1]
    assert said(enabled=False) == [("ok", "off: console.enabled is false")]
    with socket.create_server(("127.0.0.1", free_port)):
        assert said()[0][0] == "warning"
    shell = Shell.open(Settings(state=tmp_path / "state"), migrate_first=True)
    shell.ledger.add_user("anna", Role.ADMIN, by="tests", now=now(), password_hash="h")
    shell.close()
    assert said()[1] == ("ok", "there is an admin")
