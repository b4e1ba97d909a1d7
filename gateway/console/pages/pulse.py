"""The pulse: whether the ledger has changed, for pages that show what stands in it now."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel

from gateway.console.doors import Things, Viewer

router = APIRouter()


class Pulse(BaseModel):
    """A number that grows when the ledger changes."""

    seq: int


@router.get("/api/pulse")
def pulse(person: Viewer, shell: Things) -> Pulse:  # noqa: ARG001
    """One small answer a second and tab: all tabs share one look at the ledger's version."""
    return Pulse(seq=shell.ledger.pulse())
