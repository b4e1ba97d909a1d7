"""From values to a page: one Jinja2 environment, autoescape on, undefined names are errors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from gateway.bootstrap import Shell, now
from gateway.console.doors import Person

# (address, word in the bar, least role), in the order of the bar. A page is one line here.
BAR: tuple[tuple[str, str, str], ...] = (
    ("/", "Today", "viewer"),
    ("/quarantine", "Quarantine", "viewer"),
    ("/films", "Films", "viewer"),
    ("/labels", "Labels", "viewer"),
    ("/upload", "Upload", "reviewer"),
    ("/policy", "Policy", "viewer"),
    ("/destinations", "Destinations", "viewer"),
    ("/senders", "Senders", "viewer"),
    ("/models", "Models", "viewer"),
    ("/audit", "Audit", "viewer"),
    ("/users", "Users", "admin"),
)

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(
    request: Request, template: str, person: Person, *, status_code: int = 200, **values: Any
) -> HTMLResponse:
    """A whole page, or the part of one that HTMX asked for, from templates/`template`."""
    shell: Shell = request.app.state.shell
    text = _environment.get_template(template).render(
        request=request,
        person=person,
        bar=[entry for entry in BAR if person.may(entry[2])],
        bypass=shell.ledger.bypass(now()),
        **values,
    )
    return HTMLResponse(text, status_code)


def part(request: Request, template: str, person: Person, **values: Any) -> HTMLResponse:
    """A part of a page, without what stands round every page."""
    return HTMLResponse(_environment.get_template(template).render(request=request, person=person, **values))


def bare_page(request: Request, template: str, **values: Any) -> str:
    """A page for somebody who is not signed in, or for whom something went wrong: without the bar."""
    return _environment.get_template(template).render(request=request, **values)


def _at(value: datetime | None) -> str:
    """The UTC time in words that <time> takes; the browser shows it by the reader's own clock."""
    return "" if value is None else value.astimezone(UTC).isoformat(timespec="seconds")


def _span(seconds: float) -> str:
    """A time in words for people: two units at most, rounded down."""
    units = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    left, said = int(max(seconds, 0)), list[str]()
    for size, name in units:
        if left >= size or (size == 1 and not said):
            said.append(f"{left // size} {name}")
            left %= size
        elif said:
            break
        if len(said) == 2:
            break
    return " ".join(said)


def _ticked(words: str) -> Markup:
    """Words for people in which `this` is a word for machines."""
    return Markup(_TICKED.sub(r"<code>\1</code>", str(escape(words))))  # noqa: S704  escaped first


def _in_order(items: Iterable[dict[str, Any]], name: str) -> list[tuple[Any, list[dict[str, Any]]]]:
    """Items that have the same value under a name, together, in the order in which the values come."""
    groups: dict[Any, list[dict[str, Any]]] = {}
    for item in items:
        groups.setdefault(item[name], []).append(item)
    return list(groups.items())


_TICKED = re.compile(r"`([^`]+)`")
_environment.filters["at"] = _at
_environment.filters["in_order"] = _in_order
_environment.filters["ticked"] = _ticked
_environment.filters["span"] = _span
_environment.tests["time"] = lambda value: isinstance(value, datetime)
