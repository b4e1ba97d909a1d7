"""The command line: what it prints, for people and for programs, and how it exits."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.cli.output import clean
from gateway.errors import FilmgateError
from gateway.ledger import Ledger
from gateway.ledger.records import Judged, Received
from gateway.ledger.tables import results
from gateway.listener import Listener
from gateway.settings import GatewaySettings, Settings
from gateway.store import Store
from pipelines.film import Act, Decision, Finding, Reason, Verdict
from pipelines.lab.films.phantom_dx import phantom_dx

NOW = datetime(2026, 3, 2, 8, 15, tzinfo=UTC)
EXPLICIT = "1.2.840.10008.1.2.1"

Run = Callable[..., Result]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def run(tmp_path: Path, state: Path) -> Run:
    """A filmgate command on a gateway with an archive and an AI that are folders."""
    config = tmp_path / "filmgate.yaml"
    config.write_text(
        "destinations:\n  archive: {kind: folder, path: archive}\n  chest-ai: {kind: folder, path: ai}\n"
        "routes: {always: [archive], pass: [chest-ai]}\nstore: {min_free_mb: 0}\n"
    )

    def invoke(*words: str | Path) -> Result:
        where = ["--config", str(config), "--state", str(state)]
        return CliRunner().invoke(app, [*map(str, words), *where])

    return invoke


@pytest.fixture
def ledger(state: Path) -> Iterator[Ledger]:
    """Three films: one passed, one held, one undecided."""
    opened = Ledger.open(f"sqlite:///{state}/ledger.sqlite", migrate_first=True)
    passed = Decision(Act.PASS, rule="qualified", why="every gate is satisfied", destinations=("chest-ai",))
    finding = Finding(
        "rotation", Verdict.UNSURE, 0.6, 0.1, 0.9, Reason.ROTATION_UNSURE, "perhaps on its side"
    )
    held = Decision(Act.QUARANTINE, (Reason.ROTATION_UNSURE,), "not sure", "a gate is not sure")
    judged: list[Judged | None] = [
        Judged(passed, (), "enforce", {}, send_original_to=("chest-ai",)),
        Judged(held, (finding,), "enforce", {}, hold=True, takers=("chest-ai",)),
        None,
    ]
    for number, judgement in enumerate(judged, 1):
        at = NOW + timedelta(hours=number)
        received = Received("1.2", f"1.2.{number}", EXPLICIT, f"{number}" * 64, 10, None, at)
        opened.record([received], always=("archive",))
        if judgement:
            job = opened.claim("me:1")
            assert job is not None
            opened.judge(job, judgement, now=at)
    yield opened
    opened.close()


def items(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return list(json.loads(result.stdout))


def test_films_list_gives_programs_what_the_contract_says(run: Run, ledger: Ledger) -> None:
    """One JSON array, newest first; acceptance reads these keys."""
    undecided, held, passed = items(run("films", "list", "--json"))
    contract = {"sop_instance_uid", "received_at", "decision", "reasons", "findings", "deliveries"}
    assert contract <= set(passed)
    assert (passed["sop_instance_uid"], passed["decision"]) == ("1.2.1", "pass")
    assert datetime.fromisoformat(passed["received_at"]) == NOW + timedelta(hours=1)
    assert [(d["destination"], d["state"]) for d in passed["deliveries"]] == [
        ("archive", "pending"),
        ("chest-ai", "pending"),
    ]
    assert (held["decision"], held["reasons"]) == ("quarantine", ["ROTATION_UNSURE"])
    assert held["findings"][0]["gate"] == "rotation"
    assert undecided["decision"] is None


@pytest.mark.parametrize(
    ("words", "uids"),
    [
        (("--decision", "quarantine"), ["1.2.2"]),
        (("--decision", "undecided"), ["1.2.3"]),
        (("--reason", "rotation_unsure"), ["1.2.2"]),
        (("--since", "2026-03-02T10:15:00+00:00"), ["1.2.3", "1.2.2"]),
        (("--since", "1d"), []),
        (("--limit", "1"), ["1.2.3"]),
    ],
)
def test_films_list_can_be_narrowed(
    run: Run, ledger: Ledger, words: tuple[str, ...], uids: list[str]
) -> None:
    """By decision, reason, time and number."""
    found = items(run("films", "list", "--json", *words))
    assert [film["sop_instance_uid"] for film in found] == uids


@pytest.mark.parametrize("words", [("--decision", "maybe"), ("--reason", "ODD"), ("--since", "yesterday")])
def test_a_filter_that_makes_no_sense_is_a_usage_error(
    run: Run, ledger: Ledger, words: tuple[str, ...]
) -> None:
    """Exit code 2, as for every command line that cannot be used."""
    assert run("films", "list", *words).exit_code == 2


def test_films_list_for_people_is_a_table(run: Run, ledger: Ledger) -> None:
    """A row a film; whoever reads it sees decision, reason and whereabouts."""
    shown = run("films", "list").stdout
    (row,) = (line for line in shown.splitlines() if "1.2.2" in line)
    assert "quarantine" in row
    assert "ROTATION_UNSURE" in row
    assert "archive pending" in row
    assert "undecided" in shown


def test_films_show_explains_one_film(run: Run, ledger: Ledger) -> None:
    """By id or by UID: rule, reason in words, the gate's score between its thresholds, history."""
    shown = run("films", "show", "2").stdout
    assert shown == run("films", "show", "1.2.2").stdout
    assert "rule not sure: a gate is not sure" in shown
    assert "ROTATION_UNSURE: the rotation gate is not sure" in shown
    assert "0.600" in shown
    (one,) = items(run("films", "show", "2", "--json"))
    assert one["events"]


