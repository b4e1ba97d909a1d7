"""The command line: errors in words, exit codes, settings, sending, and what it loads."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from command_line import Run, commands_on, filmgate, items, three_films
from typer.testing import CliRunner

from gateway.cli import app
from gateway.cli.output import clean
from gateway.ledger import Ledger
from gateway.listener import Listener
from gateway.settings import GatewaySettings, Settings
from gateway.store import Store
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.policy import Policy

ROOT = Path(__file__).parent.parent


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A command on a small gateway."""
    return commands_on(tmp_path)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Where that gateway keeps films and ledger."""
    return tmp_path / "state"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Three films: one passed, one held, one undecided."""
    with three_films(tmp_path / "state") as opened:
        yield opened


def test_an_error_is_told_in_words_on_standard_error(state: Path, ledger: Ledger) -> None:
    """No traceback, nothing on standard output, exit code 1."""
    shown = filmgate("films", "show", "9.9.9", "--json", "--state", state)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr.startswith("filmgate: there is no film 9.9.9.")
    nowhere = filmgate("films", "list", "--state", state / "other")
    assert nowhere.returncode == 1
    assert "there is no ledger in" in nowhere.stderr
    assert not (state / "other").exists()


def test_settings_that_cannot_be_used_exit_with_2(tmp_path: Path) -> None:
    """File, line and the nearest known key."""
    config = tmp_path / "filmgate.yaml"
    config.write_text("gateway:\n  prt: 104\n")
    for command in ("up", "listen", "dispatch", "work"):
        shown = filmgate(command, "--config", config)
        assert shown.returncode == 2
        assert f"{config}:2: unknown key 'prt' in gateway; did you mean 'port'?" in shown.stderr
    config.write_text("policy: {file: rules.yaml}\n")
    (tmp_path / "rules.yaml").write_text("version: 1\nrules: []\nodd: 1\n")
    shown = filmgate("config", "check", "--config", config)
    assert shown.returncode == 2
    assert "policy.file" in shown.stderr
    assert "rules.yaml:3: the policy: unknown key 'odd'" in shown.stderr


def test_config_show_tells_where_each_value_was_said(tmp_path: Path, run: Run) -> None:
    """File and line, variable, option or default."""
    rows = {row["key"]: row for row in items(run("config", "show", "--json"))}
    assert rows["store.min_free_mb"] == {
        "key": "store.min_free_mb",
        "value": 0,
        "origin": f"{tmp_path / 'filmgate.yaml'}:5",
    }
    assert rows["gateway.port"]["origin"] == "default"
    assert "store.min_free_mb" in run("config", "show").stdout


def test_config_init_never_writes_over_a_file(tmp_path: Path) -> None:
    """A site's settings are worth more than an example."""
    config = tmp_path / "filmgate.yaml"
    config.write_text("gateway: {port: 104}\n")
    shown = filmgate("config", "init", config)
    assert shown.returncode == 1
    assert "exists already" in shown.stderr
    assert config.read_text() == "gateway: {port: 104}\n"


def test_config_schema_is_a_json_schema() -> None:
    """Editors read it."""
    schema = json.loads(CliRunner().invoke(app, ["config", "schema"]).stdout)
    assert set(schema["properties"]) == set(Settings.model_fields)
    assert schema["additionalProperties"] is False


def test_the_version_names_policy_and_models(run: Run) -> None:
    """What decides here, by digest, so that two machines can be compared."""
    version = metadata.version("filmgate")
    told = filmgate("--version")
    assert told.returncode == 0, told.stderr
    first, policy, *models = told.stdout.splitlines()
    assert first == f"filmgate {version}"
    assert policy == f"policy {Policy.default().digest[:16]} (the default)"
    card = json.loads((ROOT / "models/bundles/rotation/configs/metadata.json").read_text())["filmgate"]
    assert f"gate rotation {card['weights_sha256'][:16]}" in models
    (item,) = json.loads(filmgate("--version", "--json").stdout)
    assert (item["version"], item["policy"]["sha256"]) == (version, Policy.default().digest)
    sums = {model["name"]: model["sha256"] for model in item["models"]}
    assert sums["rotation"] == card["weights_sha256"]
    assert {model["kind"] for model in item["models"]} == {"gate", "classifier"}


