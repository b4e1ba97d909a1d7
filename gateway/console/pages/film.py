"""One film: the picture, why it was decided so, its header beside its pixels, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, HTTPException, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse

from gateway.bootstrap import Shell, now
from gateway.console.doors import Person, Reviewer, Things, Viewer
from gateway.console.labels import KEYS
from gateway.console.pages.quarantine.rejecting import REJECTS
from gateway.console.pictures.making import NoPicture, Pictures
from gateway.console.pictures.routes import Making
from gateway.console.rendering import page
from gateway.ledger.acting.records import Meant
from gateway.ledger.acting.table import acts_of
from gateway.ledger.picturing.dossier import Dossier, Score
from gateway.ledger.records import Wanted
from gateway.ledger.searching.records import Found, Searched, masked
from gateway.sandbox.renderer import Tags
from pipelines.film import REASON_TEXT, Header, Reason
from pipelines.instance.tags import Tag
from pipelines.words.facts import in_words

router = APIRouter()

FilmId = Annotated[int, Path(ge=1, le=2**62)]
# act -> what static/film-acts.js calls it, its key (static/keys.js), and its words.
BUTTONS: Mapping[str, tuple[str, str, str]] = {
    "release": ("pass", "p", "pass as it is"),
    "accept": ("accept", "a", "accept the fix"),
    "reject": ("reject", "d", "reject"),
    "undo": ("undo", "u", "undo"),
    "resend": ("resend", "", "send again"),
    "gate-again": ("gate-again", "", "gate again"),
    "note": ("note", "n", "note"),
}
STRIP = 24  # films of the same device today
SEARCHED_TEXT = 100  # characters of what is looked for in the tags


@router.get("/films/{film_id}", response_class=HTMLResponse)
def film(request: Request, film_id: FilmId, person: Viewer, shell: Things) -> HTMLResponse:
    """All of one film; its header comes from a child, a moment later."""
    dossier = _dossier(shell, film_id)
    header = shell.ledger.searched(film_id)
    row = shell.ledger.film(film_id)
    standing = shell.ledger.standings([Meant(film_id)])[0]
    acts = tuple(act.value for act in acts_of(standing.state))
    return page(
        request,
        "film.html",
        person,
        film_id=film_id,
        sop_instance_uid=row.sop_instance_uid,
        dossier=dossier,
        header=header,
        standing=standing,
        acts=acts,
        buttons=BUTTONS,
        main_act=next((act for act in ("accept", "release") if act in acts), ""),
        rejects=REJECTS,
        labels=KEYS,
        neighbours=_neighbours(shell, film_id, dossier),
        own=_rows(dossier.scores, of_copy=False),
        of_copy=_rows(dossier.scores, of_copy=True),
        box=_lung_box(dossier.scores),
        measured="; ".join(
            filter(None, (in_words(_facts(one)) for one in dossier.scores if not one.of_copy))
        ),
        reason_text=_reason_text,
        siblings=shell.ledger.siblings(film_id, limit=STRIP),
        today=_same_device_today(shell, film_id, header),
        uids=_uids(row.sop_instance_uid, header),
        operations=_operations(dossier.proposal.operations) if dossier.proposal else "",
    )


@router.get("/films/{film_id}/header", response_class=HTMLResponse)
async def header(
    request: Request,
    film_id: FilmId,
    person: Viewer,
    shell: Things,
    pictures: Making,
    q: Annotated[str, Query(max_length=SEARCHED_TEXT)] = "",
) -> HTMLResponse:
    """What the header claims, and its tags: without who the patient is."""
    return await _header(request, film_id, person, shell, pictures, q, revealed=False)


@router.post("/films/{film_id}/header", response_class=HTMLResponse)
async def revealed_header(
    request: Request,
    film_id: FilmId,
    person: Reviewer,
    shell: Things,
    pictures: Making,
    q: Annotated[str, Query(max_length=SEARCHED_TEXT)] = "",
) -> HTMLResponse:
    """The same with who the patient is; that somebody looked is in the audit."""
    return await _header(request, film_id, person, shell, pictures, q, revealed=True)


async def _header(
    request: Request,
    film_id: int,
    person: Person,
    shell: Shell,
    pictures: Pictures,
    q: str,
    *,
    revealed: bool,
) -> HTMLResponse:
    dossier = await run_in_threadpool(_dossier, shell, film_id)
    if revealed:
        searched = await run_in_threadpool(lambda: shell.ledger.reveal(film_id, by=person.name, now=now()))
    else:
        searched = await run_in_threadpool(shell.ledger.searched, film_id)
    tags, why_not = None, ""
    try:
        tags = await pictures.tags(dossier.digest, revealed=revealed)
    except NoPicture as error:
        why_not = str(error)
    answer = page(
        request,
        "film_header.html",
        person,
        film_id=film_id,
        claims=_claims(tags.header, dossier.scores) if tags else (),
        tags=_sought(tags, q) if tags else (),
        count=len(tags.tags) if tags else 0,
        q=q,
        why_not=why_not,
        revealed=revealed,
        accession=searched.accession if revealed else masked(searched.accession),
        patient=searched.patient_id if revealed else masked(searched.patient_id),
    )
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _neighbours(shell: Shell, film_id: int, dossier: Dossier) -> tuple[int | str, int | str]:
    """The films that the keys go to. The next held one after a held one, else the newer and older."""
    if dossier.hold is None:
        older = shell.ledger.film_ids(Wanted(after=film_id), limit=1)
        newest = shell.ledger.film_ids(limit=1)
        return film_id + 1 if newest and newest[0] > film_id else "", older[0] if older else ""
    following = shell.ledger.sheet(after=dossier.hold.id, limit=1) or shell.ledger.sheet(limit=1)
    others = [card.film_id for card in following if card.film_id != film_id]
    before = shell.ledger.sheet(sort="newest", after=dossier.hold.id, limit=1)
    return others[0] if others else "", before[0].film_id if before else ""


def _dossier(shell: Shell, film_id: int) -> Dossier:
    dossier = shell.ledger.dossier(film_id)
    if dossier is None:
        raise HTTPException(404, f"There is no film {film_id}.")
    return dossier


@dataclass(frozen=True, slots=True)
class Row:
    """What one gate found, and where it lies on a bar from 0 to 1 between its two thresholds."""

    gate: str
    verdict: str
    score: float
    low: float
    high: float
    words: str
    reason: str
    good: bool

    @property
    def has_bar(self) -> bool:
        return self.high > 0 and max(self.score, self.high) <= 1


def _rows(scores: Iterable[Score], *, of_copy: bool) -> tuple[Row, ...]:
    """What is not good comes first."""
    rows = [_row(score) for score in scores if score.of_copy is of_copy]
    return tuple(sorted(rows, key=lambda row: row.good))


def _row(score: Score) -> Row:
    body = score.body
    number, low, high = (float(body.get(name) or 0.0) for name in ("score", "low", "high"))
    reason = body.get("reason") or ""
    good = score.verdict == "good" and not reason
    return Row(score.gate, score.verdict, number, low, high, body.get("detail") or "", reason, good)


def _measured(scores: Iterable[Score]) -> str:
    """What was measured and nothing is held for, in words."""
    texts = (in_words(_facts(one)) for one in scores if not one.of_copy)
    return "; ".join(filter(None, texts))


def _facts(score: Score) -> tuple[tuple[str, float], ...]:
    return tuple((score.body.get("facts") or {}).items())


def _lung_box(scores: Iterable[Score]) -> str:
    """The lungs' box as JSON, which the viewer draws; "" without one."""
    found = (one.body.get("box") for one in scores if one.gate == "lungs" and not one.of_copy)
    return next((json.dumps(box) for box in found if box), "")


