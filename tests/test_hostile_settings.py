"""Settings that harm: whatever stands in a file or a variable is refused in words, and a gateway runs on."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from dicom_peers import film
from structlog.testing import capture_logs
from supervisor_stand_ins import Events, events, stand_ins, supervise

from gateway.destinations import scu
from gateway.errors import SettingsError
from gateway.ledger import Ledger
from gateway.settings import PREFIX, Settings, keys, load, read, values
from gateway.supervisor import fitness, supervisor
from gateway.supervisor.plan import plan
from gateway.supervisor.supervisor import load_all
from pipelines.lined_yaml import MOST_VALUES, YamlError, parse
from pipelines.policy import Policy

__all__ = ["events"]

Write = Callable[[bytes], Path]
NESTED = b"work: " + b"[" * 3000 + b"]" * 3000
LAUGHS = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (letter, letter, b", ".join([b"*%c" % (letter - 1)] * 9)) for letter in b"bcdefghi"
)
HOSTILE = {
    "NUL": (b"log: {}\ngateway: {ae_title: a\0b}\n", 2),
    "control character": (b"log: {}\ngateway: {ae_title: a\x01b}\n", 2),
    "NUL that YAML spells": (b'log: {}\nstate: "a\\0b"\n', 2),
    "half of a pair": (b'log: {}\nstate: "\\ud800"\n', 2),
    "a date that is none": (b"log: {}\ngateway: {ae_title: 2026-13-45}\n", 2),
    "!!int x": (b"log: {}\ngateway: {port: !!int x}\n", 2),
    "!!float x": (b"log: {}\ngateway: {idle_timeout_s: !!float x}\n", 2),
    "!!bool x": (b"log: {}\ngateway: {deflated: !!bool maybe}\n", 2),
    "!!timestamp x": (b"log: {}\nstate: !!timestamp x\n", 2),
    "!!binary": (b"log: {}\nstate: !!binary \xc3\xa4\n", 2),
    "!!python": (b"log: {}\nstate: !!python/object:os.system x\n", 2),
    "0x_": (b"log: {}\ngateway: {port: 0x_}\n", 2),
    "digits": (b"log: {}\ngateway: {port: " + b"9" * 5000 + b"}\n", 2),
    "more digits than Python prints": (b"log: {}\ngateway: {port: 0x" + b"f" * 4000 + b"}\n", 2),
    "3,000 nested brackets": (NESTED, 1),
    "aliases of aliases": (LAUGHS, 0),
    "an alias of itself": (b"a: &a [*a]\n", 1),
    "a merge of itself": (b"gateway: &a {<<: *a}\n", 1),
    "a merge of a list of words": (b"gateway: {<<: [a, b]}\n", 1),
    "not UTF-8": (b"log: {}\nstate: \xff\xfe\n", 2),
    "UTF-16": ("log: {}".encode("utf-16"), 1),
    "a key twice": (b"log: {}\nlog: {}\n", 2),
    "a key that is a list": (b"log: {}\n[1, 2]: 3\n", 2),
    "two documents": (b"log: {}\n---\nlog: {}\n", 2),
    "no home": (b"log: {}\nstate: ~nobody-of-that-name/x\n", 2),
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: bytes) -> Path:
        path = tmp_path / "filmgate.yaml"
        path.write_bytes(text)
        return path

    return written


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_settings_can_hold_is_refused_with_its_line(write: Write, name: str) -> None:
    text, line = HOSTILE[name]
    path = write(text)
    with pytest.raises(SettingsError) as refused:
        load_all(path, None)
    assert str(refused.value).startswith(f"{path}:{line}: " if line else f"{path}:")


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "no home"])
def test_so_are_rules(write: Write, name: str, tmp_path: Path) -> None:
    """policy.file is YAML of its own."""
    rules = tmp_path / "rules.yaml"
    rules.write_bytes(HOSTILE[name][0])
    with pytest.raises(SettingsError, match=r"policy\.file: \S+rules\.yaml: ?\S"):
        load_all(write(b"policy: {file: rules.yaml}\n"), None)


def test_a_byte_order_mark_and_merged_keys_are_fine() -> None:
    """Windows editors write the one, people with many destinations the other."""
    tree = parse("\ufeffa: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n")
    assert tree.value == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}}
    assert (tree.lines["b", "x"], tree.lines["b", "y"]) == (1, 4)
    assert Policy.default().digest  # the same reader


def test_aliases_count_as_often_as_they_are_used() -> None:
    row = "a: &a [" + "x, " * 1000 + "x]\n"
    assert len(parse(f"{row}b: [{', '.join(['*a'] * 20)}]").value["b"]) == 20
    with pytest.raises(YamlError, match="aliases"):
        parse(f"{row}b: [{', '.join(['*a'] * (MOST_VALUES // 1000))}]")


def other_files(folder: Path) -> dict[str, Path]:
    """What is there and is no file that can be read to its end."""
    os.mkfifo(folder / "pipe")
    (folder / "huge").write_bytes(b"# nothing\n" * 200_000)
    return {
        "a folder": folder,
        "a pipe": folder / "pipe",
        "1024 KiB": folder / "huge",
        "device": Path("/dev/zero"),
    }


def test_only_files_are_read(write: Write, tmp_path: Path) -> None:
    """A pipe would be waited for, for ever, and /dev/zero never ends."""
    for words, path in other_files(tmp_path).items():
        secret = {"FILMGATE_REDIS__URL_FILE": str(path)}
        card = tmp_path / words / "configs"
        card.mkdir(parents=True)
        (card / "metadata.json").symlink_to(path)
        rules = write(b"policy: {file: %s}" % bytes(path))
        for act in (
            partial(load_all, path, None),
            partial(load, None, None, secret),
            partial(load_all, rules, None),
        ):
            with pytest.raises(SettingsError, match=words):
                act()
        bundles = write(
            b"work: {regions: ['%s']}\ndestinations: {x: {kind: classifier, bundle: './%s', on: true}}"
            % (words.encode(), words.encode())
        )
        assert {f"region {words}", "classifier x"} <= set(fitness.closed(load_all(bundles, None)))


def test_a_card_that_is_nested_too_deep_closes_its_gate(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text("[" * 100_000)
    assert "nested too deep" in fitness.problem_of(tmp_path)


BAD_VALUES = (
    *(
        "",
        " ",
        "\udcff",
        "a\x01b",
        "~",
        "[",
        "{",
        "[[[[",
        "{a: 1}",
        "[1]",
        "[*a]",
        "2026-13-45",
        "!!int x",
        "x" * 5000,
    ),
    *(
        "nan",
        "inf",
        "-1",
        "1e308",
        "9" * 400,
        "0x" + "f" * 300,
        "null",
        "[null]",
        "ä",
        "../..",
        "/dev/zero",
        "a..b",
    ),
)


@pytest.mark.parametrize("key", [key for key, _ in keys()])
def test_no_value_of_a_variable_does_more_than_be_refused(key: str, tmp_path: Path) -> None:
    """Every key there is, with each of them."""
    name = PREFIX + key.replace("[]", "").replace("NAME", "X").upper().replace(".", "__")
    for value in BAD_VALUES:
        for more in ({}, {f"{PREFIX}DESTINATIONS__X__KIND": kind_of(key)} if "NAME" in key else {}):
            try:
                settings = read(None, tmp_path / "state", {name: value, **more}).settings
                list(fitness.troubles(settings))
            except SettingsError as refused:
                assert str(refused)  # noqa: PT017


def kind_of(key: str) -> str:
    last = key.split(".")[2]
    for kind, words in {
        "folder": ("path",),
        "webhook": ("url", "insecure", "token", "header", "ca_file", "fhir"),
        "classifier": ("bundle", "on", "results"),
    }.items():
        if last in words:
            return kind
    return "dicom"


@pytest.mark.parametrize(
    "text", ["idle_timeout_s: .inf", "pdu_timeout_s: 1.0e+12", "host: a..b", "ae_title: '  '"]
)
def test_values_that_no_clock_or_peer_takes_are_refused(write: Write, text: str) -> None:
    path = write(b"gateway:\n  " + text.encode())
    with pytest.raises(SettingsError, match=rf":2: gateway\.{text.partition(':')[0]}"):
        load(path, None, {})


# A gateway that runs


def test_sighup_with_each_of_them_changes_nothing_and_films_are_stored_on(
    write: Write, events: Events, free_port: int, tmp_path: Path
) -> None:
    """A real listener takes a film after each; the last text is a sound one, and it is taken."""
    good = b"gateway: {port: %d}\nstate: state\n" % free_port
    path = write(good)
    reloads: queue.Queue[str] = queue.Queue()
    object_path = tmp_path / "film.dcm"

    def reload() -> Settings:
        try:
            return load_all(path, None)
        finally:
            reloads.put("")

    def specs(settings: Settings, config: Path) -> list[Any]:
        real = [spec for spec in plan(settings, config) if spec.role == "listener"]
        return [spec for spec in stand_ins(events)(settings, config) if spec.role != "listener"] + real

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=60)
        for text, _ in (*HOSTILE.values(), (b"", 0)):
            path.unlink() if not text else path.write_bytes(text)
            os.kill(os.getpid(), signal.SIGHUP)
            reloads.get(timeout=60)
        film().save_as(object_path, enforce_file_format=True)
        (result,) = scu.send([object_path], "127.0.0.1", free_port, "FILMGATE")
        assert result.status == 0
        path.write_bytes(good + b"log: {level: debug}\n")
        os.kill(os.getpid(), signal.SIGHUP)
        reloads.get(timeout=60)
        events.next("dispatcher stopped")

    with capture_logs() as logs:
        supervise(load_all(path, None), act, specs, reload)
    refused = [row["why"] for row in logs if row["event"] == "new settings refused"]
    assert len(refused) == len(HOSTILE) + 1
    assert all(why.startswith(str(path)) for why in refused)
    ledger = Ledger.open(f"sqlite:///{tmp_path}/state/ledger.sqlite")
    assert len(list(ledger.films())) == 1
    ledger.close()


def test_a_fault_of_ours_in_new_settings_does_not_end_the_gateway(
    write: Write, events: Events, free_port: int
) -> None:
    settings = load(write(b"gateway: {port: %d}\nstate: state\n" % free_port), None, {})
    reloads: queue.Queue[str] = queue.Queue()

    def reload() -> Settings:
        reloads.put("")
        raise RecursionError

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=60)
        os.kill(os.getpid(), signal.SIGHUP)
        reloads.get(timeout=60)

    with capture_logs() as logs:
        supervise(settings, act, stand_ins(events), reload)
    assert [row["log_level"] for row in logs if row["event"] == "new settings refused"] == ["error"]
    assert [events.next()[-2] for _ in range(4)] == ["started"] * 4


def test_a_file_that_vanishes_does_not_mean_the_defaults(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no destination: every film would go nowhere."""
    monkeypatch.chdir(tmp_path)
    path = write(b"destinations: {archive: {ae_title: A, port: 9}}\nroutes: {always: [archive]}\n")
    reloads: list[Callable[[], Settings]] = []

    class Kept:
        def __init__(self, _: Settings, *, reload: Callable[[], Settings], **_others: object) -> None:
            reloads.append(reload)

        def run(self) -> None:
            """Nothing: what it was given is looked at."""

    monkeypatch.setattr(supervisor, "Supervisor", Kept)
    supervisor.run(None, None, say=print)
    assert set(reloads[0]().destinations) == {"archive"}
    path.unlink()
    with pytest.raises(SettingsError, match="there is no such file"):
        reloads[0]()


