"""What a room or the archive rejected: Key Object Selection documents as IHE's IOCM has them, as they arrive.

PS3.3 A.35.4 with TID 2010; the titles are of PS3.16 CID 7010. We make ours in `pipelines.report.rejection`:
what this gateway made never gets here when it comes back, what another one made is heeded like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydicom import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from pipelines.film import REJECTION_TITLES, Rejected
from pipelines.header import first, items, quietly, text, values
from pipelines.part10 import Source, parse

MOST = 50_000  # instances of one document; a long CT study has 5,000
_NAMES = frozenset(
    {"IMAGE", "COMPOSITE", "WAVEFORM"}
)  # value types of content items that reference an instance
_UID = re.compile(r"[0-9.]{1,64}")  # with leading zeros, too: some senders write them


def rejected_by(source: Source) -> Rejected | None:
    """What this object rejects; None when it is no such document. Raises Undecodable."""
    part = parse(source)
    if part.header.sop_class_uid != KeyObjectSelectionDocumentStorage:
        return None
    with quietly():
        code = _title(part.ds)
        named = dict.fromkeys(_named(part.ds) if code else ())
    return Rejected(code, tuple(named)[:MOST]) if named else None


def _title(ds: Dataset) -> str:
    for concept in items(ds, "ConceptNameCodeSequence"):
        code = text(concept, "CodeValue")
        if code in REJECTION_TITLES and text(concept, "CodingSchemeDesignator") == "DCM":
            return code
    return ""


def _named(ds: Dataset) -> Iterator[str]:
    for content in items(ds, "ContentSequence"):
        if first(values(content, "ValueType")) in _NAMES:
            for reference in items(content, "ReferencedSOPSequence"):
                yield from filter(_UID.fullmatch, values(reference, "ReferencedSOPInstanceUID"))
