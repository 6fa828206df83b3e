"""One batch, one transaction: segment and fsync first, then every row, then the acknowledgement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, delete, func, insert, literal, select, tuple_, update

from embedstore.contracts.image import F32
from embedstore.errors import NotFound, SpaceMismatch, UsageError
from embedstore.storage.batches import Committed, IngestBatch, ItemKey, NewVectors
from embedstore.storage.chunks import chunked, unique
from embedstore.storage.commit_items import commit_items, commit_sources, find_ids
from embedstore.storage.segments import HEADER_BYTES, SegmentState, append, segment_name
from embedstore.storage.tables import Block, Change, ProblemRecord, Segment, Space, Vector
from embedstore.storage.types import clean_text, now

_PAIRS_TOGETHER = 2_000


def check_vectors(batch: IngestBatch) -> None:
    """Refuse what must never be stored, before anything is written. Raises UsageError."""
    for new in batch.vectors:
        vectors = new.vectors
        if vectors.ndim != 2 or len(vectors) != len(new.keys):
            raise UsageError(f"{len(new.keys)} items came with vectors of shape {vectors.shape}")
        if vectors.dtype != np.float32:
            raise UsageError(f"vectors are stored as float32, not {vectors.dtype}")
        if len(set(new.keys)) != len(new.keys):
            raise UsageError("one item came with two vectors of one space in a batch")
        if not np.isfinite(vectors).all():
            raise UsageError("a vector holds NaN or infinity; it is a failure of its item, not a vector")
        if vectors.shape[1] == 0 or not np.any(vectors, axis=1).all():
            raise UsageError("a vector is all zeros; it is a failure of its item, not a vector")


def commit_batch(connection: Connection, segments: Path, batch: IngestBatch, segment_bytes: int) -> Committed:
    """Write a checked batch inside the caller's transaction; it counts once that is committed."""
    sources = commit_sources(connection, batch)
    items = commit_items(connection, batch, sources)
    ids = dict(items.ids)
    ids.update(find_ids(connection, [k for new in batch.vectors for k in new.keys if k not in ids]))
    added = sum(_commit_vectors(connection, segments, new, ids, segment_bytes) for new in batch.vectors)
    problems = _commit_problems(connection, batch)
    return Committed(
        items=len(items.new),
        reused=len(items.ids) - len(items.new),
        vectors=added,
        conflicts=items.conflicts,
        moved=items.moved,
        problems=problems,
        seq=connection.execute(select(func.coalesce(func.max(Change.seq), 0))).scalar_one(),
        item_ids=items.ids,
    )


def _commit_vectors(
    connection: Connection, segments: Path, new: NewVectors, ids: dict[ItemKey, int], segment_bytes: int
) -> int:
    space = connection.execute(select(Space.fingerprint, Space.dim).where(Space.id == new.space_id)).first()
    if space is None:
        raise NotFound(f"the store has no space {new.space_id}")
    if new.vectors.shape[1] != space.dim:
        raise SpaceMismatch(
            f"vectors of {new.vectors.shape[1]} dimensions do not belong to a space of {space.dim}"
        )
    for key in new.keys:
        if key not in ids:
            raise UsageError("a vector came for an item that is neither in the batch nor in the store")
    there = _with_vector(connection, new.space_id, [ids[key] for key in new.keys])
    wanted = [row for row, key in enumerate(new.keys) if ids[key] not in there]
    if wanted:
        items = [ids[new.keys[row]] for row in wanted]
        append_vectors(connection, segments, new.space_id, items, new.vectors[wanted], segment_bytes)
    return len(wanted)


