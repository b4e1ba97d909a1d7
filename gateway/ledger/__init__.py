"""The queue of record: what was received, decided, held and owed."""

from gateway.ledger.engine import LONG_WAL_BYTES, Checkpoint, has_wal_reset_bug
from gateway.ledger.ledger import Ledger

__all__ = ["LONG_WAL_BYTES", "Checkpoint", "Ledger", "has_wal_reset_bug"]
