"""One object by C-STORE, as slowly as is asked for, and what became of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import BinaryIO

from gateway.errors import DeliveryError
from gateway.store import Meta
from gateway.upper_layer.association import Association, Interrupted, Proposal, Target

CHUNK = 16 << 10


class SlowAssociation(Association):
    """One that sends a film in so many seconds."""

    film_s = 0.0

    def _send(self, pieces: Sequence[bytes | memoryview]) -> None:
        data = memoryview(b"".join(pieces))
        chunks = range(0, len(data), CHUNK)
        for at in chunks:
            super()._send([data[at : at + CHUNK]])
            if self.film_s and len(chunks) > 1:
                time.sleep(self.film_s / len(chunks))


def send(target: Target, calling: str, meta: Meta, dataset: BinaryIO, *, film_s: float = 0.0) -> str:
    """What became of it: "answered" (0x0000), "refused" and the status,
    "context not accepted", "broken:" and why, or "turned away".
    """
    proposal = Proposal(meta.sop_class_uid, (meta.transfer_syntax_uid,))
    try:
        association = SlowAssociation.request(target, calling, [proposal], 60)
        assert isinstance(association, SlowAssociation)
    except DeliveryError:
        return "turned away"
    association.film_s = film_s
    context = association.accepted(proposal)
    if context is None:
        association.release()
        return "context not accepted"
    try:
        words = context.context_id, meta.sop_class_uid, meta.sop_instance_uid
        status = association.store(dataset, *words).status
    except Interrupted as error:
        return f"broken: {error}"
    association.release()
    return f"refused {status:#06x}" if status else "answered"
