"""`filmgate users`, and what the ledger keeps of people."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from ledger_films import ledger
from typer.testing import CliRunner

from gateway.cli import app
from gateway.errors import NotFound
from gateway.ledger import Ledger
from gateway.ledger.people import backoff, passwords
from gateway.ledger.people.backoff import FORGET_S, PACES, Kind, sources
from gateway.ledger.people.peopling import CannotChangePerson
from gateway.ledger.people.records import Lifetimes, Role
from gateway.ledger.people.signing_in import MOST_DEVICES, MOST_SESSIONS, Tokens, digest

__all__ = ["ledger"]

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
LIFE = Lifetimes(idle_s=3600, longest_s=36000)


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("correct horse battery staple\n")
    return file


def cli(state: Path, *words: str) -> tuple[int, str, str]:
    """Exit code, standard output, and what went wrong."""
    run = CliRunner().invoke(app, ["users", *words, "--state", str(state)])
    return run.exit_code, run.stdout, str(run.exception or "")


def test_the_first_admin_is_made_before_there_is_anything(tmp_path: Path, password_file: Path) -> None:
    """The first one is an admin; the password comes from a file or a terminal, and never from the words."""
    state, from_file = tmp_path / "state", ("--password-file", str(password_file))
    code, _, wrong = cli(state, "add", "anna", *from_file)
    assert (code, "--role admin" in wrong) == (1, True)
    code, _, wrong = cli(state, "add", "anna", "--role", "admin")
    assert (code, "no terminal" in wrong) == (1, True)
    code, said, _ = cli(state, "add", "anna", "--role", "admin", "--json", *from_file)
    (item,) = json.loads(said)
    assert (code, item["name"], item["role"], item["signs_in_by"]) == (0, "anna", "admin", "password")
    opened = Ledger.open(f"sqlite:///{state}/ledger.sqlite")
    kept = opened.credentials("ANNA")
    opened.close()
    assert kept is not None
    assert kept.password_hash.startswith("$argon2id$v=19$m=19456,t=3,p=1$")
    assert passwords.fits("correct horse battery staple", kept.password_hash)


def test_every_command_does_what_it_says(tmp_path: Path, password_file: Path) -> None:
    """In one process, for speed; each is an audit row under the name of who did it."""

    def users(*words: str) -> list[dict[str, object]]:
        given = ["users", *words, "--state", str(tmp_path / "state"), "--json"]
        done = CliRunner().invoke(app, given)
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout)

    by = ("--by", "boss")
    users("add", "anna", "--role", "admin", "--password-file", str(password_file), *by)
    users("add", "bert", "--must-change", "--password-file", str(password_file), *by)
    assert users("role", "bert", "reviewer", *by)[0]["role"] == "reviewer"
    assert users("disable", "bert", *by)[0]["disabled"] is True
    assert users("disable", "bert", "--undo", *by)[0]["disabled"] is False
    assert (
        users("password", "bert", "--password-file", str(password_file), *by)[0]["must_change_password"]
        is False
    )
    users("sign-out", "bert", *by)
    assert [item["name"] for item in users("list")] == ["anna", "bert"]
    opened = Ledger.open(f"sqlite:///{tmp_path}/state/ledger.sqlite")
    with opened.reading() as db:
        rows = db.exec_driver_sql("SELECT what, who FROM events ORDER BY id").all()
    opened.close()
    assert [what for what, _ in rows] == [
        "user added",
        "user added",
        "user role",
        "user disabled",
        "user enabled",
        "user password",
        "user signed out",
    ]
    assert {who for _, who in rows} == {"boss"}


@pytest.mark.parametrize(
    ("password", "fits"),
    [
        ("short", False),
        ("x" * 257, False),
        ("aaaaaaaaaaaaaaaa", False),
        ("annaanna-anna", False),
        ("correct horse battery", True),
        ("æøå og mange ord til", True),
    ],
)
def test_a_password_is_long_enough_and_no_mere_name(password: str, fits: bool) -> None:
    """Length is what counts; no rules of letters and digits."""
    if fits:
        passwords.need_strong(password, "anna")
    else:
        with pytest.raises(passwords.WeakPassword):
            passwords.need_strong(password, "anna")


def test_a_password_that_is_made_up_is_strong_and_another_each_time() -> None:
    """99 bits, in letters that can be read out."""
    made = {passwords.made_up() for _ in range(100)}
    assert len(made) == 100
    for one in made:
        passwords.need_strong(one, "demo")
        assert not set("01ilo") & set(one)


def test_names_that_look_alike_are_one_name(ledger: Ledger) -> None:
    """Case is no difference; what is no plain name is none."""
    ledger.add_user("anna", Role.ADMIN, by="x", now=NOW, password_hash="h")
    for name in ("Anna", "ANNA", "an na", "anna\u200b", "", "x" * 65, "<b>", "ａnna", "a\nb", "\u0430nna"):
        with pytest.raises(CannotChangePerson):
            ledger.add_user(name, Role.VIEWER, by="x", now=NOW)
    ledger.add_user("Ève", Role.VIEWER, by="x", now=NOW, password_hash="h")
    assert all(ledger.credentials(name) for name in ("Ève", "ève", "ÈVE", "ANNA"))
    with pytest.raises(NotFound):
        ledger.set_role("bert", Role.VIEWER, by="x", now=NOW)


def test_the_waits_are_those_that_are_documented() -> None:
    """docs/console.md has the table."""
    name, address = PACES[Kind.NAME], PACES[Kind.ADDRESS]
    assert [name.wait_s(n) for n in (0, 4, 5, 6, 7, 10, 11, 1000)] == [0, 0, 1, 2, 4, 32, 60, 60]
    assert [address.wait_s(n) for n in (0, 19, 20, 21, 28, 29, 1000)] == [0, 0, 1, 2, 256, 300, 300]
    (source, _) = sources("anna", "10.0.0.1")
    assert source.wait_s(50, NOW, NOW + timedelta(seconds=59)) == 1.0
    assert source.wait_s(50, NOW, NOW + timedelta(seconds=FORGET_S)) == 0.0
    assert (
        source.wait_s(50, NOW, NOW - timedelta(days=1)) == 0.0
    )  # a clock that was put back keeps nobody out
    assert "anna" not in source.text


def test_an_ipv6_household_is_one_address() -> None:
    """Else a guesser would have 2^64 of them."""
    one, two = (sources("x", f"2001:db8:1:2::{n}")[1] for n in (1, 2))
    other, mapped, plain = (sources("x", a)[1] for a in ("2001:db8:1:3::1", "::ffff:10.0.0.1", "10.0.0.1"))
    assert one == two != other
    assert mapped == plain


def test_failures_outlive_the_process_and_are_forgotten_in_time(tmp_path: Path) -> None:
    """They are in the ledger."""
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    guessed = sources("anna", "10.0.0.1")
    opened = Ledger.open(url, migrate_first=True)
    assert [opened.begin_try(guessed, now=NOW) for _ in range(6)] == [0, 0, 0, 0, 0, 1.0]
    opened.close()
    opened = Ledger.open(url)
    assert opened.begin_try(guessed, now=NOW) == 1.0
    assert opened.begin_try(guessed, now=NOW + timedelta(seconds=FORGET_S + 1)) == 0.0
    with opened.reading() as db:
        assert db.exec_driver_sql("SELECT count(*) FROM guesses").scalar() == 2
    opened.close()


def test_sessions_and_devices_do_not_pile_up(ledger: Ledger) -> None:
    """The oldest of too many end, and what is over is removed; a shared browser knows all who use it."""
    user = ledger.add_user("anna", Role.ADMIN, by="x", now=NOW, password_hash="h")
    bert = ledger.add_user("bert", Role.ADMIN, by="x", now=NOW, password_hash="h")
    for number in range(MOST_SESSIONS + 5):
        at = NOW + timedelta(seconds=number)
        tokens = Tokens(digest(f"s{number}"), digest(f"d{number}"))
        ledger.sign_in(user, tokens, address="a", how="password", lifetimes=LIFE, now=at)
    at = NOW + timedelta(minutes=1)
    assert ledger.person_of(digest("s0"), lifetimes=LIFE, now=at) is None
    assert ledger.person_of(digest("s24"), lifetimes=LIFE, now=at) is not None
    with ledger.reading() as db:
        assert db.exec_driver_sql("SELECT count(*) FROM sessions").scalar() == MOST_SESSIONS
        assert db.exec_driver_sql("SELECT count(*) FROM devices").scalar() == MOST_DEVICES
    shared = Tokens(digest("s99"), digest("d99"), device_before=digest("d24"))
    ledger.sign_in(bert, shared, address="a", how="password", lifetimes=LIFE, now=at)
    assert [ledger.device_knows(digest("d99"), name, now=at) for name in ("anna", "bert")] == [True, True]
    assert not ledger.device_knows(digest("d24"), "anna", now=at)
    late = at + timedelta(hours=11)
    ledger.sign_in(bert, Tokens("s", "d"), address="a", how="password", lifetimes=LIFE, now=late)
    with ledger.reading() as db:
        assert db.exec_driver_sql("SELECT count(*) FROM sessions").scalar() == 1


def test_a_device_that_is_known_is_counted_alone() -> None:
    """Neither name nor address are asked then."""
    assert [one.kind for one in sources("anna", "10.0.0.1", "d")] == [Kind.DEVICE]
    assert backoff.of_name("Anna") == sources("anna", "x")[0]
