"""The contact sheet in a real browser: what is on it, what moves and what does not, acts on many films."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import Console, chromium, console, expects, new_tab, tab
from console.held_films import INVERTED, LATERAL, ROOM_1, ROOM_2, TURNED, UNSURE, hold_films
from console_client import signed_in
from playwright.sync_api import Browser, Page, Route, expect
from sheet_page import SheetPage

from gateway.console.doors import Role

__all__ = ["chromium", "console", "tab"]


def sheet_of(console: Console, tab: Page, query: str = "") -> SheetPage:
    console.sign_in(tab)
    sheet = SheetPage(console, tab)
    sheet.open(query)
    return sheet


def test_a_card_has_the_film_its_fix_and_why_and_nothing_of_the_patient(console: Console, tab: Page) -> None:
    """The proposed fix stands applied beside the original, with what the gates saw; numbers are masked."""
    (film,) = hold_films(console.shell, TURNED, accession="CANARY-7731")
    sheet = sheet_of(console, tab)
    card = sheet.card(film.hold)
    for digest in (film.digest, film.proposal):
        expect(card.locator(f'img[src="/pictures/{digest}/thumb.jpg"]')).to_be_visible()
    tall = (card.locator(".frame").first.bounding_box() or {})["height"]
    assert 0.2 < tall / 720 < 0.3  # about a quarter of the window
    expect(card).to_contain_text("Rotated 90")
    expect(card).to_contain_text("upright .009")
    expect(card.locator(".fix")).to_contain_text("turned 270°")
    expect(card.locator("svg rect")).to_have_count(1)
    expect(card).to_contain_text("•••731")
    assert "CANARY" not in tab.content()


def test_the_bar_is_one_line_and_hides_no_block(console: Console, tab: Page) -> None:
    """However long the names are: the header of a block sticks right below the bar."""
    room = ("A_LONG_AE_TITLE_", "Bucky of the emergency department, second floor")
    last = hold_films(console.shell, LATERAL, 14, room=room)[-1]
    sheet = sheet_of(console, tab, f"reason=LATERAL&sender={room[0]}")
    sheet.go_to(last.hold)
    tab.evaluate("() => scrollTo(0, 150)")
    bar = tab.locator("#wishes").bounding_box() or {}
    header = tab.locator(".block > header").first.bounding_box() or {}
    assert header["y"] >= bar["y"] + bar["height"] - 2
    expect(tab.locator("#keys")).to_be_in_viewport()


def test_one_film_is_one_film(console: Console, tab: Page) -> None:
    """Counts and what stands beside them agree when films go."""
    first, _ = hold_films(console.shell, TURNED, 2)
    sheet = sheet_of(console, tab)
    header = tab.locator(".block > header").first
    expect(header).to_contain_text("2 films")
    sheet.go_to(first.hold)
    sheet.press("a")
    sheet.becomes(first.hold, "corrected")
    expect(header).to_contain_text(re.compile(r"\b1 film\b"))
    expect(tab.locator("[data-last]")).to_contain_text("1 goes out in")


def test_a_new_film_appears_without_a_reload_and_moves_nothing(console: Console, tab: Page) -> None:
    """What the cursor is on and the mouse points at stays, though a block above it grows."""
    hold_films(console.shell, UNSURE, 9)
    last = hold_films(console.shell, LATERAL, 4, room=ROOM_2)[-1]
    sheet = sheet_of(console, tab)
    sheet.go_to(last.hold)
    tab.evaluate("() => scrollBy(0, 120)")
    place = sheet.card(last.hold).bounding_box() or {}
    tab.mouse.move(place["x"] + 20, place["y"] + 20)
    marked = tab.evaluate("() => { window.same = true; return location.href; }")
    newer = hold_films(console.shell, UNSURE, 6)[-1]
    expect(sheet.card(newer.hold)).to_be_attached()
    assert sheet.card(last.hold).bounding_box() == place
    assert sheet.current == last.hold
    assert tab.evaluate("() => window.same === true")
    assert tab.url == marked
    expect(tab.locator("[data-total]")).to_have_text("19")


def test_one_broken_room_is_one_block_and_one_act(console: Console, tab: Page) -> None:
    """Forty inverted films of a room: two keys, one request, all decided; another room's film stays."""
    forty = hold_films(console.shell, INVERTED, 40)
    (other,) = hold_films(console.shell, INVERTED, room=ROOM_2)
    sheet = sheet_of(console, tab, "group=room")
    expect(tab.locator(".block")).to_have_count(2)
    sheet.go_to(forty[0].hold)
    sheet.press("X")
    expect(tab.locator("[data-chosen]")).to_have_text("40 selected")
    with tab.expect_request("**/api/acts") as asked:
        sheet.press("a")
    assert len(asked.value.post_data_json["films"]) == 40
    for film in forty:
        sheet.becomes(film.hold, "corrected")
    assert sheet.state(other.hold) == "open"
    assert sheet.current == other.hold
    expect(tab.locator("[data-last]")).to_contain_text("40 films corrected")
    expect(tab.locator("[data-rate]")).to_contain_text("films an hour")
    sheet.press("u")
    for film in forty:
        sheet.becomes(film.hold, "open")


