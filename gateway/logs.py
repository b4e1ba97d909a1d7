"""Logs: structlog on standard error, one line an event. Film ids appear in them; patients and UIDs do not."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from gateway.settings import LogSettings

_LEVELS = logging.getLevelNamesMapping()


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
            colors=sys.stderr.isatty(),
            pad_event_to=0,
            pad_level=False,
            exception_formatter=structlog.dev.plain_traceback,  # the other one prints local variables: UIDs
        )
    ]
    if settings.json_:
        renderer = [named, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # standard output is for results
    )
    handler = logging.StreamHandler(sys.stderr)
    undo = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[undo, *renderer])
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))  # other libraries' debug lines quote what was received
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # pynetdicom's lines name instances and peers' texts; what matters of them we log ourselves
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
