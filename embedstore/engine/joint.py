"""Stored vectors carried over a bridge, kept for the next query as long as they are few enough to hold."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from embedstore.contracts.image import F32, I64
from embedstore.contracts.index import VectorIndex
from embedstore.indexes.exact import factory as exact_factory

_PROJECTED_TOGETHER = 8192
_HELD_BYTES = 512 << 20

Key = tuple[int, str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """An exact index of projected vectors under their own ids. rows: projected vectors of ids."""

    index: VectorIndex
    rows: Callable[[I64], F32]
    octets: int


class JointShelf:
    """Projections by bridge, space and allow-set, the least recently used dropped first.

    Nothing goes stale: a vector id always means the same vector, and a changed allow-set is another key.
    """

    def __init__(self, budget: int = _HELD_BYTES) -> None:
        self._budget = budget
        self._held: OrderedDict[Key, Joint] = OrderedDict()

    def get(
        self,
        bridge: int,
        space: str,
        allow: I64,
        gather: Callable[[I64], F32],
        to_joint: Callable[[F32], F32],
    ) -> Joint:
        """The allowed vectors in the joint space, but for those the bridge says nothing of (zero rows)."""
        ids = np.ascontiguousarray(allow, np.int64)
        key = (bridge, space, hashlib.blake2b(ids.tobytes(), digest_size=16).hexdigest())
        found = self._held.pop(key, None) or _project(ids, gather, to_joint)
        if found.octets <= self._budget:
            self._held[key] = found
        while sum(one.octets for one in self._held.values()) > self._budget:
            self._held.popitem(last=False)
        return found


def _project(allow: I64, gather: Callable[[I64], F32], to_joint: Callable[[F32], F32]) -> Joint:
    blocks = [allow[i : i + _PROJECTED_TOGETHER] for i in range(0, len(allow), _PROJECTED_TOGETHER)]
    joint = (
        np.concatenate([to_joint(gather(block)) for block in blocks]) if blocks else to_joint(gather(allow))
    )
    known = np.abs(joint).max(axis=1, initial=0) > 0
    ids, joint = allow[known], np.ascontiguousarray(joint[known], np.float32)
    index = exact_factory.create(joint.shape[1])
    if len(ids):
        index.add(ids, joint, 1)

    def rows(wanted: I64) -> F32:
        found: F32 = joint[np.searchsorted(ids, wanted)]
        return found

    return Joint(index, rows, 2 * joint.nbytes)  # the index keeps its own copy
