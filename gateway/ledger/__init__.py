"""The queue of record: what was received, decided, held and owed; `Ledger` is all of it."""

from __future__ import annotations

from collections.abc import Callable

from gateway.ledger.acting.acting import Acting
from gateway.ledger.claiming import Claiming
from gateway.ledger.engine import LONG_WAL_BYTES, Checkpoint, has_wal_reset_bug, make_engine
from gateway.ledger.holding.ruling import Answering
from gateway.ledger.labelling.blind import BlindChecking
from gateway.ledger.labelling.labels import Labelling
from gateway.ledger.labelling.scores import Scoring
from gateway.ledger.listing import Listing
from gateway.ledger.migrations import check_schema, migrate, require_there
from gateway.ledger.people.peopling import Peopling
from gateway.ledger.people.signing_in import SigningIn
from gateway.ledger.picturing import Picturing
from gateway.ledger.receiving import Receiving
from gateway.ledger.reviewing import Reviewing
from gateway.ledger.routing import Routing
from gateway.ledger.searching.catching_up import CatchingUp
from gateway.ledger.searching.films import Searching
from gateway.ledger.searching.sheet import Sheet
from gateway.ledger.searching.today import Figures
from gateway.ledger.steering.steer import Steer
from gateway.ledger.watching import Watching
from gateway.ledger.working import Working

__all__ = ["LONG_WAL_BYTES", "Checkpoint", "Ledger", "has_wal_reset_bug"]


class Ledger(
    Receiving,
    Claiming,
    Working,
    Routing,
    Listing,
    Reviewing,
    Answering,
    Acting,
    Searching,
    Sheet,
    Figures,
    CatchingUp,
    Steer,
    Watching,
    Picturing,
    Labelling,
    BlindChecking,
    Scoring,
    Peopling,
    SigningIn,
):
    """The queue of record. Every method is one transaction and may be called from any thread.

    Raises (all methods):
        LedgerBusy: locked by another process for the whole timeout.
        LedgerError: full, read-only or broken.
    """

    @classmethod
    def open(
        cls,
        url: str,
        *,
        busy_timeout_s: float = 10.0,
        migrate_first: bool = False,
        wake: Callable[[], None] = lambda: None,
    ) -> Ledger:
        """Open the ledger at an SQLAlchemy `url`; `wake` is called when something may be due at once.

        Raises:
            SchemaTooOld: not there or not migrated, and `migrate_first` is false.
            SchemaTooNew: written by a newer filmgate.
        """
        if not migrate_first:
            require_there(url)
        engine = make_engine(url, busy_timeout_s)
        if migrate_first:
            migrate(engine)
        check_schema(engine)
        return cls(engine, make_engine(url, busy_timeout_s, synchronous="NORMAL"), wake)
