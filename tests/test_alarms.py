"""Alarms follow from the ledger's rows, once each, over restarts."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alarm_films import GOOD, HAND, REPORT, TURNED, Site
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import select
from typer.testing import CliRunner

from gateway.alarms import conditions, words
from gateway.cli import app
from gateway.errors import Trouble
from gateway.ledger.tables import events
from gateway.ledger.watching.tables import sender_hours
from gateway.settings import DicomDestination
from pipelines.watching import Phase, Rate


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, store={"min_free_mb": 0})


def audit(site: Site, what: str) -> list[dict[str, object]]:
    with site.ledger.reading() as db:
        return [row.detail for row in db.execute(select(events).where(events.c.what == what))]


def test_a_room_that_turns_every_film_is_an_alarm_within_five(site: Site) -> None:
    """A hundred good films, then all turned; another room is as it was."""
    site.send("ROOM1", films=100)
    site.send("ROOM3", films=100)
    site.look()
    assert site.on() == []
    site.send("ROOM3", TURNED, films=5)
    site.send("ROOM1", films=5)
    site.look()
    assert site.on() == [("rate", "ROOM3", "turned")]
    (alarm,) = site.ledger.alarms_on()
    assert alarm.words.startswith("ROOM3: of its last ")
    assert "were turned; usual are 0 of 10" in alarm.words
    assert alarm.link == "/films?sender=ROOM3"
    assert audit(site, "alarm") == [{"alarm": 1, "kind": "rate", "subject": "ROOM3", "rate": "turned"}]


def test_it_is_said_once_and_once_that_it_is_over(site: Site) -> None:
    """However often it is looked, and by however many dispatchers after one another."""
    site.send("ROOM3", films=100)
    site.send("ROOM3", TURNED, films=6)
    site.look()
    site.send("ROOM3", TURNED, films=6)
    site.looker = site.another_looker()
    site.look()
    assert len(site.ledger.alarms()) == 1
    site.send("ROOM3", films=60)
    site.looker = site.another_looker()
    site.look()
    assert site.on() == []
    assert len(audit(site, "alarm")) == len(audit(site, "alarm over")) == 1


def test_a_look_that_was_cut_off_counts_no_film_twice(site: Site) -> None:
    """What was counted, and how far, are one commit."""
    site.send("ROOM3", films=60)
    site.look()
    site.send("ROOM3", films=20)
    broken = site.another_looker()
    kept = broken._ledger.take_in
    broken._ledger.take_in = lambda taken: (_ for _ in ()).throw(OSError("killed"))  # type: ignore[method-assign]
    with pytest.raises(OSError, match="killed"):
        broken.look()
    broken._ledger.take_in = kept  # type: ignore[method-assign]
    site.look()
    watch = site.ledger.watches()["ROOM3", Rate.TURNED]
    assert (watch.films, watch.phase) == (80, Phase.WATCHING)
    assert site.ledger.sender_totals()[0].films == 80
    assert site.ledger.figures().tallies["decided", "pass"] == 80


def test_reports_and_films_gated_again_say_nothing_of_a_room(site: Site) -> None:
    """A sender of structured reports is no room whose films are withheld."""
    site.send("ROOM3", films=100)
    site.send("ROOM3", REPORT, films=100)
    site.look()
    assert site.ledger.watches()["ROOM3", Rate.WITHHELD].films == 100
    assert site.ledger.gate_again(1, by="ann", now=site.now)
    job = site.ledger.claim("w")
    assert job is not None
    site.ledger.judge(job, HAND, now=site.now)
    site.look()
    assert site.ledger.watches()["ROOM3", Rate.WITHHELD].events == 0
    assert site.ledger.figures().tallies["reason", "OTHER_PART"] == 1


def test_an_old_ledger_is_taken_in_without_word_of_what_is_long_over(site: Site) -> None:
    """What began and ended among films that were there before is in `replay`, and nobody is told."""
    site.send("ROOM3", films=100)
    site.send("ROOM3", TURNED, films=10)
    site.send("ROOM3", films=100)
    site.look()
    assert site.ledger.alarms() == []


def test_replay_says_when_it_would_have_told(site: Site, tmp_path: Path) -> None:
    """The same charts over the ledger's own history; nothing is written."""
    site.send("ROOM3", films=100)
    site.send("ROOM3", TURNED, films=10)
    site.send("ROOM3", films=60)
    asked = CliRunner().invoke(app, ["alarms", "replay", "--state", str(tmp_path / "state")])
    assert asked.exit_code == 0, asked.output
    assert "ROOM3" in asked.stdout
    asked = CliRunner().invoke(app, ["alarms", "replay", "--json", "--state", str(tmp_path / "state")])
    rows = json.loads(asked.stdout)
    assert [(row["rate"], row["news"]) for row in rows] == [("turned", "alarm"), ("turned", "over")]
    assert 101 <= rows[0]["films"] <= 105
    assert site.ledger.watches() == {}