def test_films_show_tells_what_classifiers_said(run: Run, ledger: Ledger) -> None:
    """Ranked, with thresholds, and which condition is over its own; or why the film was not read."""
    told = [{"name": "Mass", "probability": 0.71, "threshold": 0.4, "positive": True}]
    told += [
        {"name": f"Other {n}", "probability": 0.1, "threshold": None, "positive": None} for n in range(6)
    ]
    unread = {"not_read": "OUTSIDE_CARD", "why": "age 3 is under 10"}
    with ledger.writing() as db:
        for name, body in (("chest14", {"conditions": told}), ("pneumonia3", unread)):
            row = {"film_id": 2, "version": "1", "model_digest": "d", "made_at": NOW, "superseded": False}
            db.execute(insert(results).values(classifier=name, body=body, **row))
    shown = " ".join(run("films", "show", "2").stdout.split())
    assert "read by chest14 1" in shown
    assert "Mass 0.710 0.400 yes" in shown
    assert "Other 0 0.100 none" in shown
    assert "and 2 less likely" in shown
    assert "not read by pneumonia3 1: OUTSIDE_CARD: age 3 is under 10" in shown
    (one,) = items(run("films", "show", "2", "--json"))
    assert [result["classifier"] for result in one["results"]] == ["chest14", "pneumonia3"]
    assert one["results"][0]["objects"] == []


def test_a_destination_that_does_not_exist_is_named(run: Run, ledger: Ledger) -> None:
    """A slip of the pen closes no hold."""
    done = run("quarantine", "release", "2", "--to", "chst-ai", "--by", "Dr. Ada")
    assert done.exit_code == 1
    assert "there is no destination 'chst-ai'" in done.output
    assert len(ledger.holds()) == 1


def test_films_are_sent_and_gated_again(run: Run, ledger: Ledger) -> None:
    (one, *_) = ledger.claim_deliveries("archive", 1, NOW + timedelta(days=1))
    ledger.fail_delivery(one.id, error="refused", now=NOW)
    assert run("films", "send-again", "1").stdout == "film 1: 1 deliveries queued\n"
    assert run("films", "send-again", "1").exit_code == 1
    assert run("films", "gate-again", "2").stdout == "film 2: queued\n"
    assert run("films", "gate-again", "3").exit_code == 1  # it waits for its first decision


def test_a_rejected_film_is_gated_again_only_when_that_is_said(run: Run, ledger: Ledger) -> None:
    """It does not stop the others; and AI may get it after all."""
    assert run("quarantine", "reject", "2", "--by", "ann").exit_code == 0
    done = run("films", "gate-again", "2", "3")
    assert done.exit_code == 1
    assert "film 2 was rejected by ann" in done.output
    assert "film 3: nothing to do" in done.output
    assert (
        "film 2: queued, although it was rejected by ann"
        in run("films", "gate-again", "2", "--rejected").stdout
    )


