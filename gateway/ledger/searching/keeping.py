"""What workers write: whose film it is, each reason of a decision, what a hold is sorted by."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, ScalarSelect, bindparam, func, select, update

from gateway.ledger.moves import insert_rows
from gateway.ledger.records import HoldState
from gateway.ledger.searching.tables import SEARCHED, headers, reasons
from gateway.ledger.tables import UtcDateTime, associations, holds, versions
from pipelines.film import Decision, Header

_OF_HEADER = tuple(name for name in SEARCHED if name != "sender")


def keep_header(db: Connection, film_id: int, version_id: int, header: Header | None, now: datetime) -> None:
    """What people search a film by, of its latest version. Without a header, what is known stays."""
    its = {"its_film": film_id, "its_version": version_id}
    if db.scalar(_OF_VERSION, its) is None:
        sender = db.scalar(_CALLING, {"its_version": version_id}) or ""
        insert_rows(
            db, headers, {"film_id": film_id, "version_id": version_id, "sender": sender, "read_at": now}
        )
    if header is None:
        db.execute(_READ, its | {"now": now})
        return
    values = {f"new_{name}": value for name, value in searched(header).items()}
    if db.execute(_LATEST, its | values | {"now": now}).rowcount:
        db.execute(_OPEN, {"its_film": film_id})


def keep_unread(db: Connection, film_id: int, version_id: int) -> None:
    """A film that no worker decodes: its header is read by the one that has nothing else to do."""
    if db.scalar(_OF_VERSION, {"its_film": film_id}) is None:
        sender = db.scalar(_CALLING, {"its_version": version_id}) or ""
        insert_rows(db, headers, {"film_id": film_id, "version_id": version_id, "sender": sender})


def searched(header: Header) -> dict[str, str]:
    """The columns that a header fills."""
    own = header.identity
    return {
        "study_uid": own.study_uid,
        "series_uid": own.series_uid,
        "accession": own.accession,
        "patient_id": own.patient_id,
        "study_date": header.study_date,
        "device": own.device,
        "modality": header.modality,
    }


def keep_reasons(db: Connection, film_id: int, decision_id: int, decision: Decision) -> None:
    """The reasons of a new decision, and that those of the earlier ones do not stand any more."""
    db.execute(_SUPERSEDE, {"its_film": film_id})
    codes = list(dict.fromkeys(decision.reasons))
    noted = [code for code in dict.fromkeys(decision.flags) if code not in codes]
    rows = [
        {"film_id": film_id, "decision_id": decision_id, "code": code, "flag": flag, "place": place}
        for flag, those in ((False, codes), (True, noted))
        for place, code in enumerate(those)
    ]
    if rows:
        insert_rows(db, reasons, *rows)


def sorted_by(
    db: Connection, film_id: int, version_id: int, codes: Sequence[str], doubt: float
) -> dict[str, Any]:
    """The columns of a hold that it is sorted and grouped by."""
    known = db.execute(_KNOWN, {"its_film": film_id}).one_or_none()
    sender = db.scalar(_CALLING, {"its_version": version_id}) or ""
    first = codes[0] if codes else ""
    device, accession = (known.device, known.accession) if known else ("", "")
    own = {"reason": first, "sender": sender, "uncertainty": doubt}
    return own | {"device": device, "accession": accession}


def _of_header(column: str) -> ScalarSelect[Any]:
    return select(headers.c[column]).where(headers.c.film_id == holds.c.film_id).scalar_subquery()


# Built once: to build them anew costs more than the ledger takes to answer.
_CALLING = (
    select(associations.c.calling)
    .join(versions, versions.c.association_id == associations.c.id)
    .where(versions.c.id == bindparam("its_version"))
)
_KNOWN = select(headers.c.device, headers.c.accession).where(headers.c.film_id == bindparam("its_film"))
_ITS_FILM: BindParameter[int] = bindparam("its_film")
_ITS_VERSION: BindParameter[int] = bindparam("its_version")
_NOW = bindparam("now", type_=UtcDateTime)
_OF_VERSION = select(headers.c.version_id).where(headers.c.film_id == _ITS_FILM)
_READ = update(headers).where(headers.c.film_id == _ITS_FILM).values(read_at=_NOW)
_LATEST = (
    update(headers)
    .where(headers.c.film_id == _ITS_FILM, headers.c.version_id <= _ITS_VERSION)
    .values(version_id=_ITS_VERSION, read_at=_NOW, sender=func.coalesce(_CALLING.scalar_subquery(), ""))
    .values({name: bindparam(f"new_{name}") for name in _OF_HEADER})
)
_OPEN = (
    update(holds)
    .where(holds.c.film_id == _ITS_FILM, holds.c.state == HoldState.OPEN)
    .values({column: _of_header(column) for column in ("device", "accession")})
)
_SUPERSEDE = (
    update(reasons).where(reasons.c.film_id == bindparam("its_film"), reasons.c.current).values(current=False)
)
