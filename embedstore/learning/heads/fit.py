"""One door to every kind: labelled vectors in, a head out."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from embedstore.contracts.image import F32
from embedstore.evaluation.arrays import Groups
from embedstore.learning.heads.kinds import Task, info_of, kind_of
from embedstore.learning.heads.record import FittedHead
from embedstore.learning.heads.rows import FitOptions, Identity, head_of, labelled_rows


def fit_kind(
    kind: str,
    vectors: NDArray[Any],
    y: ArrayLike,
    patients: Groups,
    identity: Identity,
    *,
    task: Task | None = None,
    bags: Groups | None = None,
    texts: F32 | None = None,
    options: FitOptions | None = None,
) -> FittedHead:
    """A head of a kind of `kinds.KINDS` on vectors (n, dim); y, bags and texts as `rows.Rows` has them.

    Rows without a label are left out and counted. What is chosen is chosen on patient-grouped folds of these
    rows. Raises UsageError for what cannot be learned.
    """
    asked = task or info_of(kind).tasks[0]
    rows, dropped = labelled_rows(vectors, y, patients, identity, task=asked, bags=bags, texts=texts)
    return head_of(identity, kind, rows, dropped, kind_of(kind).fit(rows, options or FitOptions()))
