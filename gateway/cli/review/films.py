"""`filmgate films`: what was received, what was decided, where it went."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, cast, get_args

import typer

from gateway.cli.options import By, Common, FilmId, one_of, person
from gateway.cli.output import complain, print_json, print_lines, print_list, say
from gateway.cli.review import film_text
from gateway.cli.review.ledgers import open_ledger
from gateway.errors import PersonDecided
from gateway.ledger import Ledger
from gateway.ledger.records import DeliveryState, Sort, Wanted, shown_state
from pipelines.film import Act, Reason

LISTED = 50  # unless --limit says how many
_AGO = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_DECISIONS = (*(act.value for act in Act), "undecided")
_STATES = tuple(dict.fromkeys(map(shown_state, DeliveryState)))
_SORTS: tuple[str, ...] = get_args(Sort)
_DAYS = re.compile(r"\d{8}|\d{8}-(\d{8})?|-\d{8}")


def _decision(text: str | None) -> str | None:
    return one_of(text, _DECISIONS)


def _reason(text: str | None) -> str | None:
    return one_of(text.upper() if text else None, tuple(Reason))


def _state(text: str | None) -> str | None:
    return one_of(text, _STATES)


def _sort(text: str) -> str:
    return one_of(text, _SORTS) or text


def _days(text: str | None) -> str | None:
    """A day as the Standard writes it, or a range of days (PS3.4 C.2.2.2.5)."""
    if text and not _DAYS.fullmatch(text):
        raise typer.BadParameter("must be a day such as 20260301, or days: 20260301-20260331, 20260301-")
    return text


def _time(text: str | None) -> datetime | None:
    """`30m`, `8h`, `7d`, or a date and time in ISO 8601 (local when it names no zone)."""
    if not text:
        return None
    ago = _AGO.fullmatch(text)
    if ago:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise typer.BadParameter("must be a time such as 30m, 8h, 7d or 2026-03-01T08:00") from error


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Which films are listed."""

    decision: Annotated[
        str | None,
        typer.Option(callback=_decision, help=f"Only films with this decision: {', '.join(_DECISIONS)}."),
    ] = None
    reason: Annotated[
        str | None,
        typer.Option(callback=_reason, help="Only films with this reason code, or with it as a flag."),
    ] = None
    since: Annotated[str | None, typer.Option(help="Received since: 30m, 8h, 7d, or a date and time.")] = None
    until: Annotated[str | None, typer.Option(help="Received before: written in the same way.")] = None
    sender: Annotated[str | None, typer.Option(help="Only films of this sender (its calling AE title).")] = (
        None
    )
    destination: Annotated[
        str | None, typer.Option(help="Only films that this destination has or is to get.")
    ] = None
    delivery: Annotated[
        str | None,
        typer.Option(
            callback=_state, help=f"Only films with a delivery in this state: {', '.join(_STATES)}."
        ),
    ] = None
    film: Annotated[
        list[str] | None, typer.Option(help="Only this film, by id or UID; may be given again.")
    ] = None
    after: Annotated[
        int | None, typer.Option(min=1, help="Go on after the film with this id: the next ones.")
    ] = None
    accession: Annotated[
        str | None, typer.Option(help="Only films with this accession number; ACC12* is all that begin so.")
    ] = None
    patient_id: Annotated[str | None, typer.Option(help="Only films of this patient; P12* too.")] = None
    study: Annotated[str | None, typer.Option(help="Only films of this study, by its UID.")] = None
    series: Annotated[str | None, typer.Option(help="Only films of this series, by its UID.")] = None
    device: Annotated[
        str | None, typer.Option(help="Only films of this device: its station name, else its model.")
    ] = None
    modality: Annotated[str | None, typer.Option(help="Only films of this modality, such as DX.")] = None
    study_date: Annotated[
        str | None,
        typer.Option(callback=_days, help="Only films of this day, 20260301, or of days: 20260301-20260331."),
    ] = None
    text: Annotated[
        str | None,
        typer.Option(help="Only films that this names: accession number, patient, UID, device or sender."),
    ] = None
    sort: Annotated[str, typer.Option(callback=_sort, help=f"What comes first: {', '.join(_SORTS)}.")] = (
        "newest"
    )

    def wanted(self) -> Wanted:
        """The same as the ledger is asked it; films are still to be named."""
        return Wanted(
            self.decision,
            self.reason,
            _time(self.since),
            _time(self.until),
            self.sender,
            self.destination,
            self.delivery,
            self.after,
            accession=self.accession,
            patient_id=self.patient_id,
            study_uid=self.study,
            series_uid=self.series,
            device=self.device,
            modality=self.modality,
            study_date=self.study_date,
            text=self.text,
            sort=cast("Sort", self.sort),
        )

    def of_header(self) -> bool:
        """Whether something is asked for that stands in the films' headers."""
        asked = (self.accession, self.patient_id, self.study, self.series, self.device, self.modality)
        return any(one is not None for one in (*asked, self.study_date, self.text))


