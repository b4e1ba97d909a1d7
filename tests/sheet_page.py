"""The contact sheet as a person uses it, for tests in the browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from browser import Console
from playwright.sync_api import Locator, Page, expect
from polling import until

SHOWN = {" ": "Space"}  # as Playwright calls the key


@dataclass
class SheetPage:
    """A tab that shows the sheet."""

    console: Console
    tab: Page

    def open(self, query: str = "") -> None:
        self.tab.goto(f"{self.console.url}/quarantine?{query}")
        self.ready()

    def ready(self) -> None:
        self.tab.locator("#sheet[data-ready]").wait_for(state="attached")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(SHOWN.get(key, key))

    @property
    def current(self) -> int:
        """The hold of the card that the cursor is on."""
        hold = self.tab.locator(".film[data-current]").get_attribute("data-hold")
        assert hold
        return int(hold)

    @property
    def selected(self) -> list[int]:
        return self._holds('.film[aria-selected="true"]')

    @property
    def all(self) -> list[int]:
        return self._holds(".film")

    @property
    def open_ones(self) -> list[int]:
        return self._holds('.film[data-state="held"]')

    @property
    def big(self) -> bool:
        return self.tab.locator("#big").is_visible()

    def card(self, hold: int) -> Locator:
        return self.tab.locator(f"#h{hold}")

    def picture(self, hold: int) -> str:
        """The classes by which its picture is shown as it would be."""
        return self.card(hold).locator(".frame").last.locator(".pic").get_attribute("class") or ""

    def go_to(self, hold: int) -> None:
        """By keys alone, from the first film."""
        self.press("Home")
        while self.current != hold:
            before = self.current
            self.press("j")
            assert self.current != before, "it is not on the sheet"

    def state(self, hold: int) -> str:
        """Of the hold, in the ledger."""
        return str(next(one.state for one in self.console.shell.ledger.holds(None) if one.id == hold))

    def becomes(self, hold: int, state: str) -> None:
        """The ledger has it so, soon."""
        reached = until(lambda: self.state(hold) == state or self.tab.wait_for_timeout(20), 20)
        said = self.tab.locator("#said").inner_text()
        assert reached, f"hold {hold} is {self.state(hold)}, not {state}; the page says: {said}"

    def soon(self, what: Callable[[], object]) -> None:
        """It is so within a while; the page goes on meanwhile."""
        assert until(lambda: what() or self.tab.wait_for_timeout(20), 20)

    def quiet(self) -> None:
        """Every act has its answer."""
        expect(self.tab.locator(".film[data-wait]")).to_have_count(0)

    def _holds(self, which: str) -> list[int]:
        found = self.tab.locator(f"#sheet {which}").evaluate_all(
            "cards => cards.map(card => card.dataset.hold)"
        )
        return [int(hold) for hold in found]
