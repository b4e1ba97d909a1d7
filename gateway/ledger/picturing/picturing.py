"""What the console may show."""

from __future__ import annotations

from sqlalchemy import bindparam, exists, or_, select

from gateway.ledger.engine import Database
from gateway.ledger.tables import copies, objects, versions

_DIGEST = bindparam("digest")
_KNOWN = select(or_(*(exists().where(table.c.digest == _DIGEST) for table in (versions, copies, objects))))


class Picturing(Database):
    """Pictures by the store's key."""

    def knows(self, digest: str) -> bool:
        """Whether this is the digest of a film, of a copy or of what we made of one."""
        with self.reading() as db:
            return bool(db.scalar(_KNOWN, {"digest": digest}))