Limit = Annotated[
    int | None,
    typer.Option(min=1, help=f"Show at most this many, newest first; by default {LISTED}, with --json all."),
]
Films = Annotated[list[str], typer.Argument(help="SOP Instance UIDs, or film ids of `films list`.")]
Everything = Annotated[bool, typer.Option("--all", help="Show what is good in full, too.")]
Rejected = Annotated[
    bool,
    typer.Option("--rejected", help="Include films that a person rejected; AI may get them after all."),
]


def list_films(common: Common, narrowed: Narrowed, limit: Limit = None) -> None:
    """List the films that were received, newest first."""
    wanted = narrowed.wanted()
    with open_ledger(common) as ledger:
        if narrowed.film:
            wanted = replace(wanted, films=tuple(ledger.film_id(name) for name in narrowed.film))
        if common.json:
            print_lines(ledger.film_lines(wanted, limit=limit))
            return
        most = limit or LISTED
        rows = ledger.films(wanted, limit=most + 1)
        total = ledger.count_films() if wanted == Wanted() else None
        unread = ledger.unread_headers() if narrowed.of_header() else 0
    shown = rows[:most]
    columns = ("film", "received", "decision", "reasons", "deliveries", "SOP Instance UID")
    print_list(columns, map(film_text.row, shown), below=2)
    if len(rows) > most:
        which = (
            f"These are the newest {most} of {total} films" if total else f"There are more than these {most}"
        )
        say(f"{which}. --after {shown[-1].film_id} shows the next ones, --limit shows more at once.")
    if unread:
        say(f"{unread} older films are still to be read by idle workers. They are not found like this yet.")


def show(common: Common, film: FilmId, everything: Everything = False) -> None:
    """Show one film: what each gate found, which rule fired, and what happened since."""
    with open_ledger(common) as ledger:
        row = ledger.film(film)
        trace, events = ledger.trace(row.film_id), ledger.events(row.film_id)
    if common.json:
        print_json([asdict(row) | {"trace": trace, "events": events}])
    else:
        film_text.say_film(row, events, everything=everything)


def send_again(common: Common, films: Films, by: By = "") -> None:
    """Queue the failed deliveries of films once more."""
    who, now = person(by), datetime.now(UTC)

    def again(ledger: Ledger, film_id: int) -> dict[str, Any]:
        return {"queued": ledger.send_again(film_id, by=who, now=now)}

    _each(common, films, again, lambda done: f"{_deliveries(done['queued'])} queued")


def gate_again(common: Common, films: Films, rejected: Rejected = False, by: By = "") -> None:
    """Have films examined once more; the new decision supersedes the old one.

    A film that a person rejected is left alone unless you say --rejected; its rejection note stands.
    """
    who, now = person(by), datetime.now(UTC)

    def again(ledger: Ledger, film_id: int) -> dict[str, Any]:
        before = ledger.rejection(film_id)
        queued = ledger.gate_again(film_id, by=who, now=now, rejected=rejected)
        return {"queued": int(queued), "rejection": before or None}

    def text(done: dict[str, Any]) -> str:
        return f"queued, although it was {done['rejection']}" if done["rejection"] else "queued"

    _each(common, films, again, text)


def _each(
    common: Common,
    films: list[str],
    act: Callable[[Ledger, int], dict[str, Any]],
    text: Callable[[dict[str, Any]], str],
) -> None:
    """Do it for one film after the other; exit code 1 when nothing was done for one of them."""
    items: list[dict[str, Any]] = []
    with open_ledger(common) as ledger:
        for film in films:
            film_id = ledger.film_id(film)
            try:
                items.append({"film_id": film_id, **act(ledger, film_id)})
            except PersonDecided as error:
                complain(error)
                items.append({"film_id": film_id, "queued": 0, "error": str(error)})
                continue
            if not common.json:
                say(f"film {film_id}: {text(items[-1]) if items[-1]['queued'] else 'nothing to do'}")
    if common.json:
        print_json(items)
    if not all(item["queued"] for item in items):
        raise typer.Exit(1)


def _deliveries(count: int) -> str:
    return "1 delivery" if count == 1 else f"{count} deliveries"