def test_quarantine_shows_and_releases_a_film_with_who_and_why(run: Run, ledger: Ledger) -> None:
    """The decision is kept with the person's name and note, and the film goes to the AI."""
    (held,) = items(run("quarantine", "list", "--json"))
    assert (held["film_id"], held["reasons"], held["copy_ready"]) == (2, ["ROTATION_UNSURE"], False)
    assert "quarantine correct h1 --turn 90" in run("quarantine", "show", "2").stdout
    done = run("quarantine", "release", "2", "--by", "Dr. Ada", "--note", "upright")
    assert done.stdout == "film 2 released\n", done.output
    assert items(run("quarantine", "list", "--json")) == []
    (closed,) = items(run("quarantine", "list", "--all", "--json"))
    assert (closed["state"], closed["closed_by"], closed["note"]) == ("released", "Dr. Ada", "upright")
    assert [d["destination"] for d in ledger.film(2).deliveries] == ["archive", "chest-ai"]


def test_quarantine_reject_keeps_the_film_from_every_ai(run: Run, ledger: Ledger) -> None:
    """Without --by it is the name on this machine."""
    (done,) = items(run("quarantine", "reject", "1.2.2", "--json"))
    assert done == {"film_id": 2, "sop_instance_uid": "1.2.2", "done": "rejected"}
    (hold,) = ledger.holds(None)
    assert hold.closed_by
    assert [d["destination"] for d in ledger.film(2).deliveries] == ["archive"]
    assert run("quarantine", "correct", "2", "--turn", "45").exit_code == 2


@pytest.fixture
def asked(ledger: Ledger) -> Ledger:
    """Two more films, of ROOM3, that are held for a word in their headers."""
    row = ledger.associate(calling="ROOM3", called="FILMGATE", address="127.0.0.1", now=NOW)
    held = Decision(Act.QUARANTINE, (Reason.HEADER_WORD,), "word of a special picture", "x", words=("BONE",))
    ledger.claim("me:1")  # the undecided one
    for number in (4, 5):
        ledger.record([Received("1.2", f"1.2.{number}", EXPLICIT, f"{number}" * 64, 10, row, NOW)])
        job = ledger.claim("me:1")
        assert job is not None
        ledger.judge(job, Judged(held, (), "enforce", {}, hold=True), now=NOW)
    return ledger


def test_films_that_wait_for_one_answer_are_one_line(run: Run, asked: Ledger) -> None:
    """With the command that answers; programs see sender and word of each film."""
    (line,) = (line for line in run("quarantine", "list").stdout.splitlines() if "one answer" in line)
    assert "sender ROOM3, word BONE (2 films since" in line
    assert "filmgate quarantine rule ROOM3 BONE always|never" in line
    held = items(run("quarantine", "list", "--json"))
    assert [(one["sender"], one["words"]) for one in held] == [
        ("", []),
        ("ROOM3", ["BONE"]),
        ("ROOM3", ["BONE"]),
    ]
    assert "filmgate quarantine rule ROOM3 BONE always|never" in run("quarantine", "show", "4").stdout


def test_a_word_is_ruled_on_listed_and_taken_back(run: Run, asked: Ledger) -> None:
    """Once for all films of a sender, with who and why."""
    rule = ("quarantine", "rule", "ROOM3", "bones", "never", "--by", "Dr. Ada", "--note", "dual energy")
    (done,) = items(run(*rule, "--json"))
    assert done == {"sender": "ROOM3", "word": "BONE", "answer": "never", "examined_again": [4, 5]}
    assert asked.ready_jobs() == 2
    (ruling,) = items(run("quarantine", "rulings", "--json"))
    assert (ruling["by"], ruling["note"], ruling["ended_by"]) == ("Dr. Ada", "dual energy", None)
    assert "one answer" not in run("quarantine", "rulings").stdout
    back = run("quarantine", "take-back", "ROOM3", "BONE", "--by", "Bob")
    assert back.exit_code == 0, back.output
    assert items(run("quarantine", "rulings", "--json")) == []
    (ended,) = items(run("quarantine", "rulings", "--all", "--json"))
    assert ended["ended_by"] == "Bob"
    assert run("quarantine", "rule", "ROOM3", "BONE", "always").stdout.startswith(
        "BONE from ROOM3: always, said"
    )