def test_refused_settings_do_not_reach_a_process_that_starts_again(
    write: Write, events: Events, free_port: int
) -> None:
    """The copy that children read is written last, when nothing can be refused any more."""
    path = write(b"gateway: {port: %d}\nstate: state\n" % free_port)
    settings, planned = load(path, None, {}), 0
    asked: queue.Queue[str] = queue.Queue()

    def specs(settings: Settings, config: Path) -> list[Any]:
        nonlocal planned
        planned += 1
        if planned > 1:
            asked.put("")
            raise SettingsError("there is no redis-server on this machine")
        return stand_ins(events)(settings, config)

    def act(said: queue.Queue[str]) -> None:
        said.get(timeout=60)
        os.kill(os.getpid(), signal.SIGHUP)
        asked.get(timeout=60)

    other = settings.model_copy(update={"log": settings.log.model_copy(update={"level": "debug"})})
    supervise(settings, act, specs, lambda: other)
    assert load(settings.state / "run" / "settings.json", settings.state, {}) == settings


# Secrets


def test_a_listing_hides_every_secret(write: Write) -> None:
    """In addresses of every kind, their queries too, and behind the name of a header."""
    path = write(
        b"""
ledger: {url: "postgresql://me:hush@db/films?sslpassword=hush"}
redis: {url: "rediss://:hush@cache/0?password=hush"}
destinations:
  a: {kind: webhook, url: "https://his.example/in?token=hush&k=hush", token: hush, header: "X-Key: hush"}
  b: {kind: webhook, url: "https://his.example/in", token: hush}
"""
    )
    shown = dict(values(load(path, None, {})))
    assert "hush" not in str(shown)
    assert shown["destinations", "a", "url"] == "https://his.example/in?***"
    assert shown["destinations", "a", "header"] == "X-Key: ***"
    assert shown["destinations", "b", "header"] == "Authorization: Bearer"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hu?sh@db/films", "postgresql://me:***@db/films"),
        ("postgresql://me:hu@sh/h?ush@db/films?password=hush", "postgresql://me:***@db/films?***"),
        ("postgresql://db/films?user=hush&mail=hush@sh", "postgresql://db:***@sh"),
    ],
)
def test_a_password_with_any_letter_is_hidden(write: Write, url: str, shown: str) -> None:
    """SQLAlchemy takes a password with `?` and `@` in it; in doubt more is hidden than need be."""
    assert dict(values(load(write(f"ledger: {{url: '{url}'}}".encode()), None, {})))["ledger", "url"] == shown


@pytest.mark.parametrize(
    "text",
    [
        "redis: 'redis://:hush@cache'",
        "ledger: ['x://y:hush@z']",
        "log: {level: 'a:hush@b'}",
        "routes: {always: {a: hush}}",
    ],
)
def test_a_secret_in_the_wrong_place_is_not_quoted(write: Write, text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(write(text.encode()), None, {})
    assert "hush" not in str(refused.value)
