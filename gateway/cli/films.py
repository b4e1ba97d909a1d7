"""`filmgate films`: what was received, what was decided, where it went."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import options
from gateway.cli.output import clean, complain, print_json, print_lines, print_table, say, when
from gateway.errors import PersonDecided
from pipelines.film import REASON_TEXT, Act, Reason
from pipelines.words.facts import in_words

if TYPE_CHECKING:
    from gateway.ledger import Ledger
    from gateway.ledger.records import FilmRow

app = typer.Typer(no_args_is_help=True, help="What was received, what was decided, where it went.")

TABLE_ROWS = 50
CONDITIONS = 5  # of a classifier's answer, shown to people
_AGO = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_DECISIONS = [*(act.value for act in Act), "undecided"]
_STATES = ("pending", "sending", "retry", "delivered", "failed", "cancelled")  # ledger.records.DeliveryState


def _decision(text: str | None) -> str | None:
    if text is not None and text not in _DECISIONS:
        raise typer.BadParameter(f"one of {', '.join(_DECISIONS)}")
    return text


def _reason(text: str | None) -> str | None:
    if text is not None and text.upper() not in Reason.__members__:
        raise typer.BadParameter(f"one of {', '.join(Reason)}")
    return text.upper() if text else None


def _state(text: str | None) -> str | None:
    if text is not None and text not in _STATES:
        raise typer.BadParameter(f"one of {', '.join(_STATES)}")
    return text


def _since(text: str | None) -> datetime | None:
    """`30m`, `8h`, `7d`, or a date and time in ISO 8601 (local when it names no zone)."""
    if not text:
        return None
    ago = _AGO.fullmatch(text)
    if ago:
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise typer.BadParameter("a time such as 30m, 8h, 7d or 2026-03-01T08:00") from error


Decision = Annotated[str | None, typer.Option(callback=_decision, help=f"{', '.join(_DECISIONS)}.")]
WithReason = Annotated[
    str | None,
    typer.Option("--reason", callback=_reason, help="A reason code; films with it as a flag, too."),
]
Since = Annotated[str | None, typer.Option(help="Received since: 30m, 8h, 7d, or a date and time.")]
Until = Annotated[str | None, typer.Option(help="Received before: the same.")]
SentBy = Annotated[str | None, typer.Option("--sender", help="Calling AE title of who sent it.")]
Owed = Annotated[str | None, typer.Option("--destination", help="Owed, or delivered, to this destination.")]
InState = Annotated[
    str | None, typer.Option("--delivery", callback=_state, help=f"A delivery's state: {', '.join(_STATES)}.")
]
After = Annotated[
    int | None, typer.Option(min=1, help="The films that come after this film's id in the list.")
]
Named = Annotated[list[str] | None, typer.Option("--film", help="This film alone: its id or its UID.")]
Films = Annotated[list[str], typer.Argument(help="SOP Instance UIDs, or film ids of `films list`.")]
Rejected = Annotated[
    bool, typer.Option("--rejected", help="Also those that a person rejected; AI may get them after all.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="The newest so many; a table shows 50 unless told.")]


@app.command("list")
def list_films(
    decision: Decision = None,
    reason: WithReason = None,
    since: Since = None,
    until: Until = None,
    sender: SentBy = None,
    destination: Owed = None,
    delivery: InState = None,
    film: Named = None,
    after: After = None,
    limit: Limit = None,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """List the films that were received, newest first."""
    from gateway.ledger.records import Wanted

    wanted = Wanted(decision, reason, _since(since), _since(until), sender, destination, delivery, after)
    with options.open_ledger(config, state) as ledger:
        if film:
            wanted = replace(wanted, films=tuple(ledger.film_id(name) for name in film))
        if json:
            print_lines(ledger.film_lines(wanted, limit=limit))
            return
        most = limit or TABLE_ROWS
        rows = ledger.films(wanted, limit=most + 1)
        total = ledger.counts()["films"] if wanted == Wanted() else None
    shown = rows[:most]
    print_table(
        ("film", "received", "decision", "reasons", "deliveries", "SOP Instance UID"), map(_row, shown)
    )
    if len(rows) > most:
        of = f"the newest {most} of {total} films" if total else f"{most} films, and there are more"
        say(f"{of}; --after {shown[-1].film_id} shows the next, --limit more at once")


@app.command()
def show(
    film: options.FilmId,
    json: options.Json = False,
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Show one film: what each gate found, which rule fired, and what happened since."""
    with options.open_ledger(config, state) as ledger:
        row = ledger.film(film)
        trace, events = ledger.trace(row.film_id), ledger.events(row.film_id)
    if json:
        print_json([asdict(row) | {"trace": trace, "events": events}])
        return
    say(f"film {row.film_id}  {clean(row.sop_instance_uid)}  received {when(row.received_at)}")
    say(f"decision: {row.decision or 'undecided'}" + (f" (rule {row.rule}: {row.why})" if row.rule else ""))
    for code in row.reasons:
        say(f"  {code}: {REASON_TEXT[Reason(code)]}")
    for code in row.flags:
        say(f"  {code}: {REASON_TEXT[Reason(code)]} (noted, not held for)")
    if row.error:
        say(f"error: {clean(row.error)}")
    found = (
        (f["gate"] + (" (of the copy)" if f.get("of_copy") else ""), f["verdict"], *_measured(f))
        for f in row.findings
    )
    columns = ("gate", "verdict", "score", "thresholds", "reason", "measured")
    print_table(columns, found, title="findings")
    for result in row.results:
        _show_result(result)
    sent = (
        (d["destination"], d["object"], d["state"], d["attempts"], d["tries"], d["error"] or "")
        for d in row.deliveries
    )
    columns = ("destination", "object", "state", "attempts", "held against it", "error")
    print_table(columns, sent, title="deliveries")
    print_table(("when", "what", "who", "detail"), map(_event, events), title="history")


