"""Behind a reverse proxy: who is believed, and who is answered at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from console_client import PASSWORD, add_person, csrf_token
from starlette.testclient import TestClient

from gateway.bootstrap import Shell, now
from gateway.console.app import create_app
from gateway.console.doors import Role
from gateway.errors import SettingsError
from gateway.settings import ConsoleSettings, Settings, load

PROXY = "10.1.2.3"
BY_TLS = {"X-Forwarded-Proto": "https", "Host": "films.hospital.example"}
PROXIED = {
    "host": "0.0.0.0",
    "names": ["films.hospital.example"],
    "proxy": {
        "from": [f"{PROXY}/32"],
        "user_header": "Remote-User",
        "role_header": "Remote-Groups",
        "roles": {"it": "admin", "rads": "reviewer"},
        "default_role": None,
    },
}


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    console = ConsoleSettings.model_validate(PROXIED)
    shell = Shell.open(Settings(state=tmp_path / "state", console=console), migrate_first=True)
    yield shell
    shell.close()


def client(shell: Shell, address: str = PROXY, **headers: str) -> TestClient:
    app = create_app(shell)
    return TestClient(
        app, base_url="http://127.0.0.1", headers=headers, follow_redirects=False, client=(address, 50000)
    )


def test_a_named_proxy_says_who_somebody_is(shell: Shell) -> None:
    """Their groups make the role, with each request; forms need the token all the same."""
    anna = client(shell, **BY_TLS, **{"Remote-User": "anna", "Remote-Groups": "staff, rads"})
    assert "anna" in anna.get("/").text
    assert shell.ledger.user("anna").role is Role.REVIEWER
    assert anna.get("/users").status_code == 403
    anna.headers["Remote-Groups"] = "it"
    assert anna.get("/users").status_code == 200
    form = {"name": "bert", "role": "viewer"}
    assert anna.post("/users", data=form).status_code == 403
    ours = {"Origin": "https://films.hospital.example"}
    assert anna.post("/users", data=form | {"csrf_token": csrf_token(anna)}, headers=ours).status_code == 200
    anna.headers["Remote-Groups"] = "visitors"
    assert anna.get("/").status_code == 403
    anna.headers["Remote-Groups"] = "it"
    shell.ledger.add_user("boss", Role.ADMIN, by="tests", now=now(), password_hash="x")
    shell.ledger.set_disabled("anna", True, by="boss", now=now())
    assert anna.get("/").status_code == 403


@pytest.mark.parametrize("address", ["10.1.2.4", "127.0.0.1", "::1", "testclient", ""])
def test_anybody_else_who_sends_its_headers_is_nobody(shell: Shell, address: str) -> None:
    """Neither signed in by them nor believed; who comes from beyond this machine is not even answered."""
    forged = {**BY_TLS, "Remote-User": "anna", "Remote-Groups": "it", "X-Forwarded-For": PROXY}
    answer = client(shell, address, **forged).get("/")
    assert answer.status_code == (401 if address in ("127.0.0.1", "::1") else 403)
    assert shell.ledger.users(now=now(), open_since=now()) == []


def test_headers_that_are_there_twice_or_empty_let_nobody_in(shell: Shell) -> None:
    """One of them may be the browser's."""
    twice = [("Remote-User", "anna"), ("Remote-User", "bert"), ("Remote-Groups", "it"), *BY_TLS.items()]
    for headers in (twice, [("Remote-User", ""), *twice[2:]], [("Remote-User", "a b\\n"), *twice[2:]]):
        assert client(shell).get("/", headers=headers).status_code == 403  # type: ignore[arg-type]


def test_a_proxy_without_tls_is_refused(shell: Shell) -> None:
    """It says so itself; but for the names of this machine, where nothing crosses a network."""
    plain = client(shell, Host="films.hospital.example", **{"Remote-User": "anna", "Remote-Groups": "it"})
    assert plain.get("/").status_code == 403
    assert plain.get("/", headers={"X-Forwarded-Proto": "http"}).status_code == 403
    assert plain.get("/", headers={"Host": "127.0.0.1:8042"}).status_code == 200


def test_guesses_are_counted_by_the_address_that_the_proxy_saw(tmp_path: Path) -> None:
    """What a browser writes in front of it is no matter; another browser does not wait."""
    settings = {**PROXIED, "proxy": {"from": [PROXY]}}
    console = ConsoleSettings.model_validate(settings)
    shell = Shell.open(Settings(state=tmp_path / "state", console=console), migrate_first=True)
    add_person(shell, "anna", Role.VIEWER)
    browser = client(shell, **BY_TLS)
    codes = [
        browser.post(
            "/sign-in",
            data={"name": f"n{number}", "password": "x"},
            headers={"X-Forwarded-For": f"9.9.9.{number}, 192.168.7.7"},
        ).status_code
        for number in range(21)
    ]
    assert codes == [401] * 20 + [429]
    data = {"name": "anna", "password": PASSWORD}
    other = browser.post("/sign-in", data=data, headers={"X-Forwarded-For": "192.168.7.8"})
    assert other.status_code == 303
    assert "; Secure" in other.headers["set-cookie"]
    shell.close()


@pytest.mark.parametrize(
    ("block", "line", "words"),
    [
        ("host: 0.0.0.0", 2, "console.host is 0.0.0.0, beyond this machine"),
        ("host: films.hospital.example", 2, "beyond this machine"),
        ("host: '::'", 2, "beyond this machine"),
        ("proxy: {from: []}", 2, "console.proxy.from"),
        ("proxy: {from: [10.0.0.0/33]}", 2, "console.proxy.from.0"),
        ("proxy: {from: [10.0.0.1], user_header: 'Remote User'}", 2, "no name of a header"),
        ("oidc: {issuer: http://login.example, client_id: x}", 2, "must begin with https://"),
        ("tls: {certificate: c.pem}", 2, "console.tls.key is missing"),
        ("proxy: {from: [10.0.0.1], roles: {it: root}}", 2, "console.proxy.roles.it"),
    ],
)
def test_settings_that_would_open_the_console_are_refused(
    tmp_path: Path, block: str, line: int, words: str
) -> None:
    """With file and line, as all others."""
    file = tmp_path / "filmgate.yaml"
    file.write_text(f"console:\n  {block}\n")
    with pytest.raises(SettingsError) as refused:
        load(file, env={})
    assert f"filmgate.yaml:{line}: " in str(refused.value)
    assert words in str(refused.value)


def test_a_console_that_is_off_may_stand_anywhere(tmp_path: Path) -> None:
    """Settings of before that named an address for it still do."""
    file = tmp_path / "filmgate.yaml"
    file.write_text("console: {enabled: false, host: 0.0.0.0}\n")
    assert load(file, env={}).console.enabled is False
