"""Acts: what people do with films, many at once, and one's own acts to walk through."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.console.doors import Reviewer, Things, Viewer
from gateway.errors import FilmgateError
from gateway.ledger.acting.records import Acted, Meant, PersonsAct
from gateway.ledger.acting.table import TABLE, DoneBy, FilmState, acts_of
from gateway.quarantine import MOST
from pipelines.film import REJECT_REASONS, Box, Operations

router = APIRouter(prefix="/api/acts")

Id = Annotated[int, Field(ge=1, le=2**62)]
Share = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class Strict(BaseModel):
    """No key that nobody knows: a typing error does not pass for a wish."""

    model_config = ConfigDict(extra="forbid")


class Named(Strict):
    """A film, and the hold and decision that the person saw."""

    film: Id
    hold: Id | None = None
    decision: Id | None = None


class Asked(Strict):
    """Operations of a correction: it is cropped, then turned, then flipped left to right, then inverted.

    `crop` is the part that stays: row 0, column 0, row 1, column 1, in shares of the stored film's height and
    width."""

    rotate: Literal[0, 90, 180, 270] = 0
    invert: bool = False
    flip: bool = False
    crop: tuple[Share, Share, Share, Share] | None = None

    @model_validator(mode="after")
    def _a_part(self) -> Asked:
        if self.crop is not None and not (self.crop[0] < self.crop[2] and self.crop[1] < self.crop[3]):
            raise ValueError("crop: row 0 must lie above row 1, and column 0 left of column 1")
        return self

    def operations(self) -> Operations:
        box = None
        if self.crop is not None:
            top, left, bottom, right = self.crop
            box = Box(left, top, right, bottom)
        return Operations(crop=box, turn=self.rotate, invert=self.invert, flip=self.flip)


REQUEST = "[0-9a-f]{32}"  # whose answer was lost asks once more by the same id
Words = Annotated[str, Field(max_length=2000)]
Name = Annotated[str, Field(min_length=1, max_length=64)]


class Wanted(Strict):
    """One act on many films, or the undoing of acts."""

    act: DoneBy
    films: Annotated[list[Named], Field(max_length=MOST)] = []
    acts: Annotated[list[Id], Field(max_length=MOST)] = []
    operations: Asked = Asked()
    reason: Annotated[str, Field(max_length=16)] = ""
    labels: Annotated[dict[Name, Name], Field(max_length=16)] = {}
    note: Words = ""
    to: Annotated[list[Name], Field(max_length=16)] = []
    request: Annotated[str, Field(pattern=f"^{REQUEST}$")] = ""

    @model_validator(mode="after")
    def _names_something(self) -> Wanted:
        if self.act is DoneBy.UNDO and (self.films or not self.acts):
            raise ValueError("undo names acts, and no films")
        if self.act is not DoneBy.UNDO and (self.acts or not self.films):
            raise ValueError(f"{self.act} names films, and no acts")
        return self


@router.post("")
def act(wanted: Wanted, person: Reviewer, shell: Things) -> dict[str, Any]:
    """Do one thing with many films; an answer for each, in the order asked."""
    quarantine = shell.quarantine()
    try:
        if wanted.act is DoneBy.UNDO:
            admin = person.may("admin")
            answers = quarantine.undo(
                wanted.acts, by=person.name, anybodys=admin, note=wanted.note, request=wanted.request
            )
        else:
            answers = quarantine.act(
                wanted.act,
                [Meant(one.film, one.hold, one.decision) for one in wanted.films],
                by=person.name,
                note=wanted.note,
                reason=wanted.reason,
                operations=wanted.operations.operations(),
                to=tuple(dict.fromkeys(wanted.to)),
                labels=wanted.labels,
                request=wanted.request,
            )
    except FilmgateError as error:  # the wish itself, for all films alike
        raise HTTPException(409, str(error)) from error
    return {"results": [_result(one) for one in answers]}


@router.get("/mine")
def mine(
    person: Viewer,
    shell: Things,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    request: Annotated[str | None, Query(pattern=f"^{REQUEST}$")] = None,
) -> dict[str, Any]:
    """One's own acts, newest first; `before` goes on after the last one of a page. Or all that came of one
    `request`, in the order in which it was done: what became of it, where its answer was lost."""
    if request is not None:
        return {"acts": [_item(one) for one in shell.ledger.acts_of_request(request, person.name)]}
    return {"acts": [_item(one) for one in shell.ledger.acts_by(person.name, before=before, limit=limit)]}


@router.get("/table")
def table(person: Viewer) -> dict[str, Any]:  # noqa: ARG001
    """State × act: what can be done with a film, and the reasons for which it can be rejected."""
    return {
        "states": {state.value: [act.value for act in acts_of(state)] for state in FilmState},
        "acts": [act.value for act in DoneBy],
        "reasons": REJECT_REASONS,
        "pairs": len(TABLE),
    }


def _at(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).isoformat(timespec="milliseconds")


def _result(acted: Acted) -> dict[str, Any]:
    if not acted.ok:
        return {"film": acted.film, "ok": False, "error": acted.error}
    until = _at(acted.until)
    return {"film": acted.film, "ok": True, "act_id": acted.act_id, "state": acted.state, "until": until}


def _item(one: PersonsAct) -> dict[str, Any]:
    return {
        "id": one.id,
        "act_id": one.id,
        "film": one.film,
        "act": one.act,
        "at": _at(one.at),
        "hold": one.hold,
        "decision": one.decision,
        "note": one.note,
        "detail": one.detail,
        "until": _at(one.until),
        "undone_by": one.undone_by,
        "undone_at": _at(one.undone_at),
    }
