"""A real Chromium before a real console: fixtures for tests of what people see and press.

    from browser import Console, chromium, console, tab

    __all__ = ["chromium", "console", "tab"]  # pytest finds fixtures by these names

    def test_something(console: Console, tab: Page) -> None:
        console.sign_in(tab)
        tab.goto(console.url + "/quarantine")

Whatever goes wrong in the page fails the test at its end: an error on the browser's console (a violation of
the Content-Security-Policy is one), a script that raised, a request that failed, an answer of 400 and above.
A test that means such a thing says so beforehand: `expects(tab, "403")`.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from console_client import PASSWORD, add_person
from playwright.sync_api import Browser, BrowserContext, Page, Request, Response, expect, sync_playwright
from rig import DCMSEND, STORESCP, Gateway, gateway

from gateway.bootstrap import Shell
from gateway.console.app import create_app
from gateway.console.doors import Role
from gateway.settings import Settings, load

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS = 20_000  # for what comes by itself, on a machine that does much else
SIZE = {"width": 1280, "height": 720}
_OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a module; each test has tabs of its own."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed (make peers)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(_OPTIONS))
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Page]:
    """A tab of 1280 x 720, and nothing may go wrong in it."""
    with new_tab(chromium) as page:
        yield page


@contextmanager
def new_tab(chromium: Browser, **options: object) -> Iterator[Page]:
    """A tab in a profile of its own (a second person), with the same care; `options` as of new_context."""
    context = chromium.new_context(**{"viewport": SIZE, "locale": "en-GB", **options})  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    page = context.new_page()
    watch = _watched(context)
    try:
        yield page
        page.wait_for_timeout(0)  # what the browser has said until now is heard
    finally:
        context.close()
    watch.require_quiet()


def expects(page: Page, *words: str) -> None:
    """Troubles whose text has one of `words` are meant by this test."""
    _WATCHES[page.context].expected += words


def troubles(page: Page) -> list[str]:
    """What went wrong so far and was not expected."""
    return _WATCHES[page.context].unexpected()


@dataclass
class _Watch:
    troubles: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()

    def unexpected(self) -> list[str]:
        return [line for line in self.troubles if not any(word in line for word in self.expected)]

    def require_quiet(self) -> None:
        assert self.unexpected() == []


_WATCHES: dict[BrowserContext, _Watch] = {}


def _watched(context: BrowserContext) -> _Watch:
    watch = _WATCHES[context] = _Watch()

    def failed(request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # the page was left meanwhile
            watch.troubles.append(f"{request.method} {request.url} failed: {request.failure}")

    def answered(response: Response) -> None:
        if response.status >= 400:
            watch.troubles.append(f"{response.request.method} {response.url} -> {response.status}")

    def said(message: object) -> None:
        kind, text = message.type, message.text  # type: ignore[attr-defined]
        of_an_answer = "Failed to load resource" in text  # `answered` says which
        if kind in ("error", "warning") and not of_an_answer:
            watch.troubles.append(f"console {kind}: {text}")

    context.on("console", said)
    context.on("weberror", lambda error: watch.troubles.append(f"script: {error.error}"))
    context.on("requestfailed", failed)
    context.on("response", answered)
    context.on("close", lambda _: _WATCHES.pop(context, None))
    return watch


@dataclass
class Console:
    """The console of one gateway, served by a thread of this process."""

    shell: Shell
    url: str

    def sign_in(self, page: Page, role: Role = Role.REVIEWER) -> None:
        """Let the tab in as a person of this role, by the form; their name is that of the role."""
        add_person(self.shell, role.value, role)
        page.goto(self.url + "/sign-in")
        page.get_by_label("Name").fill(role.value)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.wait_for_url(self.url + "/")


@contextmanager
def served(shell: Shell, port: int = 0) -> Iterator[Console]:
    """The console over `shell`, on a free port unless one is named."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", port))
        listening.listen()  # who comes before the server does waits
        config = uvicorn.Config(create_app(shell), log_config=None, log_level="warning")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield Console(shell, f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A console over an empty ledger and store that the test fills through `console.shell`."""
    shell = Shell.open(Settings(state=tmp_path / "state"), migrate_first=True)
    with served(shell) as running:
        yield running
    shell.close()


@dataclass
class Whole:
    """A running gateway (listener, workers, dispatcher, console, an AI, an archive)."""

    gateway: Gateway
    console: Console


@contextmanager
def whole_gateway(**sections: object) -> Iterator[Whole]:
    """`filmgate up` on loopback; `sections` are merged over the rig's configuration."""
    for program in (DCMSEND, STORESCP):
        if not os.access(program, os.X_OK):
            pytest.skip(f"{program} is missing (make peers)")
    with gateway(**sections) as running:
        shell = Shell.open(load(running.config, running.state))
        try:
            yield Whole(running, Console(shell, f"http://127.0.0.1:{running.console_port}"))
        finally:
            shell.close()


@pytest.fixture(scope="module")
def whole() -> Iterator[Whole]:
    """A whole gateway that proposes corrections and never sends them by itself."""
    with whole_gateway(policy={"correct": "propose"}) as running:
        yield running
