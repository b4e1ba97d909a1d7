"""The page Today: its numbers are the ledger's, each leads somewhere, and the worst is said first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alarm_films import GOOD, HAND, TURNED, Site
from console_client import signed_in

from gateway.alarms.health import how_it_is
from gateway.bootstrap import Shell
from gateway.console.doors import Role
from gateway.errors import Trouble
from gateway.process import health
from gateway.process.health import Health
from gateway.settings import DicomDestination

CHEST_AI = {"chest-ai": DicomDestination(ae_title="CHEST_AI", port=11113)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path, store={"min_free_mb": 0}, destinations=CHEST_AI, gateway={"time_zone": "UTC"})
    site.now = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for process in ("listener 1", "dispatcher", "worker 1"):
        Health().keep_in(site.settings.state, process)
    return site


@pytest.fixture
def shell(site: Site) -> Iterator[Shell]:
    shell = Shell.open(site.settings)
    yield shell
    shell.close()


def refused(site: Site, films: int) -> None:
    """So many films for the AI, which has no room for any of them."""
    site.send("ROOM1", replace(GOOD, send_original_to=("chest-ai",)), films=films, every_min=0.0)
    for delivery in site.ledger.claim_deliveries("chest-ai", films, site.now):
        site.ledger.retry_delivery(
            delivery.id,
            error="0xA700",
            at=site.now + timedelta(hours=1),
            now=site.now,
            trouble=Trouble.OUT_OF_RESOURCES,
            counted=False,
        )


def said(site: Site) -> list[tuple[str, str]]:
    day = site.ledger.today(site.now - timedelta(hours=1))
    found = how_it_is(site.ledger, site.settings, health.reports(site.settings.state), day, site.now)
    return [(one.kind, one.words) for one in found]


def test_every_number_leads_to_its_list(site: Site, shell: Shell) -> None:
    """And each list opens."""
    site.send("ROOM1", films=3, every_min=0.01)
    site.send("ROOM2", replace(TURNED, hold=True), films=2, every_min=0.01)
    site.send("ROOM2", HAND, every_min=0.01)
    site.looker.look()
    with signed_in(shell, Role.VIEWER) as client:
        page = client.get("/").text
        assert '<a id="health" href="/quarantine">All is well' in page  # for films wait for a person
        numbers = dict(re.findall(r'id="tile-(\w+)" href="[^"]+"><b>([\d,]+)</b>', page))
        assert numbers == {
            "received": "6",
            "passed": "3",
            "corrected": "2",
            "withheld": "1",
            "quarantined": "0",
            "undecided": "0",
        }
        assert (
            '<a id="held-ROTATED_90" href="/quarantine?reason=ROTATED_90">turned 90 degrees clockwise</a>'
            in page
        )
        links = {
            link.replace("&amp;", "&") for link in re.findall(r'href="(/(?:films|quarantine)[^"]*)"', page)
        }
        assert len(links) >= 9
        for link in links:
            assert client.get(link).status_code == 200, link


def test_an_empty_gateway_says_what_to_do_next(site: Site, shell: Shell) -> None:
    with signed_in(shell, Role.VIEWER) as client:
        page = client.get("/").text
    assert "No film has come yet. Let a modality send to this gateway" in page
    assert "What the gates are not sure of, or can put right, appears here." in page


def test_a_destination_that_refuses_is_said_in_plain_words(site: Site, shell: Shell) -> None:
    """The sentence of the issue people have most often."""
    site.now += timedelta(minutes=5)
    refused(site, 12)
    site.now += timedelta(minutes=2)
    assert said(site) == [("bad", "CHEST_AI has refused 12 films since 00:05: out of resources.")]
    with signed_in(shell, Role.VIEWER) as client:
        assert "CHEST_AI has refused 12 films since" in client.get("/").text


def test_the_worst_is_said_first_and_the_rest_below(site: Site) -> None:
    """A process that does not run is worse than a destination; both are worse than a room that changed."""
    refused(site, 3)
    site.send("ROOM3", films=100, every_min=0.01)
    site.send("ROOM3", TURNED, films=6, every_min=0.01)
    site.looker.look()
    site.now += timedelta(minutes=2)
    for path in (site.settings.state / "run" / "health").glob("listener*"):
        path.unlink()
    kinds, words = zip(*said(site), strict=True)
    assert kinds == ("bad", "bad", "warn")
    assert words[0].startswith("No listener runs: no film is received")
    assert words[1].startswith("CHEST_AI has refused 3 films")
    assert words[2].startswith("ROOM3: of its last")


def test_all_is_well(site: Site) -> None:
    site.send("ROOM1", films=3, every_min=0.01)
    site.looker.look()
    site.now += timedelta(minutes=9)
    assert said(site) == [
        ("good", "All is well: 3 films today, the last one 9 minutes ago; nothing waits for anybody.")
    ]


def test_a_closed_gate_is_said(site: Site) -> None:
    """With what it means for the films."""
    worker = Health()
    worker.keep_in(site.settings.state, "worker 2")
    worker.failed("gate inversion", "its weights are not the ones its card names")
    (kind, words) = said(site)[0]
    assert kind == "bad"
    assert words.endswith("Films that it should judge are held.")


def test_the_part_that_renews_itself_is_the_same(site: Site, shell: Shell) -> None:
    """Whoever stands on a link still does: the links have ids, each once."""
    site.send("ROOM1", films=2, every_min=0.01)
    with signed_in(shell, Role.VIEWER) as client:
        page, part = client.get("/").text, client.get("/today").text
    assert "<html" not in part
    ids = re.findall(r' id="([\w-]+)"', part)
    assert len(ids) == len(set(ids))
    assert set(ids) <= set(re.findall(r' id="([\w-]+)"', page))
    assert " style=" not in page + part


def test_an_ae_title_of_a_stranger_is_inert(site: Site, shell: Shell) -> None:
    """A name with markup in it stands there as it is."""
    site.send("<b>ROOM</b>", films=100, every_min=0.01)
    site.send("<b>ROOM</b>", TURNED, films=6, every_min=0.01)
    site.looker.look()
    with signed_in(shell, Role.VIEWER) as client:
        page = client.get("/").text
    assert "&lt;b&gt;ROOM&lt;/b&gt;: of its last" in page
    assert "<b>ROOM" not in page
