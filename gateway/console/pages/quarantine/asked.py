"""What an address of the sheet asks for: everything that a reload or a colleague's link must bring back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, Field

from gateway.ledger.records import Wanted
from gateway.ledger.searching.records import Grouping, SheetSort

Sort = SheetSort | Literal["similar"]
Group = Grouping | Literal["none"]
PAGE = 60  # cards of one page

SORTS: Mapping[str, str] = {
    "oldest": "longest waiting",
    "newest": "newest",
    "uncertain": "least sure",
    "similar": "look alike",
}
GROUPS: Mapping[str, str] = {
    "reason": "reason",
    "sender": "sender",
    "device": "device",
    "accession": "accession",
    "room": "room and reason",
    "none": "nothing",
}


class Asked(BaseModel):
    """The words of the address. `film` and `view` are the page's own: where the cursor is, and how large."""

    model_config = ConfigDict(extra="ignore")

    group: Group = "reason"
    sort: Sort = "oldest"
    reason: str | None = Field(None, max_length=32)
    sender: str | None = Field(None, max_length=16)
    device: str | None = Field(None, max_length=64)
    accession_of: int | None = Field(None, ge=1, lt=2**63)
    q: str | None = Field(None, max_length=128)
    like: int | None = Field(None, ge=1, lt=2**63)  # of "similar": the films most like this one first
    film: int | None = Field(None, ge=1, lt=2**63)
    view: Literal["big"] | None = None

    @property
    def wanted(self) -> Wanted:
        return Wanted(
            reason=self.reason,
            sender=self.sender,
            device=self.device,
            accession_of=self.accession_of,
            text=(self.q or "").strip() or None,
        )

    @property
    def narrows(self) -> bool:
        """Whether films are left out."""
        return self.wanted != Wanted()

    def words(self) -> dict[str, str | int]:
        """As an address has them: what is the default is left out."""
        kept = self.model_dump(exclude_defaults=True, exclude={"film", "view"})
        return {name: value for name, value in kept.items() if value not in ("", None)}

    def query(self, wishes: Mapping[str, str | int] | None = None, **more: str | int) -> str:
        """The query part of an address: these words, narrowed by a block's `wishes`."""
        return urlencode(self.words() | dict(wishes or {}) | more)

    def within(self, wishes: Mapping[str, str | int]) -> Wanted:
        """Films that are asked for and belong to one block."""
        return replace(self.wanted, **wishes)  # type: ignore[arg-type]
