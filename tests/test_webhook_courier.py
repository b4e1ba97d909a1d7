"""Results through the courier to a webhook, and what doctor says of one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from storage_peers import WAIT_S
from web_peer import CANARY, FHIR, PAYLOAD, TOKEN, Connect, Web, certificate, result, to, web, web_server

from gateway import logs
from gateway.cli.upkeep import peer_checks
from gateway.destinations import WebhookDestination, build_or_wait
from gateway.dispatcher.courier import Courier
from gateway.errors import Unreachable
from gateway.ledger import Ledger
from gateway.ledger.records import Delivery, DeliveryState, Received
from gateway.settings import LogSettings, RetrySettings, Settings
from gateway.settings import WebhookDestination as WebhookSettings
from gateway.store import Store

__all__ = ["certificate", "result", "to", "web"]


class Owed:
    """A ledger and a store with one result that is owed to the webhook."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite", migrate_first=True)
        self.store = Store(folder, 0)
        incoming = self.store.begin("", "2.25.1", FHIR)
        incoming.write(PAYLOAD)
        self.digest = incoming.finish().digest
        row = Received("", "2.25.1", FHIR, self.digest, len(PAYLOAD), None, datetime.now(UTC))
        self.ledger.record([row], always=("hook",))

    @contextmanager
    def carried(self, hook: WebhookDestination) -> Iterator[Courier]:
        retry = {"hook": RetrySettings(first_s=0.02, longest_s=0.05)}
        courier = Courier(self.ledger, self.store, {"hook": hook}, retry)
        courier.start()
        try:
            yield courier
        finally:
            courier.stop(drain_s=WAIT_S)

    def until(self, state: str) -> dict[str, Any]:
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            (film,) = self.ledger.films()
            (row,) = film.deliveries
            if row["state"] == state:
                return dict(row)
            threading.Event().wait(0.005)
        raise AssertionError(row)


@pytest.fixture
def owed(tmp_path: Path) -> Iterator[Owed]:
    folder = tmp_path / "state"
    folder.mkdir()
    owed = Owed(folder)
    yield owed
    owed.ledger.close()


def test_a_result_is_tried_until_it_arrives_and_keeps_its_key(web: Web, to: Connect, owed: Owed) -> None:
    web.statuses = [500, 503, 429, 408]
    with owed.carried(to(web.url)):
        owed.until("delivered")
    assert web.bodies == [PAYLOAD] * 5
    assert {headers["idempotency-key"] for headers in web.headers} == {owed.digest}


def test_a_result_that_is_refused_waits_for_a_person(web: Web, to: Connect, owed: Owed) -> None:
    web.statuses = [422]
    with owed.carried(to(web.url)):
        row = owed.until("failed")
    assert row["error"] == "answers 422 Unprocessable Entity"
    assert len(web.bodies) == 1


def test_a_peer_that_asks_for_time_gets_it(web: Web, to: Connect, owed: Owed) -> None:
    """Retry-After is longer than our own delay, and counts."""
    web.statuses, web.extra = [503], {"Retry-After": "30"}
    began = datetime.now(UTC)
    with owed.carried(to(web.url)):
        owed.until("retry")
        (waits,) = owed.ledger.undelivered([DeliveryState.RETRY])
    assert waits.next_at - began > timedelta(seconds=29)


@pytest.mark.parametrize("status", [200, 400, 500])
def test_logs_and_ledger_know_neither_patient_nor_token(
    web: Web, to: Connect, owed: Owed, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    """A peer that echoes all it got, into its headers too, and a log at its most talkative."""
    logs.configure(LogSettings(level="debug"))
    web.statuses, web.body = [status], PAYLOAD
    web.extra = {"X-Echo": CANARY, "Location": f"/{TOKEN}"}
    with owed.carried(to(web.url, token=TOKEN)) as courier:
        owed.until("failed" if status == 400 else "delivered")
        told = str(courier.health()) + str(owed.ledger.films())
    told += "".join(capsys.readouterr())
    assert "CANARY" not in told
    assert TOKEN not in told
    assert "key=1" not in told


def settings_with(url: str, **more: object) -> Settings:
    return Settings.model_validate({"destinations": {"hook": {"kind": "webhook", "url": url, **more}}})


def test_one_that_could_not_be_built_is_closed_and_opens_by_itself(
    web: Web, certificate: Path, tmp_path: Path, result: tuple[Path, Delivery]
) -> None:
    """A file that it names was gone when the process started, and is there again."""
    missing = tmp_path / "later.pem"
    block = WebhookSettings.model_validate({"kind": "webhook", "url": web.url, "ca_file": missing})
    late = build_or_wait("hook", block, "FILMGATE")
    late.rest()
    with pytest.raises(
        Unreachable, match=r"it is closed: destinations\.hook\.ca_file: .*No such file"
    ) as closed:
        late.deliver(*result)
    assert closed.value.retry
    missing.write_bytes(certificate.read_bytes())
    late.deliver(*result)
    assert web.bodies == [PAYLOAD]
    late.rest()
    late.close()


def test_doctor_connects_and_sends_nothing(
    web: Web, certificate: Path, tmp_path: Path, free_port: int
) -> None:
    def found(url: str, **more: object) -> tuple[str, str]:
        (check,) = peer_checks.destinations(settings_with(url, **more))
        return check.result, check.detail

    assert found(web.url)[0] == "ok"
    assert found(f"http://127.0.0.1:{free_port}/")[0] == "warning"
    with web_server(certificate) as secure:
        result, detail = found(secure.url, ca_file=certificate)
        assert (result, "by TLS" in detail) == ("ok", True)
        assert "not trusted" in found(secure.url)[1]
        assert found(secure.url, ca_file=tmp_path / "absent.pem")[0] == "error"
    assert web.bodies == secure.bodies == []
