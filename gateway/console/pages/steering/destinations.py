"""Destinations: how each stands, whether it answers, and whether anything is sent to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gateway.bootstrap import Shell, now
from gateway.console.doors import Admin, Person, Reviewer, Things, Viewer
from gateway.console.rendering import page, part
from gateway.destinations.standing import Standing, explained, standings
from gateway.destinations.trial import try_destination
from gateway.errors import NotFound, Trouble
from gateway.ledger.records import DeliveryState, Undone
from gateway.process import clock

router = APIRouter(include_in_schema=False)

LISTED = 100  # single objects on the page

Name = Annotated[str, Form(max_length=64)]
Note = Annotated[str, Form(max_length=500)]

_DONE = {
    "paused": "Paused: nothing is sent there from now on. What is owed waits.",
    "resumed": "Resumed: what waits is sent.",
    "queued": "What had failed is queued once more.",
}


@dataclass(frozen=True, slots=True)
class Group:
    """What one trouble keeps from one destination, explained."""

    undone: Undone
    what: str
    advice: str


@router.get("/destinations")
def destinations(
    request: Request,
    person: Viewer,
    shell: Things,
    words: Annotated[str, Query(max_length=20)] = "",
    destination: Annotated[str | None, Query(max_length=64)] = None,
    reason: Annotated[Trouble | None, Query()] = None,
) -> HTMLResponse:
    """All of them; with `destination`, also the single objects that have not arrived there."""
    return _page(request, person, shell, _DONE.get(words, ""), destination, reason)


@router.get("/destinations/rows")
def rows(request: Request, person: Viewer, shell: Things) -> HTMLResponse:
    """The part of the page that changes by itself."""
    return part(request, "steering/destination_rows.html", person, rows=_rows(shell), groups=_groups)


@router.post("/destinations/test")
def test(request: Request, person: Reviewer, shell: Things, name: Name) -> HTMLResponse:
    """Try one; FastAPI runs this beside its event loop, and it has a deadline of its own."""
    _must_be_known(shell, name)
    return part(request, "steering/trial.html", person, trial=try_destination(name, shell.settings))


@router.post("/destinations/flow")
def flow(
    person: Admin,
    shell: Things,
    name: Name,
    act: Annotated[Literal["pause", "resume"], Form()],
    note: Note = "",
) -> Response:
    """Pause or resume one."""
    said = {"by": person.name, "note_text": note.strip()}
    if act == "pause":
        _must_be_known(shell, name)
        shell.ledger.pause(name, now=now(), **said)
        return RedirectResponse("/destinations?words=paused", 303)
    shell.ledger.resume(name, now=now(), **said)
    return RedirectResponse("/destinations?words=resumed", 303)


@router.post("/destinations/again")
def again(
    person: Reviewer, shell: Things, name: Name, reason: Annotated[str, Form(max_length=24)] = ""
) -> Response:
    """Queue all that failed there once more, or what failed for one reason."""
    shell.ledger.send_all_again(name, reason or None, by=person.name, now=now())
    return RedirectResponse("/destinations?words=queued", 303)


def _page(
    request: Request,
    person: Person,
    shell: Shell,
    done: str,
    destination: str | None,
    reason: Trouble | None,
) -> HTMLResponse:
    listed = None
    if destination is not None:
        states = (DeliveryState.FAILED, DeliveryState.RETRY)
        listed = shell.ledger.undelivered(states, destination, reason and reason.value, LISTED)
    return page(
        request,
        "steering/destinations.html",
        person,
        rows=_rows(shell),
        groups=_groups,
        done=done,
        destination=destination,
        reason=reason,
        listed=listed,
        explained=explained,
    )


def _rows(shell: Shell) -> list[Standing]:
    return standings(shell.ledger, shell.settings, clock.midnight(shell.settings.gateway.time_zone, now()))


def _groups(standing: Standing) -> list[Group]:
    """What was tried and has not arrived; what waits for its first try needs no explanation."""
    tried = (group for group in standing.groups if group.trouble or group.state is DeliveryState.FAILED)
    return [Group(group, *explained(group.trouble)) for group in tried]


def _must_be_known(shell: Shell, name: str) -> None:
    if name not in shell.settings.destinations:
        raise NotFound("There is no such destination in the settings. Nothing was changed.")
