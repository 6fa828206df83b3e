"""Labels that are probably wrong: by a classifier that has not seen them, and by their neighbours.

Northcutt, Jiang and Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 70:1373, 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, Groups, group_codes, same_length
from embedstore.evaluation.intervals import Estimate, bootstrap
from embedstore.evaluation.metrics import auroc, balanced_accuracy, macro_auroc
from embedstore.evaluation.splits import patient_folds

_LEAST_PER_CLASS = 2
_RESAMPLES = 500
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Doubts:
    """suspect: (n,) given labels that are rather another class, `suggested` (n,). score: (n,) what speaks for
    the given label, 0 to 1."""

    suspect: Mask
    suggested: I64
    score: F64


def confident_learning(labels: NDArray[Any], probabilities: NDArray[Any]) -> Doubts:
    """Labels off the diagonal of the confident joint.

    labels: (n,) given classes. probabilities: (n, K), of a classifier that did not see the row's label. A row
    is confidently class j when p_j reaches the mean p_j of the rows labelled j (the likeliest such j).
    """
    given, p = np.asarray(labels, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or given.shape != p.shape[:1]:
        raise UsageError(f"labels {given.shape} and probabilities {p.shape} do not fit")
    n_classes = p.shape[1]
    thresholds = np.array(
        [p[given == c, c].mean() if (given == c).any() else np.inf for c in range(n_classes)]
    )
    confident = p >= np.maximum(thresholds - 1e-6, 1e-6)  # rounding as the reference implementation has it
    confused = np.where(confident, p, -1.0)
    best = confused.argmax(axis=1)
    suspect = confident.any(axis=1) & (best != given) & (p.argmax(axis=1) != given)
    suggested = np.where(confident.any(axis=1), best, given)
    return Doubts(
        suspect=suspect, suggested=suggested.astype(np.int64), score=p[np.arange(len(given)), given]
    )


def out_of_fold(
    vectors: F32, labels: NDArray[Any], patients: Groups, *, n_folds: int = 5, c: float = 1.0, seed: int = 0
) -> F64:
    """(n, K) probabilities of a logistic regression that saw none of the row's patient.

    Raises UsageError when there are too few patients, or a class has fewer than two rows.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    given = np.asarray(labels, dtype=np.int64)
    same_length(vectors=vectors, labels=given, patients=patients)
    n_classes = int(given.max()) + 1 if len(given) else 0
    counts = np.bincount(given, minlength=max(n_classes, 2))
    if counts.min() < _LEAST_PER_CLASS:
        raise UsageError(f"an audit needs {_LEAST_PER_CLASS} rows of each class; there are {counts.tolist()}")
    folds = patient_folds(patients, min(n_folds, int(group_codes(patients).max()) + 1), y=given, seed=seed)
    told = np.zeros((len(given), n_classes))
    for fold in range(int(folds.max()) + 1):
        held = folds == fold
        seen = np.unique(given[~held])
        if len(seen) == 1:
            told[held, seen[0]] = 1.0
            continue
        scale = StandardScaler().fit(vectors[~held])
        model = LogisticRegression(C=c / vectors.shape[1], max_iter=1000).fit(
            scale.transform(vectors[~held]), given[~held]
        )
        told[np.ix_(held, seen)] = model.predict_proba(scale.transform(vectors[held]))
    return told


def neighbour_shares(labels: NDArray[Any], neighbours: I64, n_classes: int) -> F64:
    """(n, K) share of each row's neighbours that carry each label. neighbours: (n, k) rows, -1 for none."""
    given = np.asarray(labels, dtype=np.int64)
    there = neighbours >= 0
    named = np.where(there, given[np.maximum(neighbours, 0)], -1)
    counts = (named[:, :, None] == np.arange(n_classes)).sum(axis=1)
    return np.asarray(counts / np.maximum(there.sum(axis=1, keepdims=True), 1))


def disagreeing(labels: NDArray[Any], shares: NDArray[Any], agreement: float = 0.8) -> Doubts:
    """Labels that so large a share of the neighbours contradicts with one voice."""
    given, found = np.asarray(labels, dtype=np.int64), np.asarray(shares, dtype=np.float64)
    best = found.argmax(axis=1).astype(np.int64)
    suspect = (best != given) & (found.max(axis=1) >= agreement - 1e-9)
    return Doubts(suspect=suspect, suggested=best, score=found[np.arange(len(given)), given])


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """How well what doubts the labels tells them. warning: where its doubts mean little, else ""."""

    estimate: Estimate
    warning: str


def judged_judges(
    labels: NDArray[Any], probabilities: NDArray[Any], shares: NDArray[Any], patients: Groups
) -> dict[str, Judge]:
    """The quality of the out-of-fold classifier (AUROC) and of the neighbours (balanced accuracy).

    labels: (n,) as given, wrong ones and all; no other are known. probabilities, shares: (n, K) of those two.
    """
    given = np.asarray(labels, dtype=np.int64)
    present, y = np.unique(given, return_inverse=True)
    told = np.asarray(probabilities)[:, present]
    binary = len(present) == 2
    name, metric = ("auroc", auroc) if binary else ("macro_auroc", macro_auroc)
    classifier = bootstrap(name, metric, y, told[:, 1] if binary else told, patients, resamples=_RESAMPLES)
    nearest = np.asarray(shares)[:, present].argmax(axis=1)
    neighbours = bootstrap("balanced_accuracy", balanced_accuracy, y, nearest, patients, resamples=_RESAMPLES)
    return {
        "classifier": Judge(estimate=classifier, warning=_doubtful("the classifier", classifier, 0.5)),
        "neighbours": Judge(
            estimate=neighbours, warning=_doubtful("the neighbours", neighbours, 1 / len(present))
        ),
    }


def _doubtful(who: str, found: Estimate, chance: float) -> str:
    if found.low > chance:
        return ""
    return (
        f"{who} cannot be told from chance ({chance:.2f}) on these labels, "
        f"{found.metric.replace('_', ' ')} {found}: what is suspected by that means little"
    )


def contradicting_twins(labels: NDArray[Any], neighbours: I64, similarity: NDArray[Any], least: float) -> I64:
    """(m, 2) pairs of rows, first below second, that are as good as one image and carry different labels.

    neighbours, similarity: (n, k) rows and cosines. least: cosine from which two are one.
    """
    given = np.asarray(labels, dtype=np.int64)
    rows, places = np.nonzero((neighbours >= 0) & (np.asarray(similarity) >= least))
    others = neighbours[rows, places]
    differ = given[rows] != given[others]
    pairs = np.sort(np.stack([rows[differ], others[differ]], axis=1), axis=1)
    return np.unique(pairs, axis=0).astype(np.int64).reshape(-1, 2)
