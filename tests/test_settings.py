"""filmgate.yaml, the environment, and what is said when they are wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from traceback import format_exception

import pytest

from gateway.errors import SettingsError
from gateway.settings import (
    DicomDestination,
    FolderDestination,
    Settings,
    WebhookDestination,
    load,
    read,
    values,
)
from pipelines.gates import GATES

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(text: str) -> Path:
        path = tmp_path / "filmgate.yaml"
        path.write_text(text)
        return path

    return to_file


def complaint(path: Path | None, env: dict[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load(path, None, env or {})
    return str(caught.value)


def test_defaults_run_with_no_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder and an empty environment give the defaults: loopback, port 11112, ./state."""
    monkeypatch.chdir(tmp_path)
    settings = load(env={})
    assert settings == Settings(state=tmp_path / "state")
    assert (settings.gateway.host, settings.gateway.port) == ("127.0.0.1", 11112)


def test_the_file_of_the_architecture_is_understood(write: Write) -> None:
    """The example that users are given says what it seems to say."""
    settings = load(
        write(
            """
gateway: {ae_title: FILMGATE, host: 127.0.0.1, port: 11112, allow: [{ae_title: "*", from: 127.0.0.0/8}]}
destinations:
  chest-ai: {kind: dicom, ae_title: CHEST_AI, port: 11113, accepts: {views: [PA, AP], min_age: 10}}
  archive:  {ae_title: ARCHIVE,  host: 127.0.0.1, port: 11114}
  folder:   {kind: folder, path: out}
routes: {always: [archive], pass: [chest-ai], copies: []}
policy: {mode: enforce, correct: propose}
console: {host: 127.0.0.1, port: 8042}
"""
        ),
        env={},
    )
    chest_ai, archive, folder = settings.destinations.values()
    assert isinstance(chest_ai, DicomDestination)
    assert chest_ai.accepts.views == ("PA", "AP")
    assert isinstance(archive, DicomDestination)
    assert isinstance(folder, FolderDestination)
    assert settings.routes.pass_ == ("chest-ai",)


def test_an_unknown_key_names_file_line_and_the_nearest_known_key(write: Write) -> None:
    """A slip of the finger is found on its line."""
    path = write("gateway:\n  port: 104\ndestinatons:\n  a: {}\n")
    assert complaint(path) == f"{path}:3: unknown key 'destinatons'; did you mean 'destinations'?"


def test_every_fault_is_named_at_once(write: Write) -> None:
    """One run of `config check` shows all that is to be corrected, deep ones too."""
    path = write("gateway:\n  port: abc\nwork:\n  nice: 99\ndestinations:\n  ai:\n    accepts: {vews: []}\n")
    assert complaint(path).splitlines() == [
        f"{path}:2: gateway.port must be a whole number, not 'abc'",
        f"{path}:4: work.nice must be at most 19, not 99",
        f"{path}:6: destinations.ai.ae_title is missing",
        f"{path}:6: destinations.ai.port is missing",
        f"{path}:7: unknown key 'vews' in destinations.ai.accepts; did you mean 'views'?",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gateway: {ae_title: NO}", "1: gateway.ae_title must be text (put it in quotes), not False"),
        ("gateway: {ae_title: SEVENTEEN_LETTERS}", "1: gateway.ae_title must have at most 16 characters"),
        ("policy: {mode: strict}", "1: policy.mode must be 'observe' or 'enforce', not 'strict'"),
        ("gateway: 7", "1: gateway must be a block of keys, not 7"),
        ("gateway: {allow: [{from: 10.0.0.0/99}]}", "1: gateway.allow.0.from: '10.0.0.0/99' does not"),
        (
            "destinations: {a: {kind: ftp}}",
            "1: destinations.a.kind must be 'dicom', 'folder', 'webhook' or 'classifier', not 'ftp'",
        ),
        ("routes:\n  always:\n    - x", "3: routes.always names 'x', which is not in destinations"),
        ("log: {level: info}\nlog: {level: debug}", "2: 'log' stands here a second time (line 1)"),
        ("log: [", "1: this is not YAML"),
        ("- a", "1: a block of keys is expected"),
        ("? [a, b]\n: 1", "1: a key must be a word"),
        ("a: &a [*a]", "1: nested too deep"),
    ],
)
def test_a_wrong_value_is_refused_in_plain_words(write: Write, text: str, expected: str) -> None:
    """File and line first, then what the value must be."""
    path = write(text)
    assert complaint(path).startswith(f"{path}:{expected}")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """--config with a slip in it does not run with defaults."""
    assert complaint(tmp_path / "no.yaml") == f"{tmp_path / 'no.yaml'}: there is no such file"


