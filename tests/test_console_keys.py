"""Every key of the one map, pressed in the grid, in the big view and on many films at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from browser import chromium, new_tab, served
from console.held_films import INVERTED, UNSURE, hold_films
from playwright.sync_api import Browser, expect
from sheet_page import SheetPage

from gateway.bootstrap import Shell
from gateway.settings import Settings

__all__ = ["chromium"]

VIEWS = ("grid", "big", "bulk")


@pytest.fixture(scope="module")
def sheet(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SheetPage]:
    """Eight films with a proposed fix and four without, on one page."""
    folder: Path = tmp_path_factory.mktemp("keys")
    shell = Shell.open(Settings(state=folder / "state"), migrate_first=True)
    hold_films(shell, INVERTED, 8, at=datetime.now(UTC) - timedelta(hours=1))  # those stand first
    hold_films(shell, UNSURE, 4)
    with served(shell) as console, new_tab(chromium) as tab:
        console.sign_in(tab)
        page = SheetPage(console, tab)
        page.open("group=none")
        yield page
    shell.close()


def begin(sheet: SheetPage, view: str) -> list[int]:
    """Nothing staged or selected, the cursor on the first held film; the films that an act would mean."""
    sheet.press("Escape", "Escape", "Escape", "Home")
    sheet.soon(lambda: len(sheet.open_ones) == 12)  # what the check before did is undone
    first, second = sheet.open_ones[:2]
    sheet.go_to(first)
    if view == "bulk":
        sheet.press("x", "x")
        assert sheet.selected == [first, second]
        return [first, second]
    if view == "big":
        sheet.press(" ")
        assert sheet.big
    return [first]


def decided_and_undone(sheet: SheetPage, films: list[int], key: str, state: str) -> None:
    """The key decides on these, moves on at once, and u takes it back."""
    sheet.press(*key)
    assert sheet.current not in films
    for hold in films:
        assert sheet.card(hold).get_attribute("data-state") != "held"
        sheet.becomes(hold, state)
    sheet.quiet()
    sheet.press("u")
    for hold in films:
        sheet.becomes(hold, "open")
    assert sheet.current == films[0]


def next_(sheet: SheetPage, films: list[int], view: str) -> None:
    order, at = sheet.all, sheet.current
    for key in ("j", "ArrowRight"):
        sheet.press(key)
        assert sheet.current == order[order.index(at) + 1]
        at = sheet.current


def previous(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("j", "j", "j")
    order, at = sheet.all, sheet.current
    for key in ("k", "ArrowLeft"):
        sheet.press(key)
        assert sheet.current == order[order.index(at) - 1]
        at = sheet.current


def below(sheet: SheetPage, films: list[int], view: str) -> None:
    order, at = sheet.all, sheet.current
    sheet.press("ArrowDown")
    if view == "big":
        assert sheet.current == order[order.index(at) + 1]
    else:
        top, left = (sheet.card(at).bounding_box() or {})["y"], (sheet.card(at).bounding_box() or {})["x"]
        box = sheet.card(sheet.current).bounding_box() or {}
        assert box["y"] > top
        assert abs(box["x"] - left) < 250


def above(sheet: SheetPage, films: list[int], view: str) -> None:
    at = sheet.current
    if view == "big":
        sheet.press("j", "ArrowUp")
    else:
        sheet.press("ArrowDown", "ArrowUp")
    assert sheet.current == at


def first(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("j", "j", "Home")
    assert sheet.current == sheet.all[0]


def last(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("End")
    assert sheet.current == sheet.all[-1]


def open_(sheet: SheetPage, films: list[int], view: str) -> None:
    was = sheet.big
    sheet.press(" ")
    assert sheet.big is not was
    sheet.press(" ")
    assert sheet.big is was


def leave(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("r", "Escape")
    assert "turn" not in sheet.picture(films[0])
    sheet.press("Escape")
    assert not sheet.big
    assert view == "big" or not sheet.selected


def back(sheet: SheetPage, films: list[int], view: str) -> None:
    """[ finds the film that was decided last, u opens it again, ] goes forward."""
    sheet.press("p")
    sheet.becomes(films[-1], "released")
    sheet.quiet()
    sheet.press("[")
    sheet.soon(lambda: sheet.current in films)
    sheet.press("]")
    expect(sheet.tab.locator("#said")).to_contain_text("last thing you did")
    sheet.press("u")
    for hold in films:
        if sheet.state(hold) != "open":
            sheet.go_to(hold)
            sheet.press("u")
        sheet.becomes(hold, "open")


def forward(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("n")
    sheet.tab.keyboard.type("one")
    sheet.press("Enter")
    sheet.press("j") if view != "bulk" else None
    sheet.press("n")
    sheet.tab.keyboard.type("two")
    sheet.press("Enter")
    expect(sheet.tab.locator("dialog[open]")).to_have_count(0)
    sheet.press("]")
    expect(sheet.tab.locator("#said")).to_contain_text("last thing you did")
    sheet.press("[", "[", "]")
    sheet.soon(lambda: sheet.current in films or view != "bulk")


def accept(sheet: SheetPage, films: list[int], view: str) -> None:
    decided_and_undone(sheet, films, "a", "corrected")


def pass_(sheet: SheetPage, films: list[int], view: str) -> None:
    decided_and_undone(sheet, films, "p", "released")


def reject(sheet: SheetPage, films: list[int], view: str) -> None:
    decided_and_undone(sheet, films, "dd", "rejected")


def repeat(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("p")
    sheet.becomes(films[0], "released")
    again = sheet.current
    sheet.press(".")
    sheet.becomes(again, "released")
    sheet.press("u", "u")
    for hold in (*films, again):
        sheet.becomes(hold, "open")


def undo(sheet: SheetPage, films: list[int], view: str) -> None:
    """Also before the console has answered."""
    sheet.press("p", "u")
    sheet.quiet()
    for hold in films:
        expect(sheet.card(hold)).to_have_attribute("data-state", "held")
        sheet.becomes(hold, "open")


def confirm(sheet: SheetPage, films: list[int], view: str) -> None:
    """Enter sends what was staged; with nothing staged it opens the Film page."""
    sheet.press("R", "Enter")
    for hold in films:
        sheet.becomes(hold, "corrected")
    sheet.quiet()
    sheet.press("u")
    for hold in films:
        sheet.becomes(hold, "open")


def right(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("r")
    assert all("turn-90" in sheet.picture(hold) for hold in films)
    sheet.press("r")
    assert all("turn-180" in sheet.picture(hold) for hold in films)


def left(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("R")
    assert all("turn-270" in sheet.picture(hold) for hold in films)


def invert(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("i")
    assert all("inverted" in sheet.picture(hold) for hold in films)
    sheet.press("i")
    assert not any("inverted" in sheet.picture(hold) for hold in films)


def flip(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("f")
    assert all("flipped" in sheet.picture(hold) for hold in films)
    sheet.press("r")  # it turns what one sees, to the right
    assert all({"flipped", "turn-270"} <= set(sheet.picture(hold).split()) for hold in films)


def box(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("b")
    assert sheet.big
    place = sheet.tab.locator('#big [data-pane="original"] canvas').bounding_box() or {}
    expect(sheet.tab.locator('#big [data-pane="original"] .waits')).to_have_count(0)
    mouse = sheet.tab.mouse
    middle = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    mouse.move(middle[0] - 60, middle[1] - 80)
    mouse.down()
    mouse.move(middle[0] + 60, middle[1] + 80, steps=4)
    mouse.up()
    caption = sheet.tab.locator(
        '#big [data-pane="original"] ~ figcaption, #big figure[data-pane="original"] figcaption'
    )
    expect(caption).to_have_text("yours: cropped")


def label(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("2")
    for hold in films:
        expect(sheet.card(hold).locator(".labels")).to_contain_text("lateral chest")
        film = int(sheet.card(hold).get_attribute("data-film") or 0)
        sheet.soon(lambda film=film: said_of(sheet, film, "view") == "lateral")


def note(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("n")
    sheet.tab.keyboard.type("seen by two")
    sheet.press("Enter")
    for hold in films:
        film = int(sheet.card(hold).get_attribute("data-film") or 0)
        sheet.soon(lambda film=film: "seen by two" in str(sheet.console.shell.ledger.events(film)))


def select(sheet: SheetPage, films: list[int], view: str) -> None:
    at, before = sheet.current, sheet.selected
    sheet.press("x")
    assert (at in sheet.selected) is not (at in before)


def block(sheet: SheetPage, films: list[int], view: str) -> None:
    everyone = set(sheet.open_ones)
    sheet.press("X")
    sheet.soon(lambda: set(sheet.selected) == everyone)
    sheet.press("X")
    sheet.soon(lambda: not sheet.selected)


def group(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("g")
    sheet.tab.wait_for_url(re.compile(r"group=reason|quarantine$|quarantine\?(?!.*group=none)"))
    sheet.ready()
    expect(sheet.tab.locator(".block")).to_have_count(2)
    sheet.open("group=none")


def search(sheet: SheetPage, films: list[int], view: str) -> None:
    sheet.press("/")
    expect(sheet.tab.get_by_role("searchbox", name="Search", exact=True)).to_be_focused()
    sheet.press("Escape")
    assert sheet.tab.evaluate("() => document.activeElement.classList.contains('film')")


def help_(sheet: SheetPage, films: list[int], view: str) -> None:
    """The help is the map itself."""
    sheet.press("?")
    drawn = sheet.tab.locator("dialog.keys dd")
    assert drawn.count() == len(key_map(sheet))
    sheet.press("Escape")
    expect(sheet.tab.locator("dialog.keys")).to_have_count(0)


CHECKS: dict[str, Callable[[SheetPage, list[int], str], None]] = {
    "next": next_, "previous": previous, "below": below, "above": above, "first": first, "last": last,
    "open": open_, "leave": leave, "back": back, "forward": forward,
    "accept": accept, "pass": pass_, "reject": reject, "repeat": repeat, "undo": undo, "confirm": confirm,
    "right": right, "left": left, "invert": invert, "flip": flip, "box": box,
    "label": label, "note": note,
    "select": select, "block": block, "group": group, "search": search, "help": help_,
}  # fmt: skip


def key_map(sheet: SheetPage) -> list[dict[str, Any]]:
    """As the page itself has it."""
    found: list[dict[str, Any]] = sheet.tab.evaluate("async () => (await import('/static/keys.js')).KEYS")
    return found


def said_of(sheet: SheetPage, film: int, what: str) -> str | None:
    """The label that stands."""
    found = sheet.console.shell.ledger.labels_of(film)
    return next((one.value for one in found if one.what == what), None)


def test_each_key_has_a_check(sheet: SheetPage) -> None:
    """A key that is added to the map is pressed here, too; and no key has two meanings."""
    entries = key_map(sheet)
    assert {entry["id"] for entry in entries} == set(CHECKS)
    keys = [key for entry in entries for key in entry["keys"]]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("view", VIEWS)
def test_every_key_does_the_same_in_each_view(sheet: SheetPage, view: str) -> None:
    """In the grid, in the big view, and on many films at once."""
    for entry in key_map(sheet):
        films = begin(sheet, view)
        CHECKS[entry["id"]](sheet, films, view)
