"""POLICY: the versions of the rules, and the decisions on which other rules can be tried."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from gateway.errors import NotFound, PolicyDamaged
from gateway.ledger.engine import Database
from gateway.ledger.moves import inserted, note
from gateway.ledger.steering.flow import grown
from gateway.ledger.steering.records import Decided, Version
from gateway.ledger.steering.tables import policies
from gateway.ledger.tables import decisions, findings, versions
from gateway.ledger.working import found_of
from pipelines.grounds import Examined, Grounds
from pipelines.json_values import from_plain

_PAGE = 200  # decisions read at a time


class Policies(Database):
    """Versions of the rules: appended, never changed; the last one is in force."""

    def policy_versions(self, limit: int = 200) -> list[Version]:
        """The versions that people put in force, newest first."""
        with self.reading() as db:
            rows = db.execute(select(policies).order_by(policies.c.id.desc()).limit(limit))
            return [_version(row) for row in rows]

    def policy_version(self, version_id: int | None = None) -> Version | None:
        """One version, or the last; None when people put none in force.

        Raises:
            NotFound: there is no such version.
            PolicyDamaged: its text is not what was put in force.
        """
        query = select(policies).order_by(policies.c.id.desc()).limit(1)
        if version_id is not None:
            query = query.where(policies.c.id == version_id)
        with self.reading() as db:
            row = db.execute(query).one_or_none()
        if row is None and version_id is not None:
            raise NotFound(f"there is no version {version_id} of the policy. Nothing was changed.")
        if row is None:
            return None
        _require_whole(row)
        return _version(row)

    def put_policy(
        self,
        text: str | None,
        digest: str,
        *,
        by: str,
        note_text: str,
        now: datetime,
        again: int | None = None,
    ) -> Version:
        """Put a version in force, from the next film on; None is for the rules of the settings.

        Who calls this has read it by `Policy.load`, which gives the digest.
        """
        with self.writing(quiet=True) as db:
            row = {"text": text, "sha256": _sha256(text), "digest": digest, "again": again}
            said = {"said_by": by[:128], "said_at": now, "note": note_text}
            version_id = inserted(db, policies, row | said)
            grown(db)
            detail = {"version": version_id, "digest": digest, "again": again, "note": note_text}
            note(db, now, "policy in force", film_id=None, who=by, **detail)
        return Version(version_id, text, digest, by[:128], now, note_text, again)

    def decided(self, limit: int) -> Iterator[Decided]:
        """The last decisions that stand, newest first, a page in a transaction."""
        last: int | None = None
        while limit > 0:
            with self.reading() as db:
                page = _page(db, last, min(limit, _PAGE))
            yield from page
            if len(page) < _PAGE:
                return
            last, limit = page[-1].decision_id, limit - len(page)


def _require_whole(row: Any) -> None:
    if _sha256(row.text) != row.sha256:
        raise PolicyDamaged(
            f"the text of version {row.id} of the policy is not what {row.said_by} put in force. No film is "
            "decided and no AI gets one that the gates must see; they wait. Put other rules in force."
        )


def _sha256(text: str | None) -> str:
    return hashlib.sha256((text or "").encode()).hexdigest()


def _version(row: Any) -> Version:
    return Version(row.id, row.text, row.digest, row.said_by, row.said_at, row.note, row.again)


def _page(db: Connection, last: int | None, count: int) -> list[Decided]:
    query = select(decisions, versions.c.digest).join(versions, versions.c.id == decisions.c.version_id)
    query = query.where(~decisions.c.superseded).order_by(decisions.c.id.desc()).limit(count)
    if last is not None:
        query = query.where(decisions.c.id < last)
    rows = db.execute(query).all()
    of_it: dict[int, tuple[list[Any], list[Any]]] = {row.id: ([], []) for row in rows}
    ids = [row.id for row in rows if row.grounds is not None]
    for one in db.execute(select(findings).where(findings.c.decision_id.in_(ids)).order_by(findings.c.id)):
        of_it[one.decision_id][one.of_copy].append(found_of(one))
    return [_decided(row, *of_it[row.id]) for row in rows]


def _decided(row: Any, of_film: list[Any], of_copy: list[Any]) -> Decided:
    examined = None
    if row.grounds is not None:
        examined = Examined(from_plain(Grounds, row.grounds), tuple(of_film), tuple(of_copy))
    return Decided(
        film_id=row.film_id,
        digest=row.digest,
        decision_id=row.id,
        act=row.act,
        rule=row.rule,
        reasons=tuple(row.reasons),
        policy_digest=row.digests.get("policy", ""),
        decided_at=row.decided_at,
        examined=examined,
    )
