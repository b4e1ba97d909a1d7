"""Upload and blind check in a real Chromium: files, a folder, a broken one, no connection; one key a film."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from browser import Console, chromium, console, expects, tab
from passed_films import pass_film
from PIL import Image
from playwright.sync_api import Page, expect

from gateway.ledger.labelling.words import What
from pipelines.lab.films import phantom

__all__ = ["chromium", "console", "tab"]

EXAMINED_MS = 120_000  # the first file waits for torch, on a busy machine


def films(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        pixels = np.rint(np.asarray(phantom.render("frontal", number, (200, 164))) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return [folder / name for name in names]


def test_files_and_a_broken_one_are_examined_and_a_reload_finds_them(
    console: Console, tab: Page, tmp_path: Path
) -> None:
    console.sign_in(tab)
    tab.goto(console.url + "/upload")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand no picture")
    (tmp_path / "folder").mkdir()
    good = films(tmp_path / "folder", "a.png", "b <script>.png")
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Choose files").click()
    chooser.value.set_files([*good, tmp_path / "broken.png"])
    expect(tab.locator("#upload-counts")).to_have_text("2 of 3 examined, 1 failed", timeout=EXAMINED_MS)
    tab.reload()
    expect(tab.locator("#upload-counts")).to_have_text("2 of 3 examined, 1 failed")
    tab.locator("#file-list .open", has_text="b <script>.png").click()
    expect(tab.locator("#answer h2")).to_have_text("b <script>.png")
    expect(tab.locator("#answer .film")).to_be_visible()
    expect(tab.locator("#answer td", has_text="anatomy")).to_be_visible()
    assert re.search(r"\?file=[0-9a-f]{64}$", tab.url)
    tab.screenshot(path=tmp_path / "upload.png")
    tab.get_by_role("button", name="Remove broken.png").click()
    expect(tab.locator("#upload-counts")).to_have_text("2 of 2 examined")
    assert console.shell.ledger.films() == []


def test_a_folder_goes_up_although_the_connection_breaks(console: Console, tab: Page, tmp_path: Path) -> None:
    """The first piece of each file is lost on its way; leaving the page meanwhile is asked about."""
    expects(tab, "failed: net::ERR_CONNECTION_FAILED")
    lost: set[str] = set()

    def lose_the_first(route: object) -> None:
        address = route.request.url  # type: ignore[attr-defined]
        if address in lost:
            route.continue_()  # type: ignore[attr-defined]
        else:
            lost.add(address)
            route.abort("connectionfailed")  # type: ignore[attr-defined]

    console.sign_in(tab)
    tab.goto(console.url + "/upload")
    tab.route("**/api/uploads/*?offset=*", lose_the_first)
    films(tmp_path / "folder", "a.png", "b.png")
    with tab.expect_file_chooser() as chooser:
        tab.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(tmp_path / "folder")
    expect(tab.locator("#file-list li")).to_have_count(2)
    expect(tab.locator("#file-list .open", has_text="folder/b.png")).to_be_visible()
    expect(tab.locator("#upload-counts")).to_have_text("2 of 2 examined", timeout=EXAMINED_MS)
    assert len(lost) == 2


def test_leaving_while_files_are_on_their_way_is_asked(console: Console, tab: Page, tmp_path: Path) -> None:
    console.sign_in(tab)
    tab.goto(console.url + "/upload")
    tab.route("**/api/uploads", lambda route: None if route.request.method == "POST" else route.continue_())
    tab.locator("#files").set_input_files(films(tmp_path, "a.png"))
    expect(tab.locator("#file-list li")).to_have_attribute("data-state", "reading")
    with tab.expect_event("dialog") as asked:
        tab.close(run_before_unload=True)
    assert asked.value.type == "beforeunload"
    asked.value.dismiss()  # stay


def test_a_blind_check_is_answered_by_keys(console: Console, tab: Page, tmp_path: Path) -> None:
    """Yes, turned, a hand, later; a bad one that had passed offers acts, and can be taken back."""
    ledger = console.shell.ledger
    made = [pass_film(console.shell, tmp_path, number) for number in range(4)]
    while ledger.draw_blind(1.0):
        pass
    console.sign_in(tab)
    tab.goto(console.url + "/labels/blind")
    waiting = tab.locator("#blind-waiting")
    expect(waiting).to_have_text("4 films wait for you.")
    ready = tab.locator("#blind-film:not([aria-busy])")
    expect(ready).to_be_visible()
    tab.screenshot(path=tmp_path / "blind.png")
    tab.keyboard.press("y")
    expect(waiting).to_have_text("3 films wait for you.")
    expect(ready).to_be_visible()
    tab.keyboard.press("r")
    tab.keyboard.press("y")  # it was turned by hand: yes cannot be meant
    expect(tab.locator("#said")).to_contain_text("press n")
    tab.keyboard.press("n")
    expect(waiting).to_have_text("2 films wait for you.")
    found = tab.locator("#blind-found")
    expect(found.locator("a")).to_have_attribute("href", re.compile(r"/films/\d+$"))
    expect(found.get_by_role("button")).to_have_text(["send again", "gate again", "note"])
    expect(ready).to_be_visible()
    found.get_by_role("button", name="note").click()
    tab.keyboard.type("turned, and not seen")
    tab.keyboard.press("Enter")
    expect(found).to_contain_text("is passed now.")
    found_film = int((found.locator("a").get_attribute("href") or "").rsplit("/", 1)[1])
    (noted,) = ledger.acts_on(found_film)
    assert (noted.act, noted.note) == ("note", "turned, and not seen")
    tab.keyboard.press("3")
    expect(waiting).to_have_text("1 film waits for you.")
    expect(ready).to_be_visible()
    tab.keyboard.press("u")
    expect(waiting).to_have_text("2 films wait for you.")
    said = {(label.what, label.value) for label in ledger.labels(limit=None)}
    assert (What.TURNED, "270") in said
    assert (What.PART, "hand") not in said
    (seen,) = ledger.sampled(now=console.shell.ledger.film(made[0]).received_at)
    assert (seen.answered, seen.bad) == (2, 1)


def test_labels_and_models_are_whole_pages(console: Console, tab: Page, tmp_path: Path) -> None:
    pass_film(console.shell, tmp_path, 1)
    console.sign_in(tab)
    for address, title in (("/labels", "Labels"), ("/models", "Models")):
        tab.goto(console.url + address)
        expect(tab.get_by_role("heading", level=1)).to_have_text(title)
        tab.screenshot(path=tmp_path / f"{title}.png", full_page=True)