def test_the_environment_lies_on_top_of_the_file(write: Write) -> None:
    """FILMGATE_SECTION__KEY wins; hyphens of destination names are underscores; lists are YAML."""
    path = write("gateway: {port: 104}\ndestinations:\n  chest-ai: {ae_title: AI, port: 1}\n")
    settings = load(
        path,
        env={
            "FILMGATE_GATEWAY__PORT": "11112",
            "FILMGATE_GATEWAY__AE_TITLE": "0123",
            "FILMGATE_DESTINATIONS__CHEST_AI__PORT": "2",
            "FILMGATE_ROUTES__PASS": "[chest-ai]",
            "FILMGATE_CRASH_AT": "commit:1",
        },
    )
    assert (settings.gateway.port, settings.gateway.ae_title) == (11112, "0123")
    assert settings.destinations["chest-ai"].model_dump()["port"] == 2
    assert settings.routes.pass_ == ("chest-ai",)


def test_a_wrong_variable_is_named_itself() -> None:
    """A fault in the environment is not blamed on the file."""
    assert complaint(None, {"FILMGATE_GATEWAY__PRT": "1"}) == (
        "FILMGATE_GATEWAY__PRT: unknown key 'prt' in gateway; did you mean 'port'?"
    )
    assert complaint(None, {"FILMGATE_GATEWAY": "x", "FILMGATE_GATEWAY__PORT": "1"}) == (
        "FILMGATE_GATEWAY__PORT: 'gateway' is no block of keys"
    )


def test_a_secret_comes_from_a_file_and_is_not_shown(tmp_path: Path) -> None:
    """..._FILE names a file that holds the value; a listing of the settings masks the password."""
    secret = tmp_path / "redis-url"
    secret.write_text("redis://user:hush@cache:6379/0\n")
    loaded = read(None, tmp_path, {"FILMGATE_REDIS__URL_FILE": str(secret)})
    assert loaded.settings.redis.url == "redis://user:hush@cache:6379/0"
    assert dict(values(loaded.settings))["redis", "url"] == "redis://user:***@cache:6379/0"
    both = {"FILMGATE_REDIS__URL_FILE": str(secret), "FILMGATE_REDIS__URL": "redis://x"}
    assert "set one of them" in complaint(None, both)
    assert "cannot be read" in complaint(None, {"FILMGATE_REDIS__URL_FILE": str(tmp_path / "no")})


def test_policy_file_is_a_key_and_not_a_secret(tmp_path: Path) -> None:
    """FILMGATE_POLICY__FILE ends in _FILE and still means policy.file."""
    settings = load(None, tmp_path, {"FILMGATE_POLICY__FILE": "/etc/filmgate/policy.yaml"})
    assert settings.policy.file == Path("/etc/filmgate/policy.yaml")


def test_paths_in_the_file_are_meant_from_where_it_lies(write: Write, tmp_path: Path) -> None:
    """The gateway finds the same folders whatever folder it is started from."""
    settings = load(write("state: films\ndestinations: {out: {kind: folder, path: out}}\n"), env={})
    assert settings.state == tmp_path / "films"
    assert settings.destinations["out"].model_dump()["path"] == tmp_path / "out"
    assert load(write("log:\n"), Path("/srv/state"), {"FILMGATE_STATE": "/x"}).state == Path("/srv/state")
    assert load(write("state: films"), None, {"FILMGATE_STATE": "/x"}).state == Path("/x")


def test_regions_and_variants_are_read_from_file_and_environment(write: Write, tmp_path: Path) -> None:
    """Folders are meant from where the file lies; a variant is a word, never a path."""
    text = "work: {regions: [models/hip, /srv/knee], variants: {anatomy: open}}\n"
    work = load(write(text), env={}).work
    assert work.regions == (tmp_path / "models" / "hip", Path("/srv/knee"))
    assert work.variants == {"anatomy": "open"}
    env = {"FILMGATE_WORK__REGIONS": "[/srv/hip]", "FILMGATE_WORK__VARIANTS__LUNGS": "open"}
    work = load(write(text), env=env).work
    assert (work.regions, work.variants) == ((Path("/srv/hip"),), {"anatomy": "open", "lungs": "open"})
    assert "work.variants.anatomy" in complaint(write("work: {variants: {anatomy: ../open}}"))


def test_a_variant_of_a_bundle_that_no_gate_has_is_refused(write: Write) -> None:
    """A slip of the pen must not leave a model in use whose terms somebody meant to avoid."""
    needed = {need for kind in GATES for need in getattr(kind, "needs", ())}
    text = "work: {variants: {" + ", ".join(f"{name}: open" for name in needed) + "}}"
    assert set(load(write(text), env={}).work.variants) == needed
    assert ":1: work.variants.anatomi must be" in complaint(write("work: {variants: {anatomi: open}}"))


