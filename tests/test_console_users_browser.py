"""People are let in, given a role and shut out, in a real browser."""

from __future__ import annotations

from browser import Console, chromium, console, expects, new_tab, tab
from playwright.sync_api import Browser, Page, expect

from gateway.console.doors import Role

__all__ = ["chromium", "console", "tab"]

OWN = "a few words in a row"


def test_somebody_is_let_in_changes_the_password_and_is_shut_out(
    console: Console, tab: Page, chromium: Browser
) -> None:
    """The password that was made up is shown once and works once; who is disabled is out at once."""
    console.sign_in(tab, Role.ADMIN)
    tab.goto(console.url + "/users")
    tab.get_by_label("Name", exact=True).fill("anna")
    tab.locator(".adding select").select_option("reviewer")
    tab.get_by_role("button", name="Add, with a password that is made up").click()
    made_up = tab.locator(".secret .password").inner_text()
    row = tab.locator(".people tr", has=tab.get_by_role("rowheader", name="anna"))
    expect(row).to_contain_text("must change it")
    with new_tab(chromium) as hers:
        sign_in(hers, console.url, made_up)
        expect(hers.get_by_text("Give yourself one of your own")).to_be_visible()
        for label, words in (("Password now", made_up), ("New password", OWN), ("Once more", OWN)):
            hers.get_by_label(label).fill(words)
        hers.get_by_role("button", name="Change the password").click()
        hers.goto(console.url + "/quarantine")
        expect(hers.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
        expect(hers.get_by_role("link", name="Users")).to_have_count(0)
        tab.goto(console.url + "/users")
        expect(tab.locator(".secret")).to_have_count(0)
        expects(hers, "-> 401", "/sign-in ->")  # the pulse of the page, and the refusal of the password
        row.get_by_role("button", name="Disable").click()
        expect(row).to_contain_text("disabled")
        hers.goto(console.url + "/films")
        expect(hers.get_by_role("heading", name="Sign in")).to_be_visible()
        sign_in(hers, console.url, OWN)
        expect(hers.get_by_role("alert")).to_be_visible()
    said = {(event["what"], event["who"]) for event in console.shell.ledger.events(None)}
    assert ("user added", "admin") in said


def test_a_role_holds_from_the_next_page_on(console: Console, tab: Page, chromium: Browser) -> None:
    """A reviewer who became a viewer looks and decides nothing."""
    with new_tab(chromium) as theirs:
        console.sign_in(theirs, Role.REVIEWER)
        expect(theirs.get_by_role("link", name="Upload")).to_be_visible()
        console.sign_in(tab, Role.ADMIN)
        tab.goto(console.url + "/users")
        tab.get_by_label("Role of reviewer").select_option("viewer")
        row = tab.locator(".people tr", has=tab.get_by_role("rowheader", name="reviewer"))
        row.get_by_role("button", name="Set").click()
        expect(tab.get_by_label("Role of reviewer")).to_have_value("viewer")
        theirs.goto(console.url + "/quarantine")
        expect(theirs.get_by_text("You may look; a reviewer decides.")).to_be_visible()
        expect(theirs.get_by_role("link", name="Upload")).to_have_count(0)


def sign_in(page: Page, url: str, password: str) -> None:
    page.goto(url + "/sign-in")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
