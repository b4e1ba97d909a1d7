"""A scripted reviewer in a real Chromium clears a quarantine, one key a film.

    python bench/console/review.py [--films 1000]

Half of the films in the sheet, half in the big view; a real key each, pressed as soon as the next film is
there. "There" means: the cursor is on it, its picture is loaded, and the browser has drawn a frame since. The
console is `filmgate console` in a process of its own, as the supervisor starts it; the films are
phantoms with their thumbnails, as workers leave them. At the end every film must be decided in the ledger as
the key said. Before that: how long a sheet of 60 takes in a browser that was never here, and again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all of bench/ shares

import yaml
from console.held_films import INVERTED, UNSURE, Held, hold_films
from playwright.sync_api import Browser, Page, sync_playwright
from rig import FILMGATE, ROOT, cpu_model, free_port, listening, rss_mb, wait_for

from gateway.bootstrap import Shell, now
from gateway.console.doors import Role
from gateway.ledger.people import passwords
from gateway.sandbox.renderer import Renderer
from gateway.settings import load
from gateway.store.thumbs import Thumbs

CHROMIUM = "/usr/bin/chromium"
NAME, PASSWORD = "reviewer", "correct horse battery staple"
SIZE = {"width": 1280, "height": 720}

# Milliseconds from the key's own time stamp until the next film is on the screen.
WATCH = """() => {
  window.shown = [];
  const current = () => document.querySelector('.film[data-current]');
  const drawn = (card) => {
    const big = !document.getElementById('big').hidden;
    const img = big ? document.querySelector('#big [data-pane="original"] img') : card.querySelector('img');
    const own = img.src.includes(card.dataset.digest);
    return own && img.complete && img.naturalWidth > 0;
  };
  document.addEventListener('keydown', (event) => {
    const before = current();
    const look = () => {
      const card = current();
      if (card && card !== before && drawn(card)) {
        requestAnimationFrame(() => window.shown.push(performance.now() - event.timeStamp));
      } else if (document.querySelector('.film[data-state="held"]')) {
        requestAnimationFrame(look);
      } else {
        window.shown.push(performance.now() - event.timeStamp);
      }
    };
    requestAnimationFrame(look);
  }, { capture: true });
}"""
IN_SIGHT = """() => document.querySelector('#sheet[data-ready]') !== null
  && document.querySelectorAll('.film').length >= 60
  && [...document.querySelectorAll('.film img')].every((img) => {
    const at = img.getBoundingClientRect();
    return at.top > innerHeight || at.bottom < 0 || (img.complete && img.naturalWidth > 0);
  })"""


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--films", type=int, default=1000)
    args = options.parse_args()
    print(f"{cpu_model()}; {args.films} films")
    with tempfile.TemporaryDirectory(prefix="filmgate-review-") as folder, _console(Path(folder)) as console:
        shell, url, process = console
        films = _fill(shell, args.films)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
            for _ in range(3):
                _sheet_of_60(browser, url)
            page = _signed_in(browser, url)
            _review(page, url, shell, films)
            browser.close()
        print(f"the console's process: {rss_mb(process.pid):.0f} MB")


@contextmanager
def _console(folder: Path) -> Iterator[tuple[Shell, str, subprocess.Popen[bytes]]]:
    port = free_port()
    config, state = folder / "filmgate.yaml", folder / "state"
    config.write_text(
        yaml.safe_dump(
            {
                "console": {"port": port},
                "destinations": {"chest-ai": {"kind": "dicom", "ae_title": "CHEST_AI", "port": free_port()}},
                "routes": {"pass": ["chest-ai"]},
            }
        )
    )
    shell = Shell.open(load(config, state), migrate_first=True)
    shell.ledger.add_user(
        NAME, Role.REVIEWER, by="bench", now=now(), password_hash=passwords.hashed(PASSWORD)
    )
    words = [*FILMGATE, "console", "--config", str(config), "--state", str(state)]
    env = {**os.environ, "MALLOC_ARENA_MAX": "2"}  # as the supervisor starts it
    process = subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: listening(port), 30, "the console did not start")
        yield shell, f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(20)
        shell.close()


def _fill(shell: Shell, number: int) -> list[Held]:
    """Films with a fix and without, and the thumbnails that workers make when they hold a film."""
    began = time.monotonic()
    films: list[Held] = []
    while len(films) < number:
        films += hold_films(shell, INVERTED, min(12, number - len(films)))
        films += hold_films(shell, UNSURE, min(38, number - len(films)))
    thumbs = Thumbs(shell.settings.state)
    work = shell.settings.work
    renderer = Renderer(work.decode_timeout_s, work.decode_memory_mb)
    for film in films:
        for digest in filter(None, (film.digest, film.proposal)):
            thumbs.put(digest, renderer.thumb(shell.store.path(digest)))
    renderer.close()
    print(f"filled in {time.monotonic() - began:.0f} s")
    return films


def _signed_in(browser: Browser, url: str) -> Page:
    """A tab of somebody whose browser was never here."""
    page = browser.new_context(viewport=SIZE).new_page()
    page.goto(f"{url}/sign-in")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"{url}/")
    return page


def _sheet_of_60(browser: Browser, url: str) -> None:
    page = _signed_in(browser, url)
    cold, warm = (_until_drawn(page, f"{url}/quarantine?group=none") for _ in range(2))
    print(f"a sheet of 60: {cold:.0f} ms cold, {warm:.0f} ms warm")
    page.context.close()


def _until_drawn(page: Page, address: str) -> float:
    """Milliseconds from the navigation until all that is in sight is drawn, by the browser's clock."""
    page.goto(address, wait_until="commit")
    while not page.evaluate(IN_SIGHT):
        pass
    return float(page.evaluate("() => performance.now()"))


def _review(page: Page, url: str, shell: Shell, films: list[Held]) -> None:
    page.goto(f"{url}/quarantine?group=none")
    page.locator("#sheet[data-ready]").wait_for(state="attached")
    page.evaluate(WATCH)
    half = len(films) // 2
    for view, keys in (("the sheet", range(half)), ("the big view", range(half, len(films)))):
        if view == "the big view":
            page.keyboard.press("Space")
            page.wait_for_timeout(1000)
        page.evaluate("() => { window.shown = []; }")
        began = time.monotonic()
        for count, _ in enumerate(keys, start=1):
            page.keyboard.press("p")
            while page.evaluate("() => window.shown.length") < count:
                pass
        took_s = time.monotonic() - began
        shown = page.evaluate("() => window.shown")
        p95 = statistics.quantiles(shown, n=20)[-1]
        print(
            f"in {view}: {len(keys)} films in {took_s:.1f} s, {3600 * len(keys) / took_s:.0f} films an hour; "
            f"key to next film: median {statistics.median(shown):.0f} ms, p95 {p95:.0f} ms, "
            f"longest {max(shown):.0f} ms"
        )
    wait_for(lambda: shell.ledger.count_holds() == 0, 60, "films are still held")
    states = {hold.state for hold in shell.ledger.holds(None)}
    print(f"in the ledger: all {len(films)} are {', '.join(states)}")


if __name__ == "__main__":
    main()
