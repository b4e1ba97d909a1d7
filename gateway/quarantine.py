"""HOLD: what a person does with films, always with who, when and why."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from gateway.errors import DecodeError, FilmgateError, Missing, NotFound
from gateway.ledger import Ledger
from gateway.ledger.acting.deciding import refused
from gateway.ledger.acting.records import Acted, Meant, Standing, Wish
from gateway.ledger.acting.table import DECIDES, DoneBy
from gateway.ledger.labelling.words import checked
from gateway.ledger.records import CopyMade, Hold, Made
from gateway.ledger.tables import MACHINES
from gateway.sandbox.copies import make_copy
from gateway.sandbox.decoder import Decoder
from gateway.sandbox.reporter import Occasion, Reporter
from gateway.settings import Routes
from gateway.store import Store
from pipelines.film import REJECT_REASONS, Operations, Reason
from pipelines.json_values import plain

log = structlog.get_logger()

MOST = 2000  # films of one act
MOST_MADE = 500  # of these, films that something must be made for first: a copy, or a rejection note


class Quarantine:
    """What people do with films.

    An act names each film with the hold and the decision that the person saw, and has an answer for each: one
    film that it cannot be done with does not stop the others. What sends something leaves after
    `release_delay_s`; until then `undo` takes it back as if it had never been.
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
        release_delay_s: float = 0.0,
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._routes = routes
        self._known = frozenset(known)
        self._decoder = decoder
        self._reporter = reporter
        self._rejection_notes = rejection_notes
        self._release_delay_s = release_delay_s
        self._clock = clock

    def meant(self, film: str | int) -> Meant:
        """What a SOP Instance UID, a film id or a hold name (h7) means: an open hold as it stands now.

        Raises:
            NotFound: the film does not exist, or is not held, or is held twice.
        """
        hold = self._ledger.open_hold(film)
        return Meant(hold.film_id, hold.id, hold.decision_id)

    def one(
        self,
        act: DoneBy,
        film: str | int,
        *,
        by: str,
        note: str = "",
        reason: str = "",
        operations: Operations | None = None,
        to: tuple[str, ...] = (),
        delayed: bool = True,
    ) -> Acted:
        """Decide on one held film, as it stands now.

        Raises:
            NotFound: it does not exist, or is not held; nothing was changed.
            FilmgateError: this cannot be done with it; nothing was changed.
        """
        meant = [self.meant(film)]
        (acted,) = self.act(
            act, meant, by=by, note=note, reason=reason, operations=operations, to=to, delayed=delayed
        )
        if not acted.ok:
            raise FilmgateError(acted.error)
        return acted

    def act(
        self,
        act: DoneBy,
        films: Sequence[Meant],
        *,
        by: str,
        note: str = "",
        reason: str = "",
        operations: Operations | None = None,
        to: tuple[str, ...] = (),
        labels: Mapping[str, str] | None = None,
        delayed: bool = True,
        request: str = "",
    ) -> list[Acted]:
        """Do one thing with many films; an answer for each, in their order.

        `to` names destinations; without it a film goes to those that take such films. `operations` are those
        of a correction; `reason` is a code of `REJECT_REASONS`. `request` is an id of who asks: the same act
        with the same id once more is not done again, and is answered as before.

        Raises:
            NotFound: a destination or a reason that nobody knows. Nothing was changed.
            BadLabel: a label that there is none of. Nothing was changed.
            FilmgateError: too many films, or a correction that corrects nothing. Nothing was changed.
        """
        now = self._clock()
        self._check(act, films, by, reason, operations, to, labels)
        until = now + timedelta(seconds=self._release_delay_s) if delayed and self._release_delay_s else None
        wish = Wish(act, by, now, note, request, reason, until, to, self._routes.copies)
        if act not in DECIDES:
            return self._ledger.ask(wish, films, checked(labels or {}))
        answers: dict[int, Acted] = {}
        if act is DoneBy.CORRECT and operations:
            answers = self._make_copies(wish, films, operations)
        elif act is DoneBy.REJECT and self._rejection_notes and by.strip():
            answers = self._make_notes(wish, films)
        rest = {index: one for index, one in enumerate(films) if index not in answers}
        answers |= dict(zip(rest, self._ledger.decide(wish, list(rest.values())), strict=True))
        return [answers[index] for index in range(len(films))]

    def undo(
        self, acts: Sequence[int], *, by: str, anybodys: bool = False, note: str = "", request: str = ""
    ) -> list[Acted]:
        """Take acts back, each as a whole or not at all. `anybodys`: also those of others, as an admin may;
        `request` as in `act`.

        Raises:
            FilmgateError: too many. Nothing was changed.
        """
        _at_most(len(acts), MOST)
        _somebody(by)
        return self._ledger.undo(
            acts, by=by, anybodys=anybodys, now=self._clock(), note_text=note, request=request
        )

    def _check(
        self,
        act: DoneBy,
        films: Sequence[Meant],
        by: str,
        reason: str,
        operations: Operations | None,
        to: tuple[str, ...],
        labels: Mapping[str, str] | None,
    ) -> None:
        _somebody(by)
        if unknown := [name for name in to if name not in self._known]:
            raise NotFound(
                f"there is no destination {unknown[0]!r}. The film stays held. "
                f"Known are: {', '.join(sorted(self._known)) or 'none'}."
            )
        if reason and reason not in REJECT_REASONS:
            known = ", ".join(f"{code} ({words})" for code, words in REJECT_REASONS.items())
            raise NotFound(
                f"{reason!r} is no reason of the Standard. Nothing was changed. Known are: {known}."
            )
        if act is DoneBy.RELABEL and not labels:
            raise FilmgateError("a label needs words: what the film shows. Nothing was changed.")
        if act is DoneBy.CORRECT and not operations:
            raise FilmgateError(
                "a correction needs something to do: turn, invert or crop. Nothing was changed."
            )
        made = act is DoneBy.CORRECT or (act is DoneBy.REJECT and self._rejection_notes and by.strip())
        _at_most(len(films), MOST_MADE if made else MOST)

    def _make_copies(self, wish: Wish, films: Sequence[Meant], operations: Operations) -> dict[int, Acted]:
        """A copy for each film that can be corrected; answers for those of which none could be made."""

        def make(decoder: Decoder, hold: Hold) -> CopyMade:
            self._original(hold)
            return make_copy(self._store, decoder, hold.digest, operations, models={}, at=hold.opened_at)

        wish.operations.update(plain(operations))
        with self._decoder() as decoder:
            return self._each(
                wish, films, lambda hold: wish.made.__setitem__(hold.film_id, make(decoder, hold))
            )

    def _make_notes(self, wish: Wish, films: Sequence[Meant]) -> dict[int, Acted]:
        """A rejection note for each film that can be rejected; answers for those that stay held for want of
        one. Of what is no DICOM object, or has no UIDs, there is none, and it is rejected all the same."""

        def make(reporter: Reporter, hold: Hold) -> None:
            note = self._rejection_note(reporter, hold, wish)
            if note is not None:
                wish.notes[hold.film_id] = note

        with self._reporter() as reporter:
            return self._each(wish, films, lambda hold: make(reporter, hold))

    def _each(self, wish: Wish, films: Sequence[Meant], make: Callable[[Hold], None]) -> dict[int, Acted]:
        """Make something for each film that the act is possible with; answers for those where that failed."""
        answers: dict[int, Acted] = {}
        before = self._ledger.done_before(wish)
        for index, standing in enumerate(self._ledger.standings(films)):
            if standing.film_id in before or refused(standing, wish.act) is not None:
                continue  # the ledger says so, with what stands by then
            try:
                make(_hold(standing))
            except FilmgateError as error:
                words = f"film {standing.film_id}: {error} It stays {standing.state}."
                answers[index] = Acted(standing.film_id, ok=False, state=standing.state, error=words)
        return answers

    def _rejection_note(self, reporter: Reporter, hold: Hold, wish: Wish) -> Made | None:
        original, occasion = self._original(hold), Occasion(wish.at, {})
        about = {"who": wish.by, "note": wish.note, "code": wish.reason}
        try:
            result = reporter.rejection(original, hold.reasons, occasion=occasion, **about)
        except DecodeError as error:
            if error.reason is Reason.DECODE_FAILED:  # the maker's trouble, not what the film is
                raise
            log.warning("no rejection note", film=hold.film_id, error=str(error))
            return None
        return result.keep(self._store, self._rejection_notes) if result else None

    def _original(self, hold: Hold) -> Path:
        """Raises Missing."""
        if not self._store.has(hold.digest):
            raise Missing("its file is not in the store. Run `filmgate fsck`, and have the film sent again.")
        return self._store.path(hold.digest)


def _hold(standing: Standing) -> Hold:
    assert standing.hold is not None
    return standing.hold


def _somebody(by: str) -> None:
    """The audit of people leaves out what machines wrote, and knows them by these names."""
    if by in MACHINES:
        raise FilmgateError(f"{by!r} is a process of filmgate, and no person. Nothing was changed.")


def _at_most(count: int, most: int) -> None:
    if count > most:
        raise FilmgateError(f"{count} films at once are too many; name {most} at most. Nothing was changed.")
