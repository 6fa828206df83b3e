"""Label models: from many fallible votes on an item to one probability.

Dawid and Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm, Applied
Statistics 28:20, 1979. Abstentions count as missing at random: that a voter was silent says nothing.

Maximum likelihood goes astray with few voters and a rare class: it can call nearly everything present, or
nothing, and blame the voters. So by default the posterior is maximised instead, with Dirichlet priors on
classes and error rates (Raykar et al., Learning From Crowds, JMLR 11:1297, 2010, section 2.5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.contracts.labels import ABSTAIN, Votes
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64

_TINY = 1e-12
_IDENTIFYING = 3  # two voters cannot tell which of them errs


@dataclass(frozen=True, slots=True, kw_only=True)
class Priors:
    """What is believed before the votes, as pseudo-votes and pseudo-items (Dirichlet parameters less 1).

    votes, right: each row of a confusion matrix has a Dirichlet prior of mean `right` on the diagonal, the
    rest spread evenly, worth `votes` votes. The defaults are those of the R package rater (Pullin, Gurrin and
    Vukcevic, arXiv:2010.09335): a voter is probably better than chance, and a few dozen votes outweigh that.
    items: the class shares have a Dirichlet prior, its mean the shares of the votes themselves, worth so many
    items; in a large set it fades.
    """

    votes: float = 8.0
    right: float = 0.6
    items: float = 50.0

    def confusion(self, n_classes: int) -> F64:
        """(K, K) pseudo-votes. Raises UsageError when the prior is none."""
        if self.votes < 0 or self.items < 0 or not 0 < self.right < 1:
            raise UsageError("priors are 0 or more votes and items, and a share right between 0 and 1")
        if self.votes == 0:
            return np.zeros((n_classes, n_classes))
        wrong = self.votes * (1 - self.right) / max(n_classes - 1, 1)
        rows = np.full((n_classes, n_classes), wrong)
        np.fill_diagonal(rows, self.votes * self.right)
        return np.maximum(rows - 1.0, 0.0)


MAXIMUM_LIKELIHOOD = Priors(votes=0.0, items=0.0)
"""No prior: Dawid and Skene as published."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DawidSkene:
    """prior: (K,) shares of the classes. confusion: (m, K, K), [voter, true class, said], rows sum to 1.

    log_likelihood: of the votes. objective: the same with the priors' logarithms (up to a constant), after
    each iteration; it never falls. priors: those of the fit.
    """

    prior: F64
    confusion: F64
    iterations: int
    converged: bool
    log_likelihood: float
    objective: tuple[float, ...] = ()
    priors: Priors = MAXIMUM_LIKELIHOOD
    notes: tuple[str, ...] = ()

    def predict(self, votes: NDArray[Any]) -> F64:
        """(n, K) probabilities of the classes given votes as in `fit_dawid_skene`; without any, the prior."""
        said = _said(votes, len(self.prior), len(self.confusion))
        return _posterior(said, self.prior, self.confusion)[0]

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
            "log_likelihood": self.log_likelihood,
            "priors": asdict(self.priors),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> DawidSkene:
        """The model that gave this JSON object (without the trace of the objective)."""
        return cls(
            prior=np.asarray(plain["prior"], dtype=np.float64),
            confusion=np.asarray(list(plain["voters"].values()), dtype=np.float64),
            iterations=int(plain["iterations"]),
            converged=bool(plain["converged"]),
            log_likelihood=float("nan" if plain["log_likelihood"] is None else plain["log_likelihood"]),
            priors=Priors(**plain.get("priors", asdict(MAXIMUM_LIKELIHOOD))),
            notes=tuple(plain["notes"]),
        )


