"""Do voters err together? A label model that takes them for independent then believes them too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.evaluation.arrays import F64, I64

LEVEL = 0.01  # over all pairs together (Bonferroni)
STRONG = 0.1  # Cohen's w of a small effect (Statistical Power Analysis, 1988, section 7.2)
_LEAST_VOTERS = 4
_ROUNDS, _ENOUGH = 500, 1e-4
_TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDependence:
    """Two voters beyond what the truth explains. w: Cohen's effect size. p_value: by chi-squared.

    n_images: items both spoke on, of n_patients patients. known: how the truth was known, "gold" or "model".
    """

    first: str
    second: str
    w: float
    p_value: float
    n_images: int
    n_patients: int
    known: str

    @property
    def sentence(self) -> str:
        """For a person."""
        return (
            f"'{self.first}' and '{self.second}' err together (w = {self.w:.2f}, n = {self.n_images} images, "
            f"{self.n_patients} patients): the fused probabilities are surer than they should be; drop one"
        )


def dependent_pairs(
    votes: NDArray[Any], voters: Sequence[str], n_classes: int, patients: I64, truth: I64 | None = None
) -> tuple[PairDependence, ...]:
    """Every pair of voters that spoke on common items, the most dependent first.

    votes: (n, m) class indices, negative when silent. patients: (n,) codes. With `truth` (n,), class or -1,
    the pair's votes are tested for independence inside each true class (G-test). Without it, a latent class
    model in which the pair is one voter with K x K answers is compared with one in which it is two
    (likelihood ratio); the pair counts once in that, so a copied voter cannot bend the classes its own way.
    Three voters fit any two-class model exactly, so without truth there must be four to see anything.
    The statistic is scaled by patients per image, as if the images of one patient were one.
    """
    from scipy.stats import chi2

    said = np.asarray(votes, dtype=np.int64)
    if truth is None and (said >= 0).any(axis=0).sum() < _LEAST_VOTERS:
        return ()
    pairs = []
    for a, b in combinations(range(said.shape[1]), 2):
        both = (said[:, a] >= 0) & (said[:, b] >= 0) & (True if truth is None else truth >= 0)
        if both.sum() < 2:
            continue
        if truth is None:
            statistic, tables = _latent_ratio(said, a, b, n_classes), n_classes
        else:
            statistic, tables = _known_ratio(said[both, a], said[both, b], truth[both], n_classes)
        images, people = int(both.sum()), len(np.unique(patients[both]))
        freedom = max(1, tables * (n_classes - 1) ** 2)
        pairs.append(
            PairDependence(
                first=voters[a],
                second=voters[b],
                w=float(np.sqrt(max(0.0, statistic) / images)),
                p_value=float(chi2.sf(max(0.0, statistic) * people / images, freedom)),
                n_images=images,
                n_patients=people,
                known="model" if truth is None else "gold",
            )
        )
    return tuple(sorted(pairs, key=lambda pair: -pair.w))


def warned(pairs: Sequence[PairDependence]) -> tuple[PairDependence, ...]:
    """Those whose dependence is neither small nor likely to be chance."""
    return tuple(pair for pair in pairs if pair.w >= STRONG and pair.p_value * len(pairs) < LEVEL)


def _known_ratio(first: I64, second: I64, truth: I64, n_classes: int) -> tuple[float, int]:
    """G statistic of the pair's tables within each true class, and how many classes there were."""
    flat = (truth * n_classes + first) * n_classes + second
    seen = np.bincount(flat, minlength=n_classes**3).reshape(n_classes, n_classes, n_classes).astype(float)
    rows, columns, whole = (seen.sum(axis=axis, keepdims=True) for axis in (2, 1, (1, 2)))
    expected = rows * columns / np.maximum(whole, 1.0)
    met = seen > 0
    return 2 * float((seen[met] * np.log(seen[met] / expected[met])).sum()), int((whole > 0).sum())


def _latent_ratio(said: I64, a: int, b: int, n_classes: int) -> float:
    """Twice what the log-likelihood gains when voters a and b may agree beyond the classes."""
    patterns, counts = np.unique(said, axis=0, return_counts=True)
    weights = counts.astype(np.float64)
    both = (patterns[:, a] >= 0) & (patterns[:, b] >= 0)
    others = [_one_hot(patterns[:, m], n_classes) for m in range(said.shape[1]) if m not in (a, b)]
    # Where only one of the two spoke, it is a voter of its own in either model.
    others += [_one_hot(np.where(both, -1, patterns[:, m]), n_classes) for m in (a, b)]
    apart = [_one_hot(np.where(both, patterns[:, m], -1), n_classes) for m in (a, b)]
    joined = _one_hot(np.where(both, patterns[:, a] * n_classes + patterns[:, b], -1), n_classes**2)
    told = sum(others) + (apart[0] + apart[1]) / 2
    guess = (told + weights @ told / weights.sum()) / (told.sum(axis=1, keepdims=True) + 1)
    posterior, together = _latent_classes([*others, joined], guess, weights)
    _, alone = _latent_classes([*others, *apart], posterior, weights)
    return 2 * (together - alone)


def _one_hot(values: I64, size: int) -> F64:
    return np.asarray(values[:, None] == np.arange(size), dtype=np.float64)


def _latent_classes(columns: list[F64], posterior: F64, weights: F64) -> tuple[F64, float]:
    """EM for a latent class model by maximum likelihood: (n, K) posterior and the log-likelihood."""
    likelihood = -np.inf
    for _ in range(_ROUNDS):
        weighted = posterior * weights[:, None]
        log_joint = np.log(weighted.sum(axis=0) / weights.sum() + _TINY) + np.zeros_like(posterior)
        for column in columns:
            table = weighted.T @ column + _TINY
            log_joint += column @ np.log(table / table.sum(axis=1, keepdims=True)).T
        top = log_joint.max(axis=1, keepdims=True)
        grown = np.exp(log_joint - top)
        total = grown.sum(axis=1, keepdims=True)
        posterior, before = grown / total, likelihood
        likelihood = float(weights @ (top + np.log(total))[:, 0])
        if likelihood - before < _ENOUGH:
            break
    return posterior, likelihood
