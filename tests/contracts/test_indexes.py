"""The built-in indexes keep the index contract, and the contract catches indexes that do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embedstore.contracts.index import IndexSpec, Neighbours
from embedstore.discovery import INDEXES, find_plugin
from embedstore.indexes import exact, faiss_backend
from embedstore.testing.indexes import IndexContract


class TestExact(IndexContract):
    factory = exact.factory


class TestFaissSmall(IndexContract):
    factory = faiss_backend.factory


class TestFaissLarge(IndexContract):
    """Past the threshold, which is lowered here."""

    factory = faiss_backend.FaissFactory(ann_rows=100)
    rows = 3000


@pytest.mark.parametrize(("name", "factory"), [("exact", exact.factory), ("faiss", faiss_backend.factory)])
def test_built_ins_are_found_by_entry_point(name, factory):
    assert find_plugin(INDEXES, name).load() is factory


# Deliberately broken indexes: each is the oracle with one promise broken.


class SmallerIsBetter(exact.ExactIndex):
    def search(self, queries, k, allow=None, effort=1):
        return super().search(-queries, k, allow, effort)


class IgnoresTheFilter(exact.ExactIndex):
    def search(self, queries, k, allow=None, effort=1):
        found = super().search(queries, k, allow, effort)
        return found if allow is None else super().search(queries, k, None, effort)


class FiltersAfterwards(exact.ExactIndex):
    """Takes the best k of all, then drops what is not allowed: short answers."""

    def search(self, queries, k, allow=None, effort=1):
        found = super().search(queries, k, None, effort)
        if allow is None:
            return found
        ids, scores = np.full_like(found.ids, -1), np.full_like(found.scores, -np.inf)
        for row in range(len(ids)):
            kept = np.isin(found.ids[row], allow)
            ids[row, : kept.sum()], scores[row, : kept.sum()] = found.ids[row][kept], found.scores[row][kept]
        return Neighbours(ids, scores)


class AcceptsDuplicates(exact.ExactIndex):
    def add(self, ids, vectors, seq):
        fresh = ~np.isin(ids, self.ids()) if len(ids) == len(vectors) else np.ones(len(ids), bool)
        super().add(ids[fresh], vectors[fresh], seq)


class AcceptsNaN(exact.ExactIndex):
    def add(self, ids, vectors, seq):
        super().add(ids, np.nan_to_num(vectors), seq)


class AcceptsZero(exact.ExactIndex):
    def add(self, ids, vectors, seq):
        if vectors.ndim == 2:
            nothing = ~vectors.any(axis=1)
            vectors = np.where(nothing[:, None], vectors.dtype.type(1), vectors)
        super().add(ids, vectors, seq)


class PadsWithZeros(exact.ExactIndex):
    def search(self, queries, k, allow=None, effort=1):
        found = super().search(queries, k, allow, effort)
        return Neighbours(np.where(found.ids < 0, 0, found.ids), found.scores)


class PadsScoresWithMinusOne(exact.ExactIndex):
    def search(self, queries, k, allow=None, effort=1):
        found = super().search(queries, k, allow, effort)
        return Neighbours(found.ids, np.where(found.ids < 0, np.float32(-1), found.scores))


class ForgetsTheSeq(exact.ExactIndex):
    @property
    def applied_seq(self):
        return 0


class ForgetsEmptyUpdates(exact.ExactIndex):
    def add(self, ids, vectors, seq):
        if len(ids):
            super().add(ids, vectors, seq)


class OrdersById(exact.ExactIndex):
    def search(self, queries, k, allow=None, effort=1):
        found = super().search(queries, k, allow, effort)
        order = np.argsort(np.where(found.ids < 0, 10**15, found.ids), axis=1)
        return Neighbours(np.take_along_axis(found.ids, order, 1), np.take_along_axis(found.scores, order, 1))


class TiesTheOtherWay(exact.ExactIndex):
    def search(self, queries, k, allow=None, effort=1):
        found = super().search(queries, k, allow, effort)
        order = np.lexsort((-found.ids, -found.scores), axis=1)
        return Neighbours(np.take_along_axis(found.ids, order, 1), np.take_along_axis(found.scores, order, 1))


class RemovesNothing(exact.ExactIndex):
    def remove(self, ids, seq):
        super().remove(ids[:0], seq)


class KeepsADimensionTooMany(exact.ExactIndex):
    def add(self, ids, vectors, seq):
        if vectors.ndim == 2 and vectors.shape[1] == self.spec.dim - 1:
            vectors = np.pad(vectors, ((0, 0), (0, 1)))
        super().add(ids, vectors, seq)


class SlightlyWrongScores(exact.ExactIndex):
    def search(self, queries, k, allow=None, effort=1):
        found = super().search(queries, k, allow, effort)
        return Neighbours(found.ids, found.scores - np.float32(1e-5))


class WritesToItsArguments(exact.ExactIndex):
    def add(self, ids, vectors, seq):
        super().add(ids, vectors, seq)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)


class LeavesTheOldSnapshot(exact.ExactIndex):
    def snapshot(self, folder):
        old = {path.name: path.read_bytes() for path in folder.glob("*.vectors")}
        super().snapshot(folder)
        for name, data in old.items():
            (folder / name).write_bytes(data)


class NamesItsSnapshotOtherwise(exact.ExactIndex):
    def snapshot(self, folder):
        super().snapshot(folder)
        (folder / "index.json").rename(folder / "exact.json")


class IgnoresDamage(exact.ExactFactory):
    """Restores whatever bytes are there."""

    index = exact.ExactIndex

    def restore(self, folder, dim, metric="cosine", space=""):
        data = next(folder.glob("*.vectors"), None)
        raw = data.read_bytes() if data else b""
        n = len(raw) // (8 + 4 * dim)
        ids = np.frombuffer(raw, "<i8", n)
        rows = np.frombuffer(raw, "<f4", n * dim, 8 * n).reshape(n, dim)
        spec = IndexSpec(name="exact", dim=dim, metric=metric, space=space)
        return exact.ExactIndex(spec, ids, rows, 9)


class IgnoresTheSpace(exact.ExactFactory):
    def create(self, dim, metric="cosine", space=""):
        return super().create(dim, metric)

    def restore(self, folder, dim, metric="cosine", space=""):
        return super().restore(folder, dim, metric)


def factory_of(index_class):
    class Factory(exact.ExactFactory):
        def create(self, dim, metric="cosine", space=""):
            spec = IndexSpec(name="exact", dim=dim, metric=metric, space=space)
            return index_class(spec, np.empty(0, np.int64), np.empty((0, dim), np.float32), 0)

        def restore(self, folder, dim, metric="cosine", space=""):
            found = super().restore(folder, dim, metric, space)
            state = found._state
            return index_class(replace(found.spec), state.ids, state.rows, state.seq)

    return Factory()


def caught_by(factory) -> set[str]:
    class Suite(IndexContract):
        pass

    Suite.factory = factory
    caught = set()
    for name, check in Suite.checks().items():
        try:
            check(Suite())
        except Exception:
            caught.add(name)
    return caught


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (SmallerIsBetter, "test_agrees_with_a_scan"),
        (IgnoresTheFilter, "test_a_filter_is_kept_and_filled"),
        (FiltersAfterwards, "test_a_filter_is_kept_and_filled"),
        (AcceptsDuplicates, "test_refusals_change_nothing"),
        (AcceptsNaN, "test_refusals_change_nothing"),
        (AcceptsZero, "test_refusals_change_nothing"),
        (KeepsADimensionTooMany, "test_refusals_change_nothing"),
        (PadsWithZeros, "test_padding"),
        (PadsScoresWithMinusOne, "test_padding"),
        (ForgetsTheSeq, "test_applied_seq"),
        (ForgetsEmptyUpdates, "test_applied_seq"),
        (OrdersById, "test_agrees_with_a_scan"),
        (TiesTheOtherWay, "test_agrees_with_a_scan"),
        (SlightlyWrongScores, "test_agrees_with_a_scan"),
        (RemovesNothing, "test_remove"),
        (WritesToItsArguments, "test_arguments_stay_as_they_were"),
        (LeavesTheOldSnapshot, "test_snapshot_round_trip"),
        (NamesItsSnapshotOtherwise, "test_snapshot_round_trip"),
    ],
)
def test_the_contract_catches(broken, check):
    assert check in caught_by(factory_of(broken))


@pytest.mark.parametrize(
    ("broken", "check"),
    [(IgnoresDamage, "test_damage_is_named"), (IgnoresTheSpace, "test_foreign_snapshots")],
)
def test_the_contract_catches_factories(broken, check):
    assert check in caught_by(broken())


def test_the_oracle_wrapped_as_the_fakes_are_passes():
    assert not caught_by(factory_of(exact.ExactIndex))
