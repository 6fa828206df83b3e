"""Label models: from many fallible votes on an item to one probability.

Dawid and Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm, Applied
Statistics 28:20, 1979. Abstentions count as missing at random: that a voter was silent says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.contracts.labels import ABSTAIN, Votes
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64

_TINY = 1e-12
_IDENTIFYING = 3  # two voters cannot tell which of them errs


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DawidSkene:
    """prior: (K,) shares of the classes. confusion: (m, K, K), [voter, true class, said], rows sum to 1.

    log_likelihood: of the votes (with the smoothing's prior), after each iteration; never falls.
    """

    prior: F64
    confusion: F64
    iterations: int
    converged: bool
    log_likelihood: tuple[float, ...]
    notes: tuple[str, ...] = ()

    def predict(self, votes: NDArray[Any]) -> F64:
        """(n, K) probabilities of the classes given (n, m) votes; without any vote, the prior."""
        matrix = _checked(votes, len(self.prior), len(self.confusion))
        return _posterior(_said(matrix, len(self.prior)), self.prior, self.confusion)[0]

    def accuracies(self) -> F64:
        """(m,) chance that a voter who speaks is right, on items as common as the prior says."""
        return np.asarray(np.einsum("k,mkk->m", self.prior, self.confusion))

    def to_json(self, voters: Sequence[str]) -> dict[str, Any]:
        """A JSON object; voters: their names, in the order of the columns."""
        return {
            "kind": "dawid-skene",
            "prior": self.prior.tolist(),
            "voters": {name: table.tolist() for name, table in zip(voters, self.confusion, strict=True)},
            "iterations": self.iterations,
            "converged": self.converged,
            "log_likelihood": self.log_likelihood[-1] if self.log_likelihood else None,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> DawidSkene:
        """The model that gave this JSON object (of the likelihoods, the last one is left)."""
        last = plain["log_likelihood"]
        return cls(
            prior=np.asarray(plain["prior"], dtype=np.float64),
            confusion=np.asarray(list(plain["voters"].values()), dtype=np.float64),
            iterations=int(plain["iterations"]),
            converged=bool(plain["converged"]),
            log_likelihood=() if last is None else (float(last),),
            notes=tuple(plain["notes"]),
        )


def fit_dawid_skene(
    votes: NDArray[Any],
    n_classes: int,
    *,
    prior: ArrayLike | None = None,
    smoothing: float = 0.1,
    max_iterations: int = 500,
    tolerance: float = 1e-8,
) -> DawidSkene:
    """Estimate class shares and each voter's confusion matrix from (n, m) votes, -1 abstains.

    prior: known class shares, else estimated. smoothing: pseudo-count in each cell of each matrix (a
    Dirichlet prior of 1 + smoothing), which keeps one lucky voter from being believed without limit; 0 is
    plain maximum likelihood. Stops when the mean log-likelihood per vote gains less than `tolerance`. Starts
    from majority shares, so class names stay attached while voters are, on the whole, better than chance.
    Items without a vote are left out. Raises UsageError when nobody voted.
    """
    matrix = _checked(votes, n_classes, None)
    matrix = matrix[(matrix != ABSTAIN).any(axis=1)]
    if not len(matrix):
        raise UsageError("no voter has voted on any item; there is nothing to fuse")
    if smoothing < 0:
        raise UsageError(f"smoothing is 0 or more, got {smoothing}")
    said = _said(matrix, n_classes)
    n_votes = float(said.sum())
    fixed = None if prior is None else _checked_prior(prior, n_classes)
    posterior = said.sum(axis=1) / said.sum(axis=(1, 2))[:, None]
    trace: list[float] = []
    converged = False
    for _ in range(max_iterations):
        shares = posterior.mean(axis=0) if fixed is None else fixed
        confusion = _confusion(said, posterior, smoothing)
        posterior, likelihood = _posterior(said, shares, confusion)
        trace.append(likelihood + smoothing * float(np.log(np.maximum(confusion, _TINY)).sum()))
        if len(trace) > 1 and trace[-1] - trace[-2] < tolerance * n_votes:
            converged = True
            break
    return DawidSkene(
        prior=shares,
        confusion=confusion,
        iterations=len(trace),
        converged=converged,
        log_likelihood=tuple(trace),
        notes=_notes(matrix, confusion, converged),
    )


def majority_vote(votes: NDArray[Any], n_classes: int) -> tuple[Votes, F64]:
    """(n,) classes most voters name, -1 for a tie or silence; and (n, K) shares of votes, 0 in silence."""
    said = _said(_checked(votes, n_classes, None), n_classes).sum(axis=1)
    top = said.max(axis=1, keepdims=True)
    clear = ((said == top).sum(axis=1) == 1) & (top[:, 0] > 0)
    shares = said / np.maximum(said.sum(axis=1, keepdims=True), 1.0)
    return np.where(clear, said.argmax(axis=1), ABSTAIN).astype(np.int64), shares


def _checked(votes: NDArray[Any], n_classes: int, n_voters: int | None) -> Votes:
    matrix = np.asarray(votes, dtype=np.int64)
    if matrix.ndim != 2 or (n_voters is not None and matrix.shape[1] != n_voters):
        wanted = "voters" if n_voters is None else n_voters
        raise UsageError(f"votes must be of shape (items, {wanted}), got {matrix.shape}")
    if matrix.size and (matrix.min() < ABSTAIN or matrix.max() >= n_classes):
        raise UsageError(f"votes must be class indices below {n_classes}, or -1 to abstain")
    return matrix


def _checked_prior(prior: ArrayLike, n_classes: int) -> F64:
    given: F64 = np.asarray(prior, dtype=np.float64)
    if given.shape != (n_classes,) or not (given > 0).all():
        raise UsageError(f"a prior has a positive share for each of the {n_classes} classes")
    return np.asarray(given / given.sum())


def _said(matrix: Votes, n_classes: int) -> F64:
    """(n, m, K) one-hot votes, all zero where a voter abstained."""
    return np.asarray(matrix[:, :, None] == np.arange(n_classes), dtype=np.float64)


def _confusion(said: F64, posterior: F64, smoothing: float) -> F64:
    """M step: expected counts, normalised over what was said. A class never met is told as a coin toss."""
    counts = np.einsum("nk,nml->mkl", posterior, said) + max(smoothing, _TINY)
    return np.asarray(counts / counts.sum(axis=2, keepdims=True))


def _posterior(said: F64, shares: F64, confusion: F64) -> tuple[F64, float]:
    """E step in logarithms: (n, K) posterior, and the log-likelihood of all votes."""
    log_joint = np.log(np.maximum(shares, _TINY)) + np.einsum(
        "nml,mkl->nk", said, np.log(np.maximum(confusion, _TINY))
    )
    top = log_joint.max(axis=1, keepdims=True)
    grown = np.exp(log_joint - top)
    total = grown.sum(axis=1, keepdims=True)
    return grown / total, float((top + np.log(total)).sum())


def _notes(matrix: Votes, confusion: F64, converged: bool) -> tuple[str, ...]:
    said = []
    active = int((matrix != ABSTAIN).any(axis=0).sum())
    if active < _IDENTIFYING:
        said.append(
            f"{active} voters spoke: with fewer than {_IDENTIFYING}, error rates cannot be told apart; "
            "trust the majority vote instead"
        )
    if not converged:
        said.append("the fit had not converged; allow more iterations")
    chance = 1.0 / confusion.shape[1]
    worse = np.flatnonzero(np.einsum("mkk->m", confusion) / confusion.shape[1] < chance)
    if len(worse):
        said.append(f"{len(worse)} of {len(confusion)} voters are worse than chance under the fit")
    return tuple(said)
