"""The viewer in a real browser: what is on the screen, and what hands and keys do to it."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
from browser import Console, chromium, expects, new_tab, served
from console_films import judged, received
from dicom_files import dx, part10
from PIL import Image
from playwright.sync_api import Browser, Page
from pydicom import dcmread

from gateway.bootstrap import Shell
from gateway.settings import Settings

__all__ = ["chromium"]

DARK, GREY, BRIGHT, WHITE = 500, 1500, 2500, 3900  # left above, right above, left below, right below


@pytest.fixture(scope="module")
def signed_in(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Console, Page]]:
    """A console with film 1, of four greys, and film 2, without pixels; and a tab that is let in."""
    folder = tmp_path_factory.mktemp("viewer")
    settings = Settings.model_validate({"state": folder / "state", "store": {"min_free_mb": 0}})
    shell = Shell.open(settings, migrate_first=True)
    pixels = np.zeros((400, 400), np.uint16)
    pixels[:200, :200], pixels[:200, 200:], pixels[200:, :200], pixels[200:, 200:] = DARK, GREY, BRIGHT, WHITE
    without = dx(pixels, SOPInstanceUID="1.2.3.5")
    del without.PixelData
    for ds in (dx(pixels), without):
        received(shell, dcmread(BytesIO(part10(ds))), folder)
        judged(shell)
    with served(shell) as running, new_tab(chromium) as page:
        running.sign_in(page)
        yield running, page
    shell.close()


@pytest.fixture
def viewed(signed_in: tuple[Console, Page]) -> Page:
    """The page of the film of four greys."""
    running, page = signed_in
    page.goto(f"{running.url}/films/1")
    page.wait_for_selector("[data-viewer][data-shown]")
    return page


def quarters(page: Page) -> list[int]:
    """The greys in the middle of each quarter: left and right above, left and right below."""
    settle(page)
    shot = Image.open(BytesIO(page.locator(".viewer canvas").screenshot())).convert("L")
    wide, tall = shot.size
    side = min(wide, tall)
    places = [(x, y) for y in (-0.3, 0.3) for x in (-0.3, 0.3)]
    greys = np.asarray(shot)
    return [int(greys[int(tall / 2 + y * side), int(wide / 2 + x * side)]) for x, y in places]


def settle(page: Page) -> None:
    """Two frames: what was asked for is painted."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def readout(page: Page) -> str:
    settle(page)
    return page.locator(".viewer-readout").inner_text()


def shown_as(value: int, low: int = 0, high: int = 4095) -> int:
    return round(255 * min(1, max(0, (value - low) / (high - low))))


def test_the_greys_are_those_of_the_header(viewed: Page) -> None:
    assert quarters(viewed) == pytest.approx([shown_as(v) for v in (DARK, GREY, BRIGHT, WHITE)], abs=2)
    assert "C 2048" in readout(viewed)


def test_tools_turn_invert_and_flip(viewed: Page) -> None:
    """Clockwise is clockwise also on a film that is flipped."""
    four = [shown_as(v) for v in (DARK, GREY, BRIGHT, WHITE)]
    viewed.get_by_role("button", name="Turn to the right").click()
    assert quarters(viewed) == pytest.approx([four[2], four[0], four[3], four[1]], abs=2)
    viewed.get_by_role("button", name="Flip left and right").click()
    assert quarters(viewed) == pytest.approx([four[0], four[2], four[1], four[3]], abs=2)
    viewed.get_by_role("button", name="Turn to the right").click()
    assert quarters(viewed) == pytest.approx([four[1], four[0], four[3], four[2]], abs=2)
    viewed.get_by_role("button", name="Invert").click()
    assert quarters(viewed) == pytest.approx([255 - four[n] for n in (1, 0, 3, 2)], abs=2)
    viewed.get_by_role("button", name="As it was received").click()
    assert quarters(viewed) == pytest.approx(four, abs=2)


