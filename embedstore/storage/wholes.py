"""Derived rows: one vector for each volume, loop or slide, made of the vectors of its parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, delete, insert, not_, select

from embedstore.contracts.image import F32, I64
from embedstore.errors import UsageError
from embedstore.fingerprint import bytes_sha256
from embedstore.storage import overview
from embedstore.storage.chunks import chunked
from embedstore.storage.commit import append_vectors
from embedstore.storage.database import Database
from embedstore.storage.labels import Writing
from embedstore.storage.reading import columns
from embedstore.storage.records import SpaceRow
from embedstore.storage.tables import Change, Item, Pooled, Space, Vector
from embedstore.storage.types import now

WHOLE_KIND = "whole"
CURRENT, BEHIND = "current", "behind"


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """The parts of one whole that have a vector in a space, in the order in which these came.

    vectors, items: (n,) their ids. weights: (n,) what each counts, None when they count alike; a part whose
    weight is not known, or not above 0, counts nothing.
    """

    whole: str
    vectors: I64
    items: I64
    weights: NDArray[np.float64] | None = None

    @property
    def sha256(self) -> str:
        """Of vector ids and weights: another one means that a derived row is out of date."""
        weights = b"" if self.weights is None else self.weights.astype("<f8").tobytes()
        return bytes_sha256(self.vectors.astype("<i8").tobytes() + weights)

    @property
    def counting(self) -> int:
        """How many of them count."""
        return len(self.vectors) if self.weights is None else int((self.weights > 0).sum())


@dataclass(frozen=True, slots=True)
class PooledRow:
    """A derived row as it is stored. item_id: the part that stands for the whole."""

    vector_id: int
    item_id: int
    whole: str
    n_parts: int
    parts_sha256: str


def derived_note(fingerprint: str) -> str:
    """Key of the store's note on a derived space: CURRENT, or BEHIND while parts may have come since."""
    return f"wholes:{fingerprint}"


class Wholes:
    """`catalog.wholes`. writing: takes the writer lease, re-entrant."""

    def __init__(self, database: Database, segments: Path, segment_bytes: int, writing: Writing) -> None:
        self._database = database
        self._segments = segments
        self._segment_bytes = segment_bytes
        self._writing = writing

    def ensure_space(self, base: SpaceRow, fingerprint: str, pooling: Mapping[str, Any]) -> SpaceRow:
        """Record the derived space of a base space and a pooling, or find it."""
        with self._writing(), self._database.write() as connection:
            known = connection.execute(select(Space.id).where(Space.fingerprint == fingerprint)).scalar()
            if known is None:
                row = {
                    "fingerprint": fingerprint,
                    "encoder": base.encoder,
                    "kinds": [WHOLE_KIND],
                    "dim": base.dim,
                    "metric": base.metric,
                    "spec": {**base.spec, "derived": {"base": base.fingerprint, "pooling": dict(pooling)}},
                    "created": now(),
                }
                known = connection.execute(insert(Space).returning(Space.id), [row]).scalar_one()
            return overview.space(connection, int(known))

    def parts(
        self, space_id: int, weight: str | None = None, only: Sequence[str] | None = None
    ) -> list[Parts]:
        """The wholes of a space by key, or some of them, with their parts.

        weight: column that says what a part counts.
        """
        with self._database.read() as connection:
            if only is None:
                return parts_of(connection, space_id, weight)
            return [p for some in chunked(only) for p in parts_of(connection, space_id, weight, some)]

    def rows(self, space_id: int) -> list[PooledRow]:
        """The derived rows of a derived space, by key."""
        with self._database.read() as connection:
            return rows_of(connection, space_id)

    def replace(self, space_id: int, made: Sequence[Parts], vectors: F32, gone: Iterable[str] = ()) -> None:
        """Put new derived rows in place of the earlier ones of the same wholes, wholly or not at all.

        made: of which parts row i of `vectors` (n, dim) was made. gone: wholes that have none any more. An id
        of a vector is never used again. Raises UsageError for a vector that must not be stored.
        """
        if len(made) != len(vectors) or not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
            raise UsageError("a derived row is missing, zero or not finite")
        with self._writing(), self._database.write() as connection:
            _remove(connection, space_id, [*gone, *(parts.whole for parts in made)])
            if not made:
                return
            items = [int(parts.items[0]) for parts in made]
            append_vectors(connection, self._segments, space_id, items, vectors, self._segment_bytes)
            ids = _vector_ids(connection, space_id, items)
            new = [
                {
                    "vector_id": ids[item],
                    "space_id": space_id,
                    "whole": parts.whole,
                    "n_parts": parts.counting,
                    "parts_sha256": parts.sha256,
                }
                for item, parts in zip(items, made, strict=True)
            ]
            connection.execute(insert(Pooled), new)


