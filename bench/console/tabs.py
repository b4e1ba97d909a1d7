"""Whether the console slows the gateway: films a second without it, and with ten tabs and a reviewer at work.

    python bench/console/tabs.py [--films 60] [--rounds 3] [--tabs 10]

In turn, in one run: a whole `filmgate up` without a console, and one with it. Both begin with the same held
films. With it, one Chromium has ten tabs open that all follow the ledger, and a scripted reviewer decides
1,500 films an hour in one of them, by key. DCMTK sends over four associations; the clock ends when the last
film is at the AI and at the archive. The browser belongs on another machine: it has the lowest priority.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all of bench/ shares

import psutil
from console.held_films import INVERTED, UNSURE, hold_films
from flow import uid_of
from playwright.sync_api import Page, sync_playwright
from rig import Gateway, big_films, cpu_model, gateway, rss_mb, wait_for

from gateway.bootstrap import Shell, now
from gateway.console.doors import Role
from gateway.ledger.people import passwords
from gateway.settings import load

CHROMIUM = "/usr/bin/chromium"
NAME, PASSWORD = "reviewer", "correct horse battery staple"
TABS = (
    "/quarantine?group=none",
    "/",
    "/quarantine",
    "/films",
    "/destinations",
    "/quarantine?group=room",
    "/films/1",
)
HELD = 120  # at the start of each gateway
PACE_S = 2.4  # from one decision to the next: 1,500 an hour


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--films", type=int, default=60)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--tabs", type=int, default=10)
    options.add_argument("--browse", metavar="URL", help=argparse.SUPPRESS)  # the browser's own process
    args = options.parse_args()
    if args.browse:
        _browse(args.browse, args.tabs)
    else:
        print(json.dumps(measured(args.films, args.rounds, args.tabs), indent=1))


def measured(films: int, rounds: int, tabs: int) -> dict[str, Any]:
    result: dict[str, Any] = {"machine": cpu_model(), "load_before": os.getloadavg()[0], "rounds": []}
    for number in range(rounds):
        alone, beside = _rate(films, 0), _rate(films, tabs)
        share = round(beside["films_per_s"] / alone["films_per_s"], 3)
        result["rounds"].append({"without": alone, "with": beside, "share": share})
        print(f"round {number + 1}: {share} of the rate without the console", file=sys.stderr)
    return result | {"share_median": statistics.median(one["share"] for one in result["rounds"])}


def _rate(films: int, tabs: int) -> dict[str, Any]:
    """Films a second through one gateway; without `tabs` it has no console."""
    with tempfile.TemporaryDirectory(prefix="filmgate-tabs-") as folder:
        root = Path(folder)
        _hold(root)
        paths = big_films(root / "films", films + 1, salt=f"tabs-{time.time_ns()}")
        with gateway(root, console={"enabled": tabs > 0}) as running:
            running.send(paths[0])  # warms caches, and what was owed of the held films goes out
            warm = {uid_of(paths[0])}
            wait_for(lambda: _arrived(running, warm) and not _owed(running), 120, "the gateway is not warm")
            if not tabs:
                return {"films_per_s": _sent(running, paths[1:])}
            console = psutil.Process(running.pid_of(" console "))
            with _browser(running, tabs) as browser:
                before, began = sum(console.cpu_times()[:2]), time.monotonic()
                rate = _sent(running, paths[1:])
                used = (sum(console.cpu_times()[:2]) - before) / (time.monotonic() - began)
            decided = int(browser.communicate(timeout=60)[0])
            return {
                "films_per_s": rate,
                "console_share_of_a_core": round(used, 3),
                "console_mb": round(rss_mb(console.pid)),
                "decided_by_the_reviewer": decided,
            }


def _hold(root: Path) -> None:
    """A ledger with held films and a reviewer."""
    (root / "hold.yaml").write_text(
        "destinations:\n  chest-ai: {kind: dicom, ae_title: CHEST_AI, port: 11112}\n"
        "  archive: {kind: dicom, ae_title: ARCHIVE, port: 11113}\n"
        "routes: {always: [archive], pass: [chest-ai]}\n"
    )
    shell = Shell.open(load(root / "hold.yaml", root / "state"), migrate_first=True)
    hold_films(shell, INVERTED, HELD // 2)
    hold_films(shell, UNSURE, HELD // 2)
    shell.ledger.add_user(NAME, Role.ADMIN, by="bench", now=now(), password_hash=passwords.hashed(PASSWORD))
    shell.close()


def _sent(running: Gateway, paths: Sequence[Path]) -> float:
    uids, began = {uid_of(path) for path in paths}, time.monotonic()
    running.send(*paths, associations=4)
    wait_for(lambda: _arrived(running, uids), 600, "films are missing at the AI or the archive")
    return round(len(paths) / (time.monotonic() - began), 2)


def _arrived(running: Gateway, uids: set[str]) -> bool:
    """Whether all are at the AI and at the archive, among what the reviewer released."""
    both = (running.ai, running.archive)
    return all(uids <= {path.name.partition(".")[2] for path in one.files()} for one in both)


def _owed(running: Gateway) -> bool:
    return len(running.archive.files()) < HELD + 1


@contextmanager
def _browser(running: Gateway, tabs: int) -> Iterator[subprocess.Popen[str]]:
    """A browser with its tabs and the reviewer, once all tabs are drawn; ended when the block is."""
    url = f"http://127.0.0.1:{running.console_port}"
    words = ["nice", "-n", "19", sys.executable, __file__, "--browse", url, "--tabs", str(tabs)]
    browser = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert browser.stdin
    assert browser.stdout
    try:
        assert browser.stdout.readline() == "drawn\n"
        yield browser
        browser.stdin.write("enough\n")
        browser.stdin.flush()
    except BaseException:
        browser.terminate()
        raise


def _browse(url: str, tabs: int) -> None:
    """Ten tabs, and a decision every PACE_S until the standard input says that it is enough; how many."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        context = browser.new_context(viewport={"width": 1280, "height": 720})
        context.set_default_timeout(120_000)
        first = context.new_page()
        _sign_in(first, url)
        pages = [first, *(context.new_page() for _ in range(tabs - 1))]
        for number, page in enumerate(pages):
            page.goto(url + TABS[number % len(TABS)])
        first.bring_to_front()
        first.locator("#sheet[data-ready]").wait_for(state="attached")
        print("drawn", flush=True)
        os.set_blocking(sys.stdin.fileno(), False)
        decided = 0
        while not sys.stdin.readline():
            first.keyboard.press("p")
            decided += 1
            first.wait_for_timeout(1000 * PACE_S)
        browser.close()
    print(decided, flush=True)


def _sign_in(page: Page, url: str) -> None:
    page.goto(f"{url}/sign-in")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(f"{url}/")


if __name__ == "__main__":
    main()