def _reason_text(code: str) -> str:
    return REASON_TEXT[Reason(code)] if code in Reason.__members__ else code


def _uids(sop_instance_uid: str, header: Searched) -> str:
    named = (
        ("SOP Instance UID", sop_instance_uid),
        ("Series", header.series_uid),
        ("Study", header.study_uid),
    )
    return "\n".join(f"{name} {uid}" for name, uid in named if uid)


def _operations(operations: Mapping[str, Any]) -> str:
    """What made a copy, in words."""
    words = (
        "cropped" if operations.get("crop") else "",
        f"turned {operations['turn']}° clockwise" if operations.get("turn") else "",
        "flipped left to right" if operations.get("flip") else "",
        "inverted" if operations.get("invert") else "",
        "polarity said plainly" if operations.get("relabel") else "",
    )
    return ", ".join(filter(None, words)) or "unchanged"


def _same_device_today(shell: Shell, film_id: int, header: Searched) -> tuple[Found, ...]:
    """Films of the same device that came today, newest first, by the hospital's clock."""
    if not header.device:
        return ()
    zone = shell.settings.gateway.time_zone
    midnight = datetime.combine(shell.today(), time(), ZoneInfo(zone) if zone else None).astimezone()
    found = shell.ledger.search(Wanted(device=header.device, since=midnight), limit=STRIP + 1)
    return tuple(one for one in found if one.film_id != film_id)[:STRIP]