def parts_of(
    connection: Connection, space_id: int, weight: str | None, only: Sequence[str] | None = None
) -> list[Parts]:
    """See `Wholes.parts`. The overview of a slide is no part of it, nor are regions of its parts."""
    overview_of_slide = and_(Item.reader == "slide", Item.tile_x.is_(None))
    query = (
        select(Item.whole, Vector.id, Vector.item_id)
        .join(Item, Item.id == Vector.item_id)
        .where(Vector.space_id == space_id, Item.whole.is_not(None), not_(overview_of_slide))
        .where(Item.kind == "image")
        .order_by(Item.whole, Vector.id)
    )
    if only is not None:
        query = query.where(Item.whole.in_(only))
    rows = connection.execute(query).all()
    if not rows:
        return []
    vectors, items = (np.array([row[n] for row in rows], np.int64) for n in (1, 2))
    weights = _weights(connection, items, weight) if weight is not None else None
    starts = [n for n, row in enumerate(rows) if n == 0 or rows[n - 1][0] != row[0]]
    bounds = zip(starts, [*starts[1:], len(rows)], strict=True)
    return [
        Parts(str(rows[a][0]), vectors[a:b], items[a:b], weights[a:b] if weights is not None else None)
        for a, b in bounds
    ]


def rows_of(connection: Connection, space_id: int) -> list[PooledRow]:
    """See `Wholes.rows`."""
    query = (
        select(Pooled.vector_id, Vector.item_id, Pooled.whole, Pooled.n_parts, Pooled.parts_sha256)
        .join(Vector, Vector.id == Pooled.vector_id)
        .where(Pooled.space_id == space_id)
        .order_by(Pooled.whole)
    )
    return [PooledRow(*row) for row in connection.execute(query)]


def outdated(connection: Connection, space: SpaceRow) -> list[str]:
    """Wholes of a derived space whose row is missing, was made of other parts, or has none any more."""
    derived = space.spec["derived"]
    base = overview.space(connection, derived["base"])
    due = {p.whole: p for p in parts_of(connection, base.id, derived["pooling"].get("weight")) if p.counting}
    there = {row.whole: row.parts_sha256 for row in rows_of(connection, space.id)}
    return sorted(w for w in due.keys() | there.keys() if w not in due or due[w].sha256 != there.get(w))


def _weights(connection: Connection, items: I64, name: str) -> NDArray[np.float64]:
    found = [row[name] for row in columns(connection, items.tolist(), [name])]
    return np.array(
        [float(v) if isinstance(v, int | float) and np.isfinite(v) and v > 0 else 0.0 for v in found]
    )


def _remove(connection: Connection, space_id: int, wholes: Sequence[str]) -> None:
    for some in chunked(wholes):
        mine = and_(Pooled.space_id == space_id, Pooled.whole.in_(some))
        ids = list(connection.execute(select(Pooled.vector_id).where(mine)).scalars())
        if ids:
            connection.execute(delete(Pooled).where(mine))
            connection.execute(delete(Vector).where(Vector.id.in_(ids)))
            log = [{"op": "remove", "vector_id": one, "space_id": space_id} for one in ids]
            connection.execute(insert(Change), log)


def _vector_ids(connection: Connection, space_id: int, items: Sequence[int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for some in chunked(items):
        query = select(Vector.item_id, Vector.id).where(Vector.space_id == space_id, Vector.item_id.in_(some))
        found.update({int(item): int(vector) for item, vector in connection.execute(query)})
    return found