def test_a_key_waits_for_the_block_that_is_being_selected(console: Console, tab: Page) -> None:
    """The films of a block are slow to come: the act means all of them, and not the one under the cursor."""
    films = hold_films(console.shell, INVERTED, 3)
    sheet = sheet_of(console, tab)
    asked: list[Route] = []
    tab.route("**/api/quarantine/films?*", lambda route: asked.append(route))
    sheet.press("X", "a")
    sheet.soon(lambda: asked)
    assert [sheet.state(film.hold) for film in films] == ["open"] * 3
    asked[0].continue_()
    for film in films:
        sheet.becomes(film.hold, "corrected")
    sheet.quiet()


def test_a_block_that_could_not_be_selected_is_left_alone(console: Console, tab: Page) -> None:
    """What was pressed for all of it is done to none of it."""
    expects(tab, "net::ERR_FAILED")
    films = hold_films(console.shell, INVERTED, 3)
    sheet = sheet_of(console, tab)
    tab.route("**/api/quarantine/films?*", lambda route: route.abort())
    sheet.press("X", "a")
    expect(tab.locator("#said")).to_contain_text("nothing was done")
    assert [sheet.state(film.hold) for film in films] == ["open"] * 3
    assert sheet.selected == []


def test_an_act_that_fails_brings_the_film_back_with_words(console: Console, tab: Page) -> None:
    """Somebody else was quicker: the page had moved on, and says so."""
    first, second = hold_films(console.shell, UNSURE, 2)
    sheet = sheet_of(console, tab, "group=none")
    hold = console.shell.ledger.open_hold(first.film)
    console.shell.ledger.reject(hold, by="another", note_text="", now=datetime.now(UTC))
    sheet.press("p")
    assert sheet.current == second.hold
    expect(tab.locator("#said")).to_contain_text("not passed")
    expect(sheet.card(first.hold)).to_have_attribute("data-trouble", "")
    assert sheet.current == first.hold


def test_without_the_console_the_films_come_back(console: Console, tab: Page) -> None:
    """The network is away: nothing is lost, nothing is taken for decided."""
    expects(tab, "ERR_INTERNET_DISCONNECTED", "/api/acts", "ERR_FAILED")
    (film,) = hold_films(console.shell, UNSURE)
    sheet = sheet_of(console, tab)
    tab.route("**/api/acts", lambda route: route.abort())
    sheet.press("p")
    expect(tab.locator("#said")).to_contain_text("not passed")
    expect(sheet.card(film.hold)).to_have_attribute("data-state", "held")
    assert sheet.state(film.hold) == "open"


def test_what_somebody_else_decided_is_marked_and_stays_where_it_is(console: Console, tab: Page) -> None:
    """Without a reload, with who it was."""
    first, second = hold_films(console.shell, UNSURE, 2)
    sheet = sheet_of(console, tab)
    hold = console.shell.ledger.open_hold(second.film)
    console.shell.ledger.reject(hold, by="colleague", note_text="", now=datetime.now(UTC))
    expect(sheet.card(second.hold)).to_contain_text("rejected by colleague")
    assert sheet.open_ones == [first.hold]
    assert len(sheet.all) == 2


def test_place_scroll_and_selection_survive_a_reload(console: Console, tab: Page) -> None:
    """Also where more than one page of films was loaded."""
    hold_films(console.shell, UNSURE, 72)
    sheet = sheet_of(console, tab, "group=none&sort=newest")
    tab.mouse.wheel(0, 20_000)
    expect(tab.locator(".film")).to_have_count(72)
    sheet.press("End", "k", "k", "x")
    before = sheet.current, sheet.selected, round(tab.evaluate("() => scrollY"))
    assert before[2] > 500
    tab.reload()
    sheet.ready()
    assert (sheet.current, sheet.selected) == before[:2]
    assert abs(round(tab.evaluate("() => scrollY")) - before[2]) < 3


