"""The search loop: an index proposes, stored vectors decide, and k rows come back whenever k match."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from embedstore.contracts.image import F32, I64
from embedstore.contracts.index import Metric, Neighbours, VectorIndex
from embedstore.indexes.checks import checked_allow, checked_request, members
from embedstore.indexes.planner import plan, widened
from embedstore.indexes.scoring import (
    F64,
    Best,
    coarse_scores,
    exact_scores,
    padded,
    query_rows,
    slack_of,
)

Gather = Callable[[I64], F32]
GroupsOf = Callable[[I64], I64]
_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """exact: ids, scores and order are those of a full scan over the allowed vectors."""

    neighbours: Neighbours
    exact: bool


def search_vectors(index: VectorIndex, gather: Gather, query: F32, k: int, allow: I64 | None = None) -> Found:
    """The k best vectors for one (dim,) query, as (1, k) neighbours, scored on stored vectors.

    gather: (n,) ids to their (n, dim) stored vectors, in that order. allow: ids that may be answered, sorted,
    None for all in the index. min(k, allowed) rows come back, whatever the index does.
    Raises UsageError for a query, k or allow-set that makes no sense.
    """
    query, allow = checked_request(_one(query), index.spec.dim, k), checked_allow(allow)
    best, exact = _best_vectors(index, gather, query, k, allow)
    return Found(padded([best], k), exact)


def search_groups(
    index: VectorIndex,
    gather: Gather,
    query: F32,
    k: int,
    allow: I64 | None,
    groups_of: GroupsOf,
) -> Found:
    """The best vector of each of the k best groups (patients, studies) for one (dim,) query.

    groups_of: (n,) ids to (n,) integer group codes. The candidate list is widened until k groups have been
    met; when that does not help, all allowed vectors are scanned.
    """
    query, allow = checked_request(_one(query), index.spec.dim, k), checked_allow(allow)
    n_allowed = len(index) if allow is None else len(allow)
    wanted = 4 * k
    while wanted * 4 <= n_allowed:
        best, exact = _best_vectors(index, gather, query, wanted, allow)
        _, firsts = np.unique(groups_of(best.ids), return_index=True)
        if len(firsts) >= k:
            kept = np.sort(firsts)[:k]
            best.ids, best.scores = best.ids[kept], best.scores[kept]
            return Found(padded([best], k), exact)
        wanted *= 4
    ids = index.ids() if allow is None else allow
    wide = query_rows(query, index.spec.metric)[0]
    return Found(padded([_scan_groups(gather, groups_of, ids, wide, k, index.spec.metric)], k), True)


def rerank(queries: F32, candidates: I64, vectors: F32, k: int, metric: Metric = "cosine") -> Neighbours:
    """The k best of (n,) candidate ids with their (n, dim) stored vectors for each of (q, dim) queries.

    Exact scores, ties to the smaller id.
    """
    found = []
    for query in query_rows(queries, metric):
        best = Best(query, k, metric)
        best.take(candidates, exact_scores(query, vectors, metric))
        found.append(best)
    return padded(found, k)


def scan(gather: Gather, ids: I64, query: F32, k: int, metric: Metric = "cosine") -> Neighbours:
    """The k best of the stored vectors `ids` for one (dim,) query by comparing each, block by block."""
    wide = query_rows(_one(query), metric)[0]
    return padded([_scan(gather, ids, wide, k, metric)], k)


def _one(query: F32) -> F32:
    return query[None] if getattr(query, "ndim", 0) == 1 else query[:1]


def _best_vectors(
    index: VectorIndex, gather: Gather, query: F32, k: int, allow: I64 | None
) -> tuple[Best, bool]:
    metric, dim = index.spec.metric, index.spec.dim
    wide = query_rows(query, metric)[0]
    # A filter that keeps everything is none; what came in meanwhile is still dropped below.
    whole = allow is not None and len(allow) == len(index) and np.array_equal(allow, index.ids())
    n_allowed = len(index) if allow is None else len(allow)
    todo = plan(len(index), n_allowed, dim, k, index.traits)
    while todo.way == "index" and n_allowed:
        traits = index.traits
        found = index.search(query, todo.candidates, None if whole else allow, todo.effort)
        filled = found.ids[0] >= 0 if allow is None else members(found.ids[0], allow)
        ids, proposed = found.ids[0][filled], found.scores[0][filled]
        vectors = gather(ids)
        best = Best(wide, k, metric)
        best.take(ids, exact_scores(wide, vectors, metric))
        if len(ids) >= min(k, n_allowed):
            if not traits.exact:
                return best, len(ids) == n_allowed
            if len(ids) == n_allowed or _settled(best, float(proposed[-1]), vectors, dim, metric):
                return best, True
        todo = widened(todo, n_allowed)
    ids = index.ids() if allow is None else allow
    return _scan(gather, ids, wide, k, metric), True


def _settled(best: Best, last_proposed: float, vectors: F32, dim: int, metric: Metric) -> bool:
    """Whether no row that an exact index left out can belong to the best.

    Such a row scored at most `last_proposed` in the index's float32 arithmetic.
    """
    scale = 1.0
    if metric == "dot":
        longest = np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1).max())
        scale = float(np.sqrt((best.query**2).sum()) * longest)
    return best.floor > last_proposed + slack_of(dim) * scale


def _blocks(gather: Gather, ids: I64, dim: int) -> list[I64]:
    step = max(1, _BLOCK_BYTES // (4 * dim))
    return [ids[first : first + step] for first in range(0, len(ids), step)]


def _scan(gather: Gather, ids: I64, query: F64, k: int, metric: Metric) -> Best:
    best = Best(query, k, metric)
    for block in _blocks(gather, ids, len(query)):
        rows = gather(block)
        coarse, slack = coarse_scores(query[None], rows, metric)
        best.offer(block, rows, coarse[0], float(slack[0]))
    return best


def _scan_groups(gather: Gather, groups_of: GroupsOf, ids: I64, query: F64, k: int, metric: Metric) -> Best:
    """One coarse pass over all rows, then exact scores for those that may lead their group."""
    blocks = _blocks(gather, ids, len(query))
    coarse, slack = np.empty(len(ids), np.float32), 0.0
    done = 0
    for block in blocks:
        scores, error = coarse_scores(query[None], gather(block), metric)
        coarse[done : done + len(block)] = scores[0]
        slack, done = max(slack, float(error[0])), done + len(block)
    best = Best(query, k, metric)
    if not len(ids):
        return best
    codes = np.unique(groups_of(ids), return_inverse=True)[1]
    tops = np.full(int(codes.max()) + 1, -np.inf, np.float32)
    np.maximum.at(tops, codes, coarse)
    floor = float(np.partition(tops, -k)[-k]) if len(tops) > k else -np.inf
    may_lead = np.flatnonzero((coarse >= floor - 2 * slack) & (coarse >= tops[codes] - 2 * slack))
    scores = exact_scores(query, gather(ids[may_lead]), metric)
    order = np.lexsort((ids[may_lead], -scores))
    _, firsts = np.unique(codes[may_lead][order], return_index=True)
    leaders = order[np.sort(firsts)]
    best.take(ids[may_lead][leaders], scores[leaders])
    return best
