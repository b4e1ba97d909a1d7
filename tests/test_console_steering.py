"""The pages on which admins steer: policy, bypass, destinations, senders."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from console_client import signed_in
from ledger_films import NOW, received
from polling import until
from sqlalchemy import update
from starlette.testclient import TestClient

from gateway.bootstrap import Shell
from gateway.console.doors import Role
from gateway.console.pages.steering.senders import _line
from gateway.console.pages.steering.tries import Busy, Tries
from gateway.console.rendering import _span
from gateway.errors import Trouble
from gateway.ledger.records import Tally
from gateway.ledger.steering.records import SenderRow
from gateway.ledger.steering.tables import policies
from gateway.policies.trying import Change, Outcome, Tried
from gateway.settings import Settings
from pipelines.policy import DEFAULT_RULES

RULES = DEFAULT_RULES.read_text(encoding="utf-8")


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    folder = {"kind": "folder", "path": str(tmp_path / "ai")}
    gone = {"kind": "dicom", "ae_title": "GONE", "port": 1}
    settings = Settings.model_validate(
        {"state": tmp_path, "destinations": {"ai": folder, "gone": gone}, "routes": {"pass": ["ai"]}}
    )
    one = Shell.open(settings, migrate_first=True)
    yield one
    one.close()


@pytest.fixture
def admin(shell: Shell) -> TestClient:
    return signed_in(shell, Role.ADMIN)


def test_every_page_opens_on_an_empty_gateway(admin: TestClient) -> None:
    """And says what to do next where there is nothing yet."""
    for address, words in (
        ("/policy", "Nobody has put other rules in force"),
        ("/destinations", "takes what it is sent"),
        ("/senders", "Nobody has sent a film yet"),
    ):
        answer = admin.get(address)
        assert answer.status_code == 200
        assert words in answer.text


def test_what_changes_something_is_for_admins(shell: Shell) -> None:
    """Reviewers test and send again; they neither pause, allow, nor put rules in force."""
    reviewer = signed_in(shell, Role.REVIEWER)
    for address, data in (
        ("/policy", {"text": RULES, "note": "x"}),
        ("/policy/revert", {"version": "0"}),
        ("/policy/bypass", {"hours": "1", "reason": "x"}),
        ("/policy/bypass/end", {}),
        ("/destinations/flow", {"name": "ai", "act": "pause"}),
        ("/senders/allow", {"ae_title": "R", "address": "10.0.0.1"}),
        ("/senders/disallow", {"ae_title": "R", "address": "10.0.0.1"}),
        ("/senders/mode", {"ae_title": "R", "mode": "observe"}),
    ):
        assert reviewer.post(address, data=data).status_code == 403, address
    assert shell.ledger.steered().revision == 0
    assert signed_in(shell, Role.VIEWER).post("/destinations/test", data={"name": "ai"}).status_code == 403


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("version: 2", 1, "needs `version: 1`"),
        (RULES.replace("act: correct", "act: corect"), 144, "did you mean 'correct'?"),
        ("a: [", 1, "not YAML"),
    ],
)
def test_rules_are_checked_by_the_loader_of_the_workers(
    admin: TestClient, text: str, line: int, words: str
) -> None:
    said = admin.post("/api/policy/check", json={"text": text}).json()
    assert (said["ok"], said["line"]) == (False, line)
    assert words in said["words"]


def test_rules_that_can_be_used_say_what_they_lack(admin: TestClient) -> None:
    said = admin.post(
        "/api/policy/check", json={"text": RULES.replace("[PIXELS_DAMAGED]", "[UNREADABLE]")}
    ).json()
    assert said["ok"]
    assert said["lacks"] == ["PIXELS_DAMAGED"]
    too_long = admin.post("/api/policy/check", json={"text": "#" * (257 << 10)})
    assert too_long.status_code in (413, 422)


def test_rules_are_put_in_force_with_a_reason_compared_and_taken_back(
    shell: Shell, admin: TestClient
) -> None:
    """A browser's line ends are not kept; versions say who, why and what changed."""
    changed = RULES.replace("act: correct", "act: quarantine", 1)
    assert admin.post("/policy", data={"text": changed, "note": " "}).status_code == 409
    broken = admin.post("/policy", data={"text": "version: 2", "note": "x"})
    assert broken.status_code == 409
    assert shell.ledger.policy_versions() == []
    page = admin.post("/policy", data={"text": changed.replace("\n", "\r\n"), "note": "stop <b>"})
    assert "These rules decide from the next film on" in page.text
    assert "stop &lt;b&gt;" in page.text
    (version,) = shell.ledger.policy_versions()
    assert (version.text, version.said_by) == (changed, "admin")
    diff = admin.get("/policy/versions/1").text
    assert '<span class="removed">-    act: correct</span>' in diff
    assert '<span class="added">+    act: quarantine</span>' in diff
    admin.post("/policy/revert", data={"version": "0"})
    assert shell.rulebook().in_force().of_settings
    assert admin.get("/policy?version=9").status_code == 404
    assert admin.get("/policy/versions/9").status_code == 404


