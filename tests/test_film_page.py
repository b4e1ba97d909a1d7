"""The page of one film in a real browser: by keys alone, and for who cannot see it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import Console, chromium, new_tab, served
from console_films import HELD, judged, received
from dicom_files import dx, part10, ramp
from playwright.sync_api import Browser, Page, expect
from pydicom import dcmread

from gateway.bootstrap import Shell
from gateway.ledger.acting.records import Meant
from gateway.settings import Settings

__all__ = ["chromium"]

FILMS = 4
expect.set_options(timeout=15_000)  # a corrected copy is made by a child that begins with it


@pytest.fixture(scope="module")
def opened(
    chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Console, Page, Shell]]:
    """Four held films, the AI that would take them, and a reviewer's tab."""
    folder = tmp_path_factory.mktemp("film")
    settings = Settings.model_validate(
        {
            "state": folder / "state",
            "store": {"min_free_mb": 0},
            "destinations": {"ai": {"kind": "folder", "path": folder / "ai"}},
            "routes": {"pass": ["ai"]},
        }
    )
    shell = Shell.open(settings, migrate_first=True)
    for number in range(1, FILMS + 1):
        ds = dx(ramp(120, 100), SOPInstanceUID=f"1.2.3.{number}", StationName="ROOM 7")
        received(shell, dcmread(BytesIO(part10(ds))), folder)
        judged(shell, replace(HELD, takers=("ai",)))
    with served(shell) as running, new_tab(chromium) as page:
        running.sign_in(page)
        yield running, page, shell
    shell.close()


def at(opened: tuple[Console, Page, Shell], film: int) -> Page:
    running, page, _ = opened
    page.goto(f"{running.url}/films/{film}")
    page.wait_for_selector("[data-viewer][data-shown]")
    page.wait_for_selector("#header-part table")
    return page


def test_a_decision_moves_on_and_is_undone_from_there(opened: tuple[Console, Page, Shell]) -> None:
    """p releases and shows the next held film; u takes that back and shows the film again."""
    page, shell = at(opened, 1), opened[2]
    page.keyboard.press("p")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Film 2")
    assert shell.ledger.standings([Meant(1)])[0].state == "going out"
    page.wait_for_selector("[data-viewer][data-shown]")
    page.keyboard.press("u")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Film 1")
    expect(page.get_by_role("heading", level=1)).to_contain_text("held")


def test_a_film_is_rejected_with_a_reason(opened: tuple[Console, Page, Shell]) -> None:
    """d, and the digit of the reason; the dot does the same with the next one."""
    page, shell = at(opened, 3), opened[2]
    page.keyboard.press("d")
    page.keyboard.press("1")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Film 4")
    page.wait_for_selector("[data-viewer][data-shown]")
    page.keyboard.press(".")
    expect(page.get_by_role("heading", level=1)).not_to_contain_text("Film 4")
    for film in (3, 4):
        (act,) = shell.ledger.acts_on(film)
        assert (act.act, act.detail["reason"]) == ("reject", "111209")


def test_what_one_did_can_be_walked(opened: tuple[Console, Page, Shell]) -> None:
    """[ goes back through one's own acts, ] forward again."""
    page, shell = at(opened, 2), opened[2]
    newest, before = shell.ledger.acts_by("reviewer", limit=2)
    page.keyboard.press("[")
    page.wait_for_url(f"**/films/{newest.film}?act={newest.id}")
    page.wait_for_selector("[data-viewer][data-shown]")
    page.keyboard.press("[")
    page.wait_for_url(f"**/films/{before.film}?act={before.id}")
    page.wait_for_selector("[data-viewer][data-shown]")
    page.keyboard.press("]")
    page.wait_for_url(f"**/films/{newest.film}?act={newest.id}")


def test_a_film_that_is_turned_by_hand_is_sent_as_it_is_seen(opened: tuple[Console, Page, Shell]) -> None:
    page, shell = at(opened, 2), opened[2]
    page.keyboard.press("r")
    page.keyboard.press("r")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).not_to_contain_text("Film 2")
    (act,) = shell.ledger.acts_on(2)
    assert act.act == "correct"
    assert act.detail["operations"]["turn"] == 180


def test_a_note_and_a_label_leave_it_where_it_is(opened: tuple[Console, Page, Shell]) -> None:
    page, shell = at(opened, 1), opened[2]
    page.keyboard.press("n")
    page.locator("#noting textarea").fill("asked the room")
    page.keyboard.press("Enter")
    page.get_by_text("asked the room").wait_for()
    page.wait_for_selector("[data-viewer][data-shown]")
    with page.expect_navigation():
        page.keyboard.press("1")
    assert {act.act for act in shell.ledger.acts_on(1) if not act.undone_at} >= {"note", "relabel"}


def test_tags_are_sifted_while_one_writes(opened: tuple[Console, Page, Shell]) -> None:
    """And who the patient is comes when it is asked for."""
    page = at(opened, 1)
    page.locator(".film-tags summary").click()
    page.locator("#tag-search").fill("bits stored")
    assert page.locator(".film-tag-list tr:visible").count() == 1
    assert "F1" not in page.locator("#header-part").inner_text().split()
    page.get_by_role("button", name="Show", exact=True).click()
    page.get_by_role("button", name="Hide").wait_for()
    assert "F1" in page.locator("#header-part").inner_text().split()


def test_nothing_overflows(opened: tuple[Console, Page, Shell]) -> None:
    """1280 x 720 without a horizontal bar."""
    page = at(opened, 1)
    wide = page.evaluate("() => [document.documentElement.scrollWidth, innerWidth]")
    assert wide[0] <= wide[1]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nobody_is_left_out(opened: tuple[Console, Page, Shell], theme: str) -> None:
    """axe finds nothing above "moderate", with everything unfolded."""
    opened[1].context.add_cookies([{"name": "theme", "value": theme, "url": opened[0].url}])
    page = at(opened, 1)
    page.evaluate("() => { for (const one of document.querySelectorAll('details')) one.open = true; }")
    found = Axe().run(page).response["violations"]
    bad = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in bad] == []
