"""The doors of the console, as whoever wants to come in without a right would try them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from console_client import PASSWORD, add_person, csrf_token, sign_in, signed_in, stranger
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from gateway.bootstrap import Shell, now
from gateway.console.app import ROUTERS, create_app
from gateway.console.doors import Admin, Role, Viewer
from gateway.console.doors.guard import HEADERS, OPEN, is_open
from gateway.console.pages.sign_in import safe_next
from gateway.ledger.people.signing_in import digest
from gateway.settings import Settings

PAGE = {"Accept": "text/html"}
SESSION = "filmgate-session-8042"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell.open(Settings(state=tmp_path / "state"), migrate_first=True)
    yield shell
    shell.close()


def events(shell: Shell) -> list[tuple[str, str]]:
    """What the audit has, as (what, who)."""
    with shell.ledger.reading() as db:
        return [tuple(row) for row in db.exec_driver_sql("SELECT what, who FROM events ORDER BY id")]


def routes() -> Iterator[tuple[str, set[str]]]:
    """Path and methods of every route that is not open, with 1 in the place of each parameter."""
    waiting = list(ROUTERS)
    while waiting:
        for route in waiting.pop().routes:
            if isinstance(route, APIRoute):
                if not is_open(route.path):
                    yield re.sub(r"\{\w+(:\w+)?\}", "1", route.path), set(route.methods or ())
            else:
                waiting.append(route.original_router)  # type: ignore[attr-defined]  # one in another


# Coming in


def test_no_route_answers_a_stranger_but_those_that_are_meant_to(shell: Shell) -> None:
    """Every route there is, with every method: 401, or the way to the sign-in page."""
    client, asked = stranger(shell), 0
    for path, methods in routes():
        for method in methods:
            asked += 1
            answer = client.request(method, path)
            assert answer.status_code == 401, (method, path)
            assert answer.json()["detail"].startswith("You are not signed in")
            page = client.request("GET", path, headers=PAGE)
            assert (page.status_code, page.text) == (303, ""), path
    assert asked > 10


def test_what_is_open_is_named_one_by_one() -> None:
    """A longer address that begins like an open one is closed."""
    assert not any(is_open(path + rest) for path in OPEN for rest in ("x", "/x", "/../films", "//"))
    assert is_open("/static/console.css")
    assert not is_open("/static")


def test_static_files_are_those_alone(shell: Shell) -> None:
    """What is open to strangers gives nothing from above its folder."""
    client = stranger(shell)
    assert client.get("/static/console.css").status_code == 200
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd"):
        assert client.get(path).status_code in (401, 404)


def test_the_way_leads_back_to_where_somebody_wanted_to_go(shell: Shell) -> None:
    """With the state that is in the address, and to no other site."""
    add_person(shell, "anna", Role.VIEWER)
    client = stranger(shell)
    asked = client.get("/films?sender=ROOM1&page=2", headers=PAGE)
    assert asked.headers["location"] == f"/sign-in?next={quote('/films?sender=ROOM1&page=2', safe='')}"
    shown = client.get(asked.headers["location"])
    assert 'name="next" value="/films?sender=ROOM1&amp;page=2"' in shown.text
    data = {"name": "anna", "password": PASSWORD, "next": "/films?sender=ROOM1&page=2"}
    assert client.post("/sign-in", data=data).headers["location"] == "/films?sender=ROOM1&page=2"


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "/\t/evil.example",
        "/\n/evil.example",
        "javascript:alert(1)",
        "evil.example",
        "///evil.example",
        "/sign-out",
        "/" + "x" * 3000,
        "http:/evil.example",
        "",
    ],
)
def test_a_sign_in_leads_to_no_other_site(address: str) -> None:
    """An open redirect would lend our name to a page that asks for the password once more."""
    assert safe_next(address) == "/"


def test_a_link_in_a_mail_leads_in_where_somebody_is_signed_in(shell: Shell) -> None:
    """The browser keeps Strict cookies back then; one page of ours in between, and it sends them."""
    client = stranger(shell)
    site = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    first = client.get("/films", headers=PAGE | site)
    assert first.status_code == 200
    assert '<meta http-equiv="refresh" content="0">' in first.text
    again = client.get("/films", headers=PAGE | {"Sec-Fetch-Site": "same-origin"})
    assert again.headers["location"].startswith("/sign-in")


def test_parts_of_a_page_lead_the_whole_page_to_the_sign_in(shell: Shell) -> None:
    """HTMX would otherwise put the sign-in page into a corner of a table."""
    answer = stranger(shell).get("/", headers=PAGE | {"HX-Request": "true"})
    assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, "/sign-in")


def test_a_role_is_what_it_says(shell: Shell) -> None:
    """Who looks cannot change, and is told in words; at once also when the role changes meanwhile."""
    viewer = signed_in(shell, Role.VIEWER)
    assert viewer.get("/").status_code == 200
    refused = viewer.get("/users", headers=PAGE)
    assert (refused.status_code, "for admins" in refused.text) == (403, True)
    assert "/users" not in viewer.get("/").text
    add_person(shell, "boss", Role.ADMIN)
    shell.ledger.set_role("viewer", Role.ADMIN, by="boss", now=now())
    assert viewer.get("/users").status_code == 200
    shell.ledger.set_disabled("viewer", True, by="boss", now=now())
    viewer.follow_redirects = False
    assert viewer.get("/").status_code == 401


# Sessions


def test_the_cookies_are_for_this_host_and_no_script(shell: Shell) -> None:
    """HttpOnly, Strict, of the path /; the browser's own end of the session ends the cookie."""
    add_person(shell, "anna", Role.VIEWER)
    answer = stranger(shell).post("/sign-in", data={"name": "anna", "password": PASSWORD})
    session, device = answer.headers.get_list("set-cookie")
    assert re.fullmatch(rf"{SESSION}=[\w-]{{43}}; HttpOnly; Path=/; SameSite=strict", session)
    assert "Max-Age=7776000" in device
    assert "HttpOnly" in device


