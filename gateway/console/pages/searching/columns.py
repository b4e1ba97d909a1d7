"""What can be shown of a film: one table for the page, the CSV file and the JSON list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from gateway.console.spreadsheets import plain
from gateway.ledger.searching.records import Found, masked
from pipelines.film import REASON_TEXT, Act, Reason

Cell = str | datetime | None


@dataclass(frozen=True, slots=True)
class Column:
    """One of the columns; those of a patient are `masked` until a person asks to see them."""

    name: str
    title: str
    cell: Callable[[Found], Cell]
    shown: bool = False  # where nobody has chosen
    masked: bool = False
    code: bool = False  # set in a fixed width


def deliveries_text(found: Found) -> str:
    """`archive delivered · chest-ai failed: declined`."""
    return " · ".join(_delivery(one["destination"], one["state"], one["trouble"]) for one in found.deliveries)


def _delivery(destination: str, state: str, trouble: str | None) -> str:
    return f"{destination} {state}{f': {trouble}' if trouble and state != 'delivered' else ''}"


def decision_text(found: Found) -> str:
    """The decision, and what a person made of it."""
    decided = Act(found.decision).text if found.decision else "undecided"
    last = found.holds[-1]["state"] if found.holds else ""
    return decided if last in ("", "superseded", "open") else f"{decided}, {last}"


def _reasons(found: Found) -> str:
    return ", ".join((*found.reasons, *(f"({flag})" for flag in found.flags)))


def reason_words(code: str) -> str:
    """The sentence of a reason code; of one that a later filmgate wrote, the code itself."""
    return REASON_TEXT[Reason(code)] if code in REASON_TEXT else code


def _results(found: Found) -> str:
    return " · ".join(
        f"{one['classifier']} {'not read' if one['not_read'] else 'read'}" for one in found.results
    )


def _day(value: str) -> str:
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 else value


COLUMNS: tuple[Column, ...] = (
    Column("film", "Film", lambda one: str(one.film_id), shown=True),
    Column("received", "Received", lambda one: one.received_at, shown=True),
    Column("decision", "Decision", decision_text, shown=True),
    Column("reasons", "Reasons", _reasons, shown=True),
    Column("accession", "Accession", lambda one: masked(one.header.accession), shown=True, masked=True),
    Column("patient", "Patient", lambda one: masked(one.header.patient_id), shown=True, masked=True),
    Column("study_date", "Study date", lambda one: _day(one.header.study_date), shown=True),
    Column("sender", "Sender", lambda one: one.header.sender, shown=True),
    Column("device", "Device", lambda one: one.header.device, shown=True),
    Column("modality", "Modality", lambda one: one.header.modality),
    Column("deliveries", "Deliveries", deliveries_text, shown=True),
    Column("results", "Classifiers", _results),
    Column("why", "Why", lambda one: one.why),
    Column("rule", "Rule", lambda one: one.rule),
    Column("decided", "Decided", lambda one: one.decided_at),
    Column(
        "uncertainty", "Uncertainty", lambda one: "" if one.uncertainty is None else f"{one.uncertainty:.2f}"
    ),
    Column("study", "Study UID", lambda one: one.header.study_uid, code=True),
    Column("series", "Series UID", lambda one: one.header.series_uid, code=True),
    Column("uid", "SOP Instance UID", lambda one: one.sop_instance_uid, code=True),
)


def chosen(names: Sequence[str]) -> tuple[Column, ...]:
    """These columns in the order of the table; the usual ones where none of them is known."""
    wished = [column for column in COLUMNS if column.name in names]
    return tuple(wished or (column for column in COLUMNS if column.shown))


def plain_cells(found: Found, columns: Sequence[Column]) -> Iterator[str]:
    """A film as a row of a table that spreadsheets open: nothing that a stranger wrote begins a formula."""
    for column in columns:
        value = column.cell(found)
        yield plain(value.isoformat() if isinstance(value, datetime) else value)
