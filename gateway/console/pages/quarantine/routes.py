"""The contact sheet: the page, its further cards, and what changed since it was drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Body, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse

from gateway.bootstrap import Shell, now
from gateway.console.doors import Things, Viewer
from gateway.console.labels import KEYS as LABELS
from gateway.console.pages.quarantine.asked import GROUPS, PAGE, SORTS, Asked
from gateway.console.pages.quarantine.cards import CardView, card_view, chip, since_in_words
from gateway.console.pages.quarantine.rejecting import REJECTS
from gateway.console.rendering import page, part
from gateway.ledger.acting.table import FilmState, acts_of
from gateway.ledger.records import HoldState, Wanted
from gateway.ledger.searching.records import Card, Grouping
from gateway.ledger.searching.records import Group as OpenHolds

router = APIRouter()

# As films on the sheet stand: held, decided here, decided by somebody else. What can be done is in the table.
ON_SHEET = (FilmState.HELD, FilmState.PROPOSED, FilmState.GOING_OUT, FilmState.RELEASED)

MOST_BLOCKS = 200  # on one page; the words under the last say that there are more
_LOOKED_AT = 2000  # holds of which a page asks at once whether they are still open
_HOLD = Field(ge=1, lt=2**63)
_Hold = Annotated[int, _HOLD]


@dataclass(frozen=True, slots=True)
class Block:
    """One block of the sheet: what its films have in common, and the first of them."""

    key: str
    title: str
    sentence: str  # of a reason; "" otherwise
    count: int
    since: str
    query: str  # of the addresses of its further cards and of all of it
    cards: tuple[CardView, ...]
    next: str  # where the next cards are; "" after the last


@router.get("/quarantine", response_class=HTMLResponse)
def quarantine(
    request: Request, asked: Annotated[Asked, Query()], person: Viewer, shell: Things
) -> HTMLResponse:
    """Held films in blocks; the first page of their cards is in it."""
    groups = _groups(shell, asked)
    blocks = tuple(_blocks(shell, asked, groups))
    return page(
        request,
        "quarantine/sheet.html",
        person,
        asked=asked,
        blocks=blocks,
        total=shell.ledger.count_sheet(asked.wanted),
        most_blocks=MOST_BLOCKS if len(groups) == MOST_BLOCKS else None,
        waiting=shell.ledger.count_sheet() if not groups else None,
        choices={name: _choices(shell, asked, name) for name in ("reason", "sender", "device")},
        sorts=SORTS,
        group_words=GROUPS,
        labels={
            key.key: {"words": key.name, "labels": {k: v for k, v in key.labels.items() if v}}
            for key in LABELS
        },
        rejects=REJECTS,
        can={state.value: [act.value for act in acts_of(state)] for state in ON_SHEET},
    )


@router.get("/quarantine/cards", response_class=HTMLResponse)
def cards(
    request: Request,
    asked: Annotated[Asked, Query()],
    person: Viewer,
    shell: Things,
    after: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
    limit: Annotated[int, Query(ge=1, le=600)] = PAGE,
) -> HTMLResponse:
    """The next cards of one block: the words of the address say which it is."""
    views = tuple(_cards(shell, asked, asked.wanted, after, limit))
    following = _next(asked.query(), views, limit)
    return part(request, "quarantine/cards.html", person, cards=views, next=following)


@router.get("/quarantine/card", response_class=HTMLResponse)
def one_card(
    request: Request, person: Viewer, shell: Things, hold: Annotated[int, Query(ge=1, lt=2**63)]
) -> HTMLResponse:
    """The card of one hold, whatever became of it: to walk back over what one decided."""
    found = shell.ledger.cards([hold])
    if not found:
        raise HTTPException(404, "There is no such hold.")
    return part(request, "quarantine/cards.html", person, cards=[card_view(found[0])], next="")


class Meant(BaseModel):
    """A held film as an act names it."""

    hold: int
    film: int
    decision: int


class MeantFilms(BaseModel):
    films: list[Meant]


@router.get("/api/quarantine/films")
def films(asked: Annotated[Asked, Query()], person: Viewer, shell: Things) -> MeantFilms:  # noqa: ARG001
    """Every held film that the address asks for, loaded or not: to select all of a block."""
    held = shell.ledger.meant(asked.wanted)
    return MeantFilms(films=[Meant(hold=one.hold, film=one.film, decision=one.decision) for one in held])


class Look(BaseModel):
    """What a page has on it, so that it can be told what it lacks."""

    model_config = ConfigDict(extra="forbid")

    wishes: Asked
    newest: int = Field(ge=0, lt=2**63)  # the highest hold on it
    holds: list[_Hold] = Field(max_length=_LOOKED_AT)
    closed: list[_Hold] = Field([], max_length=_LOOKED_AT)  # those that it shows as decided


class Gone(BaseModel):
    """A film on which somebody decided."""

    hold: int
    words: str


class Back(BaseModel):
    """A film that is held again: somebody undid what was decided."""

    hold: int
    decision: int


class Changed(BaseModel):
    """What the page lacks: new cards, films that are not held any more or are again, the counts."""

    total: int
    counts: dict[str, int]
    gone: list[Gone]
    back: list[Back]
    html: str


@router.post("/api/quarantine/look")
def look(request: Request, asked: Annotated[Look, Body()], person: Viewer, shell: Things) -> Changed:
    """What changed since the page was drawn."""
    groups = _groups(shell, asked.wishes)
    newest = shell.ledger.sheet(asked.wishes.wanted, sort="newest", limit=PAGE)
    arrived = [card for card in reversed(newest) if card.hold_id > asked.newest]
    blocks = tuple(_arrivals(asked.wishes, groups, arrived))
    drawn = part(request, "quarantine/blocks.html", person, asked=asked.wishes, blocks=blocks)
    closed = shell.ledger.closed_holds(asked.holds)
    return Changed(
        total=shell.ledger.count_sheet(asked.wishes.wanted),
        counts={_key(group): group.count for group in groups},
        gone=[Gone(hold=one.hold, words=_closed_in_words(one.state, one.closed_by)) for one in closed],
        back=[Back(hold=one.hold, decision=one.decision) for one in shell.ledger.held_again(asked.closed)],
        html=bytes(drawn.body).decode().strip(),
    )


def _groups(shell: Shell, asked: Asked) -> tuple[OpenHolds, ...]:
    if asked.group != "none":
        return shell.ledger.groups(asked.group, asked.wanted, limit=MOST_BLOCKS)
    count = shell.ledger.count_sheet(asked.wanted)
    return (OpenHolds({}, (), count, now()),) if count else ()


def _blocks(shell: Shell, asked: Asked, groups: Sequence[OpenHolds]) -> Iterator[Block]:
    """The blocks; as many of their cards as make one page together."""
    left = PAGE
    for group in groups:
        views: tuple[CardView, ...] = ()
        if left > 0:
            views = tuple(_cards(shell, asked, asked.within(group.wishes), None, left))
            left -= len(views)
        yield _block(asked, group, views, whole=len(views) == group.count)


def _block(asked: Asked, group: OpenHolds, views: tuple[CardView, ...], *, whole: bool) -> Block:
    query = asked.query(group.wishes)
    grouped_by_reason = "reason" in group.wishes
    return Block(
        key=_key(group),
        title=_title(group),
        sentence=chip(str(group.wishes["reason"])).sentence if grouped_by_reason else "",
        count=group.count,
        since=since_in_words(group.since, now()) if group.wishes else "",
        query=query,
        cards=views,
        next="" if whole else _address(query, views),
    )


def _cards(shell: Shell, asked: Asked, wanted: Wanted, after: int | None, limit: int) -> Iterator[CardView]:
    if asked.sort == "similar":
        yield from map(card_view, _alike(shell, asked, wanted, after, limit))
        return
    while limit > 0:
        found = shell.ledger.sheet(wanted, sort=asked.sort, after=after, limit=limit)
        yield from map(card_view, found)
        limit -= len(found)
        if not found or limit <= 0:
            return
        after = found[-1].hold_id


def _alike(shell: Shell, asked: Asked, wanted: Wanted, after: int | None, limit: int) -> Iterator[Card]:
    """Films that look alike beside each other; with `like`, those most like that film first."""
    meant = {one.hold for one in shell.ledger.meant(wanted)}
    order = [hold for hold in shell.ledger.similar(asked.like) if hold in meant]
    start = order.index(after) + 1 if after in order else 0
    for first in range(start, min(start + limit, len(order)), PAGE):
        yield from shell.ledger.cards(order[first : min(first + PAGE, start + limit)])


def _arrivals(asked: Asked, groups: Sequence[OpenHolds], arrived: Sequence[Card]) -> Iterator[Block]:
    """New cards, in blocks of their own: the page puts them at the end of those that it has."""
    by_key = {_key(group): group for group in groups}
    cards: dict[str, list[Card]] = {}
    for card in arrived:
        cards.setdefault(_key_of(asked, card), []).append(card)
    for key, those in cards.items():
        group = by_key.get(key) or OpenHolds(
            {"accession_of": those[0].film_id}, (), len(those), those[0].opened_at
        )
        yield _block(asked, group, tuple(map(card_view, those)), whole=True)


def _key_of(asked: Asked, card: Card) -> str:
    """The block in which a card stands."""
    own: dict[Grouping, dict[str, str | int]] = {
        "reason": {"reason": card.reasons[0] if card.reasons else ""},
        "sender": {"sender": card.header.sender},
        "device": {"device": card.header.device},
        "accession": {"accession_of": card.film_id},
    }
    own["room"] = own["sender"] | own["device"] | own["reason"]
    wishes = own[asked.group] if asked.group != "none" else {}
    return _key(OpenHolds(wishes, (), 0, card.opened_at))


def _key(group: OpenHolds) -> str:
    return "&".join(f"{name}={value}" for name, value in group.wishes.items())


def _title(group: OpenHolds) -> str:
    if not group.wishes:
        return "Held films"
    if "accession_of" in group.wishes:
        return (
            f"Accession {group.words[0]}" if group.words and group.words[0] else "Without an accession number"
        )
    named = {"sender": "an unknown sender", "device": "an unknown device"}
    words = [
        chip(str(value)).words if name == "reason" and value else str(value) or named.get(name, "no reason")
        for name, value in group.wishes.items()
    ]
    return " · ".join(words)


def _choices(shell: Shell, asked: Asked, name: Grouping) -> tuple[tuple[str, str, int], ...]:
    """What a filter offers: value, words, how many films; counted under the other filters."""
    others = asked.model_copy(update={name: None})
    found = shell.ledger.groups(name, others.wanted)
    rows = [(str(group.wishes[name]), group.count) for group in found]
    words = [(value, chip(value).words if name == "reason" else value, count) for value, count in rows]
    return tuple(row for row in words if row[0])


def _next(query: str, views: Sequence[CardView], limit: int) -> str:
    return _address(query, views) if len(views) == limit else ""


def _address(query: str, views: Sequence[CardView]) -> str:
    after = f"after={views[-1].card.hold_id}" if views else ""
    words = "&".join(word for word in (query, after) if word)
    return f"/quarantine/cards?{words}" if words else "/quarantine/cards"


def _closed_in_words(state: HoldState, by: str) -> str:
    if state is HoldState.SUPERSEDED:
        return "examined again"
    return f"{state.value} by {by}" if by else state.value
