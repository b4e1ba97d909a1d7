"""What a hand does before the console has answered; and answers that come late, or never.

Nothing is claimed that the ledger lacks, nothing is done twice, and a key acts on the film that was seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from browser import Console, chromium, console, expects, tab
from console.held_films import UNSURE, hold_films
from playwright.sync_api import APIResponse, Dialog, Page, Route, expect
from sheet_page import SheetPage
from sqlalchemy import update

from gateway.ledger.tables import deliveries

__all__ = ["chromium", "console", "tab"]

ACTS = "**/api/acts"


@pytest.fixture
def sheet(console: Console, tab: Page) -> SheetPage:
    """Three films that are held, and a reviewer before them."""
    hold_films(console.shell, UNSURE, 3)
    console.sign_in(tab)
    page = SheetPage(console, tab)
    page.open("group=none")
    return page


@dataclass
class HeldBack:
    """Requests for acts that the page made, and their answers, kept until the test lets them go."""

    reach: bool  # whether they reach the console meanwhile
    kept: list[tuple[Route, APIResponse | None]] = field(default_factory=list)
    over: bool = False

    def __call__(self, route: Route) -> None:
        if self.over:
            route.continue_()
            return
        answer = route.fetch() if self.reach else None
        self.kept.append((route, answer))
        if self.over:  # the test went on while the console was asked
            self._pass_on(route, answer)

    def let_go(self) -> None:
        """What is kept goes on, and nothing is kept from now on."""
        self.over = True
        for route, answer in self.kept:
            self._pass_on(route, answer)

    @staticmethod
    def _pass_on(route: Route, answer: APIResponse | None) -> None:
        if answer is None:
            route.continue_()
        else:
            route.fulfill(response=answer)


@contextmanager
def held_back(sheet: SheetPage, *, reach: bool) -> Iterator[HeldBack]:
    back = HeldBack(reach)
    sheet.tab.route(ACTS, back)
    yield back
    back.let_go()


def lose_answers(sheet: SheetPage, times: int, *, reach: bool = True, where: str = ACTS) -> None:
    """The connection breaks, after the console did it (`reach`) or before it heard of it."""
    expects(sheet.tab, "/api/acts", "ERR_FAILED")

    def lose(route: Route) -> None:
        if reach and route.request.method == "POST":
            route.fetch()
        route.abort()

    sheet.tab.route(where, lose, times=times)


def said(sheet: SheetPage, words: str) -> None:
    expect(sheet.tab.locator("#said")).to_contain_text(words)


def done(sheet: SheetPage) -> list[tuple[str, int]]:
    """The acts of the reviewer as the ledger has them, oldest first."""
    return [(one.act.value, one.film) for one in reversed(sheet.console.shell.ledger.acts_by("reviewer"))]


@pytest.mark.parametrize("reach", [True, False], ids=["answer under way", "request under way"])
def test_an_undo_waits_for_what_it_undoes(sheet: SheetPage, reach: bool) -> None:
    """And is said when the ledger has it, not before."""
    film = sheet.current
    with held_back(sheet, reach=reach) as back:
        sheet.press("p", "u")
        sheet.soon(lambda: back.kept)
        expect(sheet.card(film)).to_have_attribute("data-state", "held")
        assert sheet.state(film) == ("released" if reach else "open")
        assert "Undone" not in sheet.tab.locator("#said").inner_text()
    sheet.quiet()
    said(sheet, "Undone: 1 film passed.")
    assert sheet.state(film) == "open"
    assert [act for act, _ in done(sheet)] == ["release", "undo"]


def test_an_undo_of_what_was_not_done_says_so(sheet: SheetPage) -> None:
    """Somebody else was faster, and the undo was keyed before the page knew."""
    film = sheet.current
    with held_back(sheet, reach=False):
        sheet.press("p", "u")
        hold = next(one for one in sheet.console.shell.ledger.holds() if one.id == film)
        sheet.console.shell.ledger.reject(hold, by="colleague", note_text="", now=datetime.now(UTC))
    said(sheet, "Nothing to undo, for it was not done: film")
    expect(sheet.card(film)).to_contain_text("rejected by colleague")
    assert done(sheet) == []


@pytest.mark.parametrize("reach", [True, False], ids=["after it was done", "before it was heard"])
def test_a_lost_answer_is_asked_for_and_nothing_is_done_twice(sheet: SheetPage, reach: bool) -> None:
    """Of an act, and of its undo."""
    film = sheet.current
    lose_answers(sheet, 2, reach=reach)
    sheet.press("p")
    sheet.quiet()
    expect(sheet.card(film)).to_have_attribute("data-state", "decided")
    assert [act for act, _ in done(sheet)] == ["release"]
    lose_answers(sheet, 1, reach=reach)
    sheet.press("u")
    said(sheet, "Undone: 1 film passed.")
    assert [act for act, _ in done(sheet)] == ["release", "undo"]
    assert sheet.state(film) == "open"


@pytest.mark.parametrize("reach", [True, False], ids=["done", "not done"])
def test_without_any_answer_the_page_asks_what_became_of_it(sheet: SheetPage, reach: bool) -> None:
    """It says that it does not know, shows the film as held, and learns it when the console is back."""
    film = sheet.current
    lose_answers(sheet, 6, reach=reach, where="**/api/acts**")  # four times, then twice what became of it
    sheet.press("p")
    said(sheet, "It is not known whether this was passed: 1 film.")
    if reach:
        said(sheet, "The console answers again: 1 film passed.")
        expect(sheet.card(film)).to_have_attribute("data-state", "decided")
        sheet.press("u")
        said(sheet, "Undone: 1 film passed.")
        assert [act for act, _ in done(sheet)] == ["release", "undo"]
    else:
        said(sheet, "1 film not passed: The console did not answer, and it was not done.")
        expect(sheet.card(film)).to_have_attribute("data-state", "held")
        assert done(sheet) == []
    assert sheet.state(film) == "open"


def test_an_undo_of_many_tells_which_had_left(sheet: SheetPage) -> None:
    """Each film as a whole or not at all: the others are held again, and that one stays decided."""
    first, second, third = sheet.open_ones
    sheet.press("x", "x", "x", "p")
    for hold in (first, second, third):
        sheet.becomes(hold, "released")
    sheet.quiet()
    gone = int(sheet.card(second).get_attribute("data-film") or 0)
    with sheet.console.shell.ledger.writing() as db:
        its = update(deliveries).where(deliveries.c.film_id == gone)
        db.execute(its.values(state="delivered", attempts=1))
    sheet.press("u")
    said(sheet, "Undone: 2 films passed. Not undone: 1 film.")
    said(sheet, "cannot be called back")
    sheet.soon(lambda: sheet.open_ones == [first, third])
    assert [sheet.state(hold) for hold in (first, second, third)] == ["open", "released", "open"]


def test_a_session_that_ended_loses_nothing(sheet: SheetPage) -> None:
    """The film comes back, with words."""
    expects(sheet.tab, "401")
    film = sheet.current
    sheet.tab.context.clear_cookies()
    sheet.press("p")
    said(sheet, "1 film not passed: You are not signed in")
    expect(sheet.card(film)).to_have_attribute("data-trouble", "")
    assert sheet.open_ones[0] == sheet.current == film
    assert sheet.state(film) == "open"


def test_what_is_undone_in_another_tab_is_held_again_in_this_one(sheet: SheetPage) -> None:
    """Two tabs of one person."""
    film = sheet.current
    other = SheetPage(sheet.console, sheet.tab.context.new_page())
    other.open("group=none")
    sheet.press("p")
    expect(other.card(film)).to_contain_text("released by reviewer")
    sheet.press("u")
    expect(other.card(film)).to_have_attribute("data-state", "held")
    other.press("Home", "p")
    other.becomes(film, "released")


def test_who_leaves_the_page_leaves_nothing_unsaid(sheet: SheetPage) -> None:
    """One act is under way, and one waits behind it; the browser asks first."""
    asked: list[str] = []

    def leave(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    sheet.tab.on("dialog", leave)
    first, second, third = sheet.open_ones
    with sheet.console.shell.ledger.writing():  # the console waits for the ledger meanwhile
        with sheet.tab.expect_request(ACTS):
            sheet.press("p")
        sheet.press("p", "p", "u")
        sheet.tab.goto(sheet.console.url + "/livez")
    assert asked == ["beforeunload"]
    sheet.soon(lambda: [sheet.state(hold) for hold in (first, second)] == ["released", "released"])
    assert sheet.state(third) == "open"


def test_a_film_that_comes_amid_an_act_moves_no_key(sheet: SheetPage) -> None:
    """It is shown when the act has its answer, without another change; the cursor stays where it was."""
    first, second, third = sheet.open_ones
    with held_back(sheet, reach=True) as back:
        sheet.press("p")
        sheet.soon(lambda: back.kept)
        (fresh,) = hold_films(sheet.console.shell, UNSURE)
        sheet.tab.wait_for_function(  # it was told of, while the act was under way
            """() => new Promise((heard) => {
              document.body.addEventListener('filmgate:changed', heard, { once: true });
            })"""
        )
        assert sheet.all == [first, second, third]
        assert sheet.current == second
    expect(sheet.card(fresh.hold)).to_be_attached()
    assert sheet.current == second
    sheet.press(".")
    sheet.becomes(second, "released")
    assert [sheet.state(hold) for hold in (third, fresh.hold)] == ["open", "open"]


def test_a_film_is_decided_anew_before_its_undo_is_answered(sheet: SheetPage) -> None:
    """The card shows the last word, whichever answers come after it."""
    film = sheet.current
    with held_back(sheet, reach=True):
        sheet.press("p", "u")
        assert sheet.current == film
        sheet.press("d", "d")
    sheet.becomes(film, "rejected")
    sheet.quiet()
    expect(sheet.card(film)).to_contain_text("rejected")
    assert [act for act, _ in done(sheet)] == ["release", "undo", "reject"]
    sheet.press("u", ".")
    sheet.quiet()
    assert [act for act, _ in done(sheet)] == ["release", "undo", "reject", "undo", "reject"]


def test_the_undo_of_a_label_opens_no_film(sheet: SheetPage) -> None:
    """On a film that was decided before; the label goes."""
    film = sheet.current
    sheet.press("p", "k", "2")
    expect(sheet.card(film).locator(".labels")).to_contain_text("lateral")
    sheet.press("u")
    said(sheet, "Undone: 1 film labelled.")
    expect(sheet.card(film)).to_have_attribute("data-state", "decided")
    expect(sheet.card(film).locator(".labels")).not_to_contain_text("lateral")
    assert sheet.state(film) == "released"


def walk(sheet: SheetPage, key: str, hold: int) -> None:
    sheet.press(key)
    sheet.soon(lambda: sheet.current == hold)


def test_walking_over_what_was_undone_closes_no_film(sheet: SheetPage) -> None:
    """Back to an act, undo it, forward to the next and back again."""
    first, second, _ = sheet.open_ones
    sheet.press("p", "p")
    for key, hold in (("[", second), ("[", first)):
        walk(sheet, key, hold)
    sheet.press("u")
    said(sheet, "Undone: 1 film passed.")
    for key, hold in (("]", second), ("[", first)):
        walk(sheet, key, hold)
    assert sheet.state(first) == "open"
    expect(sheet.card(first)).to_have_attribute("data-state", "held")


def test_the_place_is_kept_when_the_address_lags_behind_the_keys(sheet: SheetPage) -> None:
    """The address is written a moment after the last key; a reload may come before."""
    first, second, third = sheet.open_ones
    sheet.tab.wait_for_url(lambda url: "film=" in url)
    sheet.tab.evaluate("() => { history.replaceState = () => {}; }")
    sheet.press("j", "x")
    sheet.tab.reload()
    sheet.ready()
    assert (sheet.current, sheet.selected) == (third, [second])
    sheet.open(f"group=none&film={sheet.card(first).get_attribute('data-film')}")
    assert sheet.current == first
