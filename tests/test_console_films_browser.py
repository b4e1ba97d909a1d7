"""Films and Why as people see and press them."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from browser import Console, chromium, console, tab
from console.held_films import TURNED, hold_films
from playwright.sync_api import Page, expect

__all__ = ["chromium", "console", "tab"]


def grave(page: Page) -> list[str]:
    """What axe finds above "moderate"."""
    found = Axe().run(page).response["violations"]
    return [one["id"] for one in found if one["impact"] in ("serious", "critical")]


def test_a_list_is_narrowed_and_a_number_is_shown(console: Console, tab: Page) -> None:
    """By the filter row alone; the number shows where it was masked, and the audit knows."""
    hold_films(console.shell, TURNED, 2)
    console.sign_in(tab)
    tab.goto(console.url + "/films")
    expect(tab.locator("tbody tr")).to_have_count(2)
    tab.select_option("select[name=reason]", "ROTATED_90")
    tab.select_option("select[name=decision]", "quarantine")
    tab.get_by_role("button", name="Find").click()
    expect(tab.locator("tbody tr")).to_have_count(2)
    assert "reason=ROTATED_90" in tab.url
    first = tab.locator("tbody tr").first
    masked = first.locator("[data-field=accession]")
    assert masked.inner_text().startswith("•••")
    first.locator("[data-reveal]").click()
    expect(masked).not_to_contain_text("•")
    expect(tab.locator("#said")).to_contain_text("in the audit")
    film = int(first.get_attribute("data-film") or 0)
    assert console.shell.ledger.events(film)[-1]["what"] == "shown to a person"
    assert grave(tab) == []


def test_columns_are_chosen_and_kept(console: Console, tab: Page) -> None:
    hold_films(console.shell, TURNED)
    console.sign_in(tab)
    tab.goto(console.url + "/films")
    tab.get_by_text("Columns", exact=True).click()
    tab.get_by_label("SOP Instance UID", exact=True).first.check()
    tab.get_by_role("button", name="Show these").click()
    tab.goto(console.url + "/films")
    expect(tab.get_by_role("columnheader", name="SOP Instance UID")).to_be_visible()


def test_one_box_answers_with_a_sentence_and_a_picture(console: Console, tab: Page) -> None:
    """Typed into the bar of any page."""
    hold_films(console.shell, TURNED)
    (found,) = console.shell.ledger.search()
    console.sign_in(tab)
    tab.goto(console.url + "/films")
    box = tab.get_by_placeholder("Why no result?")
    box.fill(found.header.accession or found.sop_instance_uid)
    box.press("Enter")
    expect(tab.locator(".fate")).to_contain_text("turned 90 degrees clockwise")
    picture = tab.locator(".fate img")
    picture.scroll_into_view_if_needed()
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 100
    assert grave(tab) == []
