"""Policy and Senders in a real browser: rules are tried and put in force, a refused sender is let in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from browser import Console, chromium, served, tab
from console_client import PASSWORD, add_person
from playwright.sync_api import Page, expect
from test_tasks import Says, examine, receive, shell
from test_trying import LENIENT

from gateway.console.doors import Role
from gateway.ledger.records import Tally
from gateway.sandbox.decoder import Decoder
from pipelines.film import Reason
from pipelines.lab.films.phantom_dx import phantom_dx

__all__ = ["chromium", "tab"]


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A film that passed and one that is held for a suspected mirror; ROOM9 was refused."""
    one = shell(tmp_path)
    with Decoder() as decoder:
        for seed, gates in ((1, Says()), (2, Says(("mirror", Reason.MIRROR_SUSPECTED)))):
            receive(one, phantom_dx("frontal", seed, size=(256, 224)), tmp_path)
            examine(one, decoder, gates)
    now = datetime.now(UTC)
    one.ledger.tally(
        [
            Tally(
                None,
                "ROOM9",
                "FILMGATE",
                "10.1.2.3",
                "refused",
                "calling AE title not recognised",
                1,
                now,
                now,
            )
        ]
    )
    add_person(one, "ann", Role.ADMIN)
    with served(one) as running:
        yield running
    one.close()


def come_in(console: Console, tab: Page) -> None:
    tab.goto(console.url + "/sign-in")
    tab.fill("[name=name]", "ann")
    tab.fill("[name=password]", PASSWORD)
    tab.get_by_role("button", name="Sign in").click()
    tab.wait_for_url(console.url + "/")


def test_rules_are_tried_put_in_force_and_the_bypass_is_seen_everywhere(console: Console, tab: Page) -> None:
    """A slip is named with its line; what would change is listed; one click puts it in force."""
    come_in(console, tab)
    tab.goto(console.url + "/policy")
    editor, verdict = tab.locator("#policy-text"), tab.locator("#verdict")
    expect(verdict).to_contain_text("they can be used")
    editor.fill(editor.input_value().replace("act: correct", "act: corect"))
    expect(verdict).to_contain_text("Line 144: rule 'can be put right'")
    expect(tab.get_by_role("button", name="Put in force")).to_be_disabled()
    editor.fill(LENIENT)
    expect(verdict).to_contain_text("they can be used")
    tab.get_by_role("button", name="Try", exact=True).click()
    expect(tab.locator("#result")).to_contain_text("1 of the last 2 films would be decided otherwise")
    expect(tab.locator("#result")).to_contain_text("1 quarantine → pass")
    expect(tab.locator(".changes a").first).to_have_attribute("href", "/films/2")
    tab.get_by_label("Why", exact=True).fill("a mirror is noted")
    tab.get_by_role("button", name="Put in force").click()
    expect(tab.get_by_role("status").first).to_contain_text("decide from the next film on")
    assert console.shell.rulebook().in_force().version is not None
    tab.get_by_label("because").fill("the model is broken")
    tab.get_by_role("button", name="Bypass the gates").click()
    tab.goto(console.url + "/")
    expect(tab.get_by_role("alert")).to_contain_text("The gates are bypassed until")
    tab.get_by_role("button", name="End it now").click()
    expect(tab.get_by_role("alert")).to_have_count(0)


def test_a_refused_sender_is_let_in_and_a_destination_is_tested(console: Console, tab: Page) -> None:
    come_in(console, tab)
    tab.goto(console.url + "/senders")
    tab.get_by_role("button", name="Allow ROOM9 from 10.1.2.3").click()
    expect(tab.get_by_text("its next association is accepted")).to_be_visible()
    assert console.shell.ledger.admits("ROOM9", "10.1.2.3")
    tab.goto(console.url + "/destinations")
    tab.get_by_role("button", name="Test kids").click()
    expect(tab.get_by_text("cannot be written to")).to_be_visible()
