"""HOLD: what a person does with a held film, always with who, when and why."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from gateway.copies import make_copy
from gateway.decoder import Decoder
from gateway.errors import FilmgateError
from gateway.ledger import Ledger
from gateway.ledger.records import Hold
from gateway.settings import Routes
from gateway.store import Store
from pipelines.film import Operations


class Quarantine:
    """Release, correct or reject held films.

    `film` is everywhere a SOP Instance UID or a film id. Raises NotFound when the film does not
    exist or is not held; nothing is changed then.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        routes: Routes,
        *,
        decoder: Callable[[], Decoder],
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._routes = routes
        self._decoder = decoder
        self._clock = clock

    def release(self, film: str | int, *, by: str, note: str, to: tuple[str, ...] = ()) -> Hold:
        """Send a held film to the AI as it is; to the destinations of routes.pass unless told otherwise."""
        hold = self._ledger.open_hold(film)
        self._ledger.release(hold, self._receivers(to), by=by, note_text=note, now=self._clock())
        return hold

    def correct(
        self,
        film: str | int,
        *,
        by: str,
        note: str,
        operations: Operations | None = None,
        to: tuple[str, ...] = (),
    ) -> Hold:
        """Send a corrected copy: the proposal that lies ready, or one made by `operations`."""
        hold = self._ledger.open_hold(film)
        copy = None
        if operations:
            _, digest = self._ledger.version_of_hold(hold.id)
            with self._decoder() as decoder:
                copy = make_copy(self._store, decoder, digest, operations, models={}, at=self._clock())
        receivers = self._receivers(to) + self._routes.copies
        self._ledger.correct(hold, copy, receivers, by=by, note_text=note, now=self._clock())
        return hold

    def reject(self, film: str | int, *, by: str, note: str) -> Hold:
        """Close a hold: no AI gets the film. The original stays, here and in the archive."""
        hold = self._ledger.open_hold(film)
        self._ledger.reject(hold, by=by, note_text=note, now=self._clock())
        return hold

    def _receivers(self, to: tuple[str, ...]) -> tuple[str, ...]:
        if not (to or self._routes.pass_):
            raise FilmgateError(
                "no AI destination is configured (routes.pass is empty), so a release would send the film "
                "nowhere. It stays held. Add a destination to routes.pass, or reject the film."
            )
        return to or self._routes.pass_
