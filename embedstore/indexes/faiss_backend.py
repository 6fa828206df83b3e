"""FAISS behind the index contract (Douze et al., "The Faiss library", 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss as _faiss
import numpy as np

from embedstore.contracts.image import F32, I64
from embedstore.contracts.index import PAD_ID, IndexSpec, IndexTraits, Metric, Neighbours
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
from embedstore.indexes.gate import Gate
from embedstore.indexes.scoring import query_rows

# The wheel's type stubs give the C++ signatures, not those of its Python layer.
faiss: Any = _faiss


class _Flat:
    """All vectors as they are: exact."""

    layout = "flat"
    traits = IndexTraits(exact=True)

    def __init__(self, dim: int, index: Any = None) -> None:
        self.index = index or faiss.IndexIDMap(faiss.IndexFlatIP(dim))

    def ids(self) -> I64:
        found: I64 = faiss.vector_to_array(self.index.id_map)
        return found

    def add(self, ids: I64, rows: F32) -> None:
        self.index.add_with_ids(rows, ids)

    def remove(self, ids: I64) -> None:
        self.index.remove_ids(ids)

    def search(self, queries: F32, k: int, allow: I64 | None, effort: int) -> tuple[F32, I64]:
        params = None
        if allow is not None:
            params = faiss.SearchParameters(sel=_selector(allow))
        scores, ids = self.index.search(queries, k, params=params)
        return scores, ids


def _selector(allow: I64) -> Any:
    """A bitmap over the ids when they are dense enough, else a hashed set."""
    span = int(allow[-1]) + 1
    if span > 1_000_000 + 64 * len(allow):
        return faiss.IDSelectorBatch(allow)
    bits = np.zeros(span, bool)
    bits[allow] = True
    return faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))


class FaissIndex:
    """Searches may run in several threads; an update waits for them and they for it."""

    def __init__(self, spec: IndexSpec, held: _Flat, seq: int) -> None:
        self.spec = spec
        self._gate = Gate()
        self._held = held
        self._ids: I64 = np.sort(held.ids())
        self._seq = seq

    @property
    def traits(self) -> IndexTraits:
        """Exact while the index is small."""
        return self._held.traits

    @property
    def applied_seq(self) -> int:
        """The last change-log entry that is in the index."""
        return self._seq

    def __len__(self) -> int:
        return len(self._ids)

    def ids(self) -> I64:
        """The live vector ids in ascending order."""
        return self._ids.copy()

    def add(self, ids: I64, vectors: F32, seq: int) -> None:
        """Add (n, dim) vectors under n new ids. Raises UsageError, and then nothing has changed."""
        ids, vectors = checked_batch(ids, vectors, self.spec.dim)
        with self._gate.alone():
            refuse_known(ids, self._ids)
            seq = checked_seq(seq, self._seq)
            self._held.add(ids, self._prepared(vectors))
            self._ids, self._seq = np.sort(np.concatenate([self._ids, ids]), kind="stable"), seq

    def remove(self, ids: I64, seq: int) -> None:
        """Remove vectors; ids that are not there are ignored."""
        ids = checked_ids(ids)
        with self._gate.alone():
            seq = checked_seq(seq, self._seq)
            gone = np.unique(ids[members(ids, self._ids)])
            if len(gone):
                self._held.remove(gone)
                self._ids = self._ids[~members(self._ids, gone)]
            self._seq = seq

    def search(self, queries: F32, k: int, allow: I64 | None = None, effort: int = 1) -> Neighbours:
        """The k best of (q, dim) queries among `allow` (sorted; None for all)."""
        queries = self._prepared(checked_request(queries, self.spec.dim, k, effort))
        allow = checked_allow(allow)
        ids = np.full((len(queries), k), PAD_ID, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        with self._gate.together():
            asked = min(k, len(self._ids) if allow is None else len(allow))
            if asked and len(self._ids) and len(queries):
                found, got = self._held.search(queries, asked, allow, effort)
                found = np.where(got < 0, np.float32(-np.inf), found)
                order = np.lexsort((got, -found), axis=1)
                ids[:, :asked] = np.take_along_axis(got, order, axis=1)
                scores[:, :asked] = np.take_along_axis(found, order, axis=1)
        return Neighbours(ids, scores)

    def snapshot(self, folder: Path) -> None:
        """Write the index with checksums. Raises StorageFull."""
        with self._gate.together():
            data = faiss.serialize_index(self._held.index)
            snapshot.save(folder, self.spec, self._seq, len(self._ids), self._held.layout, [data])

    def _prepared(self, rows: F32) -> F32:
        """What FAISS compares by inner product: directions for "cosine", normalised in float64."""
        if self.spec.metric == "dot":
            return rows
        return query_rows(rows, "cosine").astype(np.float32)


class FaissFactory:
    """Creates and restores `faiss` indexes."""

    def create(self, dim: int, metric: Metric = "cosine", space: str = "") -> FaissIndex:
        """An empty index with applied_seq 0."""
        return FaissIndex(IndexSpec(name="faiss", dim=dim, metric=metric, space=space), _Flat(dim), 0)

    def restore(self, folder: Path, dim: int, metric: Metric = "cosine", space: str = "") -> FaissIndex:
        """Load a snapshot. Raises StoreDamaged naming the file."""
        spec = IndexSpec(name="faiss", dim=dim, metric=metric, space=space)
        found = snapshot.load(folder, spec)
        try:
            index = faiss.deserialize_index(np.frombuffer(found.data, np.uint8))
        except RuntimeError as error:
            raise snapshot.damaged(found, "FAISS cannot read it") from error
        if index.d != dim or index.ntotal != found.count:
            raise snapshot.damaged(found, "it does not hold what its description says")
        return FaissIndex(spec, _Flat(dim, index), found.applied_seq)


factory = FaissFactory()