def test_the_version_is_said_even_with_settings_that_cannot_be_read(tmp_path: Path) -> None:
    """Who reports a fault has that at least."""
    config = tmp_path / "filmgate.yaml"
    config.write_text("gateway: {prt: 104}\n")
    told = filmgate("--version", "--config", config)
    assert told.returncode == 2
    assert told.stdout == f"filmgate {metadata.version('filmgate')}\n"
    assert "did you mean 'port'" in told.stderr


def test_an_option_before_the_command_is_told_where_it_goes() -> None:
    """`filmgate --json films list` is a slip that should not be obeyed by half."""
    told = filmgate("--json", "films", "list", COLUMNS="200")
    assert told.returncode == 2
    assert "go after the command's name" in told.stderr


def test_output_that_finds_no_room_is_an_error_in_words(state: Path, ledger: Ledger) -> None:
    """/dev/full is a disk with no room: exit code 1, a sentence, no traceback."""
    for words in (("--json",), ()):
        command = [sys.executable, "-m", "gateway.cli", "films", "list", *words, "--state", str(state)]
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr.startswith("filmgate: the output cannot be written: No space left on device.")
        assert len(done.stderr.splitlines()) == 1


def test_config_init_check_and_schema_are_for_programs_too(tmp_path: Path, run: Run) -> None:
    """One array each, like every other command."""
    target = tmp_path / "new.yaml"
    written = CliRunner().invoke(app, ["config", "init", str(target), "--json"])
    assert items(written) == [{"path": str(target)}]
    (checked,) = items(run("config", "check", "--json"))
    assert (checked["usable"], checked["destinations"]) == (True, ["archive", "chest-ai"])
    assert all("warning" not in text for text in checked["warnings"])
    (schema,) = items(CliRunner().invoke(app, ["config", "schema", "--json"]))
    assert schema == json.loads(CliRunner().invoke(app, ["config", "schema"]).stdout)


@pytest.fixture
def listener(state: Path, free_port: int) -> Iterator[Settings]:
    """A real listener of ours in this process."""
    settings = Settings(state=state, gateway=GatewaySettings(port=free_port), store={"min_free_mb": 0})  # type: ignore[arg-type]
    ledger = Ledger.open(settings.ledger_url, migrate_first=True)
    scp = Listener(settings, ledger, Store(state, 0))
    scp.start()
    yield settings
    scp.stop(1.0)
    ledger.close()


def test_send_reports_every_file_and_fails_when_one_was_not_accepted(
    run: Run, listener: Settings, tmp_path: Path
) -> None:
    """A folder with two films and a text: the films arrive, the text is named."""
    films = tmp_path / "films"
    films.mkdir()
    for seed in (1, 2):
        phantom_dx("hand", seed, size=(64, 64)).save_as(films / f"{seed}.dcm", enforce_file_format=True)
    peer = f"FILMGATE@127.0.0.1:{listener.gateway.port}"
    sent = run("send", films, "--to", peer, "--json")
    assert [(one["status"], one["ok"]) for one in items(sent)] == [(0, True), (0, True)]
    (films / "notes.txt").write_text("no film")
    again = run("send", films, "--to", peer)
    assert again.exit_code == 1
    assert again.stdout == "2 files sent, 1 not accepted\n"
    assert "notes.txt: not DICOM" in again.stderr


def test_echo_says_who_answers(run: Run, listener: Settings, free_port: int) -> None:
    """And a peer that is not there, or a target that is none, is told in words."""
    (answer,) = items(run("echo", f"FILMGATE@127.0.0.1:{free_port}", "--json"))
    assert answer["status"] == 0
    assert "answers C-ECHO with 0x0000" in run("echo", f"FILMGATE@127.0.0.1:{free_port}").stdout
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        shown = filmgate("echo", f"FILMGATE@127.0.0.1:{bound.getsockname()[1]}")
    assert shown.returncode == 1
    assert "Traceback" not in shown.stderr
    assert "AET@HOST:PORT" in filmgate("echo", "nobody").stderr


