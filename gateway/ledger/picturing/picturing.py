"""What the console may show, and which held films look alike."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import BindParameter, bindparam, exists, or_, select

from gateway.ledger.moves import stands
from gateway.ledger.picturing.dossier import Dossiers
from gateway.ledger.picturing.features import features, unpacked
from gateway.ledger.picturing.likeness import Place, in_order, nearest_first
from gateway.ledger.records import HoldState
from gateway.ledger.tables import copies, holds, objects, versions

_DIGEST: BindParameter[str] = bindparam("digest")
_KNOWN = select(or_(*(exists().where(table.c.digest == _DIGEST) for table in (versions, copies, objects))))
_OPEN = (
    select(holds.c.id, holds.c.film_id, features.c.model_digest, features.c.vector)
    .outerjoin(features, features.c.version_id == holds.c.version_id)
    .where(stands(holds, HoldState.OPEN))
    .order_by(holds.c.id)
)


class Picturing(Dossiers):
    """Pictures by the store's key, and films by their looks."""

    def knows(self, digest: str) -> bool:
        """Whether this is the digest of a film, of a copy or of what we made of one."""
        with self.reading() as db:
            return bool(db.scalar(_KNOWN, {"digest": digest}))

    def similar(self, to: int | None = None) -> list[int]:
        """The ids of all open holds, those of films that look alike beside each other.

        With `to`, a film id: those most like that film first, if it is held and has a place. Holds of films
        that no network has a place for come last.
        """
        with self.reading() as db:
            rows = db.execute(_OPEN).all()
        of_model: defaultdict[str, list[tuple[int, int, Place]]] = defaultdict(list)
        for row in rows:
            if row.vector is not None:
                of_model[row.model_digest].append((row.id, row.film_id, unpacked(row.vector)))
        ordered: list[int] = []
        for placed in of_model.values():
            places = [place for _, _, place in placed]
            wanted = next((place for _, film_id, place in placed if film_id == to), None)
            order = in_order(places) if wanted is None else nearest_first(places, wanted)
            ids = [placed[one][0] for one in order]
            ordered = ordered + ids if wanted is None else ids + ordered
        return ordered + [row.id for row in rows if row.vector is None]