def test_a_film_that_waits_longer_than_the_limit(site: Site) -> None:
    """One alarm, however many wait; it is over when none does."""
    held = replace(TURNED, hold=True)
    site.send("ROOM3", held, films=2)
    site.look()
    assert site.on() == []
    site.now += timedelta(hours=25)
    site.look()
    assert site.on() == [("waiting", "quarantine", "")]
    assert site.ledger.alarms_on()[0].words.startswith("2 films have waited for a person for more than 24 h")
    for film in (1, 2):
        site.ledger.reject(site.ledger.open_hold(film), by="ann", note_text="", now=site.now)
    site.look()
    assert site.on() == []


def test_a_destination_that_refuses(tmp_path: Path) -> None:
    """Ten minutes without anything taken; its words are those of the page Today."""
    block = DicomDestination(ae_title="CHEST_AI", port=11113)
    named = {"destinations": {"chest-ai": block}, "gateway": {"time_zone": "UTC"}}
    site = Site(tmp_path, store={"min_free_mb": 0}, **named)
    passed = replace(GOOD, send_original_to=("chest-ai",))
    site.send("ROOM3", passed, films=12, every_min=0.1)
    for delivery in site.ledger.claim_deliveries("chest-ai", 20, site.now):
        trouble, later = Trouble.OUT_OF_RESOURCES, site.now + timedelta(hours=1)
        site.ledger.retry_delivery(
            delivery.id, error="0xA700", at=later, now=site.now, trouble=trouble, counted=False
        )
    site.look()
    assert site.on() == []
    site.now += timedelta(minutes=10)
    site.look()
    assert site.on() == [("destination", "chest-ai", "")]
    said = site.ledger.alarms_on()[0].words
    assert said == "CHEST_AI has refused 12 films since 08:00: out of resources."
    for delivery in site.ledger.claim_deliveries("chest-ai", 20, site.now + timedelta(hours=2)):
        site.ledger.delivered(delivery.id, site.now)
    site.look()
    assert site.on() == []


def test_a_sender_that_fell_silent(site: Site) -> None:
    """Five weeks of two films an hour, and then none."""
    site.send("ROOM3")
    site.look()
    hours = [site.now.replace(minute=0, second=0) - timedelta(hours=back) for back in range(1, 5 * 7 * 24)]
    with site.ledger.writing() as db:
        row = {"sender": "ROOM3", "films": 2, "size_bytes": 2}
        db.execute(sender_hours.insert(), [row | {"hour": hour} for hour in hours])
    site.look()
    assert site.on() == []
    site.now += timedelta(hours=4)
    site.look()
    assert site.on() == []
    site.now += timedelta(hours=3)
    site.look()
    assert site.on() == [("silence", "ROOM3", "")]
    assert "in the same hours of each of the last 4 weeks it sent" in site.ledger.alarms_on()[0].words
    site.send("ROOM3")
    site.look()
    assert site.on() == []


def test_a_disk_that_runs_full(tmp_path: Path) -> None:
    """Below three times what must stay free."""
    free_mb = shutil.disk_usage(tmp_path).free >> 20
    site = Site(tmp_path, store={"min_free_mb": free_mb // 2})
    site.look()
    assert site.on() == [("disk", "state folder", "")]
    assert f"below {free_mb // 2:,} MiB nothing more is accepted" in site.ledger.alarms_on()[0].words


def test_a_disk_that_is_full_within_a_day_at_this_rate(site: Site) -> None:
    """Room enough by itself, but not for what came in the last day."""
    free_mb = shutil.disk_usage(site.settings.state).free >> 20
    site.send("ROOM3", films=1)
    with site.ledger.writing() as db:
        row = {"sender": "ROOM1", "hour": site.now, "films": 1, "size_bytes": 2 * free_mb << 20}
        db.execute(sender_hours.insert().values(**row))
    (signal,) = conditions.disk(site.ledger, site.settings, site.now)
    assert "at the rate of the last day" in signal.words


def test_a_certificate_that_ends(tmp_path: Path) -> None:
    """Of a file that the settings name; one that cannot be read is `config check`'s to complain of."""
    pem = tmp_path / "ca.pem"
    pem.write_bytes(certificate(ends=datetime(2026, 12, 5, tzinfo=UTC)))
    hook = {"url": "https://hook.example/x", "ca_file": pem}
    site = Site(tmp_path, store={"min_free_mb": 0}, alarms={"webhook": hook})
    site.look()
    assert site.on() == [("certificate", "alarms.webhook.ca_file", "")]
    assert site.ledger.alarms_on()[0].words.endswith("ends on 2026-12-05.")
    assert conditions.first_end(tmp_path / "gone.pem") is None


def certificate(ends: datetime) -> bytes:
    """A self-signed one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(ends - timedelta(days=90)).not_valid_after(ends)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def test_words_hold_for_one_and_many() -> None:
    assert words.counted(1, "film") == "1 film"
    assert words.counted(1200, "film") == "1,200 films"
    assert words.waiting(1, 24, "08:00").startswith("1 film has waited")