def fit_dawid_skene(
    votes: NDArray[Any],
    n_classes: int,
    *,
    prior: ArrayLike | None = None,
    priors: Priors | None = None,
    max_iterations: int = 500,
    tolerance: float = 1e-8,
) -> DawidSkene:
    """Estimate class shares and each voter's confusion matrix from votes.

    votes: (n, m) class indices, -1 abstains; or (n, m, K) counts, where voters spoke more than once.
    prior: known class shares, else estimated. priors: see `Priors`; `MAXIMUM_LIKELIHOOD` for none. Stops when
    the mean objective per vote gains less than `tolerance`. Starts from the shares of each item's votes, so
    class names stay attached while voters are, on the whole, better than chance. Items without a vote are
    left out. Raises UsageError when nobody voted.
    """
    said = _said(votes, n_classes, None)
    said = said[said.any(axis=(1, 2))]
    if not len(said):
        raise UsageError("no voter has voted on any item; there is nothing to fuse")
    believed = priors if priors is not None else Priors()
    pseudo = believed.confusion(n_classes)
    n_votes = float(said.sum())
    fixed = None if prior is None else _checked_prior(prior, n_classes)
    posterior = said.sum(axis=1) / said.sum(axis=(1, 2))[:, None]
    anchor = believed.items * posterior.mean(axis=0)
    trace: list[float] = []
    converged = False
    for _ in range(max_iterations):
        shares = _shares(posterior, anchor) if fixed is None else fixed
        confusion = _confusion(said, posterior, pseudo)
        posterior, likelihood = _posterior(said, shares, confusion)
        trace.append(likelihood + _belief(shares, anchor) + _belief(confusion, pseudo))
        if len(trace) > 1 and trace[-1] - trace[-2] < tolerance * n_votes:
            converged = True
            break
    return DawidSkene(
        prior=shares,
        confusion=confusion,
        iterations=len(trace),
        converged=converged,
        log_likelihood=likelihood,
        objective=tuple(trace),
        priors=believed,
        notes=_notes(said, confusion, converged),
    )


def majority_vote(votes: NDArray[Any], n_classes: int) -> tuple[Votes, F64]:
    """(n,) classes most voters name, -1 for a tie or silence; and (n, K) shares of votes, 0 in silence."""
    said = _said(votes, n_classes, None).sum(axis=1)
    top = said.max(axis=1, keepdims=True)
    clear = ((said == top).sum(axis=1) == 1) & (top[:, 0] > 0)
    shares = said / np.maximum(said.sum(axis=1, keepdims=True), 1.0)
    return np.where(clear, said.argmax(axis=1), ABSTAIN).astype(np.int64), shares


def _checked_prior(prior: ArrayLike, n_classes: int) -> F64:
    given: F64 = np.asarray(prior, dtype=np.float64)
    if given.shape != (n_classes,) or not (given > 0).all():
        raise UsageError(f"a prior has a positive share for each of the {n_classes} classes")
    return np.asarray(given / given.sum())


def _said(votes: NDArray[Any], n_classes: int, n_voters: int | None) -> F64:
    """(n, m, K) how often each voter named each class; all zero where a voter abstained."""
    given = np.asarray(votes)
    if given.ndim not in (2, 3) or (n_voters is not None and given.shape[1] != n_voters):
        wanted = "voters" if n_voters is None else n_voters
        raise UsageError(f"votes must be of shape (items, {wanted}[, classes]), got {given.shape}")
    if given.ndim == 3:
        counts = given.astype(np.float64)
        if given.shape[2] != n_classes or not (np.isfinite(counts) & (counts >= 0)).all():
            raise UsageError(f"counted votes have {n_classes} numbers, 0 or more, for each item and voter")
        return counts
    matrix = given.astype(np.int64)
    if matrix.size and (matrix.min() < ABSTAIN or matrix.max() >= n_classes):
        raise UsageError(f"votes must be class indices below {n_classes}, or -1 to abstain")
    return np.asarray(matrix[:, :, None] == np.arange(n_classes), dtype=np.float64)


def _shares(posterior: F64, anchor: F64) -> F64:
    counts = posterior.sum(axis=0) + anchor
    return np.asarray(counts / counts.sum())


def _belief(probabilities: F64, pseudo: F64) -> float:
    """Logarithm of a Dirichlet density at the probabilities, up to a constant."""
    return float((pseudo * np.log(np.maximum(probabilities, _TINY))).sum())


def _confusion(said: F64, posterior: F64, pseudo: F64) -> F64:
    """M step: expected counts and pseudo-votes, normalised over what was said. A class never met is told as a
    coin toss."""
    counts = np.einsum("nk,nml->mkl", posterior, said) + np.maximum(pseudo, _TINY)
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


def _notes(votes: F64, confusion: F64, converged: bool) -> tuple[str, ...]:
    said = []
    active = int(votes.any(axis=(0, 2)).sum())
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
