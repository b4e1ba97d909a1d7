"""Logs: structlog on standard error, one line an event. Film ids appear in them; patients and UIDs do not.

What other libraries say comes the same way, but without their words: those of pydicom quote headers.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from gateway.errors import ExcInfo, in_a_line, traceback_text
from gateway.logs.limiter import LogLimiter
from gateway.process import standard_streams
from gateway.process.health import HERE
from gateway.process.standard_streams import QueuedStream
from gateway.settings import LogSettings

# Libraries that never see a header: the log has their words. Those of all others may quote what they read.
BLIND = frozenset(("alembic", "celery", "kombu", "monai", "redis", "scipy", "sklearn", "sqlalchemy", "torch"))

_LEVELS = logging.getLevelNamesMapping()
_log_limiter = LogLimiter()

log = structlog.get_logger()


def configure(settings: LogSettings, *, process: str = "") -> None:
    """Set up structlog, and lead the standard library's loggers (Celery's, say) the same way.

    `process` ("listener", "worker 2") is a field of every JSON line; before text `filmgate up` writes it.
    """
    level = _LEVELS[settings.level.upper()]

    def named(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    renderer: list[Processor] = [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), pad_event_to=0, pad_level=False, exception_formatter=_print_traceback
        )
    ]
    if settings.json_:
        in_full = structlog.processors.ExceptionRenderer(traceback_text)
        renderer = [named, in_full, structlog.processors.JSONRenderer()]
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),  # standard output is for results
    )
    handler = logging.StreamHandler(sys.stderr)
    undo = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[undo, *renderer])
    )
    handler.addFilter(_without_words)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))  # other libraries' debug lines quote what was received
    logging.raiseExceptions = False  # it would print a record that cannot be formatted, values and all
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # pynetdicom's lines name instances and peers' texts; what matters of them we log ourselves
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    if isinstance(sys.stderr, QueuedStream):
        sys.stderr.note = lambda count: _line(_missing(count), [*shared, *renderer])


def configure_service(settings: LogSettings, *, process: str) -> None:
    """The same for a process that runs for months: nothing that it says can hold it up or end it.

    Errors that nobody caught, and warnings, become lines of the log instead of what Python would print.
    """
    _, err = standard_streams.take_over()
    err.when_stuck = _note_trouble
    configure(settings, process=process)
    sys.excepthook = _say_uncaught
    threading.excepthook = _say_thread_ended
    sys.unraisablehook = _say_unraisable
    warnings.showwarning = show_warning
    # Python's default remembers each warning's text for ever, and texts that quote headers never end.
    warnings.simplefilter("always", append=True)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """For `warnings.showwarning`: a line of the log that says where, and the words of BLIND alone."""
    del file, line
    where = f"{'/'.join(Path(filename).parts[-2:])}:{lineno}"
    allowed, kept_back = _log_limiter.allows(where)
    if not allowed:
        return
    details: dict[str, Any] = {"kind": category.__name__, "where": where}
    if not BLIND.isdisjoint(Path(filename).parts):
        details["words"] = str(message)
    if kept_back:
        details["kept_back"] = kept_back
    log.warning("a library warns", **details)


def _without_words(record: logging.LogRecord) -> bool:
    """A filter of `logging`: says that a library complains, and where, but not what it may have read."""
    library = record.name.partition(".")[0]
    if library in BLIND or library == "models":  # ours, which sees pixels alone
        return True
    where = f"{'/'.join(Path(record.pathname).parts[-2:])}:{record.lineno}"
    allowed, kept_back = _log_limiter.allows(where)
    record.msg = f"{library} complains at {where}; its words are left out: they may quote a film"
    if kept_back:
        record.msg += f" ({kept_back} more were kept back)"
    record.args = None
    return allowed


def _note_trouble(trouble: str) -> None:
    """The log itself cannot say it."""
    if trouble:
        HERE.failed("log", trouble)
    else:
        HERE.well("log")


def _print_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    out.write("\n" + traceback_text(exc_info))


def _missing(count: int) -> EventDict:
    return {
        "event": f"{count} lines of this log were not written",
        "lines": count,
        "meaning": "nobody read the log, or there was no room for it; the films are not touched by that",
    }


def _line(event: EventDict, processors: list[Processor]) -> str:
    line: Any = event
    for process in processors:
        line = process(None, "warning", line)
    return f"{line}\n"


def _say_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("the process ends by an error in filmgate", exc_info=(kind, error, trace))


def _say_thread_ended(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        name = args.thread.name if args.thread else ""
        log.error("a thread ended by an error in filmgate", thread=name, exc_info=args.exc_value)


def _say_unraisable(args: Any) -> None:
    """args: sys.UnraisableHookArgs, a class that only type checkers know."""
    if args.exc_value is not None:
        log.warning("an error while tidying up", error=in_a_line(args.exc_value))
