"""Types and small checks that the evaluation functions share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import UsageError

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bools = NDArray[np.bool_]
Groups = Sequence[Any] | NDArray[Any]
NO_LABEL = -1


def group_codes(groups: Groups) -> I64:
    """(n,) codes 0..g-1 of the groups (patients) of n rows; equal entries get equal codes."""
    array = np.asarray(groups)
    if array.dtype == object:
        array = np.array([str(entry) for entry in groups])
    if array.ndim != 1:
        raise UsageError(f"patients must be a list of one entry per row, got shape {array.shape}")
    return np.unique(array, return_inverse=True)[1].astype(np.int64).reshape(-1)


def same_length(**named: Any) -> int:
    """The common length of the named arrays; UsageError when they differ."""
    lengths = {name: len(value) for name, value in named.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UsageError(f"arrays of different lengths: {told}")
    return next(iter(lengths.values()))


def shared_groups(first: Groups, second: Groups) -> int:
    """How many groups (patients) are in both; compared as text, as they come from tables and files."""
    one, two = ({str(entry) for entry in np.unique(np.asarray(side))} for side in (first, second))
    return len(one & two)


def finite_or_none(value: float) -> float | None:
    """A number for JSON: None in place of NaN and infinities."""
    return float(value) if np.isfinite(value) else None
