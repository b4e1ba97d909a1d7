"""Every page of the console in a real browser, as it looks after a day: dark and light, 1280 and 1920 wide.

No error on the browser's console, nothing above "moderate" by axe, nothing wider than the window. With
FILMGATE_SCREENSHOTS the pictures are kept in that folder (`make screenshots`: docs/console).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Console, chromium, console, expects, new_tab, tab
from console_site import Site, demonstration
from looking import Looking
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from sheet_page import SheetPage

from gateway.console.doors import Role
from pipelines.lab.films import phantom

__all__ = ["chromium", "console", "tab"]

# No setting of a gateway: taken away before one starts, which would refuse it as an unknown key.
KEPT = os.environ.pop("FILMGATE_SCREENSHOTS", "")
EXAMINED_MS = 120_000  # the first file waits for torch, on a busy machine


@pytest.fixture(scope="module")
def looking() -> Looking:
    return Looking(Path(KEPT) if KEPT else None)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with demonstration() as running:
        yield running


@pytest.fixture(scope="module")
def page(site: Site, chromium: Browser) -> Iterator[Page]:
    """Signed in as the demonstration says."""
    with new_tab(chromium) as opened:
        opened.goto(site.console.url + "/sign-in")
        opened.get_by_label("Name").fill("demo")
        opened.get_by_label("Password").fill(site.password)
        opened.get_by_role("button", name="Sign in", exact=True).click()
        opened.wait_for_url(site.console.url + "/")
        yield opened


@pytest.mark.slow
def test_the_sheet_has_the_films_of_make_run(site: Site, page: Page, looking: Looking) -> None:
    """As somebody sees it who has typed two words."""
    sheet = SheetPage(site.console, page)
    sheet.open("group=none")
    expect(page.locator(".film")).to_have_count(6)
    loaded(page)
    assert looking.at(page, "quarantine") == []


@pytest.mark.slow
def test_two_rooms_and_what_a_person_does(site: Site, page: Page, looking: Looking, tmp_path: Path) -> None:
    """A broken room is one block and one act; a film is rejected, one noted, one act is undone."""
    upload(page, site.console.url, tmp_path)
    site.knock("ROOM9")
    came = site.send("ROOM2", 8, inverted=True) + site.send("ROOM2", 1, "lateral")
    came += site.send("ROOM1", 2) + site.send("ROOM1", 1, turn=90)
    site.await_decisions(came)
    sheet = SheetPage(site.console, page)
    sheet.open("group=room")
    expect(page.locator(".film")).to_have_count(16)
    sheet.press("j")
    loaded(page)
    faults = looking.at(page, "quarantine-rooms")
    sheet.press("?")
    faults += looking.at(page, "quarantine-keys", keep=False)
    sheet.press("Escape", "d")
    faults += looking.at(page, "quarantine-reject", keep=False)
    sheet.press("Escape", " ")
    expect(page.locator("#big [data-pane=original] .viewing[data-shown]:not(.waits)")).to_be_visible()
    loaded(page)
    faults += looking.at(page, "quarantine-large")
    sheet.press(" ", "X", "a")
    sheet.quiet()
    expect(page.locator("[data-last]")).to_contain_text("8 films corrected")
    sheet.press("d", "d", "p")
    sheet.quiet()
    sheet.press("u")
    sheet.quiet()
    faults += looking.at(page, "quarantine-undo", keep=False)
    assert faults == []


PAGES = {
    "today": ("/", "#health"),
    "films": ("/films", "tbody tr"),
    "film": ("/films/27", "[data-viewer][data-shown]"),
    "film-read": ("/films/25", "[data-viewer][data-shown]"),
    "why": ("/why?q=25", "main h1"),
    "destinations": ("/destinations", "tbody tr"),
    "senders": ("/senders", "tbody tr"),
    "labels": ("/labels", ".labelled img"),
    "labels-blind": ("/labels/blind", "#blind-film:not([aria-busy])"),
    "models": ("/models", "main h2"),
    "audit": ("/audit", "tbody tr"),
    "account": ("/password", "main form"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_good_to_look_at(site: Site, page: Page, looking: Looking, name: str) -> None:
    address, ready = PAGES[name]
    page.goto(site.console.url + address)
    page.locator(ready).first.wait_for()
    loaded(page)
    assert looking.at(page, name) == []


@pytest.mark.slow
def test_rules_are_tried_on_what_came(site: Site, page: Page, looking: Looking) -> None:
    page.goto(site.console.url + "/policy")
    editor = page.locator("#policy-text")
    editor.fill(editor.input_value().replace("act: correct", "act: quarantine", 1))
    expect(page.locator("#verdict")).to_contain_text("they can be used")
    page.get_by_role("button", name="Try", exact=True).click()
    expect(page.locator("#result")).to_contain_text("would be decided otherwise")
    assert looking.at(page, "policy") == []


@pytest.mark.slow
def test_a_file_that_was_uploaded_is_explained(site: Site, page: Page, looking: Looking) -> None:
    page.goto(site.console.url + "/upload")
    expect(page.locator("#upload-counts")).to_have_text("1 of 1 examined", timeout=EXAMINED_MS)
    page.locator("#file-list .open").click()
    expect(page.locator("#answer .film").first).to_be_visible()
    loaded(page)
    assert looking.at(page, "upload") == []


@pytest.mark.slow
def test_people_are_added(site: Site, page: Page, looking: Looking) -> None:
    page.goto(site.console.url + "/users")
    for name, role in (("anna", "reviewer"), ("tom", "viewer")):
        page.get_by_label("Name", exact=True).fill(name)
        page.locator(".adding select").select_option(role)
        page.get_by_role("button", name="Add, with").click()
        expect(page.locator(".secret")).to_contain_text(name)
    page.goto(site.console.url + "/users")
    assert looking.at(page, "users") == []


@pytest.mark.slow
def test_doors_are_good_to_look_at(site: Site, chromium: Browser, looking: Looking) -> None:
    """Sign-in, a wrong password, and a page that is not there."""
    with new_tab(chromium) as stranger:
        expects(stranger, "/sign-in -> 401", "/sign-in -> 403", "404")
        stranger.goto(site.console.url + "/sign-in")
        faults = looking.at(stranger, "sign-in")
        stranger.get_by_label("Name").fill("demo")
        stranger.get_by_label("Password").fill("not the password")
        stranger.get_by_role("button", name="Sign in", exact=True).click()
        expect(stranger.get_by_role("alert")).to_be_visible()
        faults += looking.at(stranger, "sign-in-wrong", keep=False)
    assert faults == []


EMPTY = (
    "/",
    "/quarantine",
    "/films",
    "/why?q=PH20",
    "/upload",
    "/policy",
    "/destinations",
    "/senders",
    "/labels",
)
EMPTY += ("/labels/blind", "/models", "/audit", "/users", "/films/99")


def test_pages_without_films_say_what_to_do(console: Console, tab: Page, looking: Looking) -> None:
    expects(tab, "/films/99 -> 404")
    console.sign_in(tab, Role.ADMIN)
    faults = list[str]()
    for address in EMPTY:
        tab.goto(console.url + address)
        faults += looking.at(tab, f"empty {address}", keep=False)
    assert faults == []


def upload(page: Page, url: str, folder: Path) -> None:
    """A picture file goes up; it is examined while other pages are looked at."""
    pixels = np.rint(np.asarray(phantom.render("frontal", 3, (512, 420))) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "chest.png")
    page.goto(url + "/upload")
    page.locator("#files").set_input_files(folder / "chest.png")
    expect(page.locator('#file-list li:is([data-state="queued"], [data-state="examining"])')).to_have_count(1)


def loaded(page: Page) -> None:
    """Every picture that is in sight is there."""
    page.wait_for_function(
        "() => [...document.images].every((one) => one.complete || one.loading === 'lazy')"
    )
