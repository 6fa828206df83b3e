"""The oracle: a full scan in numpy that other indexes are measured against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.contracts.index import IndexSpec, IndexTraits, Metric, Neighbours
from embedstore.indexes import snapshot
from embedstore.indexes.checks import (
    checked_allow,
    checked_batch,
    checked_ids,
    checked_request,
    checked_seq,
    members,
    refuse_known,
)
from embedstore.indexes.scoring import F64, Best, coarse_scores, norms, padded, query_rows

_BLOCK_BYTES = 16 << 20


class _Column:
    """An array that grows at its end; a view handed out never changes, for rows are written beyond it."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._room, self._used = values, len(values)

    def append(self, values: NDArray[Any]) -> NDArray[Any]:
        """All rows so far, with `values` at the end."""
        used = self._used + len(values)
        if used > len(self._room):
            room = np.empty((max(used, 2 * len(self._room)), *values.shape[1:]), self._room.dtype)
            room[: self._used] = self._room[: self._used]
            self._room = room
        self._room[self._used : used] = values
        self._used = used
        return self._room[:used]


@dataclass(frozen=True, slots=True, eq=False)
class _State:
    """ids: (n,) ascending. rows: (n, dim) as stored. lengths: (n,) norms of the rows. Never written again."""

    ids: I64
    rows: F32
    lengths: F64
    seq: int


class ExactIndex:
    """A full scan over raw float32 vectors held in memory; scores are right to float32's last place.

    An update makes a new state and swaps it in, so searches may run at any time from any thread.
    """

    def __init__(self, spec: IndexSpec, ids: I64, rows: F32, seq: int) -> None:
        self.spec = spec
        self._updating = Lock()
        self._hold(ids, rows, norms(rows), seq)

    def _hold(self, ids: I64, rows: F32, lengths: F64, seq: int) -> None:
        """Swap in a state of its own memory; ids in any order."""
        if not (ids[1:] > ids[:-1]).all():
            order = np.argsort(ids)
            ids, rows, lengths = ids[order], rows[order], lengths[order]
        self._columns = _Column(ids), _Column(rows), _Column(lengths)
        self._state = _State(ids, rows, lengths, seq)

    @property
    def traits(self) -> IndexTraits:
        """Exact."""
        return IndexTraits(exact=True)

    @property
    def applied_seq(self) -> int:
        """The last change-log entry that is in the index."""
        return self._state.seq

    def __len__(self) -> int:
        return len(self._state.ids)

    def ids(self) -> I64:
        """The live vector ids in ascending order."""
        return self._state.ids.copy()

    def add(self, ids: I64, vectors: F32, seq: int) -> None:
        """Add (n, dim) vectors under n new ids. Raises UsageError, and then nothing has changed."""
        ids, vectors = checked_batch(ids, vectors, self.spec.dim)
        with self._updating:
            old = self._state
            refuse_known(ids, old.ids)
            seq = checked_seq(seq, old.seq)
            news: list[NDArray[Any]] = [ids, vectors, norms(vectors)]
            ascending = bool((ids[1:] > ids[:-1]).all())
            if ascending and (not len(ids) or not len(old.ids) or ids[0] > old.ids[-1]):
                grown = [column.append(new) for column, new in zip(self._columns, news, strict=True)]
                self._state = _State(grown[0], grown[1], grown[2], seq)
            else:
                olds: list[NDArray[Any]] = [old.ids, old.rows, old.lengths]
                merged = [np.concatenate(pair) for pair in zip(olds, news, strict=True)]
                self._hold(merged[0], merged[1], merged[2], seq)

    def remove(self, ids: I64, seq: int) -> None:
        """Remove vectors; ids that are not there are ignored."""
        ids = checked_ids(ids)
        with self._updating:
            old = self._state
            kept = ~members(old.ids, np.sort(ids))
            seq = checked_seq(seq, old.seq)
            self._hold(old.ids[kept], old.rows[kept], old.lengths[kept], seq)

    def search(self, queries: F32, k: int, allow: I64 | None = None, effort: int = 1) -> Neighbours:
        """The k best of (q, dim) queries among `allow` (sorted; None for all), ties to the smaller id."""
        queries = checked_request(queries, self.spec.dim, k, effort)
        allow = checked_allow(allow)
        state = self._state
        places = None if allow is None else np.flatnonzero(members(state.ids, allow))
        wide = query_rows(queries, self.spec.metric)
        best = [Best(query, k, self.spec.metric) for query in wide]
        step = max(1, _BLOCK_BYTES // (4 * self.spec.dim))
        for first in range(0, len(state.ids) if places is None else len(places), step):
            block = slice(first, first + step) if places is None else places[first : first + step]
            rows = state.rows[block]
            coarse, slack = coarse_scores(wide, rows, self.spec.metric, state.lengths[block])
            for row, taker in enumerate(best):
                taker.offer(state.ids[block], rows, coarse[row], float(slack[row]))
        return padded(best, k)

    def snapshot(self, folder: Path) -> None:
        """Write ids, then rows, little-endian, with checksums. Raises StorageFull."""
        state = self._state
        parts = (state.ids.astype("<i8"), state.rows.astype("<f4"))
        snapshot.save(folder, self.spec, state.seq, len(state.ids), "rows", parts)


class ExactFactory:
    """Creates and restores `exact` indexes."""

    def create(self, dim: int, metric: Metric = "cosine", space: str = "") -> ExactIndex:
        """An empty index with applied_seq 0."""
        spec = IndexSpec(name="exact", dim=dim, metric=metric, space=space)
        return ExactIndex(spec, np.empty(0, np.int64), np.empty((0, dim), np.float32), 0)

    def restore(self, folder: Path, dim: int, metric: Metric = "cosine", space: str = "") -> ExactIndex:
        """Load a snapshot. Raises StoreDamaged naming the file."""
        spec = IndexSpec(name="exact", dim=dim, metric=metric, space=space)
        found = snapshot.load(folder, spec)
        n = found.count
        if found.layout != "rows" or len(found.data) != n * (8 + 4 * dim):
            raise snapshot.damaged(found, "its length does not fit its description")
        ids = np.frombuffer(found.data, "<i8", n).astype(np.int64)
        rows = np.frombuffer(found.data, "<f4", n * dim, 8 * n).astype(np.float32).reshape(n, dim)
        return ExactIndex(spec, ids, rows, found.applied_seq)


factory = ExactFactory()
