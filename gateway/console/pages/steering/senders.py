"""Senders: who sends, who was refused and why, who may send, and whose films are only observed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from gateway.bootstrap import Shell, now
from gateway.console.doors import Admin, Person, Things, Viewer
from gateway.console.rendering import page
from gateway.errors import FilmgateError
from gateway.ledger.steering.records import Mode, Refused, SenderRow
from gateway.process import clock

router = APIRouter(include_in_schema=False)

OTHERS = "others"  # the listener's word for addresses that it did not count singly
DAYS = 30  # of refusals
_SHOUTS = 2.0  # a silence is named when it is so much longer than the longest one of before
_LEAST_SILENCE_S = 3600.0  # and no shorter one: who sends a whole series in a second pauses after it

Title = Annotated[str, Form(max_length=16)]
Where = Annotated[str, Form(max_length=64)]
Note = Annotated[str, Form(max_length=500)]

_DONE = {
    "allowed": "Allowed: its next association is accepted.",
    "taken-back": "Taken back: its next association is refused, unless the settings allow it.",
    "mode": "That holds from its next film on.",
}
# (what the listener said, what it means and what to do, whether allowing helps)
_WHY: tuple[tuple[str, str, bool], ...] = (
    (
        "calling AE title not recognised",
        "Nobody allowed this AE title. If it is one of yours, allow it here.",
        True,
    ),
    ("this address may not send here", "The AE title is allowed, but not from this address.", True),
    (
        "called AE title not recognised",
        "It calls the gateway by another AE title. Correct that there (or gateway.require_called_ae).",
        False,
    ),
    ("no room on disk", "The disk is nearly full: make room. It comes again by itself.", False),
    ("as many associations", "More came at once than may be open. It comes again by itself.", False),
    ("no memory", "The machine is short of memory. It comes again by itself.", False),
)
_ODD = "It speaks a DICOM that is not understood here: look at how it is set up."


@dataclass(frozen=True, slots=True)
class Line:
    """One sender, with what is to be said of its silence."""

    row: SenderRow
    mode: str
    own_mode: bool
    silent_s: float
    is_long: bool


@dataclass(frozen=True, slots=True)
class Knock:
    """Somebody who was refused, with what that means."""

    refused: Refused
    meaning: str
    helps: bool  # to allow it
    allowed_since: bool


@router.get("/senders")
def senders(
    request: Request, person: Viewer, shell: Things, words: Annotated[str, Query(max_length=20)] = ""
) -> HTMLResponse:
    return _page(request, person, shell, done=_DONE.get(words, ""))


@router.post("/senders/allow")
def allow(
    request: Request, person: Admin, shell: Things, ae_title: Title, address: Where, note: Note = ""
) -> Response:
    """Let an AE title in from an address, from its next association on."""
    try:
        shell.ledger.allow(ae_title, address, by=person.name, note_text=note.strip(), now=now())
    except FilmgateError as error:
        return _page(request, person, shell, error=str(error), status=409)
    return RedirectResponse("/senders?words=allowed", 303)


@router.post("/senders/disallow")
def disallow(person: Admin, shell: Things, ae_title: Title, address: Where) -> Response:
    shell.ledger.disallow(ae_title, address, by=person.name, note_text="", now=now())
    return RedirectResponse("/senders?words=taken-back", 303)


@router.post("/senders/mode")
def mode(
    person: Admin,
    shell: Things,
    ae_title: Title,
    mode: Annotated[Literal["observe", "enforce", "usual"], Form()],
) -> Response:
    chosen: Mode | None = None if mode == "usual" else mode
    shell.ledger.set_mode(ae_title, chosen, by=person.name, note_text="", now=now())
    return RedirectResponse("/senders?words=mode", 303)


def _page(
    request: Request, person: Person, shell: Shell, *, done: str = "", error: str = "", status: int = 200
) -> HTMLResponse:
    at = now()
    steered, usual = shell.ledger.steered(), shell.settings.policy.mode
    rows = shell.ledger.senders(clock.midnight(shell.settings.gateway.time_zone, at))
    refused = shell.ledger.refused(at - timedelta(days=DAYS))
    return page(
        request,
        "steering/senders.html",
        person,
        status_code=status,
        lines=[_line(row, steered.modes.get(row.ae_title), usual, at) for row in rows],
        knocks=[_knock(shell, one) for one in refused],
        of_settings=shell.settings.gateway.allow,
        allowed=steered.allowed,
        modes=shell.ledger.modes(),
        usual=usual,
        bypassed=steered.bypass is not None and steered.bypass.lasts(at),
        done=done,
        error=error,
    )


def _line(row: SenderRow, own: Mode | None, usual: str, at: datetime) -> Line:
    silent_s = (at - row.last_at).total_seconds()
    long = row.longest_s is not None and silent_s > max(_LEAST_SILENCE_S, _SHOUTS * row.longest_s)
    return Line(row, own or usual, own is not None, silent_s, long)


def _knock(shell: Shell, one: Refused) -> Knock:
    for said, meaning, helps in _WHY:
        if said in one.reason:
            admitted = helps and one.address != OTHERS and shell.ledger.admits(one.calling, one.address)
            return Knock(one, meaning, helps and one.address != OTHERS, admitted)
    return Knock(one, _ODD, False, False)
