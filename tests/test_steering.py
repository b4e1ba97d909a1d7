"""What people steer holds from the next object on, in every process, without a restart."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from courier_gateway import Fake, Gateway, empty_ledger, gateway, running, store
from dicom_peers import film, listener_process
from ledger_films import HELD, claimed, ledger, received
from sqlalchemy import update
from test_tasks import Says, examine, receive, shell

from gateway.errors import FilmgateError, NotFound, PolicyDamaged
from gateway.ledger import Ledger
from gateway.ledger.records import Delivery
from gateway.ledger.steering.tables import policies
from gateway.policies.in_force import Rulebook
from gateway.process.priority import LedgerThread
from gateway.sandbox.decoder import Decoder
from gateway.worker import Worker
from pipelines.film import Film, Finding, Reason
from pipelines.lab.films.phantom_dx import phantom_dx
from pipelines.policy import DEFAULT_RULES, Policy, PolicyError

__all__ = ["empty_ledger", "gateway", "ledger", "store"]

RULES = DEFAULT_RULES.read_text(encoding="utf-8")
ECHOSCU, DCMSEND = "/usr/bin/echoscu", "/usr/bin/dcmsend"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
SAID: dict[str, Any] = {"by": "ann", "note_text": "", "now": NOW}
SIZE = (256, 224)


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as one:
        yield one


def rooms(ledger: Ledger, *names: str, **how: Any) -> list[list[str]]:
    """To whom an object of each sender is owed when it comes."""
    owed = []
    for number, name in enumerate(names):
        uid = f"1.9.{number}.{len(ledger.film_ids())}"
        ledger.record(
            [received(uid, f"{number:x}", sender=name, received_at=how.get("at", NOW))],
            always=["archive"],
            ai=["ai"],
            observing=how.get("observing", False),
        )
        owed.append([row["destination"] for row in ledger.film(uid).deliveries])
    return owed


# --- modes, the bypass


def test_one_sender_is_observed_while_the_others_are_enforced(ledger: Ledger) -> None:
    assert rooms(ledger, "ROOM1") == [["archive"]]
    ledger.set_mode("ROOM1", "observe", **SAID)
    assert rooms(ledger, "ROOM1", "ROOM2", "") == [["archive", "ai"], ["archive"], ["archive"]]
    ledger.set_mode("ROOM1", None, **SAID)
    assert rooms(ledger, "ROOM1") == [["archive"]]
    ledger.set_mode("ROOM1", "enforce", **SAID)
    assert rooms(ledger, "ROOM1", "ROOM2", observing=True) == [["archive"], ["archive", "ai"]]


def test_another_process_knows_it_at_once(ledger: Ledger, tmp_path: Path) -> None:
    """Two ledgers on one file, as a listener and the console have them; both have looked before."""
    other = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    assert other.steered() == ledger.steered()
    ledger.set_mode("ROOM1", "observe", **SAID)
    assert rooms(other, "ROOM1") == [["archive", "ai"]]
    assert other.steered().revision == ledger.steered().revision
    other.close()


def test_the_bypass_sends_everything_to_ai_and_ends_by_itself(ledger: Ledger) -> None:
    """Also of a sender whose rules are enforced; when its time is over nobody need do anything."""
    ledger.set_mode("ROOM1", "enforce", **SAID)
    ledger.begin_bypass(by="ann", reason="the gates hold everything", until=NOW + 2 * HOUR, now=NOW)
    assert ledger.bypass(NOW + HOUR) is not None
    assert rooms(ledger, "ROOM1", "ROOM2", at=NOW + HOUR) == [["archive", "ai"], ["archive", "ai"]]
    assert rooms(ledger, "ROOM1", at=NOW + 2 * HOUR) == [["archive"]]
    assert ledger.bypass(NOW + 2 * HOUR) is None
    assert not ledger.steered().bypass.lasts(NOW - HOUR)  # type: ignore[union-attr]  a clock that was set back


def test_the_bypass_is_ended_early_and_begun_anew(ledger: Ledger) -> None:
    ledger.begin_bypass(by="ann", reason="x", until=NOW + HOUR, now=NOW)
    assert ledger.end_bypass(by="bob", now=NOW + HOUR / 2)
    assert not ledger.end_bypass(by="bob", now=NOW + HOUR / 2)
    assert rooms(ledger, "ROOM1", at=NOW + HOUR / 2) == [["archive"]]


@pytest.mark.parametrize(
    ("reason", "until", "words"),
    [
        (" ", NOW + HOUR, "needs a reason"),
        ("x", NOW, "not in the past"),
        ("x", NOW + 25 * HOUR, "24 hours at most"),
    ],
)
def test_a_bypass_without_reason_or_end_is_refused(
    ledger: Ledger, reason: str, until: datetime, words: str
) -> None:
    with pytest.raises(FilmgateError, match=words):
        ledger.begin_bypass(by="ann", reason=reason, until=until, now=NOW)
    assert ledger.steered().bypass is None


def test_verdicts_are_recorded_while_the_gates_are_bypassed(tmp_path: Path, decoder: Decoder) -> None:
    """A film that came before goes to AI as well, and nothing is held; afterwards all is as before."""
    one = shell(tmp_path)
    now = datetime.now(UTC)
    hand = Says(("anatomy", Reason.OTHER_PART))
    receive(one, phantom_dx("hand", 1, size=SIZE), tmp_path)
    one.ledger.begin_bypass(by="ann", reason="x", until=now + HOUR, now=now)
    examine(one, decoder, hand)
    one.ledger.end_bypass(by="ann", now=datetime.now(UTC))
    receive(one, phantom_dx("hand", 2, size=SIZE), tmp_path)
    examine(one, decoder, hand)
    assert [film.decision for film in one.ledger.films()] == ["quarantine", "quarantine"]
    assert [hold.film_id for hold in one.ledger.holds()] == [2]
    assert [row["destination"] for row in one.ledger.film(1).deliveries] == ["ai", "kids"]


class TurnedOnce(Says):
    """Gates that find a film turned, and nothing wrong with its copy."""

    def look(self, film: Film) -> tuple[Finding, ...]:
        found = super().look(film)
        self.faults = {}
        return found


def test_a_copy_is_not_sent_beside_the_film_that_ai_got_while_it_was_bypassed(
    tmp_path: Path, decoder: Decoder
) -> None:
    """It came during the bypass and is examined after it: held, with the copy ready; else AI had two."""
    one = shell(tmp_path, correct="auto")
    now = datetime.now(UTC)
    for bypassed in (True, False):
        if bypassed:
            one.ledger.begin_bypass(by="ann", reason="x", until=now + HOUR, now=now)
        ds = phantom_dx("frontal", 1, turn=90, size=SIZE, salt=str(bypassed))
        ds.save_as(tmp_path / "sent.dcm", enforce_file_format=True)
        kept = one.store.put_file(tmp_path / "sent.dcm")
        row = {"sop_class_uid": str(ds.SOPClassUID), "digest": kept.digest, "received_at": now}
        one.ledger.record([replace(received(str(ds.SOPInstanceUID)), **row)], ai=one.settings.ai)
        one.ledger.end_bypass(by="ann", now=datetime.now(UTC))
        examine(one, decoder, TurnedOnce(("rotation", Reason.ROTATED_90)))
    during, after = (one.ledger.film(film_id) for film_id in (1, 2))
    assert [film.decision for film in (during, after)] == ["correct", "correct"]
    assert [row["kind"] for row in during.deliveries if row["destination"] == "ai"] == ["always"]
    assert [row["kind"] for row in after.deliveries if row["destination"] == "ai"] == ["copy"]
    assert [(hold.film_id, bool(hold.proposal)) for hold in one.ledger.holds()] == [(1, True)]


def test_a_film_that_is_given_up_is_not_held_for_a_sender_that_is_observed(ledger: Ledger) -> None:
    """Whoever gives it up knows the mode of the settings alone."""
    ledger.set_mode("ROOM1", "observe", **SAID)
    for number, name in enumerate(("ROOM1", "ROOM2")):
        row = ledger.associate(calling=name, called="FILMGATE", address="127.0.0.1", now=NOW)
        ledger.record([received(f"1.{number}", f"{number}", association_id=row, sender=name)])
        job = claimed(ledger)
        assert job.sender == name
        ledger.fail(job, error="x", max_attempts=1, now=NOW)
    assert [hold.film_id for hold in ledger.holds()] == [2]


# --- the policy


def test_a_policy_that_is_put_in_force_decides_the_next_film(tmp_path: Path, decoder: Decoder) -> None:
    """By a worker that runs; the decision keeps the digest; and back again."""
    one = shell(tmp_path)
    rules = one.rulebook()
    flagged = RULES.replace(
        '[MIRROR_SUSPECTED, "MIRROR_SUSPECTED?"]}\n    act: quarantine',
        '[MIRROR_SUSPECTED, "MIRROR_SUSPECTED?"]}\n    act: flag',
    )
    worker = Worker(
        one, decoder, Says(("mirror", Reason.MIRROR_SUSPECTED)), one.policy(), "w", LedgerThread()
    )  # type: ignore[arg-type]
    now = datetime.now(UTC)
    steps = (
        lambda: None,
        lambda: rules.use(flagged, by="ann", note="n", now=now),
        lambda: rules.use_again(None, by="ann", note="", now=now),
    )
    for number, step in enumerate(steps, 1):
        step()
        receive(one, phantom_dx("frontal", number, size=SIZE), tmp_path)
        worker.work()
    assert [film.decision for film in one.ledger.films()] == ["quarantine", "pass", "quarantine"]
    digests = [decided.policy_digest for decided in one.ledger.decided(3)]
    assert digests == [Policy.default().digest, Policy.load(flagged).digest, Policy.default().digest]
    assert [(v.said_by, v.note, v.text) for v in one.ledger.policy_versions()] == [
        ("ann", "", None),
        ("ann", "n", flagged),
    ]


def test_rules_that_cannot_be_used_are_not_put_in_force(ledger: Ledger) -> None:
    rules = Rulebook(ledger, Policy.default())
    with pytest.raises(PolicyError, match="line 1:"):
        rules.use("version: 2\nrules: []", by="ann", note="", now=NOW)
    with pytest.raises(FilmgateError, match="256 KiB"):
        rules.use(RULES + "#" * (256 << 10), by="ann", note="", now=NOW)
    with pytest.raises(NotFound, match="no version 7"):
        rules.use_again(7, by="ann", note="", now=NOW)
    assert ledger.policy_versions() == []
    assert rules.in_force().of_settings


def test_an_older_version_is_put_in_force_once_more_as_a_new_one(ledger: Ledger) -> None:
    rules = Rulebook(ledger, Policy.default())
    first = rules.use(RULES, by="ann", note="first", now=NOW)
    rules.use(RULES + "# more\n", by="ann", note="", now=NOW)
    again = rules.use_again(first.id, by="bob", note="back", now=NOW)
    assert (again.text, again.again) == (RULES, first.id)
    assert [version.id for version in ledger.policy_versions()] == [3, 2, 1]
    assert rules.in_force().version == again


def test_damaged_rules_decide_nothing(tmp_path: Path, decoder: Decoder) -> None:
    """No AI gets the film; it waits, and is decided when other rules are in force."""
    one = shell(tmp_path)
    one.rulebook().use(RULES, by="ann", note="", now=NOW)
    with one.ledger.writing() as db:
        db.execute(update(policies).values(text=RULES.replace("act: quarantine", "act: pass")))
    receive(one, phantom_dx("frontal", 1, size=SIZE), tmp_path)
    examine(one, decoder, Says())
    film = one.ledger.film(1)
    assert (film.decision, film.job, film.deliveries) == (None, "ready", ())
    assert "not what ann put in force" in str(film.error)
    with pytest.raises(PolicyDamaged):
        one.rulebook().in_force()
    one.rulebook().use_again(None, by="ann", note="", now=NOW)
    one.ledger.claim("w")  # it was put off for a few seconds: without a time it is taken at once


# --- destinations


def test_a_paused_destination_gets_nothing_and_what_is_owed_waits(gateway: Gateway) -> None:
    """Others go on; what was claimed and not sent goes back; it is sent when the pause ends."""
    began, go_on = threading.Event(), threading.Event()

    def act(_: Delivery) -> None:
        began.set()
        go_on.wait(20)

    ai, archive = Fake("ai", act), Fake("archive")
    gateway.owe("ai", "archive", count=5)
    with running(gateway, ai, archive) as courier:
        assert began.wait(20)  # the first is on the wire, others are claimed with it
        assert gateway.ledger.pause("ai", by="ann", note_text="reboot", now=NOW)
        assert not gateway.ledger.pause("ai", by="ann", note_text="", now=NOW)
        go_on.set()
        gateway.until("ai", delivered=1, pending=4)
        gateway.until("archive", delivered=5)
        (paused,) = gateway.ledger.paused()
        assert (paused.destination, paused.said_by, paused.note) == ("ai", "ann", "reboot")
        assert gateway.ledger.resume("ai", by="ann", note_text="", now=NOW)
        assert not gateway.ledger.resume("ai", by="ann", note_text="", now=NOW)
        courier.look_now()
        gateway.until("ai", delivered=5)


def test_a_pause_outlives_the_courier(gateway: Gateway) -> None:
    gateway.ledger.pause("ai", by="ann", note_text="", now=NOW)
    gateway.owe("ai", "archive", count=2)
    for _ in range(2):
        ai, archive = Fake("ai"), Fake("archive")
        with running(gateway, ai, archive):
            gateway.until("archive", delivered=2)
            ai.rested.wait(20)
        assert ai.tried == []
    assert list(gateway.states("ai").values()) == ["pending", "pending"]


# --- senders


def test_a_refused_title_is_allowed_and_comes_in_without_a_restart(tmp_path: Path) -> None:
    """By DCMTK, to a listener process that knows nothing of it but the ledger; and taken back."""
    path = tmp_path / "film.dcm"
    film().save_as(path, enforce_file_format=True)
    allow = [{"ae_title": "ROOM1", "from": "127.0.0.0/8"}]
    with listener_process(tmp_path, allow=allow) as (_, port):
        ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
        echo = [ECHOSCU, "-aet", "ROOM9", "-aec", "FILMGATE", "127.0.0.1", str(port)]
        assert subprocess.run(echo, capture_output=True).returncode != 0
        (refused,) = until_refused(ledger)
        assert (refused.calling, refused.address, refused.times) == ("ROOM9", "127.0.0.1", 1)
        assert refused.reason == "calling AE title not recognised"
        ledger.allow("ROOM9", "127.0.0.1", by="ann", note_text="new room", now=NOW)
        assert subprocess.run(echo, capture_output=True).returncode == 0
        send = [DCMSEND, "-aet", "ROOM9", "-aec", "FILMGATE", "127.0.0.1", str(port), str(path)]
        subprocess.run(send, capture_output=True, check=True)
        (row,) = ledger.senders(NOW - 100000 * HOUR)
        assert (row.ae_title, row.addresses, row.today) == ("ROOM9", ("127.0.0.1",), 1)
        assert ledger.disallow("ROOM9", None, by="ann", note_text="", now=NOW) == 1
        assert subprocess.run(echo, capture_output=True).returncode != 0
        ledger.close()


def until_refused(ledger: Ledger) -> list[Any]:
    for _ in range(2000):
        if rows := ledger.refused(NOW - 100000 * HOUR):
            return rows
        threading.Event().wait(0.01)
    raise AssertionError("no refusal was noted")


@pytest.mark.parametrize(
    ("title", "network", "calling", "address", "admitted"),
    [
        ("ROOM9", "10.1.2.3", "ROOM9", "10.1.2.3", True),
        ("ROOM9", "10.1.2.3", "ROOM9", "::ffff:10.1.2.3", True),
        ("ROOM9", "10.1.2.3", "ROOM9", "10.1.2.4", False),
        ("ROOM9", "10.1.0.0/16", "ROOM9", "10.1.2.4", True),
        ("ROOM9", "10.1.2.3", "room9", "10.1.2.3", False),
        ("ROOM9", "fd00::/8", "ROOM9", "fd00::1%eth0", True),
        ("ROOM9", "fd00::/8", "ROOM9", "10.1.2.3", False),
    ],
)
def test_who_is_allowed_is_a_title_at_an_address(
    ledger: Ledger, title: str, network: str, calling: str, address: str, admitted: bool
) -> None:
    ledger.allow(title, network, **SAID)
    assert ledger.admits(calling, address) is admitted


@pytest.mark.parametrize(
    ("title", "network"),
    [
        ("*", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("A" * 17, "10.0.0.1"),
        ("A\\B", "10.0.0.1"),
        ("R", "x"),
        ("R", ""),
    ],
)
def test_nobody_is_allowed_by_a_slip(ledger: Ledger, title: str, network: str) -> None:
    with pytest.raises(FilmgateError, match="Nothing was changed"):
        ledger.allow(title, network, **SAID)
    assert ledger.allowed() == ()
    with pytest.raises(NotFound, match=r"gateway\.allow"):
        ledger.disallow("ROOM1", None, **SAID)


def test_shares_and_silence_of_a_sender(ledger: Ledger) -> None:
    """What its last films show: how many were held, and how long it is silent as a rule."""
    row = ledger.associate(calling="ROOM1", called="FILMGATE", address="10.0.0.7", now=NOW)
    for number, minutes in enumerate((0, 6, 12, 60)):
        at = NOW + timedelta(minutes=minutes)
        ledger.record([received(f"1.{number}", f"{number}", association_id=row, received_at=at)])
    ledger.judge(claimed(ledger), HELD, now=NOW)
    (sender,) = ledger.senders(NOW + timedelta(minutes=10))
    assert (sender.films, sender.today, sender.decided, sender.held) == (4, 2, 1, 1.0)
    assert (sender.usual_s, sender.longest_s) == (360.0, 48 * 60.0)


def test_what_people_did_is_in_the_audit(ledger: Ledger) -> None:
    """Who, what and when; no film is named by it."""
    ledger.allow("ROOM9", "10.1.2.3", **SAID)
    ledger.set_mode("ROOM9", "observe", **SAID)
    ledger.pause("ai", **SAID)
    ledger.begin_bypass(by="ann", reason="x", until=NOW + HOUR, now=NOW)
    with ledger.reading() as db:
        rows = db.exec_driver_sql("SELECT what, who, film_id FROM events ORDER BY id").all()
    whats = ["sender allowed", "sender mode", "paused", "bypass on"]
    assert [tuple(row) for row in rows] == [(what, "ann", None) for what in whats]
