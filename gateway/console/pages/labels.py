"""Labels: what people said of films, where they differ, what slips through, and the export for training."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Path, Query, Request
from pydantic import BaseModel
from starlette.responses import HTMLResponse, Response

from gateway.bootstrap import Shell, now
from gateway.console.doors import Reviewer, Things, Viewer
from gateway.console.labels import KEYS
from gateway.console.pages.film import BUTTONS
from gateway.console.pages.quarantine.rejecting import REJECTS
from gateway.console.rendering import page
from gateway.console.spreadsheets import Csv
from gateway.errors import NotFound
from gateway.ledger.acting.records import Meant
from gateway.ledger.acting.table import DoneBy, acts_of
from gateway.ledger.labelling.blind import Sampled
from gateway.ledger.labelling.labels import LabelCounts, LabelsWanted
from gateway.ledger.labelling.manifest import as_csv, manifest
from gateway.ledger.labelling.slips import Slips, slips
from gateway.ledger.labelling.words import ANSWERS, BadLabel, What, checked

router = APIRouter()

LISTED = 60
ROUNDS = 50  # of drawing, in one request: 100,000 decisions
PERIODS: tuple[tuple[str, int | None], ...] = (
    ("Since it began", None),
    ("Last 90 days", 90),
    ("Last 30 days", 30),
)
TEXT = 64  # characters of what is filtered by

Filter = Annotated[str, Query(max_length=TEXT)]
CheckId = Annotated[int, Path(ge=1, le=2**62)]


@dataclass(frozen=True, slots=True)
class Period:
    """What slipped through in one, of all senders or one."""

    name: str
    slips: Slips


@router.get("/labels", response_class=HTMLResponse)
def labels(
    request: Request,
    person: Viewer,
    shell: Things,
    what: Literal["", "view", "part", "turned", "polarity", "mirror", "exposure", "lung_box"] = "",
    value: Filter = "",
    by: Filter = "",
    sender: Annotated[str, Query(max_length=16)] = "",
    differs: Literal["", "gate", "people"] = "",
    ended: bool = False,
    before: Annotated[int | None, Query(ge=1, le=2**62)] = None,
) -> HTMLResponse:
    """Counts, what slips through, and the labels that meet the filters."""
    _draw(shell)
    asked = {"what": what, "value": value, "by": by, "sender": sender, "differs": differs}
    wanted = LabelsWanted(
        what=What(what) if what else None,
        value=value or None,
        by=by or None,
        sender=sender or None,
        differs=differs or None,
        ended=ended,
        before=before,
    )
    rows = shell.ledger.labels(wanted, limit=LISTED + 1)
    counts = shell.ledger.label_counts()
    blind = shell.ledger.next_blind(person.name)
    return page(
        request,
        "labels.html",
        person,
        rows=rows[:LISTED],
        asked=asked | {"ended": ended},
        older=_query(asked | {"ended": "true" if ended else "", "before": rows[LISTED - 1].id})
        if len(rows) > LISTED
        else "",
        counts=counts,
        answers=_answers(counts),
        people=shell.ledger.labellers(),
        known=ANSWERS,
        waiting=blind.waiting if blind else 0,
        share=shell.settings.quarantine.blind_share,
        periods=[Period(name, slips(shell.ledger.sampled(days=days, now=now()))) for name, days in PERIODS],
        senders=_by_sender(shell),
    )


@router.get("/labels/manifest.csv", response_class=Csv)
def manifest_csv(person: Viewer, shell: Things) -> Response:  # noqa: ARG001
    """The manifest that `filmgate train` and `calibrate --site` take; its pictures are written by the CLI."""
    agreed, disagreed = shell.ledger.labelled()
    lines = manifest(agreed, disagreed, site="site", terms="unclear").lines
    return Response(
        as_csv(line.cells() for line in lines),
        media_type="text/csv",
        headers={"Content-Disposition": 'attachment; filename="manifest.csv"', "Cache-Control": "no-store"},
    )


@router.get("/labels/blind", response_class=HTMLResponse)
def blind_page(request: Request, person: Reviewer, shell: Things) -> HTMLResponse:
    """Films to look at without knowing what became of them."""
    _draw(shell)
    waiting = shell.ledger.next_blind(person.name)
    return page(request, "blind.html", person, keys=KEYS, waiting=waiting, rejects=REJECTS)


class BlindNext(BaseModel):
    """The film that comes up; `check` is None when none waits. Nothing says whether it passed."""

    check: int | None
    digest: str = ""
    waiting: int = 0


class BlindSaid(BaseModel):
    """A person's answer."""

    good: bool
    labels: dict[str, Any] = {}


