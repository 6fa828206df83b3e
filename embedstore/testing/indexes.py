"""The contract suite for vector indexes.

Subclass in a test module and name the factory; pytest collects the checks:

    class TestMyIndex(IndexContract):
        factory = my_package.factory

Each check is a plain method that asserts, so it can be called without pytest as well. Truth is a float64
scan. An index whose traits say `exact` must give its scores within 1e-6; any other must reach `least_recall`
at the effort named, when as many candidates are taken as its `oversample` asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.contracts.index import PAD_ID, SNAPSHOT, IndexFactory, Metric, Neighbours, VectorIndex
from embedstore.errors import StoreDamaged, UsageError

TOLERANCE = 1e-6


def sample_vectors(rows: int, dim: int, seed: int) -> F32:
    """(rows, dim) clustered vectors of unequal length."""
    rng = np.random.default_rng(seed)
    centres = 2 * rng.standard_normal((12, dim))
    vectors = centres[rng.integers(0, 12, rows)] + rng.standard_normal((rows, dim))
    return np.ascontiguousarray(vectors * rng.uniform(0.2, 5.0, (rows, 1)), np.float32)


def true_scores(query: F32, vectors: F32, metric: Metric) -> NDArray[np.float64]:
    """(n,) float64 scores of (n, dim) vectors for one (dim,) query, by definition."""
    q, x = query.astype(np.float64), vectors.astype(np.float64)
    dots: NDArray[np.float64] = x @ q
    return dots if metric == "dot" else dots / (np.linalg.norm(x, axis=1) * np.linalg.norm(q))


class IndexContract:
    """What every index must do. `rows` and `dim` are the size of the index it is tried on."""

    factory: ClassVar[IndexFactory]
    dim: ClassVar[int] = 24
    rows: ClassVar[int] = 600
    effort: ClassVar[int] = 1
    most_effort: ClassVar[int] = 8
    least_recall: ClassVar[float] = 0.95

    @classmethod
    def checks(cls) -> dict[str, Callable[[IndexContract], None]]:
        """The checks by name."""
        return {name: getattr(cls, name) for name in dir(cls) if name.startswith("test_")}

    def _data(self) -> tuple[I64, F32, F32]:
        """Ids (not contiguous, not in order), vectors, queries; some vectors occur several times."""
        vectors = sample_vectors(self.rows, self.dim, 1)
        vectors[50:56] = vectors[5]
        ids = np.random.default_rng(2).permutation(self.rows).astype(np.int64) * 3 + 4
        queries = np.concatenate([sample_vectors(8, self.dim, 3), vectors[[5, 100]]])
        return ids, vectors, queries

    def _filled(self, metric: Metric = "cosine") -> tuple[VectorIndex, I64, F32, F32]:
        ids, vectors, queries = self._data()
        index = self.factory.create(self.dim, metric)
        half = self.rows // 2
        index.add(ids[:half], vectors[:half], 3)
        index.add(ids[half:], vectors[half:], 7)
        return index, ids, vectors, queries

    def _judge(self, found: Neighbours, index: VectorIndex, truth: tuple[I64, F32, F32], k: int) -> None:
        """Compare an answer with a scan over the (ids, vectors) that may be answered, for each query."""
        ids, vectors, queries = truth
        assert found.ids.shape == found.scores.shape == (len(queries), k), "one row per query, k columns"
        assert found.ids.dtype == np.int64, "ids are int64"
        assert found.scores.dtype == np.float32, "scores are float32"
        for row, query in enumerate(queries):
            got = found.ids[row][found.ids[row] != PAD_ID]
            scores = found.scores[row][: len(got)]
            _well_formed(found.ids[row], found.scores[row], len(got))
            assert np.isin(got, ids).all(), "only ids that may be answered"
            right = true_scores(query, vectors, index.spec.metric)
            best = np.sort(right)[::-1][:k]
            if index.traits.exact:
                assert len(got) == len(best), "as many rows as there are, up to k"
                given = right[[int(np.flatnonzero(ids == i)[0]) for i in got]]
                slack = TOLERANCE * max(1.0, float(np.abs(best).max(initial=0.0)))
                assert (np.abs(scores - best) <= slack).all(), "scores are those of a full scan"
                assert (np.abs(scores - given) <= slack).all(), "each score is that of its id"

    def test_empty(self) -> None:
        """An empty index answers with padding and is at change 0."""
        index = self.factory.create(self.dim)
        assert len(index) == 0
        assert index.applied_seq == 0
        found = index.search(self._data()[2], 3)
        assert (found.ids == PAD_ID).all(), "padding is -1"
        assert np.isneginf(found.scores).all(), "padding scores -inf"

    def test_agrees_with_a_scan(self) -> None:
        """Scores, ids and their order are right for "cosine" and "dot"; larger is better."""
        metrics: tuple[Metric, ...] = ("cosine", "dot")
        for metric in metrics:
            index, ids, vectors, queries = self._filled(metric)
            self._judge(index.search(queries, 10, effort=self.effort), index, (ids, vectors, queries), 10)
            one = index.search(queries[:1], 10, effort=self.effort)
            self._judge(one, index, (ids, vectors, queries[:1]), 10)

    def test_recall(self) -> None:
        """Re-ranking the candidates it proposes gives the best 10, filtered or not."""
        index, ids, vectors, queries = self._filled()
        for allow in (None, np.sort(ids)[::3], np.sort(ids[vectors[:, 0] > np.median(vectors[:, 0])])):
            may = np.ones(len(ids), bool) if allow is None else np.isin(ids, allow)
            found = index.search(queries, 10 * index.traits.oversample, allow, self.effort)
            met = 0
            for row, query in enumerate(queries):
                right = true_scores(query, vectors, "cosine")
                floor = np.sort(right[may])[-10] - TOLERANCE
                met += min(10, int((right[np.isin(ids, found.ids[row])] >= floor).sum()))
            assert met >= self.least_recall * 10 * len(queries), f"recall@10 is {met / 10 / len(queries):.3f}"

    def test_a_filter_is_kept_and_filled(self) -> None:
        """Only allowed ids come back, and as many as match: at once if exact, at last with more effort."""
        index, ids, vectors, queries = self._filled()
        ascending = np.sort(ids)
        for allow in (ascending[::2], ascending[:7], ascending[-1:], ascending[:0]):
            may = np.isin(ids, allow)
            for effort in range(1, self.most_effort + 1):
                found = index.search(queries, 10, allow, effort)
                self._judge(found, index, (ids[may], vectors[may], queries), 10)
                filled = (found.ids != PAD_ID).sum(axis=1)
                if (filled == min(10, len(allow))).all():
                    break
            else:
                raise AssertionError(f"{filled.min()} rows came back of {min(10, len(allow))} that match")

    def test_allowed_ids_it_does_not_hold(self) -> None:
        """Unknown ids in an allow-set are ignored."""
        index, ids, vectors, queries = self._filled()
        allow = np.sort(np.concatenate([ids[:5], [0, 1, 10**12]]).astype(np.int64))
        found = index.search(queries, 10, allow, self.most_effort)
        self._judge(found, index, (ids[:5], vectors[:5], queries), 10)

    def test_padding(self) -> None:
        """Asked for more than there is, it pads on the right with -1 and -inf."""
        index = self.factory.create(self.dim)
        ids, vectors, queries = self._data()
        index.add(ids[:3], vectors[:3], 1)
        found = index.search(queries, 8, effort=self.most_effort)
        assert (found.ids[:, 3:] == PAD_ID).all(), "padding is -1"
        assert np.isneginf(found.scores[:, 3:]).all(), "padding scores -inf"
        self._judge(found, index, (ids[:3], vectors[:3], queries), 8)

    def test_refusals_change_nothing(self) -> None:
        """Duplicate and negative ids, NaN, infinity, zero, wrong shapes and types are refused."""
        index, ids, vectors, _ = self._filled()
        fresh, good = np.array([1, 2], np.int64), vectors[:2]
        for why, bad_ids, bad in _bad_batches(fresh, good, ids[0]):
            _refused(partial(index.add, bad_ids, bad, 9), why)
            assert len(index) == self.rows, f"{why}: nothing is added"
            assert index.applied_seq == 7, f"{why}: the log position stays"
        index.add(fresh, good, 9)
        assert len(index) == self.rows + 2, "what was good is still taken"

    def test_bad_requests(self) -> None:
        """Queries without direction, k below 1 and allow-sets out of order are refused."""
        index, ids, _, queries = self._filled()
        twice = np.sort(ids)[[3, 3]]
        for why, call in {
            "NaN query": lambda: index.search(np.full_like(queries, np.nan), 3),
            "zero query": lambda: index.search(np.zeros_like(queries), 3),
            "wrong dimension": lambda: index.search(np.ones((1, self.dim + 1), np.float32), 3),
            "k of 0": lambda: index.search(queries, 0),
            "unsorted allow-set": lambda: index.search(queries, 3, np.sort(ids)[::-1].copy()),
            "repeated id in the allow-set": lambda: index.search(queries, 3, twice),
        }.items():
            _refused(call, why)

    def test_arguments_stay_as_they_were(self) -> None:
        """Arrays that are handed over are neither changed nor watched."""
        ids, vectors, queries = self._data()
        given = ids.copy(), vectors.copy(), queries.copy()
        index = self.factory.create(self.dim)
        index.add(given[0], given[1], 1)
        before = index.search(given[2], 5, effort=self.effort)
        pairs: list[tuple[NDArray[Any], NDArray[Any]]] = list(
            zip(given, (ids, vectors, queries), strict=True)
        )
        assert all(np.array_equal(a, b) for a, b in pairs), "arguments are not written to"
        given[0][:], given[1][:] = 0, 1
        _same(before, index.search(queries, 5, effort=self.effort), "later changes to them do not matter")

    def test_remove(self) -> None:
        """Removed vectors are gone, unknown ids are ignored, the rest stays."""
        index, ids, vectors, queries = self._filled()
        index.remove(np.concatenate([ids[::4], [1, 2]]).astype(np.int64), 11)
        kept = np.ones(len(ids), bool)
        kept[::4] = False
        assert index.applied_seq == 11, "the log position moves on"
        assert len(index) == int(kept.sum())
        assert np.array_equal(index.ids(), np.sort(ids[kept])), "ids() are the live ids, ascending"
        found = index.search(queries, 10, effort=self.most_effort)
        self._judge(found, index, (ids[kept], vectors[kept], queries), 10)

    def test_applied_seq(self) -> None:
        """It follows updates, also those that bring nothing, and lives on in a snapshot."""
        index, ids, vectors, _ = self._filled()
        assert index.applied_seq == 7, "add sets it"
        index.add(ids[:0], vectors[:0], 8)
        assert index.applied_seq == 8, "an empty add sets it"
        index.remove(ids[:0], 9)
        assert index.applied_seq == 9, "an empty remove sets it"
        with TemporaryDirectory() as name:
            index.snapshot(Path(name) / "snap")
            restored = self.factory.restore(Path(name) / "snap", self.dim)
        assert restored.applied_seq == 9, "a snapshot keeps it"

    def test_snapshot_round_trip(self) -> None:
        """A restored index answers as the saved one did; a new snapshot replaces the old one."""
        index, ids, vectors, queries = self._filled()
        with TemporaryDirectory() as name:
            folder = Path(name) / "snap"
            index.snapshot(folder)
            size = len(list(folder.iterdir()))
            assert (folder / SNAPSHOT).is_file(), "the file that says that a snapshot is finished"
            restored = self.factory.restore(folder, self.dim)
            same = index.search(queries, 10, effort=self.effort)
            _same(same, restored.search(queries, 10, effort=self.effort), "it answers as before")
            _refused(lambda: restored.add(ids[:1], vectors[:1], 8), "an id known from the snapshot")
            restored.remove(ids[:10], 8)
            restored.snapshot(folder)
            assert len(list(folder.iterdir())) == size, (
                "a new snapshot replaces the old one, nothing is left over"
            )
            again = self.factory.restore(folder, self.dim)
        assert np.array_equal(again.ids(), np.sort(ids[10:]))

    def test_damage_is_named(self) -> None:
        """A flipped byte, a short or a missing file raises StoreDamaged that names the snapshot."""
        index = self._filled()[0]
        with TemporaryDirectory() as name:
            folder = Path(name) / "snap"
            self._damaged(folder, "no snapshot at all")
            index.snapshot(folder)
            for path in sorted(folder.iterdir()):
                whole = path.read_bytes()
                for place in (0, len(whole) // 3, len(whole) // 2, len(whole) - 2):
                    flipped = bytearray(whole)
                    flipped[place] ^= 1
                    path.write_bytes(flipped)
                    self._damaged(folder, f"byte {place} of {path.name} flipped")
                for short in (whole[: len(whole) // 2], b""):
                    path.write_bytes(short)
                    self._damaged(folder, f"{path.name} cut short")
                path.unlink()
                self._damaged(folder, f"{path.name} missing")
                path.write_bytes(whole)
            self.factory.restore(folder, self.dim)

    def test_foreign_snapshots(self) -> None:
        """A snapshot of another dimension, metric or space is refused."""
        ids, vectors, _ = self._data()
        index = self.factory.create(self.dim, "cosine", "space-one")
        index.add(ids, vectors, 1)
        with TemporaryDirectory() as name:
            folder = Path(name)
            index.snapshot(folder)
            self._damaged(folder, "another dimension", self.dim + 1, "cosine", "space-one")
            self._damaged(folder, "another metric", self.dim, "dot", "space-one")
            self._damaged(folder, "another space", self.dim, "cosine", "space-two")
            assert len(self.factory.restore(folder, self.dim, "cosine", "space-one")) == self.rows

    def test_searches_in_several_threads(self) -> None:
        """Eight threads get the answers that one gets."""
        index, ids, _, queries = self._filled()
        if not index.traits.threadsafe:
            return
        allow = np.sort(ids)[::2]
        alone = [index.search(queries, 10, a, self.effort) for a in (None, allow)]
        with ThreadPoolExecutor(8) as pool:
            tasks = [pool.submit(index.search, queries, 10, a, self.effort) for a in (None, allow) * 16]
            for place, task in enumerate(tasks):
                _same(alone[place % 2], task.result(), "as from one thread")

    def _damaged(self, folder: Path, why: str, *spec: Any) -> None:
        try:
            self.factory.restore(folder, *(spec or (self.dim,)))
        except StoreDamaged as error:
            message = str(error)
        else:
            raise AssertionError(f"{why}: restored without a word")
        assert str(folder) in message, f"{why}: the message names the file, not {message}"


def _well_formed(ids: I64, scores: F32, filled: int) -> None:
    assert (ids[filled:] == PAD_ID).all(), "padding is on the right"
    assert np.isneginf(scores[filled:]).all(), "padding scores -inf"
    assert np.isfinite(scores[:filled]).all(), "scores are finite"
    assert len(np.unique(ids[:filled])) == filled, "no id twice"
    steps = np.diff(scores[:filled])
    assert (steps <= 0).all(), "scores descend"
    assert (np.diff(ids[:filled])[steps == 0] > 0).all(), "equal scores stand in the order of their ids"


def _same(a: Neighbours, b: Neighbours, why: str) -> None:
    assert np.array_equal(a.ids, b.ids), why
    assert np.array_equal(a.scores, b.scores), why


def _refused(call: Callable[[], object], why: str) -> None:
    try:
        call()
    except UsageError:
        return
    raise AssertionError(f"{why}: accepted")


def _bad_batches(ids: I64, vectors: F32, known: np.int64) -> list[tuple[str, Any, Any]]:
    def spoiled(value: float) -> F32:
        rows = vectors.copy()
        rows[1, 3] = value
        return rows

    zero = vectors.copy()
    zero[1] = 0
    return [
        ("an id twice in one call", ids[[0, 0]], vectors),
        ("an id that is there already", np.array([ids[0], known]), vectors),
        ("a negative id", np.array([ids[0], -1]), vectors),
        ("NaN", ids, spoiled(np.nan)),
        ("infinity", ids, spoiled(np.inf)),
        ("minus infinity", ids, spoiled(-np.inf)),
        ("a zero vector", ids, zero),
        ("a dimension too few", ids, vectors[:, :-1].copy()),
        ("a single vector without its axis", ids[:1], vectors[0]),
        ("float64", ids, vectors.astype(np.float64)),
        ("int32 ids", ids.astype(np.int32), vectors),
        ("fewer ids than vectors", ids[:1], vectors),
    ]