def test_rules_are_tried_without_changing_anything(shell: Shell, admin: TestClient) -> None:
    """The part says how far it is until it is done."""
    begun = admin.post("/policy/tries", data={"text": RULES, "films": "50"}).text
    address = begun.partition('hx-get="')[2].partition('"')[0]
    assert until(
        lambda: "No film has been decided here yet" in (admin.get(address).text if address else begun)
    )
    assert "line 1" in admin.post("/policy/tries", data={"text": "version: 2", "films": "50"}).text
    assert admin.post("/policy/tries", data={"text": RULES, "films": "49"}).status_code == 422
    assert "not kept any more" in admin.get("/policy/tries/0").text
    assert shell.ledger.policy_versions() == []


def test_one_try_out_at_a_time() -> None:
    """Somebody else's is waited for; one's own is ended by the next."""
    tries, go_on, told = Tries(), threading.Event(), threading.Event()

    def slow(progress: object) -> Tried:
        told.set()
        go_on.wait(20)
        progress(1)  # type: ignore[operator]
        return Tried(1)

    first = tries.begin("ann", 50, slow)
    assert told.wait(20)
    with pytest.raises(Busy, match="ann tries rules now"):
        tries.begin("bob", 50, slow)
    second = tries.begin("ann", 50, lambda _: Tried(2))
    assert until(lambda: second.result is not None)
    go_on.set()
    assert first.cancelled
    failing = tries.begin("bob", 50, lambda _: 1 / 0)  # type: ignore[arg-type,return-value]
    assert until(lambda: bool(failing.error))
    assert "ZeroDivisionError" in failing.error


def test_the_kind_of_a_change_is_said_in_words() -> None:
    was = Outcome("pass", "qualified", (), (), ("ai",))
    kinds = [
        Change(1, "", was, would_be).kind
        for would_be in (
            Outcome("quarantine", "r", ("BLANK",), (), ()),
            Outcome("pass", "qualified", (), (), ("ai", "kids")),
            Outcome("pass", "other", (), (), ("ai",)),
            Outcome("pass", "qualified", (), ("BORDER",), ("ai",)),
        )
    ]
    assert kinds == [
        "pass → quarantine",
        "pass, to other destinations",
        "pass, by another rule or reason",
        "pass, with other notes",
    ]


def test_every_page_says_that_the_gates_are_bypassed_until_it_ends(shell: Shell, admin: TestClient) -> None:
    assert admin.post("/policy/bypass", data={"hours": "25", "reason": "x"}).status_code == 422
    assert admin.post("/policy/bypass", data={"hours": "1", "reason": " "}).status_code == 409
    admin.post("/policy/bypass", data={"hours": "2", "reason": "gates <down>"})
    for address in ("/", "/policy", "/destinations", "/senders", "/users", "/policy/bypass"):
        text = admin.get(address).text
        assert "The gates are bypassed until" in text, address
        assert "gates &lt;down&gt;" in text
    viewer = signed_in(shell, Role.VIEWER).get("/policy").text
    assert "The gates are bypassed until" in viewer
    assert "End it now" not in viewer
    admin.post("/policy/bypass/end", data={})
    assert "The gates are bypassed until" not in admin.get("/").text
    past = datetime.now(UTC) - timedelta(hours=2)
    shell.ledger.begin_bypass(by="ann", reason="x", until=past + timedelta(hours=1), now=past)
    assert "The gates are bypassed until" not in admin.get("/").text


def test_a_destination_is_paused_resumed_and_sent_again(shell: Shell, admin: TestClient) -> None:
    shell.ledger.record([received(f"1.{n}", f"{n}") for n in range(3)], always=["ai", "gone", "lost"])
    (first, second, _) = shell.ledger.claim_deliveries("ai", 9, NOW)
    shell.ledger.fail_delivery(first.id, error="0xC001 <x>", now=NOW, trouble=Trouble.DECLINED)
    shell.ledger.retry_delivery(second.id, error="refused", at=NOW, trouble=Trouble.UNREACHABLE)
    text = admin.get("/destinations").text
    assert "Send these 1 again" in text
    assert "it cannot be reached" in text
    assert "It is no longer in the settings" in text
    listed = admin.get("/destinations?destination=ai&reason=declined").text
    assert "0xC001 &lt;x&gt;" in listed
    assert admin.get("/destinations?destination=ai&reason=nonsense").status_code == 422
    admin.post("/destinations/again", data={"name": "ai", "reason": "declined"})
    assert not any(group.state == "failed" for group in shell.ledger.undone("ai"))
    paused = admin.post("/destinations/flow", data={"name": "ai", "act": "pause", "note": "reboot"}).text
    assert "Paused: nothing is sent there" in paused
    assert [one.destination for one in shell.ledger.paused()] == ["ai"]
    admin.post("/destinations/flow", data={"name": "ai", "act": "resume"})
    assert shell.ledger.paused() == ()
    assert admin.post("/destinations/flow", data={"name": "no", "act": "pause"}).status_code == 404
    assert "Send these" not in admin.get("/destinations/rows").text


