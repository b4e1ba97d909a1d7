"""A film in words, for people: one row of a list, and all that is known of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from gateway.cli.output import clean, print_list, say, say_wrapped, when
from gateway.ledger.records import FilmRow
from pipelines.film import REASON_TEXT, Act, Reason
from pipelines.words.facts import in_words

CONDITIONS = 5  # of a classifier's answer
_EVENT_KEYS = ("at", "what", "who")

Finding = dict[str, Any]  # as ledger.records.FilmRow has it
Delivery = dict[str, Any]


def row(film: FilmRow) -> tuple[object, ...]:
    """Its cells in `films list`."""
    decision = decision_text(film.decision) if film.decision or film.job else "not gated"
    reasons = ", ".join(film.reasons) or (film.rule or "")
    seen = when(film.received_at)
    return film.film_id, seen, decision, reasons, deliveries_text(film), film.sop_instance_uid


def decision_text(decision: str | None) -> str:
    """`to correct`, `pass`, ..., `undecided`."""
    return Act(decision).text if decision else "undecided"


def deliveries_text(film: FilmRow) -> str:
    """`archive delivered, archive failed (sr, refused), chest-ai retry (original, unreachable)`."""
    return ", ".join(map(_delivery, film.deliveries)) or "no deliveries"


def _delivery(one: Delivery) -> str:
    """With the object and the trouble of one that has not arrived."""
    text = f"{one['destination']} {one['state']}"
    troubled = one["state"] == "failed" or one.get("trouble")
    return f"{text} ({', '.join(filter(None, (one['object'], one['trouble'])))})" if troubled else text


def say_film(film: FilmRow, events: Iterable[dict[str, Any]], *, everything: bool) -> None:
    """All that is known of a film; what is good in one line, unless everything is asked for."""
    say(f"film {film.film_id}, received {when(film.received_at)}")
    say(clean(film.sop_instance_uid))
    say(f"decision: {decision_text(film.decision)}")
    if film.rule:
        say_wrapped(f"rule {film.rule}: {clean(film.why or '')}", "  ")
    for code in film.reasons:
        say_wrapped(f"  {code}: {REASON_TEXT[Reason(code)]}", "    ")
    for code in film.flags:
        say_wrapped(f"  {code}: {REASON_TEXT[Reason(code)]} (noted; the film is not held for it)", "    ")
    if film.error:
        say_wrapped(f"error: {clean(film.error)}", "  ")
    _say_findings(film.findings, everything=everything)
    for result in film.results:
        _say_result(result)
    _say_deliveries(film.deliveries, everything=everything)
    say("\nhistory")
    print_list(("when", "what", "who", "detail"), map(_event, events))


def _say_findings(findings: Iterable[Finding], *, everything: bool) -> None:
    good = [one for one in findings if _is_good(one) and not everything]
    rest = [one for one in findings if everything or not _is_good(one)]
    say("\nfindings")
    if rest:
        print_list(("gate", "verdict", "score", "thresholds", "reason"), map(_finding, rest))
    for of_copy in (False, True):
        gates = Counter(one["gate"] for one in good if bool(one.get("of_copy")) is of_copy)
        if gates:
            names = ", ".join(f"{gate} ({count})" if count > 1 else gate for gate, count in gates.items())
            say_wrapped(f"good{' in the copy' if of_copy else ''}: {names}", "  ")
    if good:
        notes = dict.fromkeys(filter(None, (in_words(one["facts"].items()) for one in good)))
        if notes:
            say_wrapped(f"measured: {'; '.join(notes)}", "  ")
    elif not rest:
        say("none")


def _is_good(finding: Finding) -> bool:
    return finding["verdict"] == "good" and not finding.get("reason")


def _finding(finding: Finding) -> tuple[str, ...]:
    low, high = finding.get("low") or 0.0, finding.get("high") or 0.0
    reason = ": ".join(filter(None, (finding.get("reason"), finding.get("detail"))))
    text = "; ".join(filter(None, (reason, in_words(finding["facts"].items()))))
    between = f"{low:.3f} {high:.3f}" if low or high else ""
    gate = finding["gate"] + (" (copy)" if finding.get("of_copy") else "")
    return gate, finding["verdict"], f"{finding.get('score') or 0.0:.3f}", between, text


def _say_result(result: dict[str, Any]) -> None:
    """The most likely conditions, and which are over their thresholds; or why the film was not read."""
    title = f"read by {result['classifier']} {result['version']}".strip()
    if "not_read" in result:
        say_wrapped(f"\nnot {title}: {result['not_read']}: {clean(result['why'])}", "  ")
        return
    say(f"\n{title}")
    rows = [_condition(condition) for condition in result["conditions"][:CONDITIONS]]
    print_list(("condition", "probability", "threshold", "over it"), rows)
    if left := len(result["conditions"]) - len(rows):
        say(f"and {left} less likely ones; --json shows them")


def _condition(condition: dict[str, Any]) -> tuple[str, str, str, str]:
    threshold, positive = condition["threshold"], condition["positive"]
    at = "none" if threshold is None else f"{threshold:.3f}"
    return condition["name"], f"{condition['probability']:.3f}", at, "yes" if positive else ""


def _say_deliveries(deliveries: Iterable[Delivery], *, everything: bool) -> None:
    good = [one for one in deliveries if one["state"] == "delivered" and not everything]
    rest = [one for one in deliveries if everything or one["state"] != "delivered"]
    say("\ndeliveries")
    if rest:
        columns = ("destination", "object", "state", "attempts", "tries", "error")
        print_list(columns, map(_delivery_row, rest))
    if good:
        names = ", ".join(f"{one['destination']} ({one['object']})" for one in good)
        say_wrapped(f"delivered: {names}", "  ")
    elif not rest:
        say("none")


def _delivery_row(one: Delivery) -> tuple[object, ...]:
    return (
        one["destination"],
        one["object"],
        one["state"],
        one["attempts"],
        one["tries"] or "",
        one["error"] or "",
    )


def _event(event: dict[str, Any]) -> tuple[str, str, str, str]:
    return when(event["at"]), event["what"], event.get("who") or "", ", ".join(_details(event))


def _details(event: dict[str, Any]) -> Iterator[str]:
    for key, value in event.items():
        if key not in _EVENT_KEYS:
            yield f"decision {decision_text(value)}" if key == "act" else f"{key} {value}"