def test_films_are_selected_with_the_mouse(console: Console, tab: Page) -> None:
    """Click, ctrl-click, shift-range, and a frame that is drawn."""
    films = [film.hold for film in hold_films(console.shell, UNSURE, 6)]
    sheet = sheet_of(console, tab, "group=none")
    sheet.card(films[0]).click()
    assert (sheet.current, sheet.selected) == (films[0], [])
    sheet.card(films[2]).click(modifiers=["Control"])
    assert sheet.selected == [films[0], films[2]]
    sheet.card(films[2]).click()
    sheet.card(films[4]).click(modifiers=["Shift"])
    assert sheet.selected == films[2:5]
    one, other = (sheet.card(films[at]).bounding_box() or {} for at in (0, 1))
    tab.mouse.move(one["x"] - 6, one["y"] + 20)
    tab.mouse.down()
    tab.mouse.move(other["x"] + 30, other["y"] + 60, steps=5)
    tab.mouse.up()
    assert sheet.selected == films[:2]
    expect(tab.locator("[data-chosen]")).to_have_text("2 selected")


def test_what_is_asked_for_stands_in_the_address(console: Console, tab: Page) -> None:
    """Filters and order are a link; what nobody meets says what to do next."""
    hold_films(console.shell, INVERTED, 2)
    ours = hold_films(console.shell, UNSURE, 3, room=ROOM_2)
    sheet = sheet_of(console, tab, "group=none")
    tab.get_by_label("Sender", exact=True).select_option(ROOM_2[0])
    tab.wait_for_url("**/quarantine?**sender=ROOM2**")
    sheet.ready()
    assert sorted(sheet.all) == [film.hold for film in ours]
    sheet.press("/")
    tab.keyboard.type("no such film")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**q=no**")
    expect(tab.get_by_role("heading", name="No held film is like that")).to_be_visible()
    tab.get_by_role("link", name="Show all of them").click()
    sheet.ready()
    assert len(sheet.all) == 5


def test_an_empty_quarantine_says_so(console: Console, tab: Page) -> None:
    """And where to look instead; the first film that is held takes its place."""
    sheet = sheet_of(console, tab)
    expect(tab.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    (film,) = hold_films(console.shell, UNSURE)
    expect(sheet.card(film.hold)).to_be_visible()
    expect(tab.get_by_role("heading", name="Nothing waits for you")).to_be_hidden()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_sheet_is_accessible(console: Console, tab: Page, theme: str) -> None:
    """axe finds nothing above moderate, in the sheet, in the big view and in its dialogs."""
    hold_films(console.shell, INVERTED, 3)
    hold_films(console.shell, UNSURE, 2)
    tab.context.add_cookies([{"name": "theme", "value": theme, "url": console.url}])
    sheet = sheet_of(console, tab)
    for keys in (("j", "i", "j", "x"), (" ",), ("d",), ("Escape", "?")):
        sheet.press(*keys)
        found = Axe().run(tab).response["violations"]
        grave = [
            (one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")
        ]
        assert grave == []


def test_films_are_sorted_by_how_sure_the_gates_were(console: Console) -> None:
    """And by how long they wait; a page ends where the next one begins."""
    long_ago = datetime.now(UTC) - timedelta(hours=3)
    sure = hold_films(console.shell, INVERTED, 2, at=long_ago)
    unsure = hold_films(console.shell, UNSURE, 2, room=ROOM_1)
    with signed_in(console.shell) as client:

        def order(query: str) -> list[int]:
            text = client.get(f"/quarantine/cards?{query}").text
            return [int(found) for found in re.findall(r'id="h(\d+)"', text)]

        by_time = [film.hold for film in (*sure, *unsure)]
        assert order("sort=oldest") == by_time
        assert order("sort=uncertain")[:2] == [film.hold for film in unsure]
        assert order("sort=oldest&limit=3") == by_time[:3]
        assert order(f"sort=oldest&limit=3&after={by_time[2]}") == by_time[3:]
        assert sorted(order("sort=similar")) == by_time


def test_a_viewer_looks_and_decides_nothing(chromium: Browser, console: Console) -> None:
    """The keys say so."""
    (film,) = hold_films(console.shell, UNSURE)
    with new_tab(chromium) as tab:
        console.sign_in(tab, Role.VIEWER)
        sheet = SheetPage(console, tab)
        sheet.open()
        sheet.press("p")
        expect(tab.locator("#said")).to_contain_text("a reviewer decides")
        assert sheet.state(film.hold) == "open"
