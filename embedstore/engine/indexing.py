"""Indexes of a store: found on disk or rebuilt, and brought up to the change log before they answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedstore import discovery
from embedstore.contracts.image import F32, I64
from embedstore.contracts.index import SNAPSHOT, IndexFactory, Metric, VectorIndex
from embedstore.errors import StorageFull, StoreDamaged
from embedstore.storage.catalog import Catalog
from embedstore.storage.disk import full_means_storage_full
from embedstore.storage.records import SpaceRow

_REPLAY_ROWS = 8192
# A reader that had to replay this many entries saves its work for the next process.
_WORTH_SAVING = 4096
_LOG = "log.sha256"


class IndexShelf:
    """The indexes of one open store. An index is a cache: what is missing, foreign or damaged is rebuilt."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._open: dict[tuple[str, str], VectorIndex] = {}

    def get(self, space: SpaceRow, name: str = "faiss") -> VectorIndex:
        """The index of a space, holding every vector the log knows of now."""
        key = (space.fingerprint, name)
        index = self._open.pop(key, None)  # kept again only when it has followed the log to its end
        if index is None:
            index = self._restore(space, name)
        behind = self._catalog.last_seq(space.id) - index.applied_seq
        if behind:
            index = self._follow(index, space)
            if index.traits.outgrown:  # too many more vectors than it was trained for
                index = self._follow(self._empty(space, name), space)
            if behind >= _WORTH_SAVING:
                self._save_if_possible(index, space, name)
        self._open[key] = index
        return index

    def folder(self, space: SpaceRow, name: str) -> Path:
        """Where an index of a space keeps its snapshot."""
        return self._catalog.folder.indexes / f"{space.fingerprint[:16]}-{name}"

    def names(self, space: SpaceRow) -> list[str]:
        """Index plugins that have a snapshot of this space."""
        found = self._catalog.folder.indexes.glob(f"{space.fingerprint[:16]}-*/{SNAPSHOT}")
        return sorted(path.parent.name.partition("-")[2] for path in found)

    def rebuild(self, space: SpaceRow, name: str) -> VectorIndex:
        """Build an index from the stored vectors alone and save it."""
        index = self._follow(self._empty(space, name), space)
        self._snapshot(index, space, name)
        self._open[(space.fingerprint, name)] = index
        return index

    def check(self, space: SpaceRow, name: str) -> int:
        """Load a snapshot without mending it; returns its applied_seq. Raises StoreDamaged."""
        folder = self.folder(space, name)
        index = _factory(name).restore(folder, space.dim, _metric(space), space.fingerprint)
        if index.applied_seq > self._catalog.last_seq(space.id):
            raise StoreDamaged(f"{folder} is ahead of the change log; run: embedstore reindex")
        if not self._follows_this_log(index, space, name):
            raise StoreDamaged(f"{folder} follows another change log; run: embedstore reindex")
        expected = np.setdiff1d(
            self._catalog.changes(space.id, 0).added, self._catalog.changes(space.id, index.applied_seq).added
        )
        if not np.array_equal(np.intersect1d(expected, index.ids()), expected):
            raise StoreDamaged(f"{folder} lacks vectors that the log has; run: embedstore reindex")
        return index.applied_seq

    def save(self, space: SpaceRow, name: str = "faiss") -> None:
        """Bring an index up to the log and write its snapshot."""
        self._snapshot(self.get(space, name), space, name)

    def _restore(self, space: SpaceRow, name: str) -> VectorIndex:
        folder = self.folder(space, name)
        if folder.exists():
            try:
                index = _factory(name).restore(folder, space.dim, _metric(space), space.fingerprint)
            except StoreDamaged:
                return self._empty(space, name)
            ahead = index.applied_seq > self._catalog.last_seq(space.id)
            if not ahead and self._follows_this_log(index, space, name):
                return index
        return self._empty(space, name)

    def _empty(self, space: SpaceRow, name: str) -> VectorIndex:
        return _factory(name).create(space.dim, _metric(space), space.fingerprint)

    def _follow(self, index: VectorIndex, space: SpaceRow) -> VectorIndex:
        changes = self._catalog.changes(space.id, index.applied_seq)
        if len(changes.removed):
            index.remove(changes.removed, index.applied_seq)
        # The last seq is set with the last rows only: an index that fails half-way is not believed complete.
        for first in range(0, len(changes.added), _REPLAY_ROWS):
            ids = changes.added[first : first + _REPLAY_ROWS]
            index.add(ids, self._catalog.vectors(space.id, ids), index.applied_seq)
        index.remove(np.empty(0, np.int64), changes.seq)
        return index

    def _save_if_possible(self, index: VectorIndex, space: SpaceRow, name: str) -> None:
        try:
            self._snapshot(index, space, name)
        except (OSError, StorageFull):
            return  # a read-only or full disk costs the next process a replay, nothing else

    def _snapshot(self, index: VectorIndex, space: SpaceRow, name: str) -> None:
        """Save an index, and beside it which log it follows: ids alone are the same after a store was put
        back to a backup and went on with other images."""
        seq, log = index.applied_seq, self.folder(space, name) / _LOG
        index.snapshot(log.parent)
        with full_means_storage_full(log):  # written by halves it costs a rebuild
            log.write_text(f"{seq} {self._catalog.log_sha256(space.id, seq)}", encoding="ascii")

    def _follows_this_log(self, index: VectorIndex, space: SpaceRow, name: str) -> bool:
        try:
            said = (self.folder(space, name) / _LOG).read_text(encoding="ascii", errors="replace")
        except OSError:
            return False
        return said == f"{index.applied_seq} {self._catalog.log_sha256(space.id, index.applied_seq)}"


def _metric(space: SpaceRow) -> Metric:
    return "dot" if space.metric == "dot" else "cosine"


def _factory(name: str) -> IndexFactory:
    factory: IndexFactory = discovery.find_plugin(discovery.INDEXES, name).load()
    return factory


def gatherer(catalog: Catalog, space: SpaceRow) -> _Gather:
    """A function from vector ids to stored vectors, for the search loop."""
    return _Gather(catalog, space.id)


class _Gather:
    def __init__(self, catalog: Catalog, space_id: int) -> None:
        self._catalog = catalog
        self._space_id = space_id

    def __call__(self, ids: I64) -> F32:
        return self._catalog.vectors(self._space_id, ids)
