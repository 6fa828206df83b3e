"""Long id lists in pieces that a database takes as bound parameters, and selects as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import Connection, Select

from embedstore.contracts.image import I64

T = TypeVar("T")

#: Below the 32,766 bound parameters of SQLite and the 65,535 of PostgreSQL.
CHUNK = 10_000


def chunked(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Consecutive slices of at most `size` elements."""
    for first in range(0, len(values), size):
        yield values[first : first + size]


def unique(values: Iterable[T]) -> list[T]:
    """Distinct values in the order of their first appearance."""
    return list(dict.fromkeys(values))


def id_array(connection: Connection, select: Select[*tuple[Any, ...]]) -> I64:
    """A select of one integer column as (n,) int64, without a Python object per row being kept."""
    rows = connection.execution_options(yield_per=50_000).execute(select).scalars()
    return np.fromiter(rows, np.int64)


def id_arrays(connection: Connection, select: Select[*tuple[Any, ...]], columns: int) -> I64:
    """A select of `columns` integer columns as (columns, n) int64."""
    rows = connection.execution_options(yield_per=50_000).execute(select)
    flat = np.fromiter((value for row in rows for value in row), np.int64)
    return np.ascontiguousarray(flat.reshape(-1, columns).T)