def test_a_ruling_on_a_sender_that_nothing_waits_from_says_who_waits(run: Run, asked: Ledger) -> None:
    """It holds for films to come, which may be meant, or not."""
    typed = run("quarantine", "rule", "room3", "BONE", "never").stdout
    assert "no film waited for this; it holds for those to come" in typed
    assert "films with this word wait from ROOM3 (upper and lower case differ)" in typed
    (back,) = items(run("quarantine", "take-back", "room3", "BONE", "--by", "Bob", "--json"))
    assert back == {"sender": "room3", "word": "BONE", "taken_back_by": "Bob"}
    meant = run("quarantine", "rule", "ROOM3", "BONE", "never").stdout
    assert "2 films waited for this and are examined again" in meant
    assert "wait from" not in run("quarantine", "rule", "ROOM9", "CAD", "never").stdout


def test_a_word_or_answer_that_nobody_knows_changes_nothing(run: Run, asked: Ledger) -> None:
    """Words are of a closed list, so a typing error is told and not kept."""
    wrong = run("quarantine", "rule", "ROOM3", "KNEE", "always")
    assert wrong.exit_code == 1
    assert isinstance(wrong.exception, FilmgateError) or "is no word" in wrong.stderr
    assert run("quarantine", "rule", "ROOM3", "BONE", "maybe").exit_code == 2
    assert run("quarantine", "take-back", "ROOM3", "BONE").exit_code == 1
    assert asked.rulings(ended=True) == []
    assert asked.ready_jobs() == 0


def test_one_film_that_cannot_be_decided_on_does_not_stop_the_rest(run: Run, ledger: Ledger) -> None:
    """What was done is told, what was not is told, and the exit code is 1."""
    shown = run("quarantine", "reject", "9.9", "2", "1", "--json")
    assert shown.exit_code == 1
    assert [one["film_id"] for one in json.loads(shown.stdout)] == [2]
    assert "there is no film 9.9" in shown.stderr
    assert "film 1 is not held" in shown.stderr


