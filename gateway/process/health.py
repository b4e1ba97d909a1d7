"""Troubles of running processes, each process in a small file that `filmgate doctor` reads.

    state/run/health/worker-2.4711.json

It is replaced when something begins to fail, fails once more, or goes well again. A file whose process is
gone no longer counts.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from gateway.errors import in_a_line
from gateway.process import private

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that does not go well."""

    what: str  # "courier look", "log"
    failures: int  # in a row
    since: str  # ISO 8601, UTC
    error: str  # the last one, in a line


@dataclass(frozen=True, slots=True)
class Report:
    """The troubles of one process, as it reports them."""

    process: str
    pid: int
    troubles: tuple[Trouble, ...]


class Health:
    """The troubles of this process; kept in memory alone until `keep_in` says where."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._troubles: dict[str, Trouble] = {}
        self._path: Path | None = None
        self._process = ""

    def keep_in(self, state: Path, process: str) -> None:
        """Write it to the state folder from now on; files of processes that are gone are removed."""
        folder = _folder(state)
        with self._lock:
            self._process = process
            self._path = folder / f"{process.replace(' ', '-')}.{os.getpid()}.json"
            with suppress(OSError):
                private.make_folder(folder.parent)
                private.make_folder(folder)
                for report, path in _reports(folder):
                    if report is None or not _runs(report):
                        path.unlink(missing_ok=True)
            self._write()

    def failed(self, what: str, error: BaseException | str, failures: int = 1) -> None:
        """Note that `what` failed, so many times in a row."""
        words = error if isinstance(error, str) else in_a_line(error)
        with self._lock:
            before = self._troubles.get(what)
            since = before.since if before else datetime.now(UTC).isoformat(timespec="seconds")
            self._troubles[what] = Trouble(what, failures, since, words)
            self._write()

    def well(self, what: str) -> None:
        """Note that `what` goes well."""
        with self._lock:
            if self._troubles.pop(what, None):
                self._write()

    def troubles(self) -> tuple[Trouble, ...]:
        """All that does not go well now."""
        with self._lock:
            return tuple(self._troubles.values())

    def _write(self) -> None:
        if self._path is None:
            return
        report = Report(self._process, os.getpid(), tuple(self._troubles.values()))
        draft = self._path.with_suffix(".part")
        with suppress(OSError):  # a full disk shall not make more trouble than it is
            private.make_file(draft)
            draft.write_text(json.dumps({**asdict(report), "started": _started(os.getpid())}), "utf-8")
            draft.replace(self._path)


HERE = Health()  # of this process


def reports(state: Path) -> list[Report]:
    """The reports of the processes that run now."""
    return [report for report, _ in _reports(_folder(state)) if report is not None and _runs(report)]


@dataclass(frozen=True, slots=True)
class _Kept(Report):
    started: str


def _folder(state: Path) -> Path:
    return state / "run" / "health"


def _reports(folder: Path) -> Iterator[tuple[_Kept | None, Path]]:
    """Each file's; None for one that cannot be read."""
    for path in sorted(folder.glob("*.json")):
        try:
            report = json.loads(path.read_text("utf-8"))
            troubles = tuple(Trouble(**one) for one in report["troubles"])
            yield _Kept(report["process"], int(report["pid"]), troubles, report["started"]), path
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError):
            yield None, path


def _runs(report: _Kept) -> bool:
    """Whether that process, and no later one with its number, still runs."""
    return report.started == _started(report.pid) != ""


def _started(pid: int) -> str:
    """When a process was started, in ticks since boot (proc(5): starttime); "" when it is gone.

    Without a /proc, on other systems than Linux, "?" while there is a process of that number.
    """
    try:
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        if (_PROC / "self").exists():
            return ""
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return "?"