def test_a_drag_changes_the_window(viewed: Page) -> None:
    """To the right wider, to the left narrower; a narrow one makes dark black and bright white."""
    box = viewed.locator(".viewer canvas").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    viewed.mouse.move(x, y)
    viewed.mouse.down()
    viewed.mouse.move(x - 300, y, steps=4)
    viewed.mouse.up()
    greys = quarters(viewed)
    assert (greys[0], greys[3]) == (0, 255)
    assert "C 2048" in readout(viewed)
    assert "W 4096" not in readout(viewed)
    viewed.get_by_label("Window", exact=True).select_option("sent")
    assert "W 4096" in readout(viewed)


def test_presets_use_the_values_that_are_there(viewed: Page) -> None:
    viewed.get_by_label("Window", exact=True).select_option("full")
    assert quarters(viewed) == pytest.approx(
        [shown_as(v, DARK, WHITE) for v in (DARK, GREY, BRIGHT, WHITE)], abs=2
    )


def test_it_works_without_a_mouse(viewed: Page) -> None:
    """Tab reaches it; keys zoom, move and window, and it says where it is."""
    canvas = viewed.locator(".viewer canvas")
    canvas.focus()
    before = readout(viewed)
    viewed.keyboard.press("+")
    assert readout(viewed) != before
    viewed.keyboard.press("0")
    assert readout(viewed) == before
    viewed.keyboard.press("Control+ArrowRight")
    assert "W 4506" in readout(viewed)
    viewed.keyboard.press("Shift+ArrowLeft")
    viewed.keyboard.press("Tab")
    assert viewed.evaluate("() => document.activeElement.closest('.viewer') !== null")


def test_the_wheel_zooms_where_the_pointer_is(viewed: Page) -> None:
    """What lies under it stays there: the quarter above at the left fills the window."""
    box = viewed.locator(".viewer canvas").bounding_box()
    assert box
    side = min(box["width"], box["height"])
    viewed.mouse.move(box["x"] + box["width"] / 2 - side * 0.3, box["y"] + box["height"] / 2 - side * 0.3)
    for _ in range(12):
        viewed.mouse.wheel(0, -200)
    assert quarters(viewed) == pytest.approx([shown_as(DARK)] * 4, abs=2)


def test_a_box_is_drawn_in_fractions_of_the_film(viewed: Page) -> None:
    """Also on a film that is turned: a box belongs to the film as it was received."""
    viewed.evaluate(
        """async () => {
            const { Viewer } = await import('/static/viewer.js');
            const old = document.querySelector('[data-viewer]');
            const place = document.createElement('div');
            place.style.height = '400px';
            old.replaceWith(place);
            window.viewer = new Viewer(place, { tools: false });
            await window.viewer.show(old.dataset.digest, { rotate: 90 });
            window.viewer.drawBox((box) => { window.drawn = box; });
        }"""
    )
    settle(viewed)
    box = viewed.locator(".viewer canvas").bounding_box()
    assert box
    left, top = box["x"] + box["width"] / 2 - 200, box["y"]
    viewed.mouse.move(left + 40, top + 80)
    viewed.mouse.down()
    viewed.mouse.move(left + 200, top + 200, steps=3)
    viewed.mouse.up()
    drawn = viewed.evaluate("() => window.drawn")
    # A place (x, y) of a film turned clockwise by 90 degrees was (y, 1 - x) before.
    assert drawn == pytest.approx({"x0": 0.2, "y0": 0.5, "x1": 0.5, "y1": 0.9}, abs=0.01)


def test_a_film_without_a_picture_says_so(signed_in: tuple[Console, Page]) -> None:
    """Words stand where it would be, and the page works."""
    running, page = signed_in
    expects(page, "422", "/pixels")
    page.goto(f"{running.url}/films/2")
    words = page.locator(".viewer-words")
    words.wait_for()
    assert words.inner_text() == "There is no pixel data."
