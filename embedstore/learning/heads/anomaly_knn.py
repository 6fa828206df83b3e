"""How far an image is from a healthy reference: mean cosine distance to its five nearest images.

Class 0 of the rows is the reference; others teach nothing. The head carries the reference's vectors.
"""

from __future__ import annotations

from embedstore.contracts.image import F32, I64
from embedstore.evaluation.arrays import F64
from embedstore.learning.heads.neighbours import mean_distance
from embedstore.learning.heads.record import FittedHead
from embedstore.learning.heads.rows import FitOptions, Fitted, Rows, reference_of
from embedstore.learning.vectors import unit_rows

NEIGHBOURS = 5


def fit(rows: Rows, options: FitOptions) -> Fitted:
    """Nothing is chosen: a reference without anomalies cannot tell which setting finds them."""
    healthy = reference_of(rows)
    params = {"n_reference": len(healthy), "n_reference_patients": healthy.n_patients, "k": NEIGHBOURS}
    return Fitted(params, {"known": unit_rows(healthy.vectors)})


def apply(head: FittedHead, vectors: F32, bags: I64 | None = None) -> F64:
    """(n, dim) to (n, 1) distances, 0 to 2."""
    return mean_distance(head.arrays["known"], unit_rows(vectors), int(head.spec.params["k"]))[:, None]


def dim(head: FittedHead) -> int:
    """Length of the vectors."""
    return int(head.arrays["known"].shape[1])


def fits(head: FittedHead) -> bool:
    """Whether the arrays are those of the card."""
    return head.arrays["known"].ndim == 2 and int(head.spec.params["k"]) > 0
