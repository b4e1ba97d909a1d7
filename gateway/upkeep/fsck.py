"""Does the store hold what the ledger promises, and the other way round? Finds, and mends on request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from threading import Event, Thread

import structlog

from gateway.errors import FilmgateError, StoreError
from gateway.ledger import Ledger
from gateway.ledger.records import Received
from gateway.store import Store

log = structlog.get_logger(__name__)

YOUNG_S = 60.0  # between a file's rename and its row lie milliseconds
YOUNG_OF_OURS_S = 600.0  # of a copy or a result: its row comes when the job ends that made it


class Trouble(StrEnum):
    """A fault of one object."""

    ORPHAN = "orphan"  # a file without a row: a crash between rename and commit
    MISSING = "missing"  # a row without a file
    DAMAGED = "damaged"  # the bytes no longer have the digest that names them
    LEFTOVER = "leftover"  # a copy or a result that no row names: its maker died; it is made again


@dataclass(frozen=True, slots=True)
class Found:
    """One object that is not as it should be, and what was done about it."""

    digest: str
    trouble: Trouble
    mended: str = ""  # "" when nothing was done


def check(
    ledger: Ledger,
    store: Store,
    *,
    mend: bool,
    deep: bool,
    always: tuple[str, ...],
    clock: Callable[[], datetime],
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Found]:
    """Compare store and ledger both ways; `deep` also reads every file and checks its digest.

    Mending an orphan puts it into the ledger as if it had just arrived, under the time at which it came: its
    sender may or may not have been told 0x0000, and a film too many is better than one too few. Mending a
    missing or damaged object stops its deliveries and tells people; they resume when its sender sends it
    again. What is younger than YOUNG_S, or YOUNG_OF_OURS_S, is left alone: a row may be about to follow its
    file.
    """
    stored = set(store.digests())
    promised = ledger.digests()
    for came, digest in _as_they_came(store, stored - promised - ledger.digests()):
        ours = _is_copy(store, digest)
        age_s = (clock() - came).total_seconds()
        if age_s < (YOUNG_OF_OURS_S if ours else YOUNG_S):
            continue
        if ours:
            yield Found(digest, Trouble.LEFTOVER, _remove(store, digest) if mend else "")
        else:
            mended = _adopt(ledger, store, digest, always, min(came, clock())) if mend else ""
            yield Found(digest, Trouble.ORPHAN, mended)
    for digest in sorted(promised - stored):
        if not store.has(digest):
            yield Found(digest, Trouble.MISSING, _give_up(ledger, digest, clock()) if mend else "")
    for digest in sorted(promised & stored) if deep else ():
        progress(1)
        if not store.verify(digest):
            yield Found(digest, Trouble.DAMAGED, _give_up(ledger, digest, clock()) if mend else "")


def recent(
    ledger: Ledger, store: Store, *, always: tuple[str, ...], clock: Callable[[], datetime]
) -> Iterator[Found]:
    """Put into the ledger what a crash or a failed commit left without a row since this was last done.

    Not where another version of it came since: its sender was told that the first one was not taken, and may
    have corrected it. The archive must not get the older one after the newer one; a person looks (`fsck`).

    Names alone are read, and only of folders that changed: 200,000 films take about a second. All the rest,
    missing and damaged files among it, is for `check`.
    """
    began_s = clock().timestamp()
    astray: set[str] = set()
    for prefix in store.changed():
        lost = set(store.digests(prefix)) - ledger.digests(prefix)
        astray |= lost and lost - ledger.digests(prefix)
    for came, digest in _as_they_came(store, astray):
        if (clock() - came).total_seconds() >= YOUNG_S and not _is_copy(store, digest):
            replaced = _was_replaced(ledger, store, digest, came)
            mended = "" if replaced else _adopt(ledger, store, digest, always, min(came, clock()))
            yield Found(digest, Trouble.ORPHAN, mended)
    store.note_checked(began_s - 2 * YOUNG_S)  # what is young now is looked at the next time


def recover(
    ledger: Ledger,
    store: Store,
    *,
    always: tuple[str, ...],
    clock: Callable[[], datetime],
    stop: Event,
    wait_s: float = YOUNG_S,
) -> None:
    """Do `recent` when what was here at the start is old enough, and tell the log; for its own thread."""
    if stop.wait(wait_s):
        return
    try:
        for found in recent(ledger, store, always=always, clock=clock):
            log.warning(
                "a film had a file and no row, after a crash or a failed commit",
                digest=found.digest,
                done=found.mended or "nothing: another version of it came since; `filmgate fsck` names it",
            )
    except (FilmgateError, OSError) as error:
        log.warning("the store was not compared with the ledger; run `filmgate fsck`", error=str(error))


def recover_later(ledger: Ledger, store: Store, *, always: tuple[str, ...], stop: Event) -> None:
    """`recover` in a thread: a listener that starts does not wait for it."""
    options = {"always": always, "clock": lambda: datetime.now(UTC), "stop": stop}
    Thread(target=recover, args=(ledger, store), kwargs=options, name="orphans", daemon=True).start()


def _as_they_came(store: Store, digests: Collection[str]) -> list[tuple[datetime, str]]:
    """When each was received, the first one first: of two versions the later one is the later one."""
    times = ((store.path(digest).stat().st_mtime, digest) for digest in digests)
    return [(datetime.fromtimestamp(came_s, UTC), digest) for came_s, digest in sorted(times)]


def _was_replaced(ledger: Ledger, store: Store, digest: str, came: datetime) -> bool:
    """Whether another version under its UID was received after it."""
    try:
        meta, file = store.open_dataset(digest)
    except StoreError:
        return False
    file.close()
    latest = ledger.latest_version_at(meta.sop_instance_uid)
    return latest is not None and latest > came


def _is_copy(store: Store, digest: str) -> bool:
    """Whether we made it ourselves."""
    try:
        meta, file = store.open_dataset(digest)
    except StoreError:
        return False
    file.close()
    return meta.copy


def _remove(store: Store, digest: str) -> str:
    store.remove(digest)
    return "removed: nobody was promised it"


def _adopt(ledger: Ledger, store: Store, digest: str, always: tuple[str, ...], came: datetime) -> str:
    try:
        meta, file = store.open_dataset(digest)
        spoiled = store.remove_spoiled(digest)
    except StoreError as error:
        return f"not mended: {error}"
    with file:
        size_bytes = file.seek(0, 2) - meta.offset
    if spoiled:
        return "removed: it was cut short, and its sender was never told 0x0000"
    received = Received(
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        digest=digest,
        size_bytes=size_bytes,
        association_id=None,
        received_at=came,
    )
    outcome = ledger.record([received], always=always)[0].outcome
    return f"put into the ledger ({outcome})"


def _give_up(ledger: Ledger, digest: str, now: datetime) -> str:
    stopped = ledger.lose(digest, now=now)
    return f"{stopped} deliveries stopped; ask the sender for the film again"
