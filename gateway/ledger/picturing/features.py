"""Where the anatomy network lays held films out, so that those that look alike stand beside each other."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from math import isfinite

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    String,
    Table,
    delete,
    insert,
)

from gateway.ledger.tables import metadata
from pipelines.film import Finding

LARGEST = 65504.0  # in 16 bits (IEEE 754 binary16)
_Id = BigInteger().with_variant(Integer, "sqlite")

features = Table(
    "features",
    metadata,
    Column("version_id", _Id, ForeignKey("versions.id"), primary_key=True, autoincrement=False),
    Column("model_digest", String(64), nullable=False),  # places of another network are other places
    Column("vector", LargeBinary, nullable=False),  # float16, little endian
)


def keep_features(db: Connection, version_id: int, findings: Iterable[Finding]) -> None:
    """Keep the place of a version that is held, where a network gave it one."""
    placed = next((found for found in findings if found.place), None)
    db.execute(delete(features).where(features.c.version_id == version_id))
    if placed is not None and all(map(isfinite, placed.place)):
        row = {"version_id": version_id, "model_digest": placed.model_digest, "vector": packed(placed.place)}
        db.execute(insert(features).values(**row))


def packed(place: tuple[float, ...]) -> bytes:
    return struct.pack(f"<{len(place)}e", *(min(max(x, -LARGEST), LARGEST) for x in place))


def unpacked(vector: bytes) -> tuple[float, ...]:
    return struct.unpack(f"<{len(vector) // 2}e", vector)
