"""What an index refuses, before anything is changed. FAISS would take all of it without a word."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.errors import UsageError


def checked_batch(ids: Any, vectors: Any, dim: int) -> tuple[I64, F32]:
    """(n,) ids and (n, dim) vectors that may be added, C-contiguous. Raises UsageError."""
    ids = checked_ids(ids)
    vectors = checked_vectors(vectors, dim, "vectors")
    if len(ids) != len(vectors):
        raise UsageError(f"{len(ids)} vector ids came with {len(vectors)} vectors; give one id per vector")
    if len(np.unique(ids)) != len(ids):
        raise UsageError("a vector id occurs twice in one call; ids are unique and never reused")
    return ids, vectors


def checked_ids(ids: Any) -> I64:
    """(n,) int64 ids, none negative (-1 is the padding of an answer). Raises UsageError."""
    if not isinstance(ids, np.ndarray) or ids.dtype != np.int64 or ids.ndim != 1:
        raise UsageError("vector ids must be a one-dimensional int64 array")
    if len(ids) and int(ids.min()) < 0:
        raise UsageError(f"vector ids must not be negative, got {int(ids.min())}")
    return np.ascontiguousarray(ids)


def checked_vectors(vectors: Any, dim: int, noun: str) -> F32:
    """(n, dim) float32 vectors, finite and none of them zero. Raises UsageError."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        raise UsageError(f"{noun} must be a float32 array, got {getattr(vectors, 'dtype', type(vectors))}")
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise UsageError(f"{noun} must have the shape (n, {dim}), got {vectors.shape}")
    peaks = _peaks(vectors)
    if not np.isfinite(peaks).all():
        row = int(np.flatnonzero(~np.isfinite(peaks))[0])
        raise UsageError(f"row {row} of the {noun} holds NaN or infinity; such a vector has no neighbours")
    if not peaks.all():
        row = int(np.flatnonzero(peaks == 0)[0])
        raise UsageError(f"row {row} of the {noun} is zero; such a vector has no direction")
    return np.ascontiguousarray(vectors)


def _peaks(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest magnitude of each row; NaN stays NaN."""
    if not vectors.size:
        return np.zeros(0, np.float32)
    peaks: NDArray[np.float32] = np.maximum(vectors.max(axis=1), -vectors.min(axis=1))
    return peaks


def refuse_known(ids: I64, live: I64) -> None:
    """Raise UsageError when one of `ids` is already among `live` (ascending)."""
    known = ids[members(ids, live)]
    if len(known):
        raise UsageError(
            f"vector id {int(known[0])} is already in the index; ids are unique and never reused"
        )


def members(ids: I64, live: I64) -> NDArray[np.bool_]:
    """(n,) whether each id is among `live` (ascending)."""
    if not len(live):
        return np.zeros(len(ids), bool)
    places = np.minimum(np.searchsorted(live, ids), len(live) - 1)
    found: NDArray[np.bool_] = live[places] == ids
    return found


def checked_allow(allow: Any) -> I64 | None:
    """The allow-set: None, or (n,) int64 strictly ascending. Raises UsageError."""
    if allow is None:
        return None
    if not isinstance(allow, np.ndarray) or allow.dtype != np.int64 or allow.ndim != 1:
        raise UsageError("the allow-set must be a one-dimensional int64 array")
    if not (allow[1:] > allow[:-1]).all():
        raise UsageError("the allow-set must be sorted and free of duplicates")
    return np.ascontiguousarray(allow)


def checked_request(queries: Any, dim: int, k: int, effort: int = 1) -> F32:
    """(q, dim) queries that may be searched for k neighbours. Raises UsageError."""
    if k < 1:
        raise UsageError(f"k must be at least 1, got {k}")
    if effort < 1:
        raise UsageError(f"effort must be at least 1, got {effort}")
    return checked_vectors(queries, dim, "queries")


def checked_seq(seq: int, applied: int) -> int:
    """The change-log position after an update; it never goes back. Raises UsageError."""
    if seq < applied:
        raise UsageError(f"the index is at change {applied}; change {seq} was applied before")
    return int(seq)
