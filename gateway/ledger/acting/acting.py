"""All that people do with films, as `Ledger` has it."""

from __future__ import annotations

from gateway.ledger.acting.asking import Asking
from gateway.ledger.acting.auditing import Auditing
from gateway.ledger.acting.deciding import Deciding
from gateway.ledger.acting.leaving import Leaving
from gateway.ledger.acting.undoing import Undoing


class Acting(Deciding, Asking, Undoing, Leaving, Auditing):
    """Acts, their way back, and who did them."""
