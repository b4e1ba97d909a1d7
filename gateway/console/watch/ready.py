"""Whether the gateway does its work: what is asked of ledger, store, processes and models."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.bootstrap import Shell
from gateway.errors import FilmgateError
from gateway.process import health
from gateway.process.health import Report

ROLES = ("listener", "dispatcher", "worker")
MEANS = {
    "listener": "no film is received: senders keep theirs",
    "dispatcher": "nothing is sent to archive or AI; films are received and kept",
    "worker": "no film is gated; originals go to the archive all the same",
}
GATE = "gate "  # begins what a worker reports of a gate that is closed
FAILS_AGAIN_AND_AGAIN = 3  # failures in a row: it will not go by itself, as `doctor` counts


@dataclass(frozen=True, slots=True)
class Looked:
    """One thing that was looked at; `why` says what is wrong, and what it means for the films."""

    what: str
    ok: bool
    why: str = ""


def look(shell: Shell) -> tuple[Looked, ...]:
    """Everything that is looked at, in the order of a film's way."""
    reports = health.reports(shell.settings.state)
    return (
        _ledger(shell),
        _store(shell),
        *(_role(role, reports) for role in ROLES),
        _models(reports),
        _troubles(reports),
    )


def _ledger(shell: Shell) -> Looked:
    try:
        shell.ledger.answers()
    except FilmgateError as error:
        return Looked("ledger", ok=False, why=str(error))
    return Looked("ledger", ok=True)


def _store(shell: Shell) -> Looked:
    folder, least_mb = shell.settings.state / "store", shell.settings.store.min_free_mb
    try:
        room = os.statvfs(folder)
    except OSError as error:
        why = f"its folder cannot be used: {error.strerror}; no film is received"
        return Looked("store", ok=False, why=why)
    free_mb = room.f_bavail * room.f_frsize >> 20
    if room.f_flag & os.ST_RDONLY:
        return Looked("store", ok=False, why="its disk is read-only; no film is received")
    if free_mb < least_mb:
        why = f"{free_mb} MiB are free, below store.min_free_mb; no film is received"
        return Looked("store", ok=False, why=why)
    return Looked("store", ok=True)


def role_of(report: Report) -> str:
    """`worker 2` is a worker."""
    return report.process.split(" ", 1)[0]


def _role(role: str, reports: list[Report]) -> Looked:
    if any(role_of(report) == role for report in reports):
        return Looked(role, ok=True)
    return Looked(role, ok=False, why=f"none runs on this state folder; {MEANS[role]}")


def _models(reports: list[Report]) -> Looked:
    """A gate is closed where its model cannot be used, on any worker: films that reach it there are held."""
    closed = [
        f"{report.process}: {trouble.what}: {trouble.error}"
        for report in reports
        for trouble in report.troubles
        if trouble.what.startswith(GATE)
    ]
    meaning = "; films that it should judge are held"
    return Looked("models", ok=not closed, why="; ".join(closed) + meaning if closed else "")


def _troubles(reports: list[Report]) -> Looked:
    found = list(_again_and_again(reports))
    return Looked("processes", ok=not found, why="; ".join(found))


def _again_and_again(reports: list[Report]) -> Iterator[str]:
    for report in reports:
        for one in report.troubles:
            if one.failures >= FAILS_AGAIN_AND_AGAIN or one.what == "log":
                yield (
                    f"{report.process}: {one.what} failed {one.failures} times since {one.since}: "
                    + one.error
                )
