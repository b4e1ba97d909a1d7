"""From a modality to the AI by keyboard alone, in a real browser before a whole gateway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser import Whole, chromium, tab, whole
from playwright.sync_api import Page, expect
from polling import until
from rig import wait_for
from sheet_page import SheetPage

from pipelines.lab.films.phantom_dx import phantom_dx

__all__ = ["chromium", "tab", "whole"]


@pytest.mark.slow
def test_a_film_appears_is_cleared_by_keyboard_and_arrives_at_the_ai(
    whole: Whole, tab: Page, tmp_path: Path
) -> None:
    """Pushed by dcmsend into a running gateway while the sheet is open; no click, no reload."""
    whole.console.sign_in(tab)
    sheet = SheetPage(whole.console, tab)
    sheet.open()
    expect(tab.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    dataset = phantom_dx("frontal", 3, inverted=True, salt="browser-review")
    path = tmp_path / "film.dcm"
    dataset.save_as(path, enforce_file_format=True)
    whole.gateway.send(path)
    card = tab.locator(".film")
    expect(card).to_have_count(1, timeout=60_000)
    expect(card).to_contain_text("Inverted")
    expect(card.locator(".fix img")).to_be_visible()
    hold = sheet.all[0]
    sheet.press("j", "a")
    sheet.becomes(hold, "corrected")
    expect(tab.locator("[data-last]")).to_contain_text("1 goes out in")
    wait_for(lambda: whole.gateway.ai.files(), 60, "nothing arrived at the AI")
    (copy,) = whole.gateway.ai.files()
    assert str(dataset.SOPInstanceUID) not in copy.name  # the corrected copy has a UID of its own
    row = json.loads(whole.gateway.cli("films", "list", "--json").stdout)[0]
    assert {d["state"] for d in row["deliveries"] if d["destination"] == "chest-ai"} == {"delivered"}


@pytest.mark.slow
def test_what_is_undone_in_its_ten_seconds_reaches_nobody(whole: Whole, tab: Page, tmp_path: Path) -> None:
    """Undo is real: the film is held again, and the AI never sees it."""
    before = len(whole.gateway.ai.files())
    whole.console.sign_in(tab)
    sheet = SheetPage(whole.console, tab)
    sheet.open()
    dataset = phantom_dx("frontal", 4, turn=90, salt="browser-undo")
    path = tmp_path / "film.dcm"
    dataset.save_as(path, enforce_file_format=True)
    whole.gateway.send(path)
    expect(tab.locator('.film[data-state="held"]')).to_have_count(1, timeout=60_000)
    (hold,) = sheet.open_ones
    sheet.press("Home")
    sheet.go_to(hold)
    sheet.press("p")
    sheet.becomes(hold, "released")
    sheet.quiet()
    sheet.press("u")
    sheet.becomes(hold, "open")
    film = whole.console.shell.ledger.film(str(dataset.SOPInstanceUID))
    owed = [d for d in film.deliveries if d["destination"] == "chest-ai"]
    assert not until(lambda: len(whole.gateway.ai.files()) > before, 12)
    assert all(d["state"] == "cancelled" for d in owed)
