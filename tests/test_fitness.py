"""What settings name and is not there: refused where it is surely a slip, else said, with what it closes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.errors import SettingsError
from gateway.settings import DicomDestination, GatewaySettings, Settings, load
from gateway.supervisor import fitness
from gateway.supervisor.fitness import closed, in_numbers, is_ourselves, troubles
from gateway.supervisor.supervisor import load_all
from models.classifiers.terms import BUNDLES
from pipelines.policy import DEFAULT_RULES

ARCHIVE = "routes: {always: [archive]}\ndestinations:\n  archive: {kind: folder, path: archive}\n"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Settings with an archive, and more below `destinations`."""

    def written(text: str) -> Path:
        (tmp_path / "archive").mkdir(exist_ok=True)
        path = tmp_path / "filmgate.yaml"
        path.write_text(ARCHIVE + text)
        return path

    return written


def check(path: Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["config", "check", "--config", str(path)])
    return done.exit_code, " ".join(done.output.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  ai: {ae_title: A, port: 9, accepts: {modalities: [XR]}}", "did you mean CR or DX?"),
        ("  ai: {ae_title: A, port: 9, accepts: {modalities: [CT]}}", "unknown modality 'CT'"),
        ("  ai: {ae_title: A, port: 9, accepts: {views: [latral]}}", "did you mean lateral?"),
        ("  ai: {ae_title: A, port: 9, accepts: {views: [LL]}}", "known are PA, AP, frontal"),
        (
            "  chest41: {kind: classifier}",
            "(did you mean 'chest14'?); what is owed to it would never be read",
        ),
        ("  x: {kind: classifier, bundle: pneumonia}", "(did you mean 'pneumonia3'?)"),
        ("work: {variants: {anatomy: reserch}}", "(did you mean 'research'?); every film would be held"),
        ("  pneumonia3: {kind: classifier}", "off unless somebody wants it; its card tells why"),
        ("  us: {ae_title: FILMGATE, host: localhost, port: 11112}", "where this gateway itself listens"),
        # what a process could not build at its start
        ("  w: {kind: webhook, url: 'https://h.example/', ca_file: typo.pem}", "destinations.w.ca_file: "),
        ("  w: {kind: webhook, url: 'https://a..b/'}", "destinations.w.url: must be https://HOST/PATH"),
        ("  ai: {ae_title: RÖNTGEN, port: 9}", "destinations.ai.ae_title holds a character"),
        ("  ai: {ae_title: 'A\\B', port: 9}", "destinations.ai.ae_title holds a character"),
        ("  ai: {ae_title: '   ', port: 9}", "destinations.ai.ae_title holds a character"),
        ("  ai: {ae_title: A, calling_ae_title: Ä, port: 9}", "calling_ae_title holds a character"),
        ("  ai: {ae_title: A, host: a..b, port: 9}", "destinations.ai.host: is no name or address"),
        ("  f: {kind: folder, path: filmgate.yaml/out}", "filmgate.yaml is a file, and a folder is expected"),
        (f"  f: {{kind: folder, path: {'x' * 300}}}", "cannot be used: File name too long"),
        ("ledger: {url: nonsense}", "ledger.url: this is no address of a database"),
        ("ledger: {url: 'nosuchdb://h/d'}", "ledger.url: this is no address of a database"),
        ("redis: {url: nonsense}", "redis.url: must be redis://HOST"),
    ],
)
def test_what_is_surely_a_slip_is_refused(write: Write, text: str, expected: str) -> None:
    """By `config check` and by the start, with file and line and the nearest word."""
    path = write(text)
    with pytest.raises(SettingsError) as refused:
        load_all(path, path.parent / "state")
    assert str(refused.value).startswith(f"{path}:4: ")
    assert expected in str(refused.value)
    assert check(path)[0] != 0


def test_weights_that_are_not_those_of_their_card_are_said(write: Write) -> None:
    """By their digest: no network is loaded for that."""
    path = write("work: {regions: [hip]}")
    for folder in ("configs", "models"):
        (path.parent / "hip" / folder).mkdir(parents=True)
    (path.parent / "hip/models/model.safetensors").write_bytes(b"other weights")
    (path.parent / "hip/configs/metadata.json").write_text(
        '{"filmgate": {"weights_sha256": "0", "name": "hip"}}'
    )
    assert "warning: closed: region hip" in check(path)[1]


