"""Which inverted lists to read for a query, given which vectors it may answer with.

An inverted file that reads the lists nearest to the query finds little when a filter allows only vectors
far from it (chest films searched with a fundus). The lists of all live vectors are therefore known here, the
allowed vectors in each list are counted, and only lists that hold some are read, the nearest first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.indexes.checks import members

I32 = NDArray[np.int32]
# Above this many unused ids per live vector, a table over all ids would waste memory.
_SPARSE = 16
_ALWAYS_DENSE = 1_000_000


def dense(ids: I64, count: int) -> bool:
    """Whether a table over 0..max(ids) is worth its memory for `count` entries; ids ascend."""
    return not len(ids) or int(ids[-1]) <= _ALWAYS_DENSE + _SPARSE * count


class Placement:
    """The live vector ids, ascending, and the inverted list each is in."""

    def __init__(self, nlist: int) -> None:
        self.nlist = nlist
        self.ids: I64 = np.empty(0, np.int64)
        self._lists: I32 = np.empty(0, np.int32)
        self._table: I32 | None = None
        self._sizes: I64 = np.zeros(nlist, np.int64)

    def add(self, ids: I64, lists: NDArray[np.integer]) -> None:
        """(n,) new ids in any order, and their lists."""
        ids = np.concatenate([self.ids, ids])
        placed = np.concatenate([self._lists, lists.astype(np.int32)])
        order = np.argsort(ids, kind="stable")
        self._hold(ids[order], placed[order])

    def remove(self, ids: I64) -> None:
        """Forget ids (ascending); those unknown are ignored."""
        kept = ~members(self.ids, ids)
        self._hold(self.ids[kept], self._lists[kept])

    def _hold(self, ids: I64, lists: I32) -> None:
        self.ids, self._lists, self._table = ids, lists, None
        self._sizes = np.bincount(lists, minlength=self.nlist)

    def counts(self, allow: I64 | None) -> I64:
        """(nlist,) how many allowed vectors each list holds; allow: ascending ids, None for all."""
        if allow is None:
            return self._sizes
        if not dense(self.ids, len(self.ids)):
            places = np.searchsorted(self.ids, allow[members(allow, self.ids)])
            return np.bincount(self._lists[places], minlength=self.nlist)
        table = self._table
        if table is None:
            table = np.full(int(self.ids[-1]) + 1 if len(self.ids) else 0, self.nlist, np.int32)
            table[self.ids] = self._lists
            self._table = table
        known = allow[: np.searchsorted(allow, len(table))]
        return np.bincount(table[known], minlength=self.nlist + 1)[: self.nlist]


def choose_lists(closeness: F32, counts: I64, lists: int, rows: int) -> tuple[I64, F32]:
    """The nearest lists that hold allowed vectors, as (q, p) list numbers and (q, p) closeness.

    closeness: (q, nlist) of each list's centroid. counts: (nlist,) allowed vectors. At least `lists` of them,
    and more until `rows` allowed vectors will be met. Missing entries are -1.
    """
    order = np.argsort(-closeness, axis=1, kind="stable")
    held = counts[order]
    rank = np.cumsum(held > 0, axis=1)
    met_before = np.cumsum(held, axis=1) - held
    kept = (held > 0) & ((rank <= lists) | (met_before < rows))
    width = max(1, int(kept.sum(axis=1).max()))
    front = np.argsort(~kept, axis=1, kind="stable")[:, :width]
    chosen = np.where(np.take_along_axis(kept, front, axis=1), np.take_along_axis(order, front, axis=1), -1)
    near = np.take_along_axis(closeness, np.maximum(chosen, 0), axis=1)
    return np.ascontiguousarray(chosen, np.int64), np.ascontiguousarray(near, np.float32)