@dataclass(frozen=True, slots=True)
class Beside:
    """What the header claims of one thing, and what the pixels show."""

    what: str
    claim: str
    found: str
    kind: str  # good, bad or ""


def _claims(header: Header, scores: Iterable[Score]) -> tuple[Beside, ...]:
    """The header beside the pixels; a claim that a gate's finding contradicts is bad."""
    gates: dict[str, Score] = {}
    for score in scores:
        if not score.of_copy and score.gate not in gates:
            gates[score.gate] = score
    reasons = {one.body.get("reason") for one in scores if not one.of_copy}
    seen = {name: one.body.get("detail") or one.verdict for name, one in gates.items()}
    says = " ".join(filter(None, (header.body_part, header.view_position))) or "nothing"
    wrong = {True: "bad", False: ""}
    polarity = " ".join(filter(None, (header.photometric, header.presentation_shape)))
    age = "unknown" if header.age_years is None else f"{header.age_years:g} years"
    facts: Mapping[str, float] = gates["anatomy"].body.get("facts") or {} if "anatomy" in gates else {}
    child = in_words([("child", facts["child"])]) if "child" in facts else ""
    return (
        Beside(
            "part and view",
            says,
            seen.get("anatomy", "not looked at"),
            wrong[_contradicts(header, reasons)],
        ),
        Beside(
            "turn",
            "\\".join(header.orientation) or "no Patient Orientation",
            seen.get("rotation", "not looked at"),
            wrong[bool(reasons & TURNED)],
        ),
        Beside(
            "polarity",
            polarity or "nothing",
            seen.get("inversion", "not looked at"),
            wrong[bool(reasons & POLARITY)],
        ),
        Beside("age", age, child or "not looked at", wrong[Reason.AGE_CONTRADICTS in reasons]),
    )


TURNED = frozenset({Reason.ROTATED_90, Reason.ROTATED_180, Reason.ROTATED_270})
POLARITY = frozenset({Reason.INVERTED, Reason.POLARITY_AMBIGUOUS})
NOT_FRONTAL = frozenset({Reason.LATERAL, Reason.OTHER_PART, Reason.NOT_A_RADIOGRAPH})


def _contradicts(header: Header, reasons: set[str | None]) -> bool:
    """Whether it claims a frontal chest where the pixels surely show something else."""
    return header.part == "chest" and header.view in ("frontal", "") and bool(reasons & NOT_FRONTAL)


def _sought(tags: Tags, q: str) -> tuple[Tag, ...]:
    """The attributes in whose tag, name or value all words stand. What is masked is not found."""
    words = q.lower().split()
    return tuple(
        tag for tag in tags.tags if all(word in f"{tag.tag} {tag.name} {tag.value}".lower() for word in words)
    )