def test_a_destination_takes_the_chest_unless_it_names_regions(write: Write) -> None:
    text = (
        "destinations:\n  a: {port: 1, ae_title: A}\n  b: {port: 1, ae_title: B, accepts: {regions: [hip]}}\n"
    )
    one, other = load(write(text), env={}).destinations.values()
    assert (one.accepts.regions, other.accepts.regions) == (("chest",), ("hip",))


def test_each_value_knows_where_it_was_said(write: Write, tmp_path: Path) -> None:
    """`config show` can tell file and line, variable, option or default."""
    path = write("gateway:\n  port: 104\n")
    loaded = read(path, tmp_path, {"FILMGATE_LOG__LEVEL": "debug"})
    assert loaded.origin(("gateway", "port")) == f"{path}:2"
    assert loaded.origin(("log", "level")) == "FILMGATE_LOG__LEVEL"
    assert loaded.origin(("state",)) == "--state"
    assert loaded.origin(("work", "nice")) == "default"


CLASSIFIER = """
destinations:
  archive: {port: 1, ae_title: A}
  hook: {kind: webhook, url: "https://his.example/results"}
  chest14: {kind: classifier, results: {sr: [archive], json: [hook]}}
routes: {pass: [chest14]}
"""


def test_a_classifier_says_where_its_results_go(write: Write, tmp_path: Path) -> None:
    """Nothing is sent that nobody asked for; a bundle is a name, or a path from where the file lies."""
    chest = load(write(CLASSIFIER), env={}).classifiers["chest14"]
    assert (chest.results.sr, chest.results.json_) == (("archive",), ("hook",))
    assert (chest.results.heatmap, chest.results.gsps, chest.results.not_analysed) == ((), (), ())
    assert (chest.bundle, chest.on, chest.accepts) == ("", False, None)
    placed = load(write(CLASSIFIER.replace("classifier,", "classifier, bundle: ./mine,")), env={})
    assert placed.classifiers["chest14"].bundle == str(tmp_path / "mine")
    assert load(write(CLASSIFIER), env={}).quarantine.rejection_notes == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "sr: [archive]",
            "sr: [archiv]",
            "4: destinations.chest14.results.sr names 'archiv', which is not in",
        ),
        (
            "sr: [archive]",
            "sr: [hook]",
            "4: destinations.chest14.results.sr names 'hook' of kind webhook; such",
        ),
        (
            "sr: [archive]",
            "sr: [chest14]",
            "4: destinations.chest14.results.sr names 'chest14' of kind class",
        ),
        (
            "json: [hook]",
            "json: [archive]",
            "4: destinations.chest14.results.json names 'archive' of kind dicom",
        ),
        ("json: [hook]", "jsn: [hook]", "4: unknown key 'jsn' in destinations.chest14.results; did you mean"),
        ("pass: [chest14]", "always: [chest14]", "5: routes.always names 'chest14', a classifier: it reads"),
        ("pass: [chest14]", "pass: [hook]", "5: routes.pass names 'hook', a webhook: it takes no films"),
        ("routes:", "quarantine: {rejection_notes: [hook]}\nroutes:", "5: quarantine.rejection_notes names"),
    ],
)
def test_results_that_lead_nowhere_are_refused(write: Write, old: str, new: str, expected: str) -> None:
    path = write(CLASSIFIER.strip().replace(old, new))
    assert complaint(path).startswith(f"{path}:{expected}")


def webhook(url: str, more: str = "") -> str:
    return f"destinations:\n  hook:\n    kind: webhook\n    url: '{url}'\n{more}"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://his.example/results", "http can be read on the way"),
        ("http://127.0.0.1.his.example/", "http can be read on the way"),
        ("http://10.1.2.3/", "http can be read on the way"),
        ("ftp://his.example/", "must be https://HOST/PATH"),
        ("his.example", "must be https://HOST/PATH"),
        ("https:///results", "must be https://HOST/PATH"),
        ("https://his.example:0/", "must be https://HOST/PATH"),
        ("https://his.example/a b", "must be https://HOST/PATH"),
        ("https://user:hush@his.example/", "must hold no user, password or fragment"),
        ("https://user:hu/sh@his.example/", "must be https://HOST/PATH"),
    ],
)
def test_results_go_to_safe_addresses_alone(write: Write, url: str, why: str) -> None:
    """By https, or to this machine; and no complaint quotes an address, where a secret may be."""
    said = complaint(path := write(webhook(url)))
    assert said.startswith(f"{path}:4: destinations.hook.url: {why}")
    assert "hu" not in said.removeprefix(str(path))