def test_a_token_from_before_the_sign_in_is_worth_nothing(shell: Shell) -> None:
    """Session fixation: what an attacker put into the browser is replaced, and was no session."""
    add_person(shell, "anna", Role.VIEWER)
    client = stranger(shell)
    client.cookies.set(SESSION, "planted", domain="127.0.0.1")
    sign_in(client, "anna")
    first = client.cookies[SESSION]
    assert first != "planted"
    thief = stranger(shell)
    thief.cookies.set(SESSION, "planted", domain="127.0.0.1")
    assert thief.get("/").status_code == 401
    client.follow_redirects = False
    sign_in(client, "anna")  # and a second sign-in ends the first session
    thief.cookies.set(SESSION, first, domain="127.0.0.1")
    assert thief.get("/").status_code == 401


def test_the_ledger_has_no_token_that_lets_anybody_in(shell: Shell) -> None:
    """Who reads a backup has digests."""
    client = signed_in(shell)
    token = client.cookies[SESSION]
    state = b"".join(path.read_bytes() for path in shell.settings.state.glob("ledger.sqlite*"))
    assert token.encode() not in state
    assert digest(token).encode() in state
    assert PASSWORD.encode() not in state


def test_a_session_ends_by_signing_out_and_the_copied_cookie_with_it(shell: Shell) -> None:
    """On the server; the browser's cookie is only a number."""
    client = signed_in(shell)
    token = client.cookies[SESSION]
    assert client.post("/sign-out").url.path == "/sign-in"
    thief = stranger(shell)
    thief.cookies.set(SESSION, token, domain="127.0.0.1")
    assert thief.get("/").status_code == 401
    assert events(shell)[-2:] == [("signed in", "reviewer"), ("signed out", "reviewer")]


