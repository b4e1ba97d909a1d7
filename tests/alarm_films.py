"""A gateway whose senders send films that gates judge as a test says, without pixels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.alarms import Looker
from gateway.ledger import Ledger
from gateway.ledger.records import Judged, Received
from gateway.settings import Settings
from pipelines.film import Act, Decision, Finding, Reason, Verdict

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
GOOD = Judged(Decision(Act.PASS, rule="qualified"), (Finding("rotation", Verdict.GOOD, 0.99),), "enforce", {})
TURNED = Judged(
    Decision(Act.CORRECT, (Reason.ROTATED_90,), "can be put right", "turned"),
    (Finding("rotation", Verdict.BAD, 0.01, reason=Reason.ROTATED_90),),
    "enforce",
    {},
)
REPORT = Judged(Decision(Act.WITHHOLD, (Reason.NOT_A_FILM,), "not a film", "a report"), (), "enforce", {})
HAND = Judged(
    Decision(Act.WITHHOLD, (Reason.OTHER_PART,), "not a frontal chest", "a hand"), (), "enforce", {}
)


class Site:
    """Films come one a minute by a clock that the test moves."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.settings = Settings(state=folder / "state", **settings)
        (folder / "state").mkdir(mode=0o700, exist_ok=True)
        self.url = f"sqlite:///{folder}/state/ledger.sqlite"
        self.ledger = Ledger.open(self.url, busy_timeout_s=5, migrate_first=True)
        self.now = START
        self.count = 0
        self._associations: dict[str, int] = {}
        self.looker = self.another_looker()

    def clock(self) -> datetime:
        return self.now

    def another_looker(self) -> Looker:
        """As after a restart."""
        return Looker(self.ledger, self.settings, self.clock)

    def send(self, sender: str, judged: Judged = GOOD, films: int = 1, every_min: float = 1.0) -> None:
        for _ in range(films):
            self.count += 1
            self.now += timedelta(minutes=every_min)
            self.ledger.record([self._received(sender)])
            job = self.ledger.claim("w")
            assert job is not None
            self.ledger.judge(job, judged, now=self.now)

    def look(self) -> None:
        """Until all is taken in and looked at, slow things too."""
        self.now += timedelta(seconds=31)
        while self.looker.look():
            pass

    def on(self) -> list[tuple[str, str, str]]:
        return [(alarm.kind.value, alarm.subject, alarm.what) for alarm in self.ledger.alarms_on()]

    def _received(self, sender: str) -> Received:
        if sender not in self._associations:
            its = {"calling": sender, "called": "FILMGATE", "address": "127.0.0.1", "now": self.now}
            self._associations[sender] = self.ledger.associate(**its)  # type: ignore[arg-type]
        uid, digest = f"1.2.3.{self.count}", f"{self.count:064x}"
        association = self._associations[sender]
        return Received("1.2", uid, "1.2.840.10008.1.2.1", digest, 1 << 20, association, self.now)
