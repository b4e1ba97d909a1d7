"""Command sets as bytes: the same as pydicom writes and reads, and nothing else."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from gateway.upper_layer.command_set import command_elements, command_set, text, us
from gateway.upper_layer.pdu import BadPdu

RESPONSE = {
    "ErrorComment": "no room on disk",
    "AffectedSOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
    "CommandField": 0x8001,
    "MessageIDBeingRespondedTo": 7,
    "CommandDataSetType": 0x0101,
    "Status": 0xA700,
    "AffectedSOPInstanceUID": "1.2.826.0.1.3680043.9.9999.1",
}


def by_pydicom(elements: dict[str, str | int]) -> bytes:
    ds = Dataset()
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    body = encode(ds, is_implicit_vr=True, is_little_endian=True)
    assert body is not None
    ds.CommandGroupLength = len(body)
    whole = encode(ds, is_implicit_vr=True, is_little_endian=True)
    assert whole is not None
    return whole


def test_a_command_set_is_what_pydicom_writes() -> None:
    """Elements in order whatever order they came in, values of even length, the group's length first."""
    assert command_set(RESPONSE) == by_pydicom(RESPONSE)
    assert command_set({**RESPONSE, "ErrorComment": ""}) == by_pydicom({**RESPONSE, "ErrorComment": ""})


def test_a_command_set_is_read_as_pydicom_reads_it() -> None:
    """Every element, and of a value no more than its padding is taken away."""
    data = by_pydicom(RESPONSE)
    elements = command_elements(data)
    assert elements.keys() == {element.tag.element for element in decode(BytesIO(data), True, True)}
    assert text(elements, 0x1000) == RESPONSE["AffectedSOPInstanceUID"]
    assert us(elements, 0x0900) == RESPONSE["Status"]
    assert us(elements, 0x1000) is None
    assert us(elements, 0x0001) is None


@pytest.mark.parametrize(
    "data",
    [
        command_set(RESPONSE)[:-1],
        command_set(RESPONSE) + bytes.fromhex("08001600 02000000 4352"),  # (0008,0016), no command element
        bytes.fromhex("00000001 ffffffff 0100"),  # of undefined length
    ],
)
def test_what_is_no_command_set_is_refused(data: bytes) -> None:
    """A value that breaks off, an element of another group, a length that nothing has."""
    with pytest.raises(BadPdu, match="no command element"):
        command_elements(data)


def test_only_command_elements_are_written() -> None:
    """A keyword that does not exist is the caller's mistake, not a stranger's."""
    with pytest.raises(ValueError, match="no element"):
        command_set({"NoSuchKeyword": 1})