def test_a_session_that_nobody_uses_ends_and_a_page_that_asks_by_itself_keeps_none_open(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tab that is left open asks every second; that is nobody's use."""
    client = signed_in(shell)
    client.follow_redirects = False
    start, minute = now(), timedelta(minutes=1)

    def at(minutes: int, path: str, **headers: str) -> int:
        monkeypatch.setattr("gateway.console.doors.who.now", lambda: start + minutes * minute)
        return client.get(path, headers=headers).status_code

    assert at(100, "/") == 200  # used
    assert at(200, "/") == 200
    assert at(310, "/", **{"X-Unattended": "1"}) == 200
    assert at(310, "/api/pulse") == 200
    assert at(321, "/") == 401  # two hours after the last use
    monkeypatch.undo()
    client = signed_in(shell)
    client.follow_redirects = False
    for minutes in range(0, 720, 60):
        assert at(minutes, "/") == 200
    assert at(721, "/") == 401  # twelve hours, used or not


def test_two_cookies_of_one_name_are_none(shell: Shell) -> None:
    """A neighbour on this host who adds a cookie of its own signs nobody in as somebody else."""
    mine = signed_in(shell).cookies[SESSION]
    client = stranger(shell)
    assert client.get("/", headers={"Cookie": f"{SESSION}={mine}"}).status_code == 200
    assert client.get("/", headers={"Cookie": f"{SESSION}={mine}; {SESSION}=other"}).status_code == 401


# Forms


def test_another_site_can_do_nothing_by_way_of_the_browser(shell: Shell) -> None:
    """CSRF: without the token, with another one, or from another origin nothing happens."""
    admin = signed_in(shell, Role.ADMIN)
    token = admin.headers.pop("X-CSRF-Token")
    data = {"name": "mallory", "role": "admin"}
    other = csrf_token(signed_in(shell, Role.VIEWER))
    tries = (
        {"data": data},
        {"data": data | {"csrf_token": ""}},
        {"data": data | {"csrf_token": "0" * 64}},
        {"data": data | {"csrf_token": other}},
        {"data": data, "headers": {"X-CSRF-Token": other}},
        {"data": data | {"csrf_token": token}, "headers": {"Origin": "https://evil.example"}},
        {"data": data | {"csrf_token": token}, "headers": {"Origin": "null"}},
        {"data": data | {"csrf_token": token}, "headers": {"Origin": "http://127.0.0.1:3000"}},
        {"data": data | {"csrf_token": token}, "headers": {"Sec-Fetch-Site": "same-site"}},
        {"data": data | {"csrf_token": token}, "headers": {"Sec-Fetch-Site": "cross-site"}},
        {"json": data | {"csrf_token": token}},
        {"content": "name=mallory&role=admin", "headers": {"Content-Type": "text/plain"}},
        {"files": {"name": (None, "mallory"), "role": (None, "admin"), "csrf_token": (None, token)}},
    )
    for one in tries:
        assert admin.post("/users", **one).status_code == 403, one  # type: ignore[arg-type]
    assert shell.ledger.credentials("mallory") is None
    ours = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
    assert admin.post("/users", data=data | {"csrf_token": token}, headers=ours).status_code == 200
    assert shell.ledger.credentials("mallory") is not None


def test_every_route_that_changes_something_asks_for_the_token(shell: Shell) -> None:
    """Whoever adds a route cannot forget it."""
    client, asked = signed_in(shell, Role.ADMIN), 0
    del client.headers["X-CSRF-Token"]
    for path, methods in routes():
        for method in methods - {"GET", "HEAD"}:
            asked += 1
            assert client.request(method, path, json={}).status_code == 403, (method, path)
            form = client.request(method, path, data={"x": "1"})
            assert form.status_code in (403, 422), (method, path)
    assert asked >= 5


def test_other_sites_can_embed_and_fetch_nothing(shell: Shell) -> None:
    """Not even by what a GET shows, where the browser says who asks; a link is no matter."""
    client = signed_in(shell)
    for mode in ("no-cors", "cors"):
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
        assert client.get("/", headers=headers).status_code == 403
    assert (
        client.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).status_code
        == 200
    )


# Guessing


