"""Searches against a plain float64 scan, whatever the vectors, the filter and the history of updates."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from embedstore.contracts.index import Neighbours
from embedstore.errors import UsageError
from embedstore.indexes import exact, faiss_backend
from embedstore.indexes.search import rerank, scan, search_groups, search_vectors

FACTORIES = {
    "exact": exact.factory,
    "faiss": faiss_backend.factory,
    "faiss past its threshold": faiss_backend.FaissFactory(ann_rows=1),
}
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def brute(query, ids, vectors, k, groups=None):
    """By definition: float64 cosine to the nearest 2^-24, best first, ties to the smaller id."""
    q, x = query.astype(np.float64), vectors.astype(np.float64)
    cosines = [np.dot(q / np.linalg.norm(q), row / np.linalg.norm(row)) for row in x]
    scores = [round(cosine * 2**24) / 2**24 for cosine in cosines]
    order = sorted(range(len(ids)), key=lambda row: (-scores[row], ids[row]))
    if groups is not None:
        met: set[int] = set()
        order = [row for row in order if not (groups[row] in met or met.add(groups[row]))]
    return [int(ids[row]) for row in order[:k]], [scores[row] for row in order[:k]]


def agrees(found, truth, k, near_ties=False):
    ids, scores = truth
    got = found.ids[0][found.ids[0] >= 0].tolist()
    assert len(found.ids[0]) == k
    assert len(got) == len(ids)
    np.testing.assert_allclose(found.scores[0][: len(got)], scores, atol=1e-6)
    if not near_ties:
        assert got == ids


@st.composite
def cases(draw, least_rows=0):
    """Few distinct small integers, so that many vectors are equal or parallel."""
    n, dim = draw(st.integers(least_rows, 120)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    rows = rng.integers(-2, 3, (n + 1, dim)).astype(np.float32)
    rows[~rows.any(axis=1), 0] = 1
    ids = rng.permutation(n) * draw(st.sampled_from([1, 7, 10**9]))
    share = draw(st.sampled_from([None, 0.0, 0.05, 0.4, 1.0]))
    allow = None if share is None else np.sort(ids[rng.random(n) < share])
    return rows[0], ids, rows[1:], allow, draw(st.integers(1, n + 5))


def filled(name, ids, vectors):
    index = FACTORIES[name].create(vectors.shape[1])
    index.add(ids, vectors, 1)
    return index


def gatherer(ids, vectors):
    place = {int(i): row for row, i in enumerate(ids)}
    return lambda wanted: vectors[[place[int(i)] for i in wanted]]


def allowed(ids, vectors, allow):
    may = np.ones(len(ids), bool) if allow is None else np.isin(ids, allow)
    return ids[may], vectors[may]


@pytest.mark.parametrize("name", FACTORIES)
@quick
@given(cases())
def test_ties_filters_and_any_k(name, case):
    query, ids, vectors, allow, k = case
    found = search_vectors(filled(name, ids, vectors), gatherer(ids, vectors), query, k, allow)
    assert found.exact, "so few vectors are always answered exactly"
    agrees(found.neighbours, brute(query, *allowed(ids, vectors, allow), k), k)


@pytest.mark.parametrize("name", FACTORIES)
@quick
@given(cases(), st.integers(1, 40), st.integers(0, 99))
def test_one_hit_per_group(name, case, n_groups, seed):
    query, ids, vectors, allow, k = case
    codes = dict(zip(ids.tolist(), np.random.default_rng(seed).integers(0, n_groups, len(ids)), strict=True))

    def groups_of(wanted):
        return np.array([codes[int(i)] for i in wanted], np.int64)

    index = filled(name, ids, vectors)
    found = search_groups(index, gatherer(ids, vectors), query, k, allow, groups_of)
    some, rows = allowed(ids, vectors, allow)
    agrees(found.neighbours, brute(query, some, rows, k, groups_of(some)), k)
    assert found.exact


@quick
@given(cases(least_rows=1), st.integers(0, 999))
def test_lengths_of_any_size(case, seed):
    """Directions count, lengths do not, from 1e-30 to 1e30 (squares of both leave float32's range)."""
    query, ids, vectors, allow, k = case
    lengths = 10.0 ** np.random.default_rng(seed).uniform(-30, 30, len(ids))
    scaled = (vectors * lengths[:, None]).astype(np.float32)
    truth = brute(query, *allowed(ids, scaled, allow), k)
    for name in FACTORIES:
        index = filled(name, ids, scaled)
        agrees(search_vectors(index, gatherer(ids, scaled), query, k, allow).neighbours, truth, k)
        if index.traits.exact:
            agrees(index.search(query[None], k, allow), truth, k, near_ties=True)


@quick
@given(cases(least_rows=1))
def test_scan_and_rerank_are_the_oracle(case):
    query, ids, vectors, _, k = case
    truth = brute(query, ids, vectors, k)
    agrees(scan(gatherer(ids, vectors), ids, query, k), truth, k)
    agrees(rerank(query[None], ids, vectors, k), truth, k)
    agrees(filled("exact", ids, vectors).search(query[None], k), truth, k)


class History(RuleBasedStateMachine):
    """Adds, removals, refusals and restarts, against a dictionary."""

    factory = exact.factory
    dim = 6

    def __init__(self):
        super().__init__()
        self.index = self.factory.create(self.dim, "cosine", "space")
        self.model: dict[int, np.ndarray] = {}
        self.next_id, self.seq = 0, 0
        self.folder = TemporaryDirectory()

    def teardown(self):
        self.folder.cleanup()

    @rule(n=st.integers(0, 40), seed=st.integers(0, 99), gap=st.integers(0, 5), shuffle=st.booleans())
    def add(self, n, seed, gap, shuffle):
        rng = np.random.default_rng(seed)
        ids = np.arange(n, dtype=np.int64) * (gap + 1) + self.next_id
        ids = rng.permutation(ids) if shuffle else ids
        vectors = rng.integers(1, 4, (n, self.dim)).astype(np.float32)
        self.seq += 1
        self.index.add(ids, vectors, self.seq)
        self.model |= dict(zip(ids.tolist(), vectors, strict=True))
        self.next_id += n * (gap + 1) + 1

    @precondition(lambda self: self.model)
    @rule(every=st.integers(1, 5), unknown=st.booleans())
    def remove(self, every, unknown):
        gone = np.array(sorted(self.model)[::every] + [10**7] * unknown, np.int64)
        self.seq += 1
        self.index.remove(gone, self.seq)
        for i in gone.tolist():
            self.model.pop(i, None)

    @precondition(lambda self: self.model)
    @rule()
    def refuse(self):
        known = np.array([min(self.model)], np.int64)
        with pytest.raises(UsageError):
            self.index.add(known, np.ones((1, self.dim), np.float32), self.seq + 1)

    @rule()
    def restart(self):
        folder = Path(self.folder.name) / "index"
        self.index.snapshot(folder)
        self.index = self.factory.restore(folder, self.dim, "cosine", "space")

    @rule(seed=st.integers(0, 99), k=st.integers(1, 30), share=st.sampled_from([None, 0.1, 0.7]))
    def search(self, seed, k, share):
        rng = np.random.default_rng(seed)
        query = rng.integers(1, 4, self.dim).astype(np.float32)
        ids = np.array(sorted(self.model), np.int64)
        vectors = np.array([self.model[i] for i in ids.tolist()], np.float32).reshape(-1, self.dim)
        allow = None if share is None else ids[rng.random(len(ids)) < share]
        found = search_vectors(self.index, gatherer(ids, vectors), query, k, allow)
        agrees(found.neighbours, brute(query, *allowed(ids, vectors, allow), k), k)
        raw = self.index.search(query[None], k, allow, effort=8)
        assert np.isin(raw.ids[raw.ids >= 0], ids if allow is None else allow).all()

    @invariant()
    def holds_what_it_should(self):
        assert self.index.ids().tolist() == sorted(self.model)
        assert len(self.index) == len(self.model)
        assert self.index.applied_seq == self.seq


class SmallFaiss(History):
    factory = faiss_backend.factory


class LargeFaiss(History):
    factory = faiss_backend.FaissFactory(ann_rows=40)


TestExactHistory = History.TestCase
TestSmallFaissHistory = SmallFaiss.TestCase
TestLargeFaissHistory = LargeFaiss.TestCase
TestExactHistory.settings = settings(max_examples=20, stateful_step_count=15, deadline=None)
TestSmallFaissHistory.settings = TestLargeFaissHistory.settings = TestExactHistory.settings


class Forgetful:
    """An index that loses most of what a filter allows, as graph indexes do."""

    def __init__(self, index, kept):
        self._index, self._kept = index, kept
        self.spec, self.traits = index.spec, faiss_backend.IndexTraits(exact=False, oversample=2)
        self.ids = index.ids

    def __len__(self):
        return len(self._index)

    def search(self, queries, k, allow=None, effort=1):
        found = self._index.search(queries, k, allow)
        lost = np.arange(k) >= self._kept * effort
        return Neighbours(np.where(lost, -1, found.ids), np.where(lost, np.float32(-np.inf), found.scores))


@pytest.mark.parametrize("kept", [0, 1, 4, 1000])
def test_k_rows_come_back_whatever_the_index_loses(kept):
    rng = np.random.default_rng(0)
    n, dim, k = 40_000, 256, 9
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    ids = np.arange(n, dtype=np.int64)
    index = Forgetful(filled("exact", ids, vectors), kept)
    allow = ids[1::2]
    found = search_vectors(index, lambda wanted: vectors[wanted], vectors[3], k, allow)
    agrees(found.neighbours, brute(vectors[3], allow, vectors[allow], k), k)
    assert found.exact == (kept * 4 < k), "what the index could not fill was scanned"


class Leaking(Forgetful):
    """An index that answers with ids a filter forbids."""

    def search(self, queries, k, allow=None, effort=1):
        return self._index.search(queries, k)


def test_a_forbidden_row_never_comes_back():
    vectors = np.random.default_rng(0).standard_normal((40_000, 256)).astype(np.float32)
    ids = np.arange(len(vectors), dtype=np.int64)
    allow = ids[1::2]
    found = search_vectors(
        Leaking(filled("exact", ids, vectors), 0), lambda i: vectors[i], vectors[2], 9, allow
    )
    agrees(found.neighbours, brute(vectors[2], allow, vectors[allow], 9), 9)


@pytest.mark.parametrize("stride", [1, 10**12])
def test_lists_are_counted_for_ids_near_and_far_apart(stride):
    vectors = np.random.default_rng(0).standard_normal((500, 8)).astype(np.float32)
    ids = np.arange(500, dtype=np.int64) * stride
    index = faiss_backend.FaissFactory(ann_rows=100).create(8)
    index.add(ids, vectors, 1)
    allow = np.sort(np.append(ids[::5], [10**15 + 1]))
    found = index.search(vectors[:3], 100, allow, effort=8)
    assert np.array_equal(np.sort(found.ids, axis=1), np.tile(ids[::5], (3, 1)))


@pytest.mark.parametrize("name", FACTORIES)
def test_raw_products_are_exact_at_any_size(name):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((3_000, 12)).astype(np.float32) * rng.uniform(0.1, 9, (3_000, 1))
    vectors = vectors.astype(np.float32)
    vectors[100:160] = vectors[7]  # more ties than the first list of candidates holds
    ids = np.arange(3_000, dtype=np.int64)
    index = FACTORIES[name].create(12, "dot")
    index.add(ids, vectors, 1)
    products = vectors.astype(np.float64) @ vectors[7].astype(np.float64)
    for allow in (None, ids[5:2_900:2]):
        some = ids if allow is None else allow
        found = search_vectors(index, lambda i: vectors[i], vectors[7], 25, allow)
        best = sorted(some.tolist(), key=lambda i: (-np.float32(products[i]), i))[:25]
        assert found.neighbours.ids[0].tolist() == best
        assert found.exact
