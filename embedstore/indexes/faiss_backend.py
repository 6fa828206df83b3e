"""FAISS behind the index contract (Douze et al., "The Faiss library", 2024).

Up to `ANN_ROWS` vectors are held as they are and scanned: exact. From there on an inverted file holds two
bits per dimension (RaBitQ, Gao & Long 2024; extended RaBitQ, Gao et al. 2025), about 1/12 of the vectors'
bytes: it proposes candidates that the search loop re-ranks on stored vectors, so the vectors are not kept
twice. The change happens at the first search or snapshot past the threshold (k-means on a sample, then
encoding). Centroids stay as trained until the index is rebuilt, which `traits.outgrown` asks for when the
store has grown about sixteenfold. With metric "dot" the index stays exact at any size.

FAISS runs its parallel regions on as many threads as OpenMP gives it (OMP_NUM_THREADS); nothing here changes
that setting. Never fork a process that has searched: start workers by spawn.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import faiss as _faiss
import numpy as np
from numpy.typing import NDArray

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
from embedstore.indexes.probing import Placement, choose_lists, dense
from embedstore.indexes.scoring import query_rows

# The wheel's type stubs give the C++ signatures, not those of its Python layer.
faiss: Any = _faiss

ANN_ROWS = 1 << 16
_CODE = "RaBitQ2"
# Lists read at effort 1 (each further effort doubles them) and allowed rows met for each candidate wanted;
# a filter spreads the neighbours over more lists. Chosen by benchmarks/index_recall.py.
_LISTS, _LISTS_FILTERED, _ROWS_PER_CANDIDATE = 64, 128, 4
_OVERSAMPLE = 10
_TRAINING_ROWS_PER_LIST = 64
_OUTGROWN = 4


class _Held(Protocol):
    """How vectors are held: `rows` are directions (or raw for "dot"), ids are known to be new."""

    layout: str
    index: Any

    def ids(self) -> I64:
        """Live ids, ascending."""

    def add(self, ids: I64, rows: F32) -> None: ...

    def remove(self, ids: I64) -> None: ...

    def search(self, queries: F32, k: int, allow: I64 | None, effort: int) -> tuple[F32, I64]: ...


class _Flat:
    """All vectors as they are."""

    layout = "flat"

    def __init__(self, dim: int, index: Any = None) -> None:
        self.index = index or faiss.IndexIDMap(faiss.IndexFlatIP(dim))
        self._ids: I64 = np.sort(_numbers(self.index.id_map))

    def ids(self) -> I64:
        return self._ids

    def add(self, ids: I64, rows: F32) -> None:
        self.index.add_with_ids(rows, ids)
        self._ids = np.sort(np.concatenate([self._ids, ids]), kind="stable")

    def remove(self, ids: I64) -> None:
        self.index.remove_ids(faiss.IDSelectorBatch(ids))
        self._ids = self._ids[~members(self._ids, ids)]

    def search(self, queries: F32, k: int, allow: I64 | None, effort: int) -> tuple[F32, I64]:
        params = None if allow is None else faiss.SearchParameters(sel=_selector(allow))
        scores, ids = self.index.search(queries, k, params=params)
        return scores, ids

    def contents(self) -> tuple[I64, F32]:
        """(n,) ids and (n, dim) rows, in the order they came."""
        n, dim = self.index.ntotal, self.index.d
        flat = faiss.downcast_index(self.index.index)
        return _numbers(self.index.id_map), faiss.rev_swig_ptr(flat.get_xb(), n * dim).reshape(n, dim)


class _Inverted:
    """Two-bit codes in inverted lists."""

    layout = "ivf-rabitq2"

    def __init__(self, index: Any) -> None:
        self.index = index
        self._centroids: F32 = index.quantizer.reconstruct_n(0, index.nlist)
        self._placement = Placement(index.nlist)
        numbers, ids = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for number in range(index.nlist):
            size = index.invlists.list_size(number)
            if size:
                ids.append(faiss.rev_swig_ptr(index.invlists.get_ids(number), size).copy())
                numbers.append(np.full(size, number))
        self._placement.add(np.concatenate(ids), np.concatenate(numbers))

    @classmethod
    def trained(cls, ids: I64, rows: F32) -> _Inverted:
        """Train on a sample of (n, dim) rows that is the same each time, and take them all in."""
        nlist = lists_for(len(rows))
        index = faiss.index_factory(rows.shape[1], f"IVF{nlist},{_CODE}", faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid = 1
        size = min(len(rows), nlist * _TRAINING_ROWS_PER_LIST)
        sample = np.sort(np.random.default_rng(0).choice(len(rows), size, replace=False))
        index.train(rows[sample])
        index.add_with_ids(rows, ids)
        return cls(index)

    def ids(self) -> I64:
        return self._placement.ids

    def add(self, ids: I64, rows: F32) -> None:
        if len(ids):
            lists = self.index.quantizer.assign(rows, 1)[:, 0]
            self.index.add_core(len(ids), faiss.swig_ptr(rows), faiss.swig_ptr(ids), faiss.swig_ptr(lists))
            self._placement.add(ids, lists)

    def remove(self, ids: I64) -> None:
        self.index.remove_ids(faiss.IDSelectorBatch(ids))
        self._placement.remove(ids)

    def search(self, queries: F32, k: int, allow: I64 | None, effort: int) -> tuple[F32, I64]:
        harder = 2 ** (effort - 1)
        lists, near = choose_lists(
            queries @ self._centroids.T,
            self._placement.counts(allow),
            (_LISTS if allow is None else _LISTS_FILTERED) * harder,
            _ROWS_PER_CANDIDATE * k * harder,
        )
        params = faiss.SearchParametersIVF(
            nprobe=lists.shape[1], sel=None if allow is None else _selector(allow)
        )
        scores = np.empty((len(queries), k), np.float32)
        ids = np.empty((len(queries), k), np.int64)
        # the Python layer's search_preassigned takes no parameters; this is the C++ method it calls
        self.index.search_preassigned_c(
            len(queries),
            faiss.swig_ptr(queries),
            k,
            faiss.swig_ptr(lists),
            faiss.swig_ptr(near),
            faiss.swig_ptr(scores),
            faiss.swig_ptr(ids),
            False,
            params,
        )
        return scores, ids


# FAISS's own helpers for C++ vectors look at the proxy's class name. SWIG shares one type table between all
# modules of a process, so after `import SimpleITK` that class is SimpleITK's: these three do not look.
def _numbers(vector: Any) -> I64:
    size = faiss.Int64Vector.size(vector)
    return faiss.rev_swig_ptr(faiss.Int64Vector.data(vector), size).copy() if size else np.empty(0, np.int64)


def _written(index: Any) -> NDArray[np.uint8]:
    stream = BytesIO()
    faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write))
    return np.frombuffer(stream.getbuffer(), np.uint8)


def _read(data: bytes) -> Any:
    return faiss.read_index(faiss.PyCallbackIOReader(BytesIO(data).read))


def lists_for(rows: int) -> int:
    """Inverted lists for that many vectors: the power of two nearest to 1.6 times the square root."""
    return int(2 ** max(0, round(np.log2(1.6 * np.sqrt(max(rows, 1))))))


def _selector(allow: I64) -> Any:
    """A bitmap over the ids when they are dense enough, else a hashed set."""
    if not dense(allow, len(allow)):
        return faiss.IDSelectorBatch(allow)
    bits = np.zeros(int(allow[-1]) + 1, bool)
    bits[allow] = True
    return faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))


class FaissIndex:
    """Searches may run in several threads; an update waits for them and they for it."""

    def __init__(self, spec: IndexSpec, held: _Held, seq: int, ann_rows: int = ANN_ROWS) -> None:
        self.spec = spec
        self._gate = Gate()
        self._held = held
        self._seq = seq
        self._ann_rows = ann_rows if spec.metric == "cosine" else None

    @property
    def traits(self) -> IndexTraits:
        """Exact while the index is small."""
        held = self._held
        if not isinstance(held, _Inverted) and not self._due():
            return IndexTraits(exact=True)
        outgrown = isinstance(held, _Inverted) and lists_for(len(self)) >= _OUTGROWN * held.index.nlist
        return IndexTraits(exact=False, oversample=_OVERSAMPLE, outgrown=outgrown)

    @property
    def applied_seq(self) -> int:
        """The last change-log entry that is in the index."""
        return self._seq

    def __len__(self) -> int:
        return len(self._held.ids())

    def ids(self) -> I64:
        """The live vector ids in ascending order."""
        return self._held.ids().copy()

    def add(self, ids: I64, vectors: F32, seq: int) -> None:
        """Add (n, dim) vectors under n new ids. Raises UsageError, and then nothing has changed."""
        ids, vectors = checked_batch(ids, vectors, self.spec.dim)
        with self._gate.alone():
            refuse_known(ids, self._held.ids())
            seq = checked_seq(seq, self._seq)
            self._held.add(ids, self._prepared(vectors))
            self._seq = seq

    def remove(self, ids: I64, seq: int) -> None:
        """Remove vectors; ids that are not there are ignored."""
        ids = checked_ids(ids)
        with self._gate.alone():
            seq = checked_seq(seq, self._seq)
            gone = np.unique(ids[members(ids, self._held.ids())])
            if len(gone):
                self._held.remove(gone)
            self._seq = seq

    def search(self, queries: F32, k: int, allow: I64 | None = None, effort: int = 1) -> Neighbours:
        """The k best of (q, dim) queries among `allow` (sorted; None for all).

        Past the ANN threshold scores are estimates and fewer than k rows may come back at low effort.
        """
        queries = self._prepared(checked_request(queries, self.spec.dim, k, effort))
        allow = checked_allow(allow)
        ids = np.full((len(queries), k), PAD_ID, np.int64)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        self._settle()
        with self._gate.together():
            asked = min(k, len(self) if allow is None else min(len(allow), len(self)))
            if asked and len(queries):
                found, got = self._held.search(queries, asked, allow, effort)
                found = np.where(got < 0, np.float32(-np.inf), found)
                order = np.lexsort((got, -found), axis=1)
                ids[:, :asked] = np.take_along_axis(got, order, axis=1)
                scores[:, :asked] = np.take_along_axis(found, order, axis=1)
        return Neighbours(ids, scores)

    def snapshot(self, folder: Path) -> None:
        """Write the index with checksums. Raises StorageFull."""
        self._settle()
        with self._gate.together():
            data = _written(self._held.index)
            snapshot.save(folder, self.spec, self._seq, len(self), self._held.layout, [data])

    def _due(self) -> bool:
        return self._ann_rows is not None and isinstance(self._held, _Flat) and len(self) >= self._ann_rows

    def _settle(self) -> None:
        """Go from the flat to the inverted layout once there are enough vectors."""
        if self._due():
            with self._gate.alone():
                if self._due() and isinstance(self._held, _Flat):
                    self._held = _Inverted.trained(*self._held.contents())

    def _prepared(self, rows: F32) -> F32:
        """What FAISS compares by inner product: directions for "cosine", normalised in float64."""
        if self.spec.metric == "dot":
            return rows
        return query_rows(rows, "cosine").astype(np.float32)


class FaissFactory:
    """Creates and restores `faiss` indexes. ann_rows: how many vectors make the index approximate."""

    def __init__(self, ann_rows: int = ANN_ROWS) -> None:
        self._ann_rows = ann_rows

    def create(self, dim: int, metric: Metric = "cosine", space: str = "") -> FaissIndex:
        """An empty index with applied_seq 0."""
        spec = IndexSpec(name="faiss", dim=dim, metric=metric, space=space)
        return FaissIndex(spec, _Flat(dim), 0, self._ann_rows)

    def restore(self, folder: Path, dim: int, metric: Metric = "cosine", space: str = "") -> FaissIndex:
        """Load a snapshot. Raises StoreDamaged naming the file."""
        spec = IndexSpec(name="faiss", dim=dim, metric=metric, space=space)
        found = snapshot.load(folder, spec)
        try:
            index = _read(found.data)
            held: _Held = _Flat(dim, index) if found.layout == "flat" else _Inverted(index)
        except (RuntimeError, AttributeError) as error:
            raise snapshot.damaged(found, "FAISS cannot read it") from error
        if index.d != dim or len(held.ids()) != found.count:
            raise snapshot.damaged(found, "it does not hold what its description says")
        return FaissIndex(spec, held, found.applied_seq, self._ann_rows)


factory = FaissFactory()
