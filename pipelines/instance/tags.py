"""Every attribute of a file in words, for a person; who the patient is only when that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from pydicom import Dataset
from pydicom.datadict import dictionary_description, dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from pipelines.header import quietly
from pipelines.instance.part10 import Part10

MOST_ROWS = 1500
MOST_CHARACTERS = 200  # of a value
MOST_VALUES = 32  # of an attribute with many
DEEPEST = 8  # sequences in sequences
MASKED = "•••"
UNREADABLE = "cannot be read"
BYTES = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
# Who it is, or what may say so: people's names and free text, and the groups and attributes of patients,
# orders and visits (after PS3.15 table E.1-1). UIDs stay: IT looks for films by them.
PERSONAL_VRS = frozenset({"PN", "LT", "ST", "UT"})
PERSONAL_GROUPS = frozenset({0x0010, 0x0012, 0x0032, 0x0038, 0x4008})
# Of steps and orders all words, but for what was done.
ORDERS, ORDER_VRS = 0x0040, frozenset({"LO", "SH", "UC"})
STEPS = frozenset({0x00400007, 0x00400254})  # their descriptions
PERSONAL = frozenset(
    {
        0x00080050,  # Accession Number
        0x00080081,  # Institution Address
        0x00080094,  # Referring Physician's Telephone Numbers
        0x00080096,  # Referring Physician Identification Sequence
        0x00081049,  # Physician(s) of Record Identification Sequence
        0x00081052,  # Performing Physician Identification Sequence
        0x00081062,  # Physician(s) Reading Study Identification Sequence
        0x00081072,  # Operator Identification Sequence
        0x00081080,  # Admitting Diagnoses Description
        0x00081084,  # Admitting Diagnoses Code Sequence
        0x00200010,  # Study ID
        0x00401101,  # Person Identification Code Sequence
        0x00880904,  # Topic Title
        0x00880910,  # Topic Author
        0x00880912,  # Topic Keywords
        0x20300020,  # Text String of an annotation
    }
)


@dataclass(frozen=True, slots=True)
class Tag:
    """One attribute, or an item of a sequence."""

    depth: int  # 0: of the film itself
    tag: str  # (0010,0010); "" of an item
    name: str
    vr: str
    value: str
    personal: bool  # is, or may be, about who the patient is: `value` is masked unless it was asked for


def tags_of(part: Part10, *, revealed: bool) -> tuple[Tag, ...]:
    """The attributes in their order, MOST_ROWS at most; pixels and other bytes by their size."""
    with quietly():
        rows = (*_rows(part.ds.file_meta, 0, revealed), *islice(_rows(part.ds, 0, revealed), MOST_ROWS))
    return rows[:MOST_ROWS]


def _rows(ds: Dataset, depth: int, revealed: bool, within: bool = False) -> Iterator[Tag]:
    """`within` a sequence that is personal everything is."""
    for tag in sorted(ds.keys()):
        element = _element(ds, tag)
        vr = element.VR if element else ""
        personal = within or _personal(tag, vr)
        items = _items(element)
        value = _value(element) if items is None else f"{len(items)} item{'' if len(items) == 1 else 's'}"
        shown = value if revealed or not personal or items is not None or not value else MASKED
        yield Tag(depth, f"({tag.group:04X},{tag.element:04X})", _name(tag), vr, shown, personal)
        if items and depth < DEEPEST:
            for number, item in enumerate(items, 1):
                yield Tag(depth + 1, "", f"item {number}", "", "", personal)
                yield from _rows(item, depth + 1, revealed, personal)


def _element(ds: Dataset, tag: BaseTag) -> DataElement | None:
    try:
        return ds[tag]
    except Exception:  # noqa: BLE001 - pydicom converts here; hostile values raise nearly anything
        return None


def _personal(tag: BaseTag, vr: str) -> bool:
    """By what the attribute is, also where the file gives it a representation that is not its own."""
    vrs = {vr, dictionary_VR(tag)} if dictionary_has_tag(tag) else {vr}
    listed = tag in PERSONAL or tag.group in PERSONAL_GROUPS
    ordered = tag.group == ORDERS and not vrs.isdisjoint(ORDER_VRS) and tag not in STEPS
    private = tag.is_private and vr not in BYTES and vr != "SQ"
    return listed or ordered or private or not vrs.isdisjoint(PERSONAL_VRS)


def _name(tag: BaseTag) -> str:
    if dictionary_has_tag(tag):
        return dictionary_description(tag)
    return "private" if tag.is_private else "unknown"


def _items(element: DataElement | None) -> list[Dataset] | None:
    if element is None or element.VR != "SQ":
        return None
    value = element.value
    return [item for item in value if isinstance(item, Dataset)] if isinstance(value, Iterable) else []


def _value(element: DataElement | None) -> str:
    if element is None:
        return UNREADABLE
    try:
        value = element.value
        if isinstance(value, bytes):
            return f"{len(value):,} bytes"
        if not isinstance(value, MultiValue | list | tuple):  # a PersonName is iterable, too
            return _short("" if value is None else str(value))
        listed = "\\".join(map(str, islice(value, MOST_VALUES)))
        return _short(listed + ("\\…" if element.VM > MOST_VALUES else ""))
    except Exception:  # noqa: BLE001 - the same
        return UNREADABLE


def _short(text: str) -> str:
    """One line without characters that steer terminals or turn the line round."""
    clean = "".join(c if c.isprintable() else " " for c in text[: 2 * MOST_CHARACTERS])
    return clean if len(clean) <= MOST_CHARACTERS else clean[: MOST_CHARACTERS - 1] + "…"