def append_vectors(
    connection: Connection,
    segments: Path,
    space_id: int,
    items: Sequence[int],
    vectors: F32,
    segment_bytes: int,
) -> None:
    """Append (n, dim) vectors of items that have none in the space: segment first, then rows and log."""
    space = connection.execute(select(Space.fingerprint, Space.dim).where(Space.id == space_id)).one()
    state, segment_id = _segment_for(connection, space_id, space.fingerprint, space.dim, segment_bytes)
    block = append(segments, state, vectors)
    rows = [
        {"item_id": item, "space_id": space_id, "segment_id": segment_id, "row": block.first_row + position}
        for position, item in enumerate(items)
    ]
    connection.execute(insert(Vector), rows)
    connection.execute(insert(Block).values(segment_id=segment_id, **_block(block)))
    connection.execute(
        update(Segment).where(Segment.id == segment_id).values(rows=block.first_row + block.n_rows)
    )
    _log_added(connection, segment_id, block.first_row)


def _block(block: object) -> dict[str, int]:
    return {name: getattr(block, name) for name in ("first_row", "n_rows", "crc32")}


def _with_vector(connection: Connection, space_id: int, item_ids: Sequence[int]) -> set[int]:
    found: set[int] = set()
    for some in chunked(item_ids):
        query = select(Vector.item_id).where(Vector.space_id == space_id, Vector.item_id.in_(some))
        found.update(connection.execute(query).scalars())
    return found


def _segment_for(
    connection: Connection, space_id: int, fingerprint: str, dim: int, segment_bytes: int
) -> tuple[SegmentState, int]:
    """The segment that takes the next rows: the newest of the space, or a new one when that is full."""
    query = select(Segment.id, Segment.filename, Segment.rows).where(Segment.space_id == space_id)
    newest = connection.execute(query.order_by(Segment.id.desc()).limit(1)).first()
    if newest is not None and HEADER_BYTES + newest.rows * dim * 4 < segment_bytes:
        return SegmentState(newest.filename, fingerprint, dim, newest.rows), newest.id
    count = select(func.count()).select_from(Segment).where(Segment.space_id == space_id)
    filename = segment_name(space_id, connection.execute(count).scalar_one() + 1)
    row = {"space_id": space_id, "filename": filename, "dim": dim, "rows": 0}
    segment_id = connection.execute(insert(Segment).returning(Segment.id), [row]).scalar_one()
    return SegmentState(filename, fingerprint, dim, 0, fresh=True), segment_id


def _log_added(connection: Connection, segment_id: int, first_row: int) -> None:
    added = (
        select(literal("add"), Vector.id, Vector.space_id)
        .where(Vector.segment_id == segment_id, Vector.row >= first_row)
        .order_by(Vector.id)
    )
    connection.execute(insert(Change).from_select(["op", "vector_id", "space_id"], added))


def _commit_problems(connection: Connection, batch: IngestBatch) -> int:
    """The latest word on each (path, part) replaces the earlier one; an item that came in clears it.

    A failure of a whole file (no part) replaces those of its parts.
    """
    succeeded = [(item.source, item.part) for item in batch.items]
    latest = {(problem.path, problem.part): problem for problem in batch.problems}
    for some in chunked(unique([*succeeded, *latest]), _PAIRS_TOGETHER):
        match = tuple_(ProblemRecord.path, ProblemRecord.part).in_(some)
        connection.execute(delete(ProblemRecord).where(match))
    failed = {p.path for p in latest.values() if p.kind == "failure" and not p.part}
    for paths in chunked(sorted(failed)):
        parts = (ProblemRecord.path.in_(paths), ProblemRecord.part != "", ProblemRecord.kind == "failure")
        connection.execute(delete(ProblemRecord).where(*parts))
    for paths in chunked(unique(item.source for item in batch.items)):
        whole = (ProblemRecord.path.in_(paths), ProblemRecord.part == "", ProblemRecord.kind == "failure")
        connection.execute(delete(ProblemRecord).where(*whole))
    rows = [
        {
            "path": problem.path,
            "part": problem.part,
            "stage": problem.stage,
            "reason": clean_text(problem.reason),
            "kind": problem.kind,
            "run_id": batch.run_id,
            "recorded": now(),
        }
        for problem in latest.values()
    ]
    if rows:
        connection.execute(insert(ProblemRecord), rows)
    return len(rows)
