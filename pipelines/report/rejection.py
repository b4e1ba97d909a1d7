"""A film rejected by a person, as the field says it: Key Object Selection, "Rejected for Quality Reasons".

PS3.3 A.35.4 with TID 2010: title (113001, DCM), modifier from CID 7011, who rejected it, the note, the film.
Archives that honour IHE's IOCM hide what such a note names, so it is made after a named person's reject only.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from highdicom import ko, sr
from pydicom import Dataset
from pydicom.sr.codedict import codes

from pipelines.film import PATIENT_SAFETY, Reason
from pipelines.report.codes import (
    OTHER_FAILURE,
    QUALITY_CODES,
    QUALITY_TITLE,
    REJECTION,
    SAFETY_TITLE,
    Coded,
)
from pipelines.report.identity import (
    MANUFACTURER,
    Equipment,
    Series,
    built,
    identify,
    local_time,
    referenced,
    result_uid,
)

REJECTION_SERIES = 8905


def rejection_note(
    source: Dataset,
    reasons: Iterable[Reason],
    *,
    who: str,
    note: str,
    at: datetime,
    equipment: Equipment,
    code: str = "",
) -> Dataset:
    """That `who` rejected the film at `at` (aware), for what `code` says: of CID 7011, or 113037.

    Without a code it is the first of the `reasons` it was held for that CID 7011 knows. `note` is what the
    person wrote. Raises ValueError when nobody is named, NotReportable when the film has
    no UIDs.
    """
    if not who.strip():
        raise ValueError("a rejection note names the person who rejected the film")
    film, at = referenced(source), local_time(source, at, equipment)
    title, reason = said_by(code, reasons)
    coded = (reason or title).value
    uid = result_uid("rejection", film, coded, who, note, at=at, equipment=equipment)
    with built():
        document: Dataset = ko.KeyObjectSelectionDocument(
            evidence=[film],
            content=_content(film, title, reason, who.strip(), note.strip()),
            series_instance_uid=film.SeriesInstanceUID,
            series_number=1,
            sop_instance_uid=film.SOPInstanceUID,
            instance_number=1,
            manufacturer=MANUFACTURER,
        )
    series = Series(("rejection",), "KO", REJECTION_SERIES, "filmgate rejected films")
    contribution_text = "rejection note after a person's decision"
    return identify(
        document, source, uid, series, contribution_text=contribution_text, at=at, equipment=equipment
    )


def said_by(code: str, reasons: Iterable[Reason]) -> tuple[Coded, Coded | None]:
    """The title of the note, and its modifier where the title has one."""
    if code == PATIENT_SAFETY:
        return SAFETY_TITLE, None
    return QUALITY_TITLE, QUALITY_CODES[code] if code else quality_reason(reasons)


def quality_reason(reasons: Iterable[Reason]) -> Coded:
    """The code of CID 7011 for why a film was held; "Other failure" where none of them has one."""
    return next((REJECTION[reason] for reason in reasons if reason in REJECTION), OTHER_FAILURE)


def _content(film: Dataset, title: Coded, reason: Coded | None, who: str, note: str) -> ko.KeyObjectSelection:
    person = sr.ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=sr.PersonObserverIdentifyingAttributes(name=who),
    )
    content = ko.KeyObjectSelection(
        document_title=sr.CodedConcept(title.value, title.scheme, title.meaning),
        referenced_objects=[film],
        observer_person_context=person,
        description=note or None,
    )
    if reason is None:
        return content
    modifier = sr.CodeContentItem(
        name=codes.DCM.DocumentTitleModifier,
        value=sr.CodedConcept(reason.value, reason.scheme, reason.meaning),
        relationship_type=sr.RelationshipTypeValues.HAS_CONCEPT_MOD,
    )
    content[0].ContentSequence.insert(0, modifier)
    return content
