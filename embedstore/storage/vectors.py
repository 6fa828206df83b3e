"""Where every vector lies, as arrays, and gathering vectors from the mapped segments."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, case, func, select

from embedstore.contracts.image import F32, I64
from embedstore.errors import NotFound
from embedstore.storage.batches import KINDS, ItemKind
from embedstore.storage.chunks import id_array, id_arrays
from embedstore.storage.database import Database
from embedstore.storage.records import Changes
from embedstore.storage.segments import BlockState, SegmentReader, SegmentState
from embedstore.storage.tables import Block, Change, Item, Segment, Space, Vector


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    """Places of a space's vectors; arrays are (n,) and sorted by vector id. seq: log entry it stands at.

    kinds: index into `KINDS`. Nothing in here ever changes for a vector.
    """

    seq: int
    ids: I64
    items: I64
    segments: I64
    rows: I64
    kinds: I64


_EMPTY = np.empty(0, np.int64)
_NOTHING = _Map(0, _EMPTY, _EMPTY, _EMPTY, _EMPTY, _EMPTY)


class VectorBook:
    """Reads vectors. What it remembers is immutable in the store (a vector never moves), so it only grows
    with the change log, and is read anew after a removal. May be used from several threads."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self._lock = threading.Lock()
        self._maps: dict[int, _Map] = {}
        self._by_item: dict[int, tuple[int, I64]] = {}
        self._readers: dict[int, tuple[int, SegmentReader]] = {}

    def vectors(self, space_id: int, vector_ids: I64) -> F32:
        """(n, dim) in the order asked. Raises NotFound for an id that is not in the space, StoreDamaged."""
        places = self._places(space_id)
        return self._gather(space_id, places, _positions(places.ids, vector_ids, "vector"))

    def ids(self, space_id: int, kind: ItemKind | None) -> I64:
        """(n,) sorted ids of all vectors of a space, or of those of one kind of item."""
        places = self._places(space_id)
        wanted = slice(None) if kind is None else places.kinds == KINDS.index(kind)
        return places.ids[wanted].copy()

    def items(self, space_id: int, vector_ids: I64) -> I64:
        """(n,) item ids in the order asked. Raises NotFound."""
        places = self._places(space_id)
        return places.items[_positions(places.ids, vector_ids, "vector")]

    def item_vectors(self, space_id: int, item_ids: I64) -> tuple[I64, F32]:
        """The items among these that have a vector in the space, in the order asked, and their vectors."""
        places = self._places(space_id)
        order = self._item_order(space_id, places)
        if not len(places.items):
            return _EMPTY, self._gather(space_id, places, _EMPTY)
        by_item = places.items[order]
        at = np.minimum(np.searchsorted(by_item, item_ids), len(by_item) - 1)
        found = by_item[at] == item_ids
        return item_ids[found], self._gather(space_id, places, order[at[found]])

    def _item_order(self, space_id: int, places: _Map) -> I64:
        seq, order = self._by_item.get(space_id, (-1, _EMPTY))
        if seq != places.seq or len(order) != len(places.items):
            order = np.argsort(places.items, kind="stable")
            self._by_item[space_id] = (places.seq, order)
        return order

    def _gather(self, space_id: int, places: _Map, positions: I64) -> F32:
        segments, rows = places.segments[positions], places.rows[positions]
        used = np.unique(segments)
        readers = {int(s): self._reader(space_id, int(s), int(rows[segments == s].max())) for s in used}
        if len(used) == 1:
            return readers[int(used[0])].vectors(rows)
        gathered = np.empty((len(rows), self._dim(space_id)), np.float32)
        for segment, reader in readers.items():
            mine = segments == segment
            gathered[mine] = reader.vectors(rows[mine])
        return gathered

    def _dim(self, space_id: int) -> int:
        with self._database.read() as connection:
            dim = connection.execute(select(Space.dim).where(Space.id == space_id)).scalar()
        if dim is None:
            raise NotFound(f"the store has no space {space_id}")
        return int(dim)

    def _places(self, space_id: int) -> _Map:
        with self._lock, self._database.read() as connection:
            old = self._maps.get(space_id) or _NOTHING
            if last_seq(connection, space_id) != old.seq:
                self._maps[space_id] = old = _followed(connection, space_id, old)
            return old

    def _reader(self, space_id: int, segment_id: int, highest_row: int) -> SegmentReader:
        with self._lock:
            rows, reader = self._readers.get(segment_id, (0, None))
            if reader is None or highest_row >= rows:
                with self._database.read() as connection:
                    state, blocks = segment_state(connection, segment_id)
                if reader is None:
                    reader = SegmentReader(self._folder, state, blocks)
                else:
                    reader.extend(state.rows, blocks)
                self._readers[segment_id] = (state.rows, reader)
            return reader


