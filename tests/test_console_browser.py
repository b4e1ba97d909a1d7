"""The console in a real browser: what every page has."""

from __future__ import annotations

from browser import Console, chromium, console, expects, tab, troubles
from playwright.sync_api import Page, expect
from polling import until

__all__ = ["chromium", "console", "tab"]


def test_today_opens_without_any_trouble(console: Console, tab: Page) -> None:
    """Its scripts and styles load under the policy that the console sends."""
    console.sign_in(tab)
    tab.goto(console.url + "/")
    expect(tab.get_by_role("heading", name="Today")).to_be_visible()


def test_a_trouble_in_the_page_is_heard(console: Console, tab: Page) -> None:
    """An error on the browser's console, a script that raises and an answer of 404 fail a test."""
    console.sign_in(tab)
    tab.evaluate("console.error('said aloud')")
    tab.evaluate("fetch('/no-such-page').then(() => setTimeout(() => { throw new Error('raised') }))")
    assert until(lambda: tab.wait_for_timeout(10) or len(troubles(tab)) == 3)
    expects(tab, "said aloud", "raised", "404")
    assert troubles(tab) == []
