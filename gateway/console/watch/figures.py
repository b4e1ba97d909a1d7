"""The Prometheus figures, read from the ledger when they are asked for: no process has to be asked.

Base units; labels are bounded, and none is an identifier: of senders the MOST_SENDERS with the most films
have a line of their own. A figure is one line of FIGURES and a row in docs/monitoring.md.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.bootstrap import Shell
from gateway.console.watch import ready
from gateway.ledger.watching.figures import Figures
from gateway.ledger.watching.records import AlarmKind, SenderTotal
from gateway.process import health
from pipelines.film import Act, Reason

KEPT_S = 5.0  # whoever asks sooner gets the same
MOST_SENDERS = 50
OTHERS = "others"  # the sender of all further ones; lower case is no AE title of theirs by custom
UNKNOWN = "unknown"
_STATES = ("pending", "sending", "retry", "failed")

COUNTER, GAUGE = "counter", "gauge"
# (name, kind, labels): every figure there is, in the order in which they are told.
FIGURES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("filmgate_build_info", GAUGE, ("version",)),
    ("filmgate_ready", GAUGE, ("what",)),
    ("filmgate_processes", GAUGE, ("role",)),
    ("filmgate_process_troubles", GAUGE, ("role",)),
    ("filmgate_films", GAUGE, ()),
    ("filmgate_received_films_total", COUNTER, ("sender",)),
    ("filmgate_received_bytes_total", COUNTER, ("sender",)),
    ("filmgate_sender_last_film_timestamp_seconds", GAUGE, ("sender",)),
    ("filmgate_decisions_total", COUNTER, ("decision",)),
    ("filmgate_decision_reasons_total", COUNTER, ("reason",)),
    ("filmgate_holds_open", GAUGE, ()),
    ("filmgate_oldest_hold_age_seconds", GAUGE, ()),
    ("filmgate_jobs", GAUGE, ("state",)),
    ("filmgate_deliveries", GAUGE, ("destination", "state")),
    ("filmgate_oldest_delivery_age_seconds", GAUGE, ("destination",)),
    ("filmgate_delivered_total", COUNTER, ("destination",)),
    ("filmgate_alarms", GAUGE, ("kind",)),
    ("filmgate_alarms_total", COUNTER, ("kind",)),
    ("filmgate_store_free_bytes", GAUGE, ()),
    ("filmgate_store_least_free_bytes", GAUGE, ()),
    ("filmgate_ledger_bytes", GAUGE, ()),
    ("filmgate_ledger_wal_bytes", GAUGE, ()),
)
_HELP = {
    "filmgate_build_info": "Which filmgate runs; always 1.",
    "filmgate_ready": "Whether this is as it should be (1) or not (0), as /readyz says.",
    "filmgate_processes": "Running processes of this role.",
    "filmgate_process_troubles": "What goes wrong in them now.",
    "filmgate_films": "Films in the ledger.",
    "filmgate_received_films_total": "Versions of films that were received.",
    "filmgate_received_bytes_total": "Their bytes.",
    "filmgate_sender_last_film_timestamp_seconds": "When the sender's last film came, Unix time.",
    "filmgate_decisions_total": "Decisions, those of films that are gated again included.",
    "filmgate_decision_reasons_total": "Reasons of decisions; a decision may have several.",
    "filmgate_holds_open": "Films that wait for a person.",
    "filmgate_oldest_hold_age_seconds": "How long the oldest of them waits; 0 when none does.",
    "filmgate_jobs": "Work for workers by its state.",
    "filmgate_deliveries": "Objects that have not arrived.",
    "filmgate_oldest_delivery_age_seconds": "How long the oldest of them is owed.",
    "filmgate_delivered_total": "Objects that the destination took.",
    "filmgate_alarms": "Alarms that are on.",
    "filmgate_alarms_total": "Alarms that began.",
    "filmgate_store_free_bytes": "Room for films.",
    "filmgate_store_least_free_bytes": "Below so much nothing more is accepted.",
    "filmgate_ledger_bytes": "Size of the ledger's file.",
    "filmgate_ledger_wal_bytes": "Size of its write-ahead log.",
}

Sample = tuple[str, tuple[str, ...], float]  # name, the labels' values, value


class Exposed(Collector):
    """All figures of one gateway. They are kept for KEPT_S, so that nobody loads the ledger by asking.

    Args:
        wall_s: Unix time.
    """

    def __init__(self, shell: Shell, wall_s: Callable[[], float] = time.time) -> None:
        self._shell = shell
        self._wall_s = wall_s
        self._lock = threading.Lock()
        self._kept: list[Metric] = []
        self._until_s = 0.0

    def collect(self) -> Iterable[Metric]:
        """
        Raises:
            LedgerError: the ledger cannot be read.
        """
        with self._lock:
            if time.monotonic() >= self._until_s:
                self._kept = list(_families(self._samples()))
                self._until_s = time.monotonic() + KEPT_S
            return self._kept

    def _samples(self) -> Iterator[Sample]:
        shell, wall_s = self._shell, self._wall_s()
        found = shell.ledger.figures()
        yield "filmgate_build_info", (metadata.version("filmgate"),), 1
        for one in ready.look(shell):
            yield "filmgate_ready", (one.what,), float(one.ok)
        yield from _processes(shell)
        yield "filmgate_films", (), found.films
        yield from _senders(shell.ledger.sender_totals())
        for act in Act:
            yield "filmgate_decisions_total", (act.value,), found.tallies.get(("decided", act.value), 0)
        for reason in Reason:
            yield (
                "filmgate_decision_reasons_total",
                (reason.value,),
                found.tallies.get(("reason", reason.value), 0),
            )
        yield "filmgate_holds_open", (), found.holds_open
        oldest = found.oldest_hold
        yield "filmgate_oldest_hold_age_seconds", (), max(0.0, wall_s - oldest.timestamp()) if oldest else 0.0
        for state, count in found.jobs.items():
            yield "filmgate_jobs", (state,), count
        yield from _deliveries(shell, found, wall_s)
        for kind in AlarmKind:
            yield "filmgate_alarms", (kind.value,), found.alarms.get(kind.value, 0)
            yield "filmgate_alarms_total", (kind.value,), found.tallies.get(("alarm", kind.value), 0)
        yield from _room(shell)


def registry(shell: Shell) -> CollectorRegistry:
    """A registry with these figures alone; figures of the Python process would be those of the console."""
    made = CollectorRegistry(auto_describe=False)
    made.register(Exposed(shell))
    return made


def _families(samples: Iterable[Sample]) -> Iterator[Metric]:
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        by_name.setdefault(sample[0], []).append(sample)
    for name, kind, labels in FIGURES:
        family: CounterMetricFamily | GaugeMetricFamily = (
            CounterMetricFamily(name, _HELP[name], labels=labels)
            if kind == COUNTER
            else GaugeMetricFamily(name, _HELP[name], labels=labels)
        )
        for _, values, value in by_name.pop(name, ()):
            family.add_metric(values, value)
        yield family
    assert not by_name, f"not in FIGURES: {sorted(by_name)}"


def _processes(shell: Shell) -> Iterator[Sample]:
    reports = health.reports(shell.settings.state)
    for role in (*ready.ROLES, "supervisor", "console"):
        its = [report for report in reports if ready.role_of(report) == role]
        yield "filmgate_processes", (role,), len(its)
        yield "filmgate_process_troubles", (role,), sum(len(report.troubles) for report in its)


def _senders(totals: list[SenderTotal]) -> Iterator[Sample]:
    """Those with the most films by their AE title: strangers make up names, but no lines without end."""
    named = [one for one in totals if one.sender][:MOST_SENDERS]
    rest = [one for one in totals if one not in named]
    for one in named:
        yield "filmgate_received_films_total", (one.sender,), one.films
        yield "filmgate_received_bytes_total", (one.sender,), one.size_bytes
        yield "filmgate_sender_last_film_timestamp_seconds", (one.sender,), one.last_at.timestamp()
    for label, its in (
        (UNKNOWN, [one for one in rest if not one.sender]),
        (OTHERS, [one for one in rest if one.sender]),
    ):
        if its:
            yield "filmgate_received_films_total", (label,), sum(one.films for one in its)
            yield "filmgate_received_bytes_total", (label,), sum(one.size_bytes for one in its)


def _deliveries(shell: Shell, found: Figures, wall_s: float) -> Iterator[Sample]:
    names = {*shell.settings.destinations, *(name for name, _ in found.owed), *found.delivered}
    for name in sorted(names):
        for state in _STATES:
            yield "filmgate_deliveries", (name, state), found.owed.get((name, state), 0)
        since = found.oldest_owed.get(name)
        yield (
            "filmgate_oldest_delivery_age_seconds",
            (name,),
            max(0.0, wall_s - since.timestamp()) if since else 0.0,
        )
        yield "filmgate_delivered_total", (name,), found.delivered.get(name, 0)


def _room(shell: Shell) -> Iterator[Sample]:
    room = os.statvfs(shell.settings.state)
    yield "filmgate_store_free_bytes", (), room.f_bavail * room.f_frsize
    yield "filmgate_store_least_free_bytes", (), shell.settings.store.min_free_mb << 20
    yield "filmgate_ledger_bytes", (), shell.ledger.file_bytes
    yield "filmgate_ledger_wal_bytes", (), shell.ledger.wal_bytes
