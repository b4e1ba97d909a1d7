"""Sign in with a hospital's account, by a certified provider that runs here; and what is not believed."""

from __future__ import annotations

import hmac
import json
import re
import socket
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest
from browser import chromium, expects, served, tab
from joserfc import jwt
from joserfc.jwk import RSAKey
from oidc_peer import SECRET, Peer, provider
from playwright.sync_api import Page, expect
from starlette.testclient import TestClient

from gateway.bootstrap import Shell, now
from gateway.console.app import create_app
from gateway.console.doors import Role
from gateway.console.doors.oidc import Attempt, NotSignedIn, Provider, ProviderSilent
from gateway.settings import ConsoleSettings, OidcSettings, Settings

__all__ = ["chromium", "tab"]

ROLES = {"radiographers": "reviewer", "radiology-it": "admin"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


PORT = _free_port()  # the provider must know the way back before there is a console
CONSOLE = f"http://127.0.0.1:{PORT}"
ATTEMPT = "filmgate-provider-8042"


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with provider(_free_port(), f"{CONSOLE}/sign-in/back") as running:
        yield running


@pytest.fixture
def settings(peer: Peer, tmp_path: Path) -> OidcSettings:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    return OidcSettings(
        issuer=peer.issuer,
        client_id="filmgate",
        client_secret_file=tmp_path / "secret",
        roles=ROLES,
        address=CONSOLE,
    )


@pytest.fixture
def shell(settings: OidcSettings, tmp_path: Path) -> Iterator[Shell]:
    console = ConsoleSettings(oidc=settings)
    shell = Shell.open(Settings(state=tmp_path / "state", console=console), migrate_first=True)
    yield shell
    shell.close()


@pytest.fixture
def client(shell: Shell) -> TestClient:
    return TestClient(create_app(shell), base_url=CONSOLE, follow_redirects=False)


def at_the_provider(address: str, person: str) -> str:
    """Sign in there as a browser does, consent, and bring the address that leads back."""
    with closing(httpx.Client(follow_redirects=False, timeout=10)) as browser:
        answer = browser.get(address)
        for _ in range(12):
            if answer.is_redirect:
                to = urljoin(str(answer.url), answer.headers["location"])
                if to.startswith(CONSOLE):
                    return to
                answer = browser.get(to)
                continue
            form = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
            assert form, answer.text
            prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
            assert prompt, answer.text
            data = {"prompt": prompt[1], "login": person, "password": "any"}
            answer = browser.post(urljoin(str(answer.url), form[1]), data=data)
    raise AssertionError("the provider led nowhere")


def signed_in_as(client: TestClient, person: str, next_: str = "/") -> httpx.Response:
    leave = client.get("/sign-in/provider", params={"next": next_})
    assert leave.status_code == 303
    back = at_the_provider(leave.headers["location"], person)
    return client.get(back)


def test_people_come_in_with_the_role_of_their_group(client: TestClient, shell: Shell) -> None:
    """And go on to where they wanted; their next sign-in finds the same person, and a changed role."""
    answer = signed_in_as(client, "u1", "/films?page=2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/films?page=2")
    assert "anna" in client.get("/").text
    user = shell.ledger.user("anna")
    assert (user.role, user.made_by, user.subject.endswith(" u1")) == (Role.REVIEWER, "provider", True)
    shell.ledger.follow_role(user, Role.ADMIN, by="tests", now=now())
    signed_in_as(client, "u1")
    assert shell.ledger.user("anna").role is Role.REVIEWER
    assert shell.ledger.credentials("anna") is None


def test_who_has_no_group_or_anothers_name_does_not_come_in(client: TestClient, shell: Shell) -> None:
    """The provider's `admin` is not ours, and a person who was disabled here stays out."""
    assert signed_in_as(client, "u2").status_code == 403
    shell.ledger.add_user("admin", Role.ADMIN, by="tests", now=now(), password_hash="x")
    refused = signed_in_as(client, "u3")
    assert (refused.status_code, "named admin already" in refused.text) == (403, True)
    assert signed_in_as(client, "u1").status_code == 303
    shell.ledger.set_disabled("anna", True, by="admin", now=now())
    assert signed_in_as(client, "u1").status_code == 403
    assert client.get("/").status_code == 401


def test_an_answer_fits_the_question_of_this_browser_or_is_refused(client: TestClient) -> None:
    """State, nonce, verifier, a code that was used, an error, another issuer, no cookie."""
    leave = client.get("/sign-in/provider")
    asked = parse_qs(urlsplit(leave.headers["location"]).query)
    assert asked["code_challenge_method"] == ["S256"]
    attempt = Attempt.of_cookie(client.cookies[ATTEMPT])
    assert attempt is not None
    assert (asked["state"], asked["nonce"]) == ([attempt.state], [attempt.nonce])
    back = at_the_provider(leave.headers["location"], "u1")

    def come(address: str, **changes: str) -> int:
        fields = {"state": attempt.state, "nonce": attempt.nonce, "verifier": attempt.verifier, "next": "/"}
        cookie = Attempt(**{**fields, **changes}).cookie()
        client.cookies.clear()
        client.cookies.set(ATTEMPT, cookie, domain="127.0.0.1")
        return client.get(address).status_code

    assert come(back, state="another") == 403
    assert come(back.replace(attempt.state, "another")) == 403
    assert come(re.sub(r"iss=[^&]*", "iss=https%3A%2F%2Fevil.example", back)) == 403
    assert come(re.sub(r"&?iss=[^&]*", "", back)) == 403
    assert come(f"/sign-in/back?error=access_denied&state={attempt.state}") == 403
    client.cookies.clear()
    assert client.get(back).status_code == 403
    assert come(back, verifier="x" * 50) == 403  # the provider looks at it, and the code is spent
    fresh = at_the_provider(leave.headers["location"], "u1")
    assert come(fresh, nonce="another") == 403
    fresh = at_the_provider(leave.headers["location"], "u1")
    assert come(fresh) == 303
    assert come(fresh) == 403  # a code is for once
    for cookie in (b"", b"x", b"{}", b"[1]", b'{"a":1}'):
        assert Attempt.of_cookie(urlsafe_b64encode(cookie).decode()) is None


def test_an_id_token_that_is_wrong_in_any_way_is_not_believed(settings: OidcSettings, peer: Peer) -> None:
    """Signed by the provider's very key, but of another issuer, for others, too old; or signed by nobody."""
    asking = Provider(settings)
    at = int(time.time())
    good = {"iss": peer.issuer, "sub": "u1", "aud": "filmgate", "exp": at + 60, "iat": at, "nonce": "n"}

    def believed(claims: dict[str, Any], header: dict[str, Any] | None = None, key: Any = peer.key) -> str:
        header = header or {"alg": "RS256", "kid": "k1"}
        token = jwt.encode(header, claims, key, algorithms=[header["alg"]])
        return asking.believed({"id_token": token}, "n").subject

    assert believed(good) == f"oidc {peer.issuer} u1"
    wrong = (
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"aud": ["filmgate", "another"]},  # without `azp`
        {"azp": "another"},
        {"exp": at - 120},
        {"exp": "later"},
        {"iat": at + 3600},
        {"nbf": at + 3600},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
    )
    for change in wrong:
        with pytest.raises(NotSignedIn):
            believed({**good, **change})
    for missing in good:
        with pytest.raises(NotSignedIn):
            believed({key: value for key, value in good.items() if key != missing})
    stranger = RSAKey.generate_key(2048, {"kid": "k1"}, private=True)
    with pytest.raises(NotSignedIn):
        believed(good, {"alg": "RS256", "kid": "k1"}, stranger)
    forged = (signed(good, algorithm, peer.key.as_pem(private=False)) for algorithm in ("HS256", "none"))
    for token in (*forged, None, "x.y.z", 7, ""):
        with pytest.raises(NotSignedIn):
            asking.believed({"id_token": token}, "n")


