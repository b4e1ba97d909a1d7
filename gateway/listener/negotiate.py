"""Which presentation contexts we accept, and in which transfer syntax (PS3.8 annex B, PS3.4 section B.2).

Objects are kept as they come, so every syntax that pixels travel in is welcome and nothing is ever converted.
When a sender offers several syntaxes for one context it can convert, and the first of `PREFERENCE` that it
offers wins: native first (explicit VR keeps the VR of private elements, and every sender has it), then
lossless, then lossy; the pixels of all in that list can be decoded. A sender that proposes one context a
syntax keeps each of its files as it is.

Every storage SOP class is accepted, private and future ones too: all but those that the dictionary knows as
something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pydicom._uid_dict import UID_dictionary
from pynetdicom.presentation import PresentationContext, build_context, negotiate_as_acceptor

from gateway.settings import GatewaySettings
from gateway.upper_layer.dimse import VERIFICATION

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
UNCOMPRESSED_FRAMES = "1.2.840.10008.1.2.1.98"
MOST_PRIVATE = 64  # private abstract syntaxes of one association

PREFERENCE = (
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    BIG_ENDIAN,
    DEFLATED,
    DEFLATED_FRAMES,
    UNCOMPRESSED_FRAMES,
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K lossless RPCL
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.110",  # JPEG XL lossless
    "1.2.840.10008.1.2.4.92",  # JPEG 2000 multi-component lossless
    "1.2.840.10008.1.2.4.203",  # HTJ2K
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.112",  # JPEG XL
    "1.2.840.10008.1.2.4.93",  # JPEG 2000 multi-component
    "1.2.840.10008.1.2.4.51",  # JPEG extended, 12 bits
    "1.2.840.10008.1.2.4.111",  # JPEG XL of a JPEG codestream
    "1.2.840.10008.1.2.4.50",  # JPEG baseline, 8 bits
    "1.2.840.10008.1.2.4.55",  # JPEG full progression, retired
    "1.2.840.10008.1.2.4.53",  # JPEG spectral selection, retired
)
_RANK = {syntax: rank for rank, syntax in enumerate(PREFERENCE)}

# Other encapsulated syntaxes (video, future ones), not decoded here, are kept too, after those above.
# Not the ones whose pixels lie on another server (JPIP).
_ENCAPSULATED = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.[0-9]{1,4}(\.1)?")
_ELSEWHERE = {f"1.2.840.10008.1.2.4.{last}" for last in (94, 95, 204, 205)}

_SERVICES = ("FIND", "MOVE", "GET", "Creation", "Query")  # names that end so stand among the storage classes

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_STORAGE_BRANCHES = ("1.2.840.10008.5.1.4.1.1.", "1.2.840.10008.5.1.4.34.7", "1.2.840.10008.5.1.4.34.10")
_STORED_OUTSIDE = {
    "1.2.840.10008.5.1.4.38.1",  # Hanging Protocol Storage
    "1.2.840.10008.5.1.4.39.1",  # Color Palette Storage
    "1.2.840.10008.5.1.4.43.1",  # Generic Implant Template Storage
    "1.2.840.10008.5.1.4.44.1",
    "1.2.840.10008.5.1.4.45.1",
}


def is_uid(text: str) -> bool:
    """Whether `text` can be a UID (PS3.5 section 9.1); leading zeros are let pass, senders write them."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def is_storage(abstract_syntax: str) -> bool:
    """Whether an object of this SOP class can be kept: storage of the Standard, private, or not known yet."""
    if not is_uid(abstract_syntax) or abstract_syntax == VERIFICATION:
        return False
    if abstract_syntax in _STORED_OUTSIDE:
        return True
    if abstract_syntax.startswith(_STORAGE_BRANCHES):
        return not UID_dictionary.get(abstract_syntax, ("",))[0].endswith(_SERVICES)
    return not abstract_syntax.startswith("1.2.840.10008.")


def negotiate(
    contexts: Sequence[PresentationContext], settings: GatewaySettings
) -> tuple[PresentationContext, ...]:
    """Our answer to each proposed context, with its result (PS3.8 table 9-18) and one transfer syntax."""
    answers, _ = negotiate_as_acceptor(list(contexts), _supported(contexts, settings))
    return tuple(answers)


def _supported(
    contexts: Sequence[PresentationContext], settings: GatewaySettings
) -> list[PresentationContext]:
    """What we offer for the abstract syntaxes of this request: all storage, private classes among them."""
    proposed: dict[str, set[str]] = {}
    for context in contexts:
        proposed.setdefault(str(context.abstract_syntax), set()).update(map(str, context.transfer_syntax))
    private = [one for one in proposed if one not in UID_dictionary][MOST_PRIVATE:]
    # A class with no welcome syntax is offered in one that was not proposed: refused for its syntaxes, then.
    return [
        build_context(abstract, preferred(syntaxes, settings) or EXPLICIT_LITTLE_ENDIAN)
        for abstract, syntaxes in proposed.items()
        if abstract not in private and (abstract == VERIFICATION or is_storage(abstract))
    ]


def preferred(proposed: Iterable[str], settings: GatewaySettings) -> list[str]:
    """The transfer syntaxes that we take of those proposed, the one we like best first."""
    welcome = [syntax for syntax in proposed if _welcome(syntax, settings)]
    return sorted(welcome, key=lambda syntax: (_RANK.get(syntax, len(_RANK)), syntax))


def _welcome(syntax: str, settings: GatewaySettings) -> bool:
    if syntax in (DEFLATED, DEFLATED_FRAMES):
        return settings.deflated
    if syntax == BIG_ENDIAN:
        return settings.big_endian
    return syntax in _RANK or (_ENCAPSULATED.fullmatch(syntax) is not None and syntax not in _ELSEWHERE)