def test_whoever_guesses_waits_longer_and_a_known_browser_does_not(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five are free; then even the right password waits. The owner's own browser goes on at once."""
    add_person(shell, "anna", Role.ADMIN)
    owner = stranger(shell)
    sign_in(owner, "anna")
    thief = stranger(shell)
    wrong = {"name": "anna", "password": "wrong"}
    assert [thief.post("/sign-in", data=wrong).status_code for _ in range(5)] == [401] * 5
    waits = []
    at = now()
    for _ in range(8):
        answer = thief.post("/sign-in", data={"name": "anna", "password": PASSWORD})
        assert answer.status_code == 429
        waits.append(int(answer.headers["Retry-After"]))
        at += timedelta(seconds=waits[-1])
        monkeypatch.setattr("gateway.console.pages.sign_in.now", lambda at=at: at)
        assert thief.post("/sign-in", data=wrong).status_code == 401
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    owner.follow_redirects = False
    sign_in(owner, "anna")
    assert ("sign-in failed", "anna") in events(shell)


def test_a_name_that_is_not_there_is_answered_like_one_that_is(shell: Shell) -> None:
    """In words, in status, and in when it must wait."""
    add_person(shell, "anna", Role.ADMIN)
    add_person(shell, "gone", Role.VIEWER)
    shell.ledger.set_disabled("gone", True, by="anna", now=now())
    answers = {}
    for name, password in (("anna", "wrong"), ("nobody", "wrong"), ("gone", PASSWORD)):
        client = stranger(shell)
        tries = [client.post("/sign-in", data={"name": name, "password": password}) for _ in range(6)]
        answers[name] = [(one.status_code, one.text.replace(name, "")) for one in tries]
    assert answers["anna"] == answers["nobody"] == answers["gone"]
    assert [status for status, _ in answers["anna"]] == [401] * 5 + [429]


def test_many_guesses_at_once_are_counted_one_by_one(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are counted before the password is looked at: a race wins nothing."""
    from concurrent.futures import ThreadPoolExecutor

    add_person(shell, "anna", Role.ADMIN)
    client = stranger(shell)
    data = {"name": "anna", "password": "wrong"}
    moment = now()
    monkeypatch.setattr("gateway.console.pages.sign_in.now", lambda: moment)
    with ThreadPoolExecutor(16) as pool:
        codes = list(pool.map(lambda _: client.post("/sign-in", data=data).status_code, range(32)))
    assert codes.count(401) + codes.count(503) == 5


def test_an_address_that_tries_many_names_waits_too(shell: Shell) -> None:
    """Twenty are free, whichever names; a right one in between takes back itself alone."""
    add_person(shell, "anna", Role.VIEWER)
    client = stranger(shell)
    for number in range(20):
        client.post("/sign-in", data={"name": f"n{number}", "password": "x"})
        if number == 10:
            client.cookies.clear()
            assert client.post("/sign-in", data={"name": "anna", "password": PASSWORD}).status_code == 303
    assert client.post("/sign-in", data={"name": "n99", "password": "x"}).status_code == 429


# Passwords


def test_a_password_of_somebody_elses_choice_is_changed_first(shell: Shell) -> None:
    """Until then there is one page alone; afterwards the old one is worth nothing, and other sessions end."""
    admin = signed_in(shell, Role.ADMIN)
    shown = admin.post("/users", data={"name": "new.one", "role": "viewer"})
    found = re.search(r'class="password">([\w-]+)<', shown.text)
    assert found
    client = stranger(shell)
    answer = client.post("/sign-in", data={"name": "new.one", "password": found[1]})
    assert answer.headers["location"] == "/password"
    assert client.get("/", headers=PAGE).headers["location"] == "/password"
    assert client.get("/").status_code == 403
    client.headers["X-CSRF-Token"] = csrf_token(client)
    mine = "some words that are mine"

    def change(current: str, new: str, again: str) -> int:
        return client.post("/password", data={"now": current, "new": new, "again": again}).status_code

    assert change("wrong", mine, mine) == 403
    assert change(found[1], mine, "another") == 422
    assert change(found[1], "short", "short") == 422
    assert change(found[1], found[1], found[1]) == 422
    assert change(found[1], mine, mine) == 200
    assert client.get("/", headers=PAGE).status_code == 200
    again = stranger(shell)
    assert again.post("/sign-in", data={"name": "new.one", "password": found[1]}).status_code == 401
    assert again.post("/sign-in", data={"name": "new.one", "password": mine}).status_code == 303


def test_the_page_of_users_does_what_it_says(shell: Shell) -> None:
    """Role, new password, sign out, disable; the only admin stays; another's id changes nothing."""
    admin, viewer = signed_in(shell, Role.ADMIN), signed_in(shell, Role.VIEWER)
    viewer.follow_redirects = False
    theirs = shell.ledger.user("viewer").user_id
    mine = shell.ledger.user("admin").user_id
    assert admin.post(f"/users/{theirs}/role", data={"role": "reviewer"}).status_code == 200
    assert shell.ledger.user("viewer").role is Role.REVIEWER
    assert admin.post(f"/users/{theirs}/acts", data={"act": "sign-out"}).status_code == 200
    assert viewer.get("/").status_code == 401
    assert admin.post(f"/users/{mine}/acts", data={"act": "disable"}).status_code == 409
    assert admin.post(f"/users/{mine}/role", data={"role": "viewer"}).status_code == 409
    assert admin.post("/users/4711/acts", data={"act": "disable"}).status_code == 404
    assert admin.post(f"/users/{theirs}/acts", data={"act": "explode"}).status_code == 422
    assert admin.post(f"/users/{theirs}/acts", data={"act": "disable"}).status_code == 200
    assert (
        admin.post("/users", data={"name": "<script>alert(1)</script>", "role": "viewer"}).status_code == 409
    )
    what = [what for what, who in events(shell) if who == "admin"]
    assert what == ["signed in", "user role", "user signed out", "user disabled"]


# Whatever else may come


def test_every_answer_has_the_headers_that_bind_the_browser(shell: Shell) -> None:
    """Pages, refusals, static files, redirects and mistakes."""
    client = signed_in(shell)
    client.follow_redirects = False
    for path in ("/", "/static/console.css", "/no-such", "/sign-in", "/users", "/password"):
        answer = client.get(path)
        for name, value in HEADERS:
            assert answer.headers[name] == value, (path, name)
    assert client.get("/").headers["Cache-Control"] == "no-store"
    policy = dict(HEADERS)["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'")


def test_no_template_has_what_the_policy_forbids() -> None:
    """No script, style or handler in the page itself: a name from a header can then be none either."""
    folder = Path(__file__).parent.parent / "gateway" / "console" / "templates"
    for path in folder.rglob("*.html"):
        text = path.read_text()
        assert not re.search(
            r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|hx-on|javascript:|\|\s*safe", text
        ), path


def test_a_long_body_is_refused_before_it_is_read(shell: Shell) -> None:
    """By what it says of itself, and by what comes of one that says nothing."""
    client = signed_in(shell, Role.ADMIN)

    def parts() -> Iterator[bytes]:
        for _ in range(5):
            yield b"x" * (1 << 19)

    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    told = client.post("/users", content=b"x", headers=headers | {"Content-Length": str(1 << 30)})
    assert (told.status_code, told.headers["Connection"]) == (413, "close")
    assert client.post("/users", content=parts(), headers=headers).status_code == 413
    for length in ("-1", "1e3", "9" * 40, "١"):
        given = headers | {"Content-Length": length.encode()}  # type: ignore[operator]
        assert client.post("/users", content=b"x", headers=given).status_code in (400, 413)


def test_the_console_answers_to_its_own_names_alone(shell: Shell) -> None:
    """A site elsewhere that has its name lead to 127.0.0.1 is told nothing: DNS rebinding."""
    client = signed_in(shell)
    for host in ("evil.example", "evil.example:8042", "127.0.0.1.evil.example", "", "localhost.evil.example"):
        assert client.get("/", headers={"Host": host}).status_code == 421
    for host in ("127.0.0.1", "127.0.0.1:9000", "localhost:8042", "[::1]:8042", "10.1.2.3"):
        assert client.get("/", headers={"Host": host}).status_code == 200


def test_a_mistake_of_ours_shows_no_word_of_it(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    """The browser gets an id, the log the place; neither what a film may have said."""
    app = create_app(shell)

    @app.get("/fails")
    def fails(person: Viewer) -> None:
        raise ValueError("CANARY^NAME cannot be used")

    add_person(shell, "anna", Role.VIEWER)
    client = TestClient(app, base_url="http://127.0.0.1")
    sign_in(client, "anna")
    answer = client.get("/fails?q=CANARY", headers=PAGE)
    number = re.search(r"in its log as (\w{8})", answer.text)
    assert answer.status_code == 500
    assert number
    log = capsys.readouterr().err
    assert number[1] in log
    assert "test_console_doors.py" in log
    assert "CANARY" not in log.replace('raise ValueError("CANARY^NAME cannot be used")', "")
    assert "CANARY" not in answer.text
    assert "Traceback" not in answer.text


def test_what_is_refused_is_not_repeated(shell: Shell) -> None:
    """Neither in JSON nor in a page; what an address holds may be a patient's."""
    app = create_app(shell)

    @app.get("/counted/{number}")
    def counted(number: int, person: Admin) -> int:
        return number

    add_person(shell, "anna", Role.ADMIN)
    client = TestClient(app, base_url="http://127.0.0.1")
    sign_in(client, "anna")
    for headers in ({}, PAGE):
        answer = client.get("/counted/CANARY%3Cscript%3E", headers=headers)
        assert (answer.status_code, "CANARY" in answer.text) == (422, False)
        assert "number" in answer.text


def test_a_name_with_a_script_in_it_is_inert(shell: Shell) -> None:
    """What somebody types at the door comes back as text."""
    text = stranger(shell).post("/sign-in", data={"name": '"><script>x', "password": "x"}).text
    assert "<script>x" not in text
    assert "&lt;script&gt;x" in text


def test_the_application_is_made_without_a_page_that_shows_it(shell: Shell) -> None:
    """No Swagger from a CDN; the schema is for those who have signed in."""
    app: FastAPI = create_app(shell)
    assert (app.docs_url, app.redoc_url) == (None, None)
    assert stranger(shell).get("/openapi.json").status_code == 401
    assert signed_in(shell).get("/openapi.json").status_code == 200