def _positions(ids: I64, wanted: I64, noun: str) -> I64:
    wanted = np.asarray(wanted, np.int64)
    at: I64 = np.searchsorted(ids, wanted)
    found = at < len(ids)
    found[found] = ids[at[found]] == wanted[found]
    if not found.all():
        raise NotFound(f"the space holds no {noun} {int(wanted[~found][0])}")
    return at


def _followed(connection: Connection, space_id: int, old: _Map) -> _Map:
    """The map brought up to the log: what is new is appended, a removal makes it read everything."""
    seq = last_seq(connection, space_id)
    since = select(Change.op).where(Change.space_id == space_id, Change.seq > old.seq, Change.op == "remove")
    if connection.execute(since.limit(1)).first() is not None:
        old = _NOTHING
    highest = int(old.ids[-1]) if len(old.ids) else 0
    kinds = case({kind: number for number, kind in enumerate(KINDS)}, value=Item.kind)
    query = select(Vector.id, Vector.item_id, Vector.segment_id, Vector.row, kinds)
    query = query.join(Item, Item.id == Vector.item_id)
    new = id_arrays(connection, query.where(Vector.space_id == space_id, Vector.id > highest))
    new = new[:, np.argsort(new[0])]
    parts = (old.ids, old.items, old.segments, old.rows, old.kinds)
    return _Map(seq, *(np.concatenate([a, b]) for a, b in zip(parts, new, strict=True)))


def last_seq(connection: Connection, space_id: int) -> int:
    """Last entry of the change log that concerns a space, 0 when there is none."""
    query = select(func.coalesce(func.max(Change.seq), 0)).where(Change.space_id == space_id)
    return int(connection.execute(query).scalar_one())


def changes(connection: Connection, space_id: int, after_seq: int) -> Changes:
    """Net additions and removals of a space after a point of its log.

    An id comes once and goes at most once, so an id of both kinds cancels out.
    """

    def ids(op: str) -> I64:
        query = select(Change.vector_id)
        query = query.where(Change.space_id == space_id, Change.seq > after_seq, Change.op == op)
        return id_array(connection, query)

    seq = max(last_seq(connection, space_id), after_seq)
    added, removed = ids("add"), ids("remove")
    return Changes(
        seq,
        np.setdiff1d(added, removed, assume_unique=True),
        np.setdiff1d(removed, added, assume_unique=True),
    )


def log_sha256(connection: Connection, space_id: int, seq: int) -> str:
    """What a space's log up to an entry amounts to, by the checksums of its commits.

    Two logs of one length differ in it when a store was put back to an earlier state and went on otherwise.
    """
    added = select(func.count()).where(Change.space_id == space_id, Change.seq <= seq, Change.op == "add")
    left = connection.execute(added).scalar_one()
    blocks = select(Block.n_rows, Block.crc32).join(Segment, Segment.id == Block.segment_id)
    blocks = blocks.where(Segment.space_id == space_id).order_by(Block.segment_id, Block.first_row)
    digest = hashlib.sha256()
    for n_rows, crc32 in connection.execute(blocks):
        if left <= 0:
            break
        left -= n_rows
        digest.update(f"{n_rows} {crc32}\n".encode())
    return digest.hexdigest()


def segment_state(connection: Connection, segment_id: int) -> tuple[SegmentState, Sequence[BlockState]]:
    """A segment and its blocks as committed."""
    query = select(Segment.filename, Space.fingerprint, Segment.dim, Segment.rows).join(
        Space, Space.id == Segment.space_id
    )
    filename, space, dim, rows = connection.execute(query.where(Segment.id == segment_id)).one()
    blocks = select(Block.first_row, Block.n_rows, Block.crc32).where(Block.segment_id == segment_id)
    found = [BlockState(*row) for row in connection.execute(blocks.order_by(Block.first_row))]
    return SegmentState(filename, space, dim, rows), found
