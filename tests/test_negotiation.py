"""Presentation contexts, the glance at a dataset and command sets, without a connection."""

from __future__ import annotations

import struct

import pytest
from dicom_peers import (
    DX,
    EXPLICIT,
    associate_rq,
)
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AllStoragePresentationContexts, build_context
from scp_objects import IMPLICIT, J2K

from gateway.listener import glance, negotiate
from gateway.settings import GatewaySettings
from gateway.upper_layer import acceptor, dimse
from gateway.upper_layer.pdu import BadPdu
from pipelines.codecs import syntaxes

DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"


# Negotiation


def test_the_syntax_taken_is_ours_to_prefer() -> None:
    """Native first, then lossless; deflated and big endian only when the settings say so."""
    plain, old = GatewaySettings(), GatewaySettings(deflated=True, big_endian=True)
    assert negotiate.preferred((DEFLATED, BIG_ENDIAN, IMPLICIT, EXPLICIT), plain)[0] == EXPLICIT
    assert negotiate.preferred((J2K, IMPLICIT), plain)[0] == IMPLICIT
    assert negotiate.preferred(("1.2.840.10008.1.2.4.50", J2K), plain)[0] == J2K
    assert negotiate.preferred((DEFLATED, BIG_ENDIAN), plain) == []
    assert negotiate.preferred((DEFLATED,), old)[0] == DEFLATED
    assert negotiate.preferred((DEFLATED, BIG_ENDIAN), old)[0] == BIG_ENDIAN
    assert negotiate.preferred(("1.2.3", "1.2.840.10008.1.2.4.94"), plain) == []


def test_every_syntax_that_pixels_travel_in_is_welcome() -> None:
    """All that pydicom knows, but for those that need a setting or another server."""
    refused = {one for one in AllTransferSyntaxes if not negotiate.preferred([one], GatewaySettings())}
    assert {DEFLATED, BIG_ENDIAN} <= refused
    assert not [one for one in refused if one.startswith("1.2.840.10008.1.2.4") and "JPIP" not in one.name]


def test_what_can_be_decoded_is_preferred() -> None:
    """All in the list, and nothing else, the decoder reads; video comes after the last of them."""
    assert set(negotiate.PREFERENCE) == syntaxes.NATIVE | syntaxes.ENCAPSULATED
    video, frames = "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.1.98"
    plain = GatewaySettings()
    for syntax in negotiate.PREFERENCE:
        offered = negotiate.preferred((video, syntax), plain)
        assert offered[0] == syntax or syntax in (DEFLATED, BIG_ENDIAN, negotiate.DEFLATED_FRAMES)
    assert negotiate.preferred((J2K, frames), plain)[0] == frames


def test_every_storage_class_is_accepted_and_no_query() -> None:
    """What is kept is what is storage; C-FIND, C-MOVE, worklist and print are not."""
    assert all(negotiate.is_storage(cx.abstract_syntax) for cx in AllStoragePresentationContexts)
    for other in ("1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.31", "1.2.840.10008.1.20.1", "x", ""):
        assert not negotiate.is_storage(other)
    assert not negotiate.is_storage("1.2.840.10008.5.1.4.1.1.201.2")  # Inventory - FIND


def test_private_classes_are_capped() -> None:
    """An association may bring 64 private SOP classes; the 65th is refused, the known ones are not."""
    contexts = [build_context(f"1.2.3.{n}", EXPLICIT) for n in range(70)] + [build_context(DX, EXPLICIT)]
    for n, context in enumerate(contexts):
        context.context_id = 2 * n + 1
    answers = negotiate.negotiate(contexts, GatewaySettings())
    assert sum(one.result == 0 for one in answers) == 65
    assert answers[-1].result == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body[:50],
        lambda body: body[:68],
        lambda body: body[:-1],
        lambda body: body[:68] + b"\x20\0\0\4\2\0\0\0",
        lambda body: body[:68] + b"\x30\0\0\0" * 200,
    ],
)
def test_a_broken_request_is_a_bad_pdu(change) -> None:
    """Too short, without contexts, an item that does not fit, an even context id, too many items."""
    with pytest.raises(BadPdu):
        acceptor.decode_associate_rq(change(associate_rq()[6:]))


def test_a_glance_is_bounded_and_flat() -> None:
    """An undefined length, a length past the end, many elements: not clear, so nothing is said."""
    head = struct.pack("<HH2sxxL", 8, 0x0006, b"SQ", 0xFFFFFFFF) + b"\xfe\xff\0\xe0\xff\xff\xff\xff" * 9000
    assert glance.glance(head, len(head), EXPLICIT) == glance.Glance(True)
    many = b"".join(struct.pack("<HHL", 8, 1, 0) for _ in range(8000))
    assert glance.glance(many, len(many), IMPLICIT) == glance.Glance(True)
    late = struct.pack("<HH2sHH", 8, 5, b"CS", 60000, 0)
    assert glance.glance(late, 70000, EXPLICIT) == glance.Glance(True)
    assert glance.glance(b"\x78\x9c\1\2", 4, DEFLATED) == glance.Glance(True)


@pytest.mark.parametrize(
    ("syntax", "order", "form"), [(BIG_ENDIAN, ">", ">HH2sH"), (EXPLICIT, "<", "<HH2sH")]
)
def test_a_glance_reads_both_byte_orders(syntax: str, order: str, form: str) -> None:
    """SOP Class and Instance UID of explicit VR datasets, little and big endian."""
    data = b"".join(
        struct.pack(form, 8, element, b"UI", 4) + value
        for element, value in ((0x16, b"1.2\0"), (0x18, b"3.4\0"), (0x20, b"9.9\0"))
    )
    assert glance.glance(data, len(data), syntax) == glance.Glance(True, "1.2", "3.4")


@pytest.mark.parametrize(
    "data", [b"\0", b"\1\0\0\1\0\0\0\0", b"\0\0\0\1\xff\xff\0\0", struct.pack("<HHL", 0, 0, 0)]
)
def test_a_broken_command_set_is_a_bad_pdu(data: bytes) -> None:
    """It breaks off, holds another group, a length past the end, or no command field."""
    with pytest.raises(BadPdu):
        dimse.decode_command(data)
