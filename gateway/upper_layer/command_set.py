"""Command sets: Implicit VR Little Endian, whatever the context's transfer syntax (PS3.7 section 6.3.1).

They are a few flat elements in one encoding. Each film has two of them, and pydicom would take longer for
those than sha256 for its pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache

from pydicom.datadict import dictionary_VR, tag_for_keyword

from gateway.upper_layer.pdu import AbortReason, BadPdu, uid

_ELEMENT = struct.Struct("<HHI")  # group, element, length of what follows (PS3.5 section 7.1.3)


def command_set(elements: Mapping[str, str | int]) -> bytes:
    """Encode a command set of keyword -> value; its group length comes first.

    UIDs are not validated: a response repeats the request's, and senders write UIDs with leading zeros.

    Raises:
        ValueError: a keyword that is no command element of text or number.
    """
    ordered = sorted((*_tag_and_vr(keyword), value) for keyword, value in elements.items())
    body = b"".join(_element(tag, vr, value) for tag, vr, value in ordered)
    return _element(0x00000000, "UL", len(body)) + body


@lru_cache(maxsize=64)
def _tag_and_vr(keyword: str) -> tuple[int, str]:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no element")
    return tag, dictionary_VR(tag)


def _element(tag: int, vr: str, value: str | int) -> bytes:
    """One element in Implicit VR Little Endian (PS3.5 section 7.1.3), its value of even length."""
    if isinstance(value, int):
        encoded_value = value.to_bytes({"US": 2, "UL": 4}[vr], "little")
    else:
        encoded_value = value.encode("ascii", "replace")
        if len(encoded_value) % 2:
            encoded_value += b"\0" if vr == "UI" else b" "
    return _ELEMENT.pack(tag >> 16, tag & 0xFFFF, len(encoded_value)) + encoded_value


def command_elements(data: bytes) -> dict[int, bytes]:
    """Element number -> value of a command set, as bytes: nothing a stranger wrote is interpreted here.

    Raises:
        BadPdu: it is not one.
    """
    elements: dict[int, bytes] = {}
    at = 0
    while at + _ELEMENT.size <= len(data):
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size + length
        if group != 0 or at > len(data):
            raise BadPdu(AbortReason.INVALID_PARAMETER, "a command set holds what is no command element")
        elements[element] = data[at - length : at]
    return elements


def us(elements: Mapping[int, bytes], element: int) -> int | None:
    """The value of a command element of VR US; None when it is absent or not one."""
    value = elements.get(element, b"")
    return int.from_bytes(value, "little") if len(value) == 2 else None


def text(elements: Mapping[int, bytes], element: int) -> str:
    """The value of a text or UID element; empty when it is absent."""
    return uid(elements.get(element, b""))