def test_the_check_ends_with_2(write: Write) -> None:
    command = [sys.executable, "-m", "gateway.cli", "config", "check", "--config"]
    path = write("  chest41: {kind: classifier}")
    done = subprocess.run([*command, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'chest14'?" in done.stderr


@pytest.mark.parametrize(
    ("text", "expected", "shut"),
    [
        ("  x: {kind: folder, path: archiv}", "'archive'?); what is owed to it waits", "destination x"),
        ("  x: {kind: classifier, bundle: ./minee}", "(did you mean 'mine'?)", "classifier x"),
        ("work: {regions: [./hipp]}", "'hip'?); films that may be of it are held", "region hipp"),
        ("work: {bundles: ./none}", "every film would be held", "gate anatomy"),
        ("  ai: {ae_title: A, port: 9, accepts: {views: []}}", "takes no film at all", "destination ai"),
        ("  ai: {ae_title: A, port: 9, accepts: {min_age: 19, max_age: 9}}", "is over", "destination ai"),
    ],
)
def test_what_may_be_there_later_is_said(write: Write, text: str, expected: str, shut: str) -> None:
    """The gateway starts, as films must be kept; what is closed meanwhile is counted."""
    path = write(text)
    for name in ("mine", "hip"):
        (path.parent / name / "configs").mkdir(parents=True)
        (path.parent / name / "configs" / "metadata.json").write_text("{}")
    code, output = check(path)
    assert (code, f"warning: {path}:4: " in output, expected in output) == (0, True, True)
    assert shut in closed(load_all(path, path.parent / "state"))


def test_a_region_that_no_gate_knows_is_said(tmp_path: Path) -> None:
    blocks = {"ai": {"ae_title": "A", "port": 9, "accepts": {"regions": ["hips"]}}}
    tree = {"destinations": blocks, "routes": {"always": ["ai"], "pass": ["ai"]}}
    (found,) = troubles(Settings.model_validate(tree))
    assert "no gate for it" in found.words
    assert found.closes == "destination ai"
    blocks["ai"]["accepts"] = {"regions": ["Chest"]}
    assert not list(troubles(Settings.model_validate(tree)))


def test_rules_older_than_what_a_header_can_say_are_named(write: Write) -> None:
    """The shipped ones as they stood before words of headers were asked about."""
    path = write("policy: {file: ours.yaml}")
    rules = DEFAULT_RULES.read_text(encoding="utf-8")
    (path.parent / "ours.yaml").write_text(rules)
    assert "warning" not in check(path)[1]
    start, end = (rules.index(f"  - name: {name}") for name in ("a person said never", "unclear object"))
    older = rules[:start] + rules[end:].replace('"DERIVED?", "SECONDARY?"', '"DERIVED?"')
    (path.parent / "ours.yaml").write_text(older)
    code, output = check(path)
    assert code == 0
    assert f"warning: {path}:4: policy.file: no rule of" in output
    assert "names RULED_OUT, HEADER_WORD?, SECONDARY?, as the shipped rules do" in output


def test_the_case_of_a_word_is_no_matter(write: Write) -> None:
    path = write("  ai: {ae_title: A, port: 9, accepts: {views: [pa, Frontal], modalities: [cr, Dx]}}")
    block = load(path, None, {}).destinations["ai"]
    assert isinstance(block, DicomDestination)
    assert (block.accepts.views, block.accepts.modalities) == (("PA", "frontal"), ("CR", "DX"))


def test_sound_settings_are_not_commented(write: Write) -> None:
    path = write("")
    assert check(path) == (0, f"the settings can be used ({path}); destinations: archive")


def test_what_nobody_is_sent_or_may_send_is_said(tmp_path: Path) -> None:
    """A forgotten route, and a door that is shut."""
    tree = {"destinations": {"ai": {"ae_title": "A", "port": 9}}, "gateway": {"allow": []}}
    words = " ".join(one.words for one in troubles(Settings.model_validate(tree)))
    assert "nobody may send" in words
    assert "destinations.ai is named by no route" in words


def test_without_an_archive_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default runs without a file."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["config", "check"])
    assert done.exit_code == 0
    assert "originals are kept only here" in done.output


@pytest.mark.parametrize(
    ("listens", "sends", "same"),
    [
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", socket.gethostname(), True),
        ("0.0.0.0", "192.0.2.7", False),
        ("127.0.0.1", "192.0.2.7", False),
        ("127.0.0.2", "127.0.0.1", False),
        ("0.0.0.0", "pacs.invalid", False),
    ],
)
def test_a_gateway_knows_its_own_address(listens: str, sends: str, same: bool) -> None:
    block = DicomDestination(ae_title="ANY", host=sends, port=104)
    assert is_ourselves(block, GatewaySettings(host=listens, port=104)) is same
    assert not is_ourselves(block, GatewaySettings(host=listens, port=105))


def test_a_machine_that_binds_any_address_takes_no_archive_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ip_nonlocal_bind, as keepalived wants it: then a bind that succeeds says nothing."""
    monkeypatch.setattr(fitness, "_binds", lambda _: True)
    ours = GatewaySettings(host="0.0.0.0", port=104)
    archive, loop = (DicomDestination(ae_title="A", host=h, port=104) for h in ("192.0.2.7", "127.0.0.1"))
    assert (is_ourselves(archive, ours), is_ourselves(loop, ours)) == (False, True)


def test_a_broken_model_is_closed(tmp_path: Path) -> None:
    """Its weights are not those of its card: counted when the gateway says that it is ready."""
    for name in ("anatomy", "inversion", "rotation", "mirror", "lungs"):
        (tmp_path / name).symlink_to(BUNDLES / name)
    (tmp_path / "mirror").unlink()
    (tmp_path / "mirror" / "configs").mkdir(parents=True)
    card = {"filmgate": {"weights_sha256": "0" * 64}}
    (tmp_path / "mirror" / "configs" / "metadata.json").write_text(json.dumps(card))
    settings = Settings.model_validate({"work": {"bundles": str(tmp_path)}})
    assert closed(settings) == ("gate mirror",)
    assert in_numbers(("gate mirror", "destination x", "gate anatomy")) == "1 destination, 2 gates"