def signed(claims: dict[str, Any], algorithm: str, key: bytes) -> str:
    """A token as somebody makes it who has the public key, and takes it for a password; or no key at all."""
    parts = ({"alg": algorithm, "kid": "k1"}, claims)
    text = ".".join(urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    mac = hmac.digest(key, text.encode(), "sha256") if algorithm == "HS256" else b""
    return f"{text}.{urlsafe_b64encode(mac).decode().rstrip('=')}"


def test_a_provider_that_is_away_or_is_another_is_said_in_words(
    settings: OidcSettings, free_port: int, tmp_path: Path, peer: Peer
) -> None:
    """Whoever has a password can still sign in."""
    gone = settings.model_copy(update={"issuer": f"http://localhost:{free_port}"})
    with pytest.raises(ProviderSilent, match="cannot be asked"):
        Provider(gone).leave(Attempt.begin("/"), CONSOLE)
    other = settings.model_copy(update={"issuer": peer.issuer.replace("localhost", "127.0.0.1")})
    with pytest.raises(ProviderSilent, match="calls itself otherwise"):
        Provider(other).leave(Attempt.begin("/"), CONSOLE)
    console = ConsoleSettings(oidc=gone)
    shell = Shell.open(Settings(state=tmp_path / "state", console=console), migrate_first=True)
    with TestClient(create_app(shell), base_url=CONSOLE, follow_redirects=False) as client:
        assert "hospital&#39;s account" in client.get("/sign-in").text
        answer = client.get("/sign-in/provider", headers={"Accept": "text/html"})
        assert (answer.status_code, "password here" in answer.text) == (503, True)
    shell.close()


def test_a_browser_goes_there_and_back(peer: Peer, shell: Shell, tab: Page) -> None:
    """The provider is another site: the way back needs a Lax cookie, and what follows a Strict one."""
    with served(shell, port=PORT) as console:
        expects(tab, peer.issuer, "fonts.googleapis.com")  # its own pages are no matter of ours
        tab.goto(f"{console.url}/sign-in?next=/password")
        tab.get_by_role("link", name="With your hospital's account").click()
        tab.locator("input[name=login]").fill("u1")
        tab.locator("input[name=password]").fill("any")
        tab.locator("button[type=submit]").click()
        tab.get_by_role("button", name="Continue").click()
        expect(tab.get_by_role("heading", name="Your account")).to_be_visible()
        expect(tab.get_by_text("anna, reviewer")).to_be_visible()
        assert urlsplit(tab.url).path == "/password"
