"""HOLD: what a person does with a held film, always with who, when and why."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path

import structlog

from gateway.errors import DecodeError, FilmgateError, Missing, NotFound
from gateway.ledger import Ledger
from gateway.ledger.records import Hold, Made
from gateway.sandbox.copies import make_copy
from gateway.sandbox.decoder import Decoder
from gateway.sandbox.reporter import Occasion, Reporter
from gateway.settings import Routes
from gateway.store import Store
from pipelines.film import Operations, Reason

log = structlog.get_logger()


class Quarantine:
    """Release, correct or reject held films.

    `film` is everywhere a SOP Instance UID, a film id or a hold name (h7). Raises NotFound when the film
    does not exist or is not held; nothing is changed then.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        routes: Routes,
        *,
        known: Collection[str],
        decoder: Callable[[], Decoder],
        reporter: Callable[[], Reporter],
        rejection_notes: tuple[str, ...] = (),
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._routes = routes
        self._known = frozenset(known)
        self._decoder = decoder
        self._reporter = reporter
        self._rejection_notes = rejection_notes
        self._clock = clock

    def release(self, film: str | int, *, by: str, note: str, to: tuple[str, ...] = ()) -> Hold:
        """Send a held film to the AI as it is: to those that accept such films, unless `to` names others."""
        hold = self._ledger.open_hold(film)
        self._ledger.release(hold, self._receivers(hold, to), by=by, note_text=note, now=self._clock())
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
            self._original(hold)
            with self._decoder() as decoder:
                copy = make_copy(self._store, decoder, hold.digest, operations, models={}, at=hold.opened_at)
        receivers = tuple(dict.fromkeys(self._receivers(hold, to) + self._routes.copies))
        self._ledger.correct(hold, copy, receivers, by=by, note_text=note, now=self._clock())
        return hold

    def reject(self, film: str | int, *, by: str, note: str) -> Hold:
        """Close a hold: no AI gets the film. The original stays, here and in the archive.

        Where quarantine.rejection_notes names somebody, they get a Key Object that names the film and `by`;
        of what is no DICOM object, or has no UIDs, there is none. Raises FilmgateError when it is wanted and
        cannot be made for any other reason: the film stays held.
        """
        hold, now = self._ledger.open_hold(film), self._clock()
        rejection_note = (
            self._rejection_note(hold, by, note, now) if self._rejection_notes and by.strip() else None
        )
        self._ledger.reject(hold, by=by, note_text=note, now=now, made=rejection_note)
        return hold

    def _rejection_note(self, hold: Hold, by: str, note: str, now: datetime) -> Made | None:
        original, occasion = self._original(hold), Occasion(now, {})
        with self._reporter() as reporter:
            try:
                result = reporter.rejection(original, hold.reasons, who=by, note=note, occasion=occasion)
            except DecodeError as error:
                if error.reason is Reason.DECODE_FAILED:  # the maker's trouble, not what the film is
                    raise
                log.warning("no rejection note", film=hold.film_id, error=str(error))
                return None
        return result.keep(self._store, self._rejection_notes) if result else None

    def _original(self, hold: Hold) -> Path:
        """Raises Missing."""
        if not self._store.has(hold.digest):
            raise Missing(
                f"the file of film {hold.film_id} is not in the store. It stays held. "
                "Run `filmgate fsck`, and have the film sent again."
            )
        return self._store.path(hold.digest)

    def _receivers(self, hold: Hold, to: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in to if name not in self._known]:
            raise NotFound(
                f"there is no destination {unknown[0]!r}. The film stays held. "
                f"Known are: {', '.join(sorted(self._known)) or 'none'}."
            )
        if not (to or hold.takers):
            raise FilmgateError(
                "no AI destination takes such a film (its age, view or modality; or routes.pass is empty): "
                "this would send it nowhere. It stays held. Name a destination with --to, or reject the film."
            )
        return to or hold.takers
