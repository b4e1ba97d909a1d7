"""/livez, /readyz and /metrics: open, true, and without anybody's name."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from alarm_films import GOOD, TURNED, Site
from console_client import stranger
from prometheus_client.parser import text_string_to_metric_families

from gateway.bootstrap import Shell
from gateway.console.watch import ready
from gateway.console.watch.figures import FIGURES, KEPT_S, MOST_SENDERS, OTHERS, Exposed
from gateway.process.health import Health
from gateway.settings import Settings

ROOT = Path(__file__).parent.parent
NAMES = {name for name, _, _ in FIGURES}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell.open(Settings(state=tmp_path / "state", store={"min_free_mb": 0}), migrate_first=True)
    yield shell
    shell.close()


def run_here(state: Path, *processes: str) -> dict[str, Health]:
    """These processes report; all of them are this one."""
    running = {name: Health() for name in processes}
    for name, one in running.items():
        one.keep_in(state, name)
    return running


def checks(shell: Shell) -> dict[str, tuple[bool, str]]:
    return {one.what: (one.ok, one.why) for one in ready.look(shell)}


def test_alive_needs_nobody(shell: Shell) -> None:
    """Neither a session nor the ledger."""
    with stranger(shell) as client:
        assert client.get("/livez").json() == {"alive": True}


def test_ready_names_what_does_not_run(shell: Shell) -> None:
    """A console alone is no gateway."""
    with stranger(shell) as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        missing = [check["what"] for check in answer.json()["checks"] if not check["ok"]]
        assert missing == ["listener", "dispatcher", "worker"]
        run_here(shell.settings.state, "listener 1", "dispatcher", "worker 1")
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)


def test_ready_says_which_model_is_broken_and_what_that_means(shell: Shell) -> None:
    """What a worker reports of a gate that it had to close."""
    running = run_here(shell.settings.state, "listener 1", "dispatcher", "worker 1", "worker 2")
    running["worker 2"].failed("gate inversion", "its weights are not the ones its card names")
    ok, why = checks(shell)["models"]
    assert not ok
    assert why == (
        "worker 2: gate inversion: its weights are not the ones its card names; "
        "films that it should judge are held"
    )


def test_ready_counts_only_what_fails_again_and_again(shell: Shell) -> None:
    """Once is no news; three times in a row will not go by itself."""
    running = run_here(shell.settings.state, "listener 1", "dispatcher", "worker 1")
    running["dispatcher"].failed("courier look", "it did not work", 2)
    assert checks(shell)["processes"] == (True, "")
    running["dispatcher"].failed("courier look", "it did not work", 3)
    ok, why = checks(shell)["processes"]
    assert not ok
    assert "dispatcher: courier look failed 3 times since" in why


def test_ready_without_room_or_ledger(tmp_path: Path) -> None:
    settings = Settings(state=tmp_path / "state", store={"min_free_mb": 1 << 40})
    shell = Shell.open(settings, migrate_first=True)
    assert "below store.min_free_mb" in checks(shell)["store"][1]
    (tmp_path / "state" / "ledger.sqlite").rename(tmp_path / "state" / "elsewhere")
    ok, why = checks(shell)["ledger"]
    assert not ok
    assert "removed or replaced" in why
    with stranger(shell) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert client.get("/metrics").status_code == 503
    shell.close()


def figures(shell: Shell) -> dict[str, dict[tuple[str, ...], float]]:
    """Every figure's values by its labels'."""
    with stranger(shell) as client:
        answer = client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    return found


def test_the_figures_are_those_of_the_ledger(tmp_path: Path) -> None:
    """Parsed as Prometheus does it."""
    site = Site(tmp_path, store={"min_free_mb": 7})
    site.send("ROOM1", films=3)
    site.send("ROOM3", TURNED, films=2)
    site.look()
    shell = Shell.open(site.settings)
    found = figures(shell)
    assert found["filmgate_received_films_total"] == {("ROOM1",): 3, ("ROOM3",): 2}
    assert found["filmgate_received_bytes_total"]["ROOM1",] == 3 << 20
    assert found["filmgate_decisions_total"]["pass",] == 3
    assert found["filmgate_decisions_total"]["correct",] == 2
    assert found["filmgate_decision_reasons_total"]["ROTATED_90",] == 2
    assert found["filmgate_films"][()] == 5
    assert found["filmgate_store_least_free_bytes"][()] == 7 << 20
    last = found["filmgate_sender_last_film_timestamp_seconds"]["ROOM3",]
    assert datetime.fromtimestamp(last, UTC) == site.ledger.sender_totals()[1].last_at
    shell.close()


def test_every_figure_is_there_from_the_start(shell: Shell) -> None:
    """A figure that appears with its first error alarms nobody; those by sender have none yet."""
    with stranger(shell) as client:
        text = client.get("/metrics").text
    assert {
        name for name in NAMES if f"# TYPE {name.removesuffix('_total')}" not in text.replace("_total ", " ")
    } == set()


def test_strangers_cannot_make_lines_without_end(tmp_path: Path) -> None:
    """A scanner that calls itself by a hundred AE titles makes fifty lines, and one for the others."""
    site = Site(tmp_path, store={"min_free_mb": 0})
    for number in range(MOST_SENDERS + 5):
        site.send(f"SCAN{number}", films=1)
    site.look()
    shell = Shell.open(site.settings)
    found = figures(shell)["filmgate_received_films_total"]
    assert len(found) == MOST_SENDERS + 1
    assert found[OTHERS,] == 5
    shell.close()


def test_no_identifier_is_in_any_answer(tmp_path: Path) -> None:
    """Neither a UID nor anything of a patient; UIDs are long and have dots."""
    site = Site(tmp_path, store={"min_free_mb": 0})
    site.send("ROOM1", GOOD, films=2)
    site.look()
    shell = Shell.open(site.settings)
    with stranger(shell) as client:
        for page in ("/metrics", "/readyz", "/livez"):
            assert re.findall(r"1\.2\.3\.\d+", client.get(page).text) == []
    shell.close()


def test_many_who_ask_cost_one_look(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten at once, within the time for which it is kept."""
    looks = list[int]()
    asked = shell.ledger.figures
    monkeypatch.setattr(shell.ledger, "figures", lambda: (looks.append(1), asked())[1])
    exposed = Exposed(shell)
    threads = [threading.Thread(target=lambda: list(exposed.collect())) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(looks) == 1
    assert KEPT_S >= 1


def documented() -> dict[str, str]:
    """Each figure of docs/monitoring.md with its kind and labels, as the row has them."""
    text = (ROOT / "docs" / "monitoring.md").read_text()
    return dict(re.findall(r"^\| `(filmgate_\w+)` \| (.*?) \|", text, re.MULTILINE))


def test_every_figure_is_documented_with_its_labels() -> None:
    """And none that is gone."""
    rows = {name: f"{kind}" + "".join(f" `{label}`" for label in labels) for name, kind, labels in FIGURES}
    assert documented() == rows


def test_figures_have_base_units_and_counters_end_in_total() -> None:
    """As prometheus.io/docs/practices/naming says."""
    for name, kind, _ in FIGURES:
        assert name.endswith("_total") == (kind == "counter")
        assert not re.search(r"_(ms|minutes|hours|days|kb|mb|mib|gib)(_|$)", name)


def used_in(expression: str) -> set[str]:
    return set(re.findall(r"filmgate_\w+", expression))


def test_the_alert_rules_are_rules_and_ask_for_figures_that_exist() -> None:
    """Prometheus's schema of a rules file, strictly."""
    rules = yaml.safe_load((ROOT / "docker" / "alerts.yaml").read_text())
    assert set(rules) == {"groups"}
    seen = set[str]()
    for group in rules["groups"]:
        assert set(group) <= {"name", "interval", "rules"}
        for rule in group["rules"]:
            assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, rule
            assert re.fullmatch(r"[A-Z]\w+", rule["alert"])
            assert rule["alert"] not in seen
            assert re.fullmatch(r"\d+[smhd]", rule["for"])
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert set(rule["annotations"]) == {"summary", "description"}
            used = used_in(rule["expr"])
            assert used <= NAMES, used - NAMES
            assert used or "up{" in rule["expr"]
            assert rule["expr"].count("(") == rule["expr"].count(")")
            seen.add(rule["alert"])
    assert len(seen) >= 6


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
def test_prometheus_itself_takes_rules_and_settings(tmp_path: Path) -> None:
    """By its own tool."""
    for name in ("prometheus.yaml", "alerts.yaml"):
        shutil.copy(ROOT / "docker" / name, tmp_path / name)
    command = ["promtool", "check", "config", str(tmp_path / "prometheus.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "rules found" in checked.stdout


def test_the_dashboard_asks_for_figures_that_exist() -> None:
    """Every panel has a query, and no two lie over each other."""
    board = json.loads((ROOT / "docker" / "dashboard.json").read_text())
    assert board["uid"] == "filmgate"
    taken = set[tuple[int, int]]()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        for target in panel["targets"]:
            assert used_in(target["expr"]) <= NAMES, target["expr"]
            assert used_in(target["expr"])
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) > 8
