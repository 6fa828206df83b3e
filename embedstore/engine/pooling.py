"""How the vectors of parts become the vector of their whole. Nothing is learned."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32
from embedstore.contracts.record import Asset
from embedstore.errors import UsageError
from embedstore.fingerprint import digest


@dataclass(frozen=True, slots=True)
class Pooling:
    """A rule, as `METHOD` or `mean:COLUMN`.

    mean: of the vectors as they are stored, each part counting alike or by the number in a column of the
    part (`attr.tissue`, the share of a tile that is tissue; a part without a number above 0 counts nothing).
    max: the largest value in each dimension.
    """

    method: Literal["mean", "max"]
    weight: str | None = None

    @classmethod
    def of(cls, text: str) -> Pooling:
        """The rule that a text names. Raises UsageError."""
        method, colon, weight = text.partition(":")
        if method == "max" and not colon:
            return cls("max")
        if method == "mean" and bool(colon) == bool(weight):
            return cls("mean", weight or None)
        raise UsageError(
            f"'{text}' is no pooling; there are mean, max, and mean:COLUMN, weighted by a number of the "
            "parts such as mean:attr.tissue"
        )

    @property
    def text(self) -> str:
        """The rule as a user writes it."""
        return self.method if self.weight is None else f"{self.method}:{self.weight}"

    def to_json(self) -> dict[str, Any]:
        """For the record of a derived space."""
        return {"method": self.method, "weight": self.weight}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Pooling:
        """The inverse of `to_json`."""
        return cls(data["method"], data["weight"])

    def space(self, base: str) -> str:
        """Fingerprint of the derived space: base space and rule."""
        return digest({"derived from": base, "pooling": self.to_json()})

    def pool(self, vectors: Iterable[F32], weights: NDArray[np.float64] | None = None) -> F32 | None:
        """(dim,) of all rows of the (n, dim) arrays, which are read one after the other; in float64.

        weights: of all rows in their order. None when no row counts, and for a result that is zero.
        """
        made: NDArray[np.float64] | None = None
        total, row = 0.0, 0
        for some in vectors:
            rows = some.astype(np.float64)
            counts = np.ones(len(rows)) if weights is None else weights[row : row + len(rows)]
            row += len(rows)
            if self.method == "max":
                one = rows.max(axis=0)
                made = one if made is None else np.maximum(made, one)
            else:
                one = counts @ rows
                made = one if made is None else made + one
            total += float(counts.sum())
        if made is None or total <= 0:
            return None
        pooled = (made if self.method == "max" else made / total).astype(np.float32)
        return pooled if pooled.any() else None


def weights_of(parts: Sequence[Asset], column: str) -> NDArray[np.float64]:
    """(n,) what parts count by a column or attribute of theirs; 0 where it is missing or not above 0."""
    attribute = column.removeprefix("attr.")
    values = [
        getattr(part.header, column, None) if attribute == column else part.header.extra.get(attribute)
        for part in parts
    ]
    return np.array([float(v) if isinstance(v, int | float) and v > 0 else 0.0 for v in values])
