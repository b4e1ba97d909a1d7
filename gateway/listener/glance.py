"""A glance at the start of a dataset, for SOP Class UID (0008,0016) and SOP Instance UID (0008,0018) alone.

Of HEAD_BYTES, by `pipelines.instance.first_elements`: bounded, flat and without inflating. What is not clear
here is kept, and a worker judges it in its own child process.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.listener.negotiate import DEFLATED
from pipelines.instance.first_elements import (
    SOP_CLASS,
    SOP_INSTANCE,
    UNDEFINED_LENGTH,
    Encoding,
    elements,
    encoding_of,
    first_element,
)

HEAD_BYTES = 64 << 10
LOWEST_TAG = 0x00020000  # datasets have no element before it


@dataclass(frozen=True, slots=True)
class Glance:
    """What the first bytes say. None is "not there, or not clear"."""

    readable: bool  # False: no element begins here, this is no dataset at all
    sop_class_uid: str | None = None
    sop_instance_uid: str | None = None


def glance(head: bytes, size_bytes: int, transfer_syntax: str) -> Glance:
    """Look at `head`, the first bytes of a dataset of `size_bytes` (PS3.5 section 7.1)."""
    if transfer_syntax == DEFLATED:
        return Glance(readable=size_bytes > 0)
    stated = encoding_of(transfer_syntax)
    other = stated._replace(implicit=not stated.implicit)  # some senders write the other VR than they said
    for encoding in (stated, other):
        if _begins(head, size_bytes, encoding):
            texts = {one.tag: one.text(head) for one in elements(head, 0, encoding, last=SOP_INSTANCE)}
            return Glance(True, texts.get(SOP_CLASS), texts.get(SOP_INSTANCE))
    return Glance(readable=False)


def _begins(head: bytes, size_bytes: int, encoding: Encoding) -> bool:
    """Whether an element begins here: a group that datasets have, a VR that exists, a value that fits."""
    first = first_element(head, 0, encoding)
    if not first or first.tag < LOWEST_TAG:
        return False
    return first.length == UNDEFINED_LENGTH or first.end <= size_bytes