@pytest.mark.parametrize(
    "text",
    [
        webhook("https://his.example:8443/results?code=1"),
        webhook("http://127.0.0.1:8080/"),
        webhook("http://localhost/"),
        webhook("http://[::1]/"),
        webhook("http://his.example/", "    insecure: true\n"),
    ],
)
def test_addresses_that_results_may_go_to(write: Write, text: str) -> None:
    assert load(write(text), env={}).destinations["hook"].kind == "webhook"


def test_a_webhook_takes_no_films_and_so_accepts_none(write: Write) -> None:
    """The block that chooses films would mean nothing."""
    said = complaint(write(webhook("https://his.example/", "    accepts: {min_age: 1}\n")))
    assert "unknown key 'accepts' in destinations.hook" in said


def test_a_token_is_known_to_our_processes_and_shown_to_nobody(write: Write, tmp_path: Path) -> None:
    """It comes from a file; listings are without it, and without the queries of addresses."""
    (tmp_path / "token").write_text("hush-1234\n")
    env = {"FILMGATE_DESTINATIONS__HOOK__TOKEN_FILE": str(tmp_path / "token")}
    loaded = read(write(webhook("https://his.example/r?code=hush", "    ca_file: ca.pem\n")), None, env)
    hook = loaded.settings.destinations["hook"]
    assert isinstance(hook, WebhookDestination)
    assert (hook.token.get_secret_value(), hook.ca_file) == ("hush-1234", tmp_path / "ca.pem")
    snapshot = loaded.settings.model_dump(mode="json", by_alias=True)
    assert Settings.model_validate(snapshot) == loaded.settings
    shown = dict(values(loaded.settings))
    assert shown["destinations", "hook", "token"] == "***"
    assert "hush" not in str(shown) + str(hook.token) + repr(hook.token)


def test_no_text_of_a_fault_quotes_a_token(write: Write) -> None:
    """Neither our complaint nor pydantic's, which stands in its traceback."""
    name = "FILMGATE_DESTINATIONS__HOOK__TOKEN"
    path = write(webhook("https://his.example/", "    wrong: 1\n"))
    for token in ("hush 1", "[hush", "{hush: 1}"):
        with pytest.raises(SettingsError) as caught:
            load(path, None, {name: token})
        assert name in str(caught.value)
        assert "hush" not in "".join(format_exception(caught.value))


@pytest.mark.parametrize("token", ["hush hush", '"hush\\nX-Other: 1"', "hüsh", "[hush]"])
def test_a_token_that_no_header_can_hold_is_refused_unquoted(write: Write, token: str) -> None:
    said = complaint(path := write(webhook("https://his.example/", f"    token: {token}\n")))
    assert said.startswith(f"{path}:5: destinations.hook.token")
    assert "hush" not in said


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Europe/Berln", "'Europe/Berln' is no time zone; did you mean 'Europe/Berlin'?"),
        ("+0200", "'+0200' is no time zone; say a place of the time zone database, as Europe/Berlin"),
    ],
)
def test_an_unknown_time_zone_is_refused_with_the_nearest_name(write: Write, name: str, why: str) -> None:
    said = complaint(path := write(f"gateway:\n  time_zone: '{name}'\n"))
    assert said == f"{path}:2: gateway.time_zone: {why}"
    assert load(write("gateway:\n  time_zone: Asia/Tokyo\n"), env={}).gateway.time_zone == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("system", "more"),
    [("1.2.276.0.76", ": say urn:oid:1.2.276.0.76"), ("HOSPITAL", ""), ("urn:oid: 1.2", ""), ("urn:", "")],
)
def test_the_system_of_an_identifier_is_a_uri(write: Write, system: str, more: str) -> None:
    """Without one no other machine would know whose number it is."""
    block = f"    fhir: {{patient_system: '{system}'}}\n"
    said = complaint(path := write(webhook("https://his.example/", block)))
    expected = "must be a URI, as urn:oid:1.2.276.0.76.4 or https://hospital.example/patient"
    assert said == f"{path}:5: destinations.hook.fhir.patient_system: {expected}{more}"


def test_identifiers_leave_by_a_setting_alone(write: Write) -> None:
    """Also from the environment; unsaid, neither patient nor order is named."""
    path = write(webhook("https://his.example/"))
    env = {"FILMGATE_DESTINATIONS__HOOK__FHIR__ACCESSION_SYSTEM": "urn:oid:1.2.3"}
    for told, expected in (({}, ""), (env, "urn:oid:1.2.3")):
        hook = load(path, env=told).destinations["hook"]
        assert isinstance(hook, WebhookDestination)
        assert (hook.fhir.patient_system, hook.fhir.accession_system) == ("", expected)
