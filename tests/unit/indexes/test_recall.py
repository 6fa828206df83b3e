"""The approximate index against FAISS's own flat scan, on clustered vectors, with and without filters."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pytest

from embedstore.indexes import exact, faiss_backend
from embedstore.indexes.search import search_groups, search_vectors

N, DIM, QUERIES, K = 20_000, 128, 60, 10


@pytest.fixture(scope="module")
def world():
    """Vectors around 200 centres that gather in 8 kinds; queries from the same; the approximate index."""
    rng = np.random.default_rng(0)
    kind_of = rng.integers(0, 8, 200)
    centres = rng.standard_normal((8, DIM))[kind_of] + 0.7 * rng.standard_normal((200, DIM))
    cluster = rng.integers(0, 200, N + QUERIES)
    spread = rng.standard_normal((N + QUERIES, DIM)) * 8 / np.sqrt(np.arange(1, DIM + 1))
    vectors = (centres[cluster] + spread).astype(np.float32)
    ids = np.arange(N, dtype=np.int64) * 2 + 1
    index = faiss_backend.FaissFactory(ann_rows=10_000).create(DIM)
    for first in range(0, N, 7_000):
        index.add(ids[first : first + 7_000], vectors[:N][first : first + 7_000], first + 1)
    index.search(vectors[:1], 1)
    assert not index.traits.exact
    return index, ids, vectors[:N], vectors[N:], kind_of[cluster]


def gatherer(vectors):
    return lambda ids: vectors[(ids - 1) // 2]


def truth_of(vectors, query, may):
    """FAISS's flat inner product over the normalised vectors that may be answered."""
    unit = vectors[may] / np.linalg.norm(vectors[may], axis=1, keepdims=True)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(np.ascontiguousarray(unit))
    rows = flat.search(query[None] / np.linalg.norm(query), K)[1][0]
    return may[rows[rows >= 0]]


def filters(name, n, kinds, own, rng):
    if name == "none":
        return None
    if name == "other kinds":  # nothing near the query is allowed
        return np.isin(kinds[:n], rng.choice(np.setdiff1d(np.arange(8), [own]), 3, replace=False))
    return rng.random(n) < float(name)


@pytest.mark.parametrize("name", ["none", "0.5", "0.1", "0.01", "0.001", "other kinds"])
def test_recall_and_k_rows(world, name, monkeypatch):
    monkeypatch.setattr("embedstore.indexes.planner.SCAN_BYTES", 400 * DIM * 4)  # leave work to the index
    index, ids, vectors, queries, kinds = world
    met = asked = 0
    for number, query in enumerate(queries):
        keep = filters(name, N, kinds, kinds[N + number], np.random.default_rng(number))
        may = np.arange(N) if keep is None else np.flatnonzero(keep)
        found = search_vectors(index, gatherer(vectors), query, K, None if keep is None else ids[keep])
        got = found.neighbours.ids[0][found.neighbours.ids[0] >= 0]
        assert len(got) == min(K, len(may)), "k rows whenever k match"
        assert np.isin(got, ids[may]).all()
        best = ids[truth_of(vectors, query, may)]
        assert found.exact <= (set(got) == set(best)), "exact is not said lightly"
        met, asked = met + len(set(got) & set(best)), asked + len(best)
    assert met / asked >= 0.95, f"recall@{K} {met / asked:.3f}"


def test_scores_are_exact_though_the_choice_is_not(world):
    index, ids, vectors, queries, _ = world
    oracle = exact.factory.create(DIM)
    oracle.add(ids, vectors, 1)
    found = search_vectors(index, gatherer(vectors), queries[0], K).neighbours
    same = oracle.search(queries[:1], K, np.sort(found.ids[0]))
    assert np.array_equal(found.ids, same.ids)
    assert np.array_equal(found.scores, same.scores)


def test_groups_are_filled(world):
    index, _, vectors, queries, _ = world
    for size in (3, 400):
        found = search_groups(index, gatherer(vectors), queries[0], K, None, lambda i, size=size: i // size)
        assert (found.neighbours.ids >= 0).all()
        assert len(np.unique(found.neighbours.ids // size)) == K


def test_effort_finds_more(world):
    index, ids, vectors, queries, _ = world
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    best = ids[np.argsort(-(queries @ unit.T), axis=1)[:, :K]]
    share = [np.isin(best, index.search(queries, 200, effort=e).ids).mean() for e in (1, 4)]
    assert share[1] >= share[0]
    assert share[1] >= 0.99


def test_removal_and_late_arrivals(world):
    _, ids, vectors, queries, _ = world
    fresh = faiss_backend.FaissFactory(ann_rows=10_000).create(DIM)
    fresh.add(ids[:12_000], vectors[:12_000], 1)
    fresh.search(queries[:1], 1)
    fresh.add(ids[12_000:], vectors[12_000:], 2)
    fresh.remove(ids[::2], 3)
    assert len(fresh) == N // 2
    met = 0
    for query in queries:
        best = ids[truth_of(vectors, query, np.arange(1, N, 2))]
        met += len(set(search_vectors(fresh, gatherer(vectors), query, K).neighbours.ids[0]) & set(best))
    assert met / (K * len(queries)) >= 0.95


def test_it_says_when_it_has_outgrown_its_shape():
    rng = np.random.default_rng(0)
    index = faiss_backend.FaissFactory(ann_rows=100).create(4)
    index.add(np.arange(100), rng.standard_normal((100, 4)).astype(np.float32), 1)
    index.search(np.ones((1, 4), np.float32), 1)
    assert not index.traits.outgrown
    index.add(np.arange(100, 4_000), rng.standard_normal((3_900, 4)).astype(np.float32), 2)
    assert index.traits.outgrown


@pytest.mark.parametrize("ann_rows", [10**9, 500])
def test_updates_and_searches_in_threads(ann_rows):
    """Each answer is right for some moment: only ids that were there, each under its own score."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((4_000, 16)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    index = faiss_backend.FaissFactory(ann_rows=ann_rows).create(16)
    index.add(np.arange(1_000), vectors[:1_000], 1)

    def update():
        for turn in range(30):
            some = np.arange(1_000 + 100 * turn, 1_100 + 100 * turn)
            index.add(some, vectors[some], 2 + 2 * turn)
            index.remove(some[::2], 3 + 2 * turn)

    def look(row):
        found = index.search(vectors[row : row + 1], 5)
        return row, found.ids[0], found.scores[0]

    with ThreadPoolExecutor(5) as pool:
        updating = pool.submit(update)
        looked = [pool.submit(look, row % 1_000) for row in range(600)]
        updating.result()
        for one in looked:
            row, ids, scores = one.result()
            assert ids[0] == row, "a vector that stays finds itself"
            if ann_rows == 10**9:
                np.testing.assert_allclose(scores, unit[ids] @ unit[row], atol=1e-5)
    assert len(index) == 1_000 + 30 * 50
