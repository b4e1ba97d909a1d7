"""Corrected copies: made by the decoder's child, kept in the store like any other object."""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from gateway.ledger.records import CopyMade, CopyState
from gateway.sandbox.decoder import Decoder
from gateway.store import Store
from pipelines.film import Operations
from pipelines.json_values import plain


def make_copy(
    store: Store,
    decoder: Decoder,
    digest: str,
    operations: Operations,
    *,
    models: dict[str, str],
    at: datetime,
) -> CopyMade:
    """Make the corrected copy of the object `digest` and keep it.

    `at` is the creation time that the copy states. The same arguments make the same bytes, so that a
    worker that died in between leaves nothing behind that its successor does not make again.

    Raises:
        DecodeError: the copy could not be made (several frames, pixels that cannot be had).
        StoreError: it could not be kept.
    """
    with _scratch(store.incoming) as path:
        made = decoder.derive(store.path(digest), operations, models, path, now=at)
        kept = store.put_file(path)
    return CopyMade(
        sop_instance_uid=made.sop_instance_uid,
        sop_class_uid=made.sop_class_uid,
        transfer_syntax_uid=made.transfer_syntax_uid,
        digest=kept.digest,
        operations=plain(operations),
        state=CopyState.PROPOSED,
    )


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A part file that the sweep at start leaves alone while we live, and takes when we died."""
    path = folder / f"copy-{secrets.token_hex(8)}.part"
    with path.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)