@app.command("send-again")
def send_again(
    films: Films,
    by: options.By = "",
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Queue the failed deliveries of films once more."""
    _each(films, config, state, lambda ledger, film_id: _sent_again(ledger, film_id, options.person(by)))


@app.command("gate-again")
def gate_again(
    films: Films,
    rejected: Rejected = False,
    by: options.By = "",
    config: options.Config = None,
    state: options.State = None,
) -> None:
    """Have films examined once more; the new decision supersedes the old one.

    One that a person rejected is left alone unless you say --rejected; a rejection note that was sent stands.
    """

    def again(ledger: Ledger, film_id: int) -> str:
        return _gated_again(ledger, film_id, options.person(by), rejected=rejected)

    _each(films, config, state, again)


def _sent_again(ledger: Ledger, film_id: int, who: str) -> str:
    count = ledger.send_again(film_id, by=who, now=datetime.now(UTC))
    return f"{count} deliveries queued" if count else ""


def _gated_again(ledger: Ledger, film_id: int, who: str, *, rejected: bool) -> str:
    before = ledger.rejection(film_id)
    if not ledger.gate_again(film_id, by=who, now=datetime.now(UTC), rejected=rejected):
        return ""
    return f"queued, although it was {before}" if before else "queued"


def _each(
    films: list[str], config: Path | None, state: Path | None, act: Callable[[Ledger, int], str]
) -> None:
    """Do it for one film after the other; exit code 1 when for one nothing was done."""
    idle = False
    with options.open_ledger(config, state) as ledger:
        for film in films:
            film_id = ledger.film_id(film)
            try:
                done = act(ledger, film_id)
            except PersonDecided as error:
                idle = True
                complain(error)
                continue
            idle = idle or not done
            say(f"film {film_id}: {done or 'nothing to do'}")
    if idle:
        raise typer.Exit(1)


def deliveries_text(row: FilmRow) -> str:
    """`archive delivered, archive failed (sr, refused), chest-ai retry (original, unreachable)`."""
    return ", ".join(map(_delivery, row.deliveries)) or "none"


def _delivery(one: dict[str, Any]) -> str:
    """With the object and the trouble of one that has not arrived."""
    text = f"{one['destination']} {one['state']}"
    troubled = one["state"] == "failed" or one.get("trouble")
    return f"{text} ({', '.join(filter(None, (one['object'], one['trouble'])))})" if troubled else text


def _row(row: FilmRow) -> tuple[object, ...]:
    decision = row.decision or ("undecided" if row.job else "not gated")
    reasons = ", ".join(row.reasons) or (row.rule or "")
    uid = row.sop_instance_uid
    return row.film_id, when(row.received_at), decision, reasons, deliveries_text(row), uid


def _show_result(result: dict[str, Any]) -> None:
    """The most likely conditions, and which are over their thresholds; or why the film was not read."""
    title = f"read by {result['classifier']} {result['version']}".strip()
    if "not_read" in result:
        say(f"not {title}: {result['not_read']}: {clean(result['why'])}")
        return
    rows = [_condition(condition) for condition in result["conditions"][:CONDITIONS]]
    print_table(("condition", "probability", "threshold", "over it"), rows, title=title)
    if left := len(result["conditions"]) - len(rows):
        say(f"and {left} less likely; --json shows them")


def _condition(condition: dict[str, Any]) -> tuple[str, str, str, str]:
    threshold, positive = condition["threshold"], condition["positive"]
    at = "none" if threshold is None else f"{threshold:.3f}"
    return condition["name"], f"{condition['probability']:.3f}", at, "yes" if positive else ""


def _measured(finding: dict[str, Any]) -> tuple[str, str, str, str]:
    low, high = finding.get("low") or 0.0, finding.get("high") or 0.0
    reason = finding.get("reason") or ""
    detail = finding.get("detail") or ""
    text = f"{reason}: {detail}" if reason and detail else reason or detail
    between = f"{low:.3f} {high:.3f}" if low or high else ""
    return f"{finding.get('score') or 0.0:.3f}", between, text, in_words(finding["facts"].items())


def _event(event: dict[str, Any]) -> tuple[str, str, str, str]:
    known = ("at", "what", "who")
    detail = ", ".join(f"{key} {value}" for key, value in event.items() if key not in known)
    return when(event["at"]), event["what"], event.get("who") or "", detail
