"""What a decision rests on beside the rules and the findings: kept, so that other rules can be tried on it.

`pipelines.reconsider` decides by it. It stands by itself because the ledger takes and gives it, and needs no
rules for that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pipelines.film import Finding, Header, Operations, Reason, Sender

OtherPixels = Literal["", "compared", "not compared"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an object had no pixels to be gated."""

    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Grounds:
    """What a decision rests on beside the rules and the findings of the gates.

    `header` is without the UIDs of its instance and without whose film it is, and None where it could not be
    read. `day` is that of the hospital's clock, YYYY-MM-DD. `operations` are those that a copy was made by,
    or could not be made by. `sender` is there where a word in the header asks for it.
    """

    day: str
    mode: Literal["observe", "enforce", "alone"]
    header: Header | None = None
    fault: Fault | None = None
    operations: Operations = field(default_factory=Operations)
    other_pixels: OtherPixels = ""
    sender: Sender = field(default_factory=Sender)
    region_gates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Examined:
    """What is kept of an examination: enough to decide again."""

    grounds: Grounds
    findings: tuple[Finding, ...]
    copy_findings: tuple[Finding, ...] = ()  # () where no copy was made
