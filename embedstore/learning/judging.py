"""Asking a labelling function, that answers in votes or in probabilities, and holding it to its word."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32
from embedstore.contracts.labels import ABSTAIN, LabelBatch, LabelingFunction, LabelSet, Votes
from embedstore.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FunctionVoter:
    """A function of the user's: takes a `LabelBatch`, gives (n,) class indices, -1 abstains; or (n, K)
    probabilities, a row of zeros or NaN abstains. columns: metadata it wants beside the usual.
    """

    label_set: LabelSet
    function: Callable[[LabelBatch], Any]
    code_sha256: str
    name: str = "function"
    needs: frozenset[str] = frozenset({"report", "metadata"})
    columns: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """Changes with the file the function is in."""
        return self.code_sha256[:12]

    def __call__(self, batch: LabelBatch) -> Any:
        """What the function says. Raises UsageError with the line it failed on, and no word of its data."""
        try:
            return self.function(batch)
        except Exception as error:
            at = traceback.extract_tb(error.__traceback__)[-1]
            raise UsageError(
                f"voter '{self.name}' failed: {type(error).__name__} in line {at.lineno} of {at.filename}"
            ) from error


def ask(function: LabelingFunction, batch: LabelBatch, name: str) -> tuple[Votes, F32]:
    """(n,) class indices, -1 abstains, and (n,) probabilities of them, NaN where none was given.

    Raises UsageError when the answer has another shape or names a class that is not there.
    """
    n, n_classes = len(batch.item_ids), len(function.label_set.classes)
    answer = np.asarray(function(batch))
    if answer.ndim == 2:
        return _hardened(answer, (n, n_classes), name)
    if answer.shape != (n,) or not _whole(answer):
        raise UsageError(
            f"voter '{name}' must give {n} class indices or {n} x {n_classes} probabilities, "
            f"not {answer.dtype} of shape {answer.shape}"
        )
    votes = answer.astype(np.int64)
    if votes.size and (votes.min() < ABSTAIN or votes.max() >= n_classes):
        raise UsageError(
            f"voter '{name}' must vote -1 to {n_classes - 1}, not {votes.min()} to {votes.max()}"
        )
    sure = np.full(n, np.nan, np.float32)
    asked: Any = getattr(function, "probabilities", None)
    told = asked(batch) if asked is not None else None
    if told is not None:
        sure = np.asarray(told, dtype=np.float32)
    return votes, np.where(votes == ABSTAIN, np.float32(np.nan), sure)


def _whole(answer: NDArray[Any]) -> bool:
    if answer.dtype.kind in "iub":
        return True
    return answer.dtype.kind == "f" and bool((answer == np.round(answer)).all())


def _hardened(answer: NDArray[Any], shape: tuple[int, int], name: str) -> tuple[Votes, F32]:
    soft = np.nan_to_num(np.asarray(answer, dtype=np.float64), nan=0.0)
    if soft.shape != shape or (soft.size and (soft.min() < 0 or not np.isfinite(soft).all())):
        raise UsageError(f"voter '{name}' must give {shape[0]} x {shape[1]} probabilities, 0 or more")
    total = soft.sum(axis=1)
    spoke = total > 0
    votes = np.where(spoke, soft.argmax(axis=1), ABSTAIN).astype(np.int64)
    sure = np.where(spoke, soft.max(axis=1) / np.where(spoke, total, 1.0), np.nan)
    return votes, sure.astype(np.float32)