def test_doctor_finds_what_would_keep_the_gateway_from_working(run: Run, tmp_path: Path) -> None:
    """A row for each thing; a model whose weights are not its card's is an error."""
    bundle = tmp_path / "bundles" / "rotation"
    (bundle / "configs").mkdir(parents=True)
    (bundle / "models").mkdir()
    (bundle / "models" / "model.safetensors").write_bytes(b"other weights")
    card = {"filmgate": {"weights_sha256": "0" * 64}}
    (bundle / "configs" / "metadata.json").write_text(json.dumps(card))
    with (tmp_path / "filmgate.yaml").open("a") as config:
        config.write("work: {bundles: bundles}\n")
    shown = run("doctor", "--json")
    checks = {check["what"]: check for check in json.loads(shown.stdout)}
    assert shown.exit_code == 1
    assert checks["bundle rotation"]["result"] == "error"
    assert checks["python"]["result"] == checks["package torch"]["result"] == "ok"
    assert checks["destination archive"]["result"] == "warning"
    assert "bundle rotation" in run("doctor").stdout


def test_fsck_finds_and_mends_what_a_crash_left(run: Run, state: Path, ledger: Ledger) -> None:
    """Three films of the ledger have no file here: found, mended, and exit code 0 only afterwards."""
    found = run("fsck", "--json")
    assert found.exit_code == 1
    assert [one["trouble"] for one in json.loads(found.stdout)] == ["missing"] * 3
    assert run("fsck", "--mend").exit_code == 0


LIGHT = {
    "gateway.cli": (
        "torch",
        "celery",
        "pynetdicom",
        "pydicom",
        "sqlalchemy",
        "pydantic",
        "yaml",
        "structlog",
        "rich",
    ),
    "gateway.cli.review.films": (
        "torch",
        "celery",
        "pynetdicom",
        "pydicom",
        "numpy",
        "alembic",
        "structlog",
        "rich",
    ),
    "gateway.cli.version": ("torch", "monai"),
    "gateway.listener": ("torch", "monai", "celery"),
    "gateway.dispatcher.dispatcher": ("torch", "monai"),
    "gateway.supervisor.supervisor": ("torch", "monai", "celery", "pynetdicom"),
}


@pytest.mark.parametrize("module", LIGHT)
def test_nothing_heavy_is_loaded_where_it_is_not_needed(module: str) -> None:
    """Only workers and training load torch; the command line loads little at all."""
    code = f"import sys, {module}; print(*set(sys.modules) & set({LIGHT[module]}))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == []


def test_terminals_obey_nothing_that_came_over_the_network() -> None:
    """An escape sequence in a UID is shown, not obeyed."""
    assert clean("1.2\x1b[2J\x07\u202e3") == "1.2\\x1b[2J\\x07\\u202e3"


def test_a_process_that_is_ready_says_so_to_programs(tmp_path: Path, free_port: int) -> None:
    """`--json`: one line, an array with one item, and nothing else on standard output."""
    config = tmp_path / "filmgate.yaml"
    config.write_text(f"gateway: {{port: {free_port}}}\nstore: {{min_free_mb: 0}}\n")
    state = tmp_path / "state"
    Ledger.open(f"sqlite:///{state}/ledger.sqlite", migrate_first=True).close()
    command = [sys.executable, "-m", "gateway.cli", "listen", "--json"]
    where = ["--config", str(config), "--state", str(state)]
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, *where], stdout=pipe, stderr=subprocess.DEVNULL, text=True) as listener:
        assert listener.stdout is not None
        (item,) = json.loads(listener.stdout.readline())
        listener.terminate()
        rest = listener.stdout.read()
    assert (item["process"], item["state"], item["pid"]) == ("listener", "ready", listener.pid)
    assert (rest, listener.returncode) == ("", 0)