def filmgate(*words: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """A real process: exit codes and streams as a shell sees them."""
    command = [sys.executable, "-m", "gateway.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **env})


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
    assert again.stdout == "2 sent, 1 not\n"
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


def test_training_needs_films_and_a_known_gate(run: Run, tmp_path: Path) -> None:
    """Told before torch is loaded; rounds and terms are names that are known."""
    assert run("train", "colour", "--films", tmp_path).exit_code == 2
    assert run("train", "rotation", "--films", tmp_path, "--leave-out", "mars").exit_code == 2
    assert run("train", "rotation", "--films", tmp_path, "--terms", "mine").exit_code == 2
    shown = filmgate("train", "rotation", "--films", tmp_path / "none")
    assert shown.returncode == 1
    assert "there are no films at" in shown.stderr


def test_training_knows_the_rounds_without_loading_them() -> None:
    """The names that `--help` shows are those of pipelines.lab.films.data."""
    from gateway.cli.lab import training
    from pipelines.lab.films import data

    assert tuple(data.ROUNDS) == training.ROUNDS


def test_rounds_train_what_the_gate_is_asked_with_and_then_ask(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round without its sites, pose networks first."""
    from pipelines.lab.ask import gate_ask
    from pipelines.lab.train import gate_train

    asked: list[str] = []

    def trained(name: str, films: Path, runs: Path, round_: str, cache: Path) -> Path:
        asked.append(f"train {name} without {round_}")
        return runs / round_ / name

    def scored(name: str, films: Path, runs: Path, round_: str) -> Path:
        asked.append(f"ask {name} without {round_}")
        return runs / round_ / name / "scores.csv"

    monkeypatch.setattr(gate_train, "train_round", trained)
    monkeypatch.setattr(gate_ask, "score_round", scored)
    where = ("--films", tmp_path, "--runs", tmp_path / "runs", "--cache", tmp_path / "cache")
    shown = items(run("rounds", "mirror", "--json", *where))
    assert [item["round"] for item in shown] == ["nih", "web", "kermany"]
    names = ("train rotation", "train inversion", "train mirror", "ask mirror")
    assert asked[:4] == [f"{name} without nih" for name in names]
    assert len(asked) == 12


@pytest.fixture
def rounds_of_rotation(tmp_path: Path) -> Path:
    """Two rounds of thirty patients each, and a bundle that they are about."""
    from models import bundle, nets
    from pipelines.lab.measure import scores
    from pipelines.lab.measure.scores import Score

    bundle.save(
        tmp_path / "bundles" / "rotation",
        bundle.Card("rotation", "Antisymmetric", ("x",)),
        nets.Antisymmetric(),
    )
    for site in ("nih", "web"):
        table = [
            Score("rotation", site, f"{site}{n}.png", site, site, f"{site}{n}", "frontal", "chest", *shown)
            for n in range(30)
            for shown in (
                ("upright", "good", 0.97, "ROTATED_90"),
                ("turned 90", "ROTATED_90", 0.02, "ROTATED_90"),
            )
        ]
        scores.write(tmp_path / "runs" / site / "rotation" / "scores.csv", table)
    return tmp_path


def test_calibrate_from_rounds_writes_the_card_and_says_what_it_is_worth(
    run: Run, rounds_of_rotation: Path
) -> None:
    """Thresholds, bound, and how many patients the budget would need."""
    words = ("calibrate", "rotation", "--scores", rounds_of_rotation / "runs")
    words += ("--bundles", rounds_of_rotation / "bundles")
    (shown,) = items(run(*words, "--json"))
    assert 0.02 < shown["thresholds"]["low"] < shown["thresholds"]["high"] < 0.97
    assert (shown["lost"]["errors"], shown["lost"]["patients"]) == (0, 60)
    told = run(*words).stdout
    assert "0.03 % needs 9,985 patients with no error, has 60" in told
    card = rounds_of_rotation / "bundles" / "rotation" / "configs" / "metadata.json"
    assert json.loads(card.read_text())["filmgate"]["thresholds"]["high"] == shown["thresholds"]["high"]


def test_calibrate_says_what_is_wrong_with_what_it_was_given(run: Run, rounds_of_rotation: Path) -> None:
    """Neither or both kinds of films; no scores; too few films of a hospital: nothing is changed."""
    bundles = rounds_of_rotation / "bundles"
    assert run("calibrate", "rotation").exit_code == 2
    assert run("calibrate", "rotation", "--scores", "a", "--site", "b").exit_code == 2
    before = (bundles / "rotation" / "configs" / "metadata.json").read_bytes()
    empty = run("calibrate", "mirror", "--scores", rounds_of_rotation, "--bundles", bundles)
    assert isinstance(empty.exception, FilmgateError)
    assert "no scores.csv of mirror" in str(empty.exception)
    (rounds_of_rotation / "films").mkdir()
    out = rounds_of_rotation / "out"
    where = ("--site", rounds_of_rotation / "films", "--bundles", bundles, "--out", out)
    few = run("calibrate", "rotation", *where)
    assert isinstance(few.exception, FilmgateError)  # exit code 1, as for every error of ours
    assert "4,992 patients are missing" in str(few.exception)
    assert not out.exists()
    assert (bundles / "rotation" / "configs" / "metadata.json").read_bytes() == before


@pytest.mark.slow
def test_evaluate_writes_a_page_and_the_summary_into_the_card(run: Run, rounds_of_rotation: Path) -> None:
    """From the rounds' tables alone: bars, counts, curves, and thresholds chosen without the site."""
    films = rounds_of_rotation / "films"
    films.mkdir()
    head = "file,source,site,split,body_part,view,projection,labels,age,sex,group,terms,lung_mask,lung_box"
    (films / "manifest.csv").write_text(f"{head},note,flag\n")
    where = ("--films", films, "--runs", rounds_of_rotation / "runs", "--out", rounds_of_rotation / "report")
    bundles = rounds_of_rotation / "bundles"
    (shown,) = items(run("evaluate", "rotation", *where, "--bundles", bundles, "--json"))
    page = Path(shown["page"]).read_text()
    assert "Thresholds chosen without the site" in page
    assert "Sites left out of training" in page
    assert "## Evaluation" in (bundles / "rotation" / "docs" / "README.md").read_text()


LIGHT = {
    "gateway.cli": ("torch", "monai", "celery", "pynetdicom", "sqlalchemy", "rich.table"),
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
