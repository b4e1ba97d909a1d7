"""The filter row: all of it stands in the address, so that a list can be kept, sent and gone back to."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from gateway.ledger.records import DeliveryState, Sort, Wanted
from pipelines.film import Act, Reason

LARGEST_ID = 2**63 - 1
WITHIN = {"1h": 1, "8h": 8, "1d": 24, "7d": 168, "30d": 720}  # hours


def _or_none(value: Any) -> Any:
    """A form sends its empty fields, too."""
    return None if isinstance(value, str) and not value.strip() else value


def _stripped(value: Any) -> Any:
    return _or_none(value.strip() if isinstance(value, str) else value)


def _in_utc(value: datetime) -> datetime:
    """Also of a time that names no zone.

    Raises:
        ValueError: it lies in no year there is.
    """
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("it lies before the year 1 or after 9999") from error


Words = Annotated[Annotated[str, Field(max_length=64)] | None, BeforeValidator(_stripped)]
Time = Annotated[Annotated[datetime, AfterValidator(_in_utc)] | None, BeforeValidator(_or_none)]
Day = Annotated[date | None, BeforeValidator(_or_none)]
Id = Annotated[Annotated[int, Field(ge=1, le=LARGEST_ID)] | None, BeforeValidator(_or_none)]
Decision = Literal["pass", "correct", "withhold", "quarantine", "undecided"]


class Asked(BaseModel):
    """What the filter row says."""

    text: Words = None
    accession: Words = None
    patient_id: Words = None
    study: Words = None
    series: Words = None
    uid: Words = None
    sender: Words = None
    device: Words = None
    modality: Words = None
    first_day: Day = None  # of the study
    last_day: Day = None
    within: Annotated[Literal["1h", "8h", "1d", "7d", "30d"] | None, BeforeValidator(_or_none)] = None
    since: Time = None  # received
    until: Time = None
    decision: Annotated[Decision | None, BeforeValidator(_or_none)] = None
    reason: Annotated[Reason | None, BeforeValidator(_or_none)] = None
    destination: Words = None
    delivery: Annotated[DeliveryState | None, BeforeValidator(_or_none)] = None
    accession_of: Id = None  # a film: all that have its accession number
    sort: Annotated[Sort, BeforeValidator(lambda value: value or "newest")] = "newest"
    after: Id = None
    column: Annotated[list[Annotated[str, Field(max_length=32)]], Field(max_length=50)] = []
    limit: Annotated[int, BeforeValidator(lambda value: value or 50), Field(ge=1, le=200)] = 50

    def wanted(self, now: datetime) -> Wanted:
        """The same as the ledger is asked it."""
        return Wanted(
            decision=self.decision,
            reason=self.reason,
            since=self.since or (now - timedelta(hours=WITHIN[self.within]) if self.within else None),
            until=self.until,
            sender=self.sender,
            destination=self.destination,
            delivery=self.delivery,
            after=self.after,
            accession=self.accession,
            patient_id=self.patient_id,
            study_uid=self.study,
            series_uid=self.series,
            sop_instance_uid=self.uid,
            device=self.device,
            modality=self.modality,
            study_date=self._days(),
            text=self.text,
            accession_of=self.accession_of,
            sort=self.sort,
        )

    def _days(self) -> str | None:
        if self.first_day is None and self.last_day is None:
            return None
        return "-".join(f"{day:%Y%m%d}" if day else "" for day in (self.first_day, self.last_day))

    def kept(self) -> dict[str, Any]:
        """What is asked for, as an address has it, without the place in the list."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude={"after", "column"})

    def address(self, path: str, **changes: Any) -> str:
        """The address of this list from its beginning, or with these changes."""
        given = self.kept() | changes
        query = urlencode({name: value for name, value in given.items() if value is not None})
        return f"{path}?{query}" if query else path

    def narrowed(self) -> bool:
        """Whether anything is asked for at all."""
        return bool(self.kept().keys() - {"sort", "limit"})

    def further(self) -> bool:
        """Whether something of the second row is asked for, which is folded away otherwise."""
        names = {"study", "series", "uid", "modality", "destination", "delivery", "first_day", "last_day"}
        return bool(self.kept().keys() & names)


Filters = Annotated[Asked, Query()]
DECISIONS: tuple[tuple[str, str], ...] = (
    *((act.value, act.text) for act in Act),
    ("undecided", "undecided"),
)
