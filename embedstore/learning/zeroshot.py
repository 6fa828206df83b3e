"""Zero-shot labels: likeness to prompts, and when that is enough to decide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.contracts.labels import ABSTAIN
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64
from embedstore.learning.prompts import PromptKind, Prototypes
from embedstore.learning.vectors import checked_rows, unit_rows

UNCALIBRATED = "uncalibrated"
BELOW = "below threshold"


def class_scores(prototypes: Prototypes, image_vectors: NDArray[Any]) -> F32:
    """(n, c) scores, larger is likelier.

    Vectors and prototypes are of one space: the shared one of a dual encoder, or a bridge's joint space.

    Classes: cosine with the class. Findings: cosine with "present" less cosine with "absent", so above 0
    leans to present.
    """
    rows = unit_rows(checked_rows(image_vectors, "images", prototypes.present.shape[1]))
    scores = rows @ prototypes.present.T
    if prototypes.absent is not None:
        scores = scores - rows @ prototypes.absent.T
    return np.ascontiguousarray(scores, dtype=np.float32)


def softmax(scores: NDArray[Any], temperature: float = 1.0) -> F32:
    """Rows of exp(score / temperature), summing to 1."""
    if not temperature > 0:
        raise UsageError(f"a temperature is above 0, got {temperature}")
    scaled = np.asarray(scores, dtype=np.float64) / temperature
    grown = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Decisions:
    """labels: (n,) class indices, or (n, c) of 1 and 0; -1 abstains. reasons: same shape, "" if decided."""

    labels: I64
    reasons: NDArray[np.str_]


def decide(
    kind: PromptKind, scores: NDArray[Any], probabilities: NDArray[Any] | None, threshold: float | None
) -> Decisions:
    """Turn probabilities into labels, or abstain and say why.

    The label is the likelier outcome if its probability reaches `threshold` (any will do without one); a
    finding whose probabilities are NaN abstains, "uncalibrated". Scores alone decide nothing: without
    probabilities everything is "uncalibrated", whatever the threshold.
    """
    shape = np.shape(scores)[:1] if kind == "classes" else np.shape(scores)
    if probabilities is None:
        return Decisions(labels=np.full(shape, ABSTAIN), reasons=np.full(shape, UNCALIBRATED))
    shown = np.asarray(probabilities, dtype=np.float64)
    if kind == "classes":
        labels = np.where(shown.max(axis=1) >= (threshold or 0.0), shown.argmax(axis=1), ABSTAIN)
        blind = np.zeros(shape, dtype=bool)
    else:
        labels, blind = _decide_findings(shown, threshold), ~np.isfinite(shown)
    reasons = np.where(labels != ABSTAIN, "", np.where(blind, UNCALIBRATED, BELOW))
    return Decisions(labels=labels.astype(np.int64), reasons=reasons)


def _decide_findings(shown: F64, threshold: float | None) -> I64:
    limit = max(0.5, threshold or 0.0)
    p = np.nan_to_num(shown, nan=-1.0)
    return np.where(p >= limit, 1, np.where((p >= 0) & (1 - p >= limit), 0, ABSTAIN))