def test_today_says_what_was_switched_and_must_not_be_forgotten(shell: Shell, admin: TestClient) -> None:
    """A paused AI, a bypass, and rules that are not what was put in force."""
    now = datetime.now(UTC)
    shell.ledger.pause("ai", by="ann", note_text="", now=now)
    shell.ledger.begin_bypass(by="bob", reason="gates down", until=now + timedelta(hours=1), now=now)
    shell.rulebook().use(RULES, by="ann", note="", now=now)
    with shell.ledger.writing() as db:
        db.execute(update(policies).values(text="version: 1"))
    text = admin.get("/today").text
    for words in ("paused since", "every film goes to AI. bob: gates down", "not what ann put in force"):
        assert words in text
    assert "is not what ann put in force" in admin.get("/policy").text


def test_a_destination_is_tested_in_words(tmp_path: Path, admin: TestClient) -> None:
    told = admin.post("/destinations/test", data={"name": "ai"}).text
    assert "cannot be written to: no such file or directory" in told
    (tmp_path / "ai").mkdir()
    assert "can be written to" in admin.post("/destinations/test", data={"name": "ai"}).text
    assert "nobody listens on port 1" in admin.post("/destinations/test", data={"name": "gone"}).text
    assert admin.post("/destinations/test", data={"name": "no"}).status_code == 404


def test_a_refused_sender_is_allowed_by_one_click_and_taken_back(shell: Shell, admin: TestClient) -> None:
    """What allowing cannot help has no such button; names from the network are escaped."""
    now = datetime.now(UTC)
    rows = [
        Tally(
            None,
            "<b>ROOM9",
            "FILMGATE",
            "10.1.2.3",
            "refused",
            "calling AE title not recognised",
            4,
            now,
            now,
        ),
        Tally(None, "ROOM8", "OTHER", "10.1.2.4", "refused", "called AE title not recognised", 1, now, now),
        Tally(None, "others", "others", "others", "refused", "calling AE title not recognised", 9, now, now),
        Tally(
            None, "ROOM7", "FILMGATE", "10.1.2.5", "refused", "protocol version not supported", 1, now, now
        ),
    ]
    shell.ledger.tally(rows)
    text = admin.get("/senders").text
    assert text.count('class="main">Allow') == 1
    assert "Allow &lt;b&gt;ROOM9 from 10.1.2.3" in text
    allowed = admin.post("/senders/allow", data={"ae_title": "<b>ROOM9", "address": "10.1.2.3"}).text
    assert "its next association is accepted" in allowed
    assert "allowed since" in allowed
    assert shell.ledger.admits("<b>ROOM9", "10.1.2.3")
    assert admin.post("/senders/allow", data={"ae_title": "*", "address": "10.1.2.3"}).status_code == 409
    admin.post("/senders/disallow", data={"ae_title": "<b>ROOM9", "address": "10.1.2.3/32"})
    assert not shell.ledger.admits("<b>ROOM9", "10.1.2.3")
    admin.post("/senders/mode", data={"ae_title": "ROOM8", "mode": "observe"})
    assert dict(shell.ledger.steered().modes) == {"ROOM8": "observe"}
    admin.post("/senders/mode", data={"ae_title": "ROOM8", "mode": "usual"})
    assert dict(shell.ledger.steered().modes) == {}


@pytest.mark.parametrize(
    ("longest_s", "silent_s", "is_long"),
    [
        (None, 9e9, False),
        (0.2, 240, False),
        (0.2, 3700, True),
        (40_000, 70_000, False),
        (40_000, 90_000, True),
    ],
)
def test_a_silence_is_named_when_it_is_one(longest_s: float | None, silent_s: float, is_long: bool) -> None:
    """Who pushed a hundred films at once four minutes ago is not silent longer than ever."""
    at = datetime.now(UTC)
    row = SenderRow(
        "ROOM1", ("10.1.2.3",), 9, 9, 9, 0, 0, 0, at - timedelta(seconds=silent_s), longest_s, longest_s
    )
    assert _line(row, None, "enforce", at).is_long is is_long


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3723, "1 h 2 min"),
        (86400, "1 d"),
        (90061, "1 d 1 h"),
        (-5, "0 s"),
    ],
)
def test_a_time_is_said_in_two_units(seconds: float, words: str) -> None:
    assert _span(seconds) == words
