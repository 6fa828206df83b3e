"""Small operations on rows of vectors that this room shares."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.errors import UsageError

TINY = 1e-12
_SAME = 1e-5  # one minus the cosine; a changed word moves a sentence a thousand times further
_CHUNK = 2048


def unit_rows(vectors: NDArray[Any]) -> F32:
    """Rows scaled to length 1; a zero row stays zero."""
    found = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    return np.ascontiguousarray(found / np.maximum(lengths, TINY), dtype=np.float32)


def checked_rows(vectors: NDArray[Any], what: str, dim: int | None = None) -> F32:
    """The vectors as (n, dim) float32; UsageError when shape or values make no sense."""
    found = np.asarray(vectors, dtype=np.float32)
    if found.ndim != 2 or (dim is not None and found.shape[1] != dim):
        wanted = f"(n, {dim})" if dim is not None else "(n, dim)"
        raise UsageError(f"{what}: expected vectors of shape {wanted}, got {found.shape}")
    if not _all_finite(found):
        raise UsageError(f"{what}: the vectors hold NaN or infinite values")
    return found


def _all_finite(rows: F32) -> bool:
    """One pass without a copy: a NaN or an infinity spoils the sum of squares. So may very large numbers."""
    flat = rows.ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        spoilt = not np.isfinite(np.dot(flat, flat))
    return not spoilt or bool(np.isfinite(rows).all())


def same_rows(vectors: NDArray[Any]) -> I64:
    """(n,) codes that are equal where rows are equal bit by bit."""
    found = np.ascontiguousarray(vectors)
    if not found.size:
        return np.zeros(len(found), dtype=np.int64)
    rows = found.view(np.dtype((np.void, found.dtype.itemsize * found.shape[1]))).reshape(-1)
    return np.unique(rows, return_inverse=True)[1].astype(np.int64).reshape(-1)


def same_directions(vectors: NDArray[Any]) -> I64:
    """(n,) codes that are equal where rows point the same way within rounding.

    One text embedded in two batches differs in its last digits, so that `same_rows` would call it two.
    """
    rows = unit_rows(vectors)
    first = np.empty(len(rows), dtype=np.int64)
    for start in range(0, len(rows), _CHUNK):
        likeness = rows[start : start + _CHUNK] @ rows.T
        first[start : start + _CHUNK] = (likeness >= 1.0 - _SAME).argmax(axis=1)
    return np.unique(first, return_inverse=True)[1].astype(np.int64).reshape(-1)


def arrays_sha256(*arrays: NDArray[Any]) -> str:
    """sha256 over types, shapes and little-endian bytes of arrays, in order."""
    found = hashlib.sha256()
    for array in arrays:
        plain = np.ascontiguousarray(array)
        little = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
        found.update(f"{little.dtype.str}{little.shape}".encode())
        found.update(little.tobytes())
    return found.hexdigest()
