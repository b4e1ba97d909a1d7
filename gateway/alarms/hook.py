"""Word of an alarm to a web address: one POST of JSON a notice."""

from __future__ import annotations

import json
from typing import Any

from gateway.destinations.webhook import WebhookDestination
from gateway.ledger.watching.records import Notice
from gateway.settings import Settings
from gateway.settings import WebhookDestination as WebhookSettings


class Hook:
    """POSTs a notice and closes; TLS, deadlines and answers are those of a webhook destination."""

    def __init__(self, settings: Settings) -> None:
        """
        Raises:
            SettingsError: the file of certificates cannot be used.
        """
        said = settings.alarms.webhook
        block = WebhookSettings(**{name: getattr(said, name) for name in type(said).model_fields})
        self._address = WebhookDestination("alarms", block, "alarms.webhook")
        self._console = settings.console_url

    def send(self, notice: Notice) -> None:
        """
        Raises:
            DeliveryError: it was not taken.
        """
        try:
            payload = json.dumps(body(notice, self._console), ensure_ascii=False).encode()
            key = f"filmgate-alarm-{notice.alarm.id}-{notice.news}-{notice.alarm.since:%Y%m%dT%H%M%S}"
            self._address.post(payload, {"Content-Type": "application/json", "Idempotency-Key": key})
        finally:
            self._address.close()


def body(notice: Notice, console: str) -> dict[str, Any]:
    """What is told: no patient and no UID is in an alarm."""
    alarm = notice.alarm
    return {
        "alarm": alarm.id,
        "news": notice.news,
        "kind": alarm.kind.value,
        "subject": alarm.subject,
        "rate": alarm.what,
        "words": alarm.words,
        "since": alarm.since.isoformat(timespec="seconds"),
        "over": alarm.over_at.isoformat(timespec="seconds") if alarm.over_at else None,
        "url": console + alarm.link,
    }
