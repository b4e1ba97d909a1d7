"""The queue of record: what was received, decided, held and owed."""

from gateway.ledger.ledger import Ledger

__all__ = ["Ledger"]