class BlindAct(BaseModel):
    """An act that the table has for the film as it stands."""

    act: str
    words: str


class BlindKept(BaseModel):
    """What it was, told once the answer is kept; and what can be done with it, as an act names it."""

    film: int
    passed: bool
    good: bool
    hold: int | None
    decision: int | None
    acts: list[BlindAct]


@router.get("/api/blind")
def blind_next(person: Reviewer, shell: Things) -> BlindNext:
    """The next film for this person."""
    film = shell.ledger.next_blind(person.name)
    return (
        BlindNext(check=None)
        if film is None
        else BlindNext(check=film.id, digest=film.digest, waiting=film.waiting)
    )


@router.post("/api/blind/{check}")
def blind_answer(person: Reviewer, shell: Things, check: CheckId, said: BlindSaid) -> BlindKept:
    """Keep an answer, as labels and an event."""
    try:
        answer = shell.ledger.answer_blind(
            check, good=said.good, said=checked(said.labels), by=person.name, now=now()
        )
    except BadLabel as error:
        raise HTTPException(422, str(error)) from error
    except NotFound as error:
        raise HTTPException(409, str(error)) from error
    (standing,) = shell.ledger.standings([Meant(answer.film_id)])
    can = [act for act in acts_of(standing.state) if act in BUTTONS and act is not DoneBy.UNDO]
    return BlindKept(
        film=answer.film_id,
        passed=answer.passed,
        good=answer.good,
        hold=standing.hold.id if standing.hold else None,
        decision=standing.decision_id,
        acts=[BlindAct(act=act, words=BUTTONS[act][-1]) for act in can],
    )


@router.post("/api/blind/{check}/later")
def blind_later(person: Reviewer, shell: Things, check: CheckId) -> BlindNext:
    """Another film first."""
    shell.ledger.put_off_blind(check)
    return blind_next(person, shell)


@router.post("/api/blind/{check}/undo")
def blind_undo(person: Reviewer, shell: Things, check: CheckId) -> BlindNext:
    """Take back one's own answer: the film comes up again."""
    try:
        shell.ledger.take_back_blind(check, by=person.name, now=now())
    except NotFound as error:
        raise HTTPException(409, str(error)) from error
    return blind_next(person, shell)


def _draw(shell: Shell) -> None:
    """Draw from what was decided since somebody looked last."""
    share = shell.settings.quarantine.blind_share
    for _ in range(ROUNDS):
        if not share or not shell.ledger.draw_blind(share):
            return


def _answers(counts: LabelCounts) -> list[tuple[str, list[tuple[str, int]]]]:
    """Answers with how often each was given, by question, in the order of What."""
    given: dict[What, list[tuple[str, int]]] = defaultdict(list)
    for what, value, count in counts.answers:
        given[what].append((value, count))
    return [(what.value, sorted(given[what], key=lambda one: -one[1])) for what in What if what in given]


def _by_sender(shell: Shell) -> list[Period]:
    """What slipped through since the beginning, by sender; those with most passed films first."""
    samples: dict[str, list[Sampled]] = defaultdict(list)
    for sampled in shell.ledger.sampled(now=now(), by_sender=True):
        samples[sampled.sender or ""].append(sampled)
    periods = [Period(sender or "unknown sender", slips(its)) for sender, its in samples.items()]
    return sorted(periods, key=lambda period: -period.slips.passed)


def _query(asked: dict[str, Any]) -> str:
    return "?" + urlencode({name: value for name, value in asked.items() if value})
