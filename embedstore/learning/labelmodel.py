"""Label models: from many fallible votes on an item to one probability.

Dawid and Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm, Applied
Statistics 28:20, 1979. A voter's silence can be an outcome too (a report that does not mention a finding
rarely has it): whether a voter speaks, given the class, is then estimated beside what it says.

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

from embedstore.contracts.labels import ABSTAIN
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64
from embedstore.learning.vote_counts import Said, count_votes

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
    silence: that a voter speaks equally often whatever the class is believed as after so many of its votes.
    """

    votes: float = 8.0
    right: float = 0.6
    items: float = 50.0
    silence: float = 2.0

    def confusion(self, n_classes: int) -> F64:
        """(K, K) pseudo-votes. Raises UsageError when the prior is none."""
        if min(self.votes, self.items, self.silence) < 0 or not 0 < self.right < 1:
            raise UsageError("priors are 0 or more votes and items, and a share right between 0 and 1")
        if self.votes == 0:
            return np.zeros((n_classes, n_classes))
        wrong = self.votes * (1 - self.right) / max(n_classes - 1, 1)
        rows = np.full((n_classes, n_classes), wrong)
        np.fill_diagonal(rows, self.votes * self.right)
        return np.maximum(rows - 1.0, 0.0)


MAXIMUM_LIKELIHOOD = Priors(votes=0.0, items=0.0, silence=0.0)
"""No prior: Dawid and Skene as published."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DawidSkene:
    """prior: (K,) shares of the classes. confusion: (m, K, K), [voter, true class, said], rows sum to 1.

    speaks: (m, K) chance that a voter speaks at all, by true class; None when silence says nothing.
    log_likelihood: of the votes. objective: the same with the priors' logarithms (up to a constant), after
    each iteration; it never falls. priors: those of the fit. identified: whether the voters' errors can be
    told apart at all: three of them spoke, or some classes were known.
    """

    prior: F64
    confusion: F64
    iterations: int
    converged: bool
    log_likelihood: float
    objective: tuple[float, ...] = ()
    priors: Priors = MAXIMUM_LIKELIHOOD
    notes: tuple[str, ...] = ()
    speaks: F64 | None = None
    identified: bool = True

    def predict(self, votes: NDArray[Any]) -> F64:
        """(n, K) probabilities of the classes given votes as in `fit_dawid_skene`; without any, the prior.

        Of voters whose errors cannot be told apart: the shares of an item's votes, drawn half way to those of
        all votes, so that no fitted error rate overrules the only word there is.
        """
        said = count_votes(votes, len(self.prior), len(self.confusion))
        if not self.identified:
            return np.asarray((said.shares() + self.prior) / 2)
        return _posterior(said, self.prior, self.confusion, self.speaks)[0]

    @property
    def kind(self) -> str:
        """What the probabilities are made of."""
        return "dawid-skene" if self.identified else "vote-shares"

    def accuracies(self) -> F64:
        """(m,) chance that a voter who speaks is right, on items as common as the prior says."""
        heard = np.ones(self.confusion.shape[:2]) if self.speaks is None else self.speaks
        weights = heard * self.prior
        right = np.einsum("mk,mkk->m", weights, self.confusion)
        return np.asarray(right / np.maximum(weights.sum(axis=1), _TINY))

    def to_json(self, voters: Sequence[str]) -> dict[str, Any]:
        """A JSON object; voters: their names, in the order of the columns."""
        plain: dict[str, Any] = {
            "kind": self.kind,
            "prior": self.prior.tolist(),
            "voters": {name: table.tolist() for name, table in zip(voters, self.confusion, strict=True)},
            "iterations": self.iterations,
            "converged": self.converged,
            "log_likelihood": self.log_likelihood,
            "priors": asdict(self.priors),
            "notes": list(self.notes),
        }
        if self.speaks is not None:
            plain["speaks"] = self.speaks.tolist()
        return plain

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
            identified=plain["kind"] == "dawid-skene",
            speaks=np.asarray(plain["speaks"], dtype=np.float64) if "speaks" in plain else None,
        )


def fit_dawid_skene(
    votes: NDArray[Any],
    n_classes: int,
    *,
    prior: ArrayLike | None = None,
    priors: Priors | None = None,
    known: ArrayLike | None = None,
    silence: bool = False,
    max_iterations: int = 500,
    tolerance: float = 1e-8,
) -> DawidSkene:
    """Estimate class shares and each voter's confusion matrix from votes.

    votes: (n, m) class indices, -1 abstains, -2 never looked; or (n, m, K) counts, where voters spoke more
    than once or softly. prior: known class shares, else estimated. priors: see `Priors`, and
    `MAXIMUM_LIKELIHOOD` for none. known: (n,) classes of items whose truth is known, -1 for the others.
    silence: whether an abstention is an outcome that tells of the class. Stops when the mean objective per
    vote gains less than `tolerance`. Starts from the shares of each item's votes, so class names stay
    attached while voters are, on the whole,
    better than chance. Items without a vote are left out, unless silence counts.
    Raises UsageError when nobody voted.
    """
    said = count_votes(votes, n_classes)
    heard = np.asarray(said.spoken.any(axis=(1, 2)))
    if not heard.any():
        raise UsageError("no voter has voted on any item; there is nothing to fuse")
    kept = np.asarray(heard | said.silent.any(axis=1)) if silence else heard
    said = said.at(kept)
    believed = priors if priors is not None else Priors()
    pseudo = believed.confusion(n_classes)
    fixed = None if prior is None else _checked_prior(prior, n_classes)
    gold = np.full(len(kept), ABSTAIN) if known is None else np.asarray(known, dtype=np.int64)
    clamp = _Clamp.of(gold[kept], n_classes)
    posterior = clamp.applied(said.shares())
    anchor = believed.items * posterior.mean(axis=0)
    rates = _speaking_rates(said, believed.silence)
    trace: list[float] = []
    converged = False
    speaks = None
    for _ in range(max_iterations):
        shares = _shares(posterior, anchor) if fixed is None else fixed
        confusion = _confusion(said.spoken, posterior, pseudo)
        speaks = _speaking(said, posterior, rates) if silence else None
        posterior, log_evidence = _posterior(said, shares, confusion, speaks)
        posterior, likelihood = clamp.applied(posterior), clamp.likelihood(posterior, log_evidence)
        belief = _belief(shares, anchor) + _belief(confusion, pseudo)
        if speaks is not None:
            belief += _belief(np.stack([speaks, 1 - speaks]), rates)
        trace.append(likelihood + belief)
        if len(trace) > 1 and trace[-1] - trace[-2] < tolerance * said.weight:
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
        notes=_notes(said.spoken, confusion, converged),
        speaks=speaks,
        identified=bool(len(clamp.rows)) or _active(said.spoken) >= _IDENTIFYING,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Clamp:
    """Rows whose class is known, and those classes: their posterior is no matter of inference."""

    rows: NDArray[np.int64]
    classes: NDArray[np.int64]

    @classmethod
    def of(cls, known: NDArray[np.int64], n_classes: int) -> _Clamp:
        if known.size and known.max() >= n_classes:
            raise UsageError(f"known classes are indices below {n_classes}, or -1")
        rows = np.flatnonzero(known >= 0)
        return cls(rows, known[rows])

    def applied(self, posterior: F64) -> F64:
        clamped = posterior.copy()
        clamped[self.rows] = 0.0
        clamped[self.rows, self.classes] = 1.0
        return clamped

    def likelihood(self, free: F64, log_evidence: F64) -> float:
        """Of the votes, and of the known classes with them. free: (n, K) posterior before clamping."""
        told = np.log(np.maximum(free[self.rows, self.classes], _TINY))
        return float(log_evidence.sum() + told.sum())


def _checked_prior(prior: ArrayLike, n_classes: int) -> F64:
    given: F64 = np.asarray(prior, dtype=np.float64)
    if given.shape != (n_classes,) or not (given > 0).all():
        raise UsageError(f"a prior has a positive share for each of the {n_classes} classes")
    return np.asarray(given / given.sum())


def _shares(posterior: F64, anchor: F64) -> F64:
    counts = posterior.sum(axis=0) + anchor
    return np.asarray(counts / counts.sum())


def _belief(probabilities: F64, pseudo: F64) -> float:
    """Logarithm of a Dirichlet density at the probabilities, up to a constant."""
    return float((pseudo * np.log(np.maximum(probabilities, _TINY))).sum())


def _confusion(spoken: F64, posterior: F64, pseudo: F64) -> F64:
    """M step: expected counts and pseudo-votes, normalised over what was said. A class never met is told as a
    coin toss."""
    n, m, n_classes = spoken.shape
    flat = posterior.T @ spoken.reshape(n, m * n_classes)
    counts = flat.reshape(n_classes, m, n_classes).transpose(1, 0, 2) + np.maximum(pseudo, _TINY)
    return np.asarray(counts / counts.sum(axis=2, keepdims=True))


def _speaking_rates(said: Said, worth: float) -> F64:
    """(2, m, 1) pseudo-items on which each voter spoke and was silent: so many votes, at its overall rate."""
    spoke, silent = said.spoken.any(axis=2).sum(axis=0), said.silent.sum(axis=0)
    return worth * np.stack([np.ones(len(spoke)), silent / np.maximum(spoke, 1.0)])[:, :, None]


def _speaking(said: Said, posterior: F64, rates: F64) -> F64:
    """M step: (m, K) chance that a voter who looks speaks."""
    spoke = said.spoken.any(axis=2).T @ posterior + np.maximum(rates[0], _TINY)
    silent = said.silent.T @ posterior + np.maximum(rates[1], _TINY)
    return np.asarray(spoke / (spoke + silent))


def _posterior(said: Said, shares: F64, confusion: F64, speaks: F64 | None) -> tuple[F64, F64]:
    """E step in logarithms: (n, K) posterior, and each item's (n,) log-likelihood."""
    n, m, n_classes = said.spoken.shape
    told = np.log(np.maximum(confusion, _TINY)).transpose(0, 2, 1).reshape(m * n_classes, n_classes)
    log_joint = np.log(np.maximum(shares, _TINY)) + said.spoken.reshape(n, m * n_classes) @ told
    if speaks is not None:
        log_joint = log_joint + said.spoken.any(axis=2) @ np.log(np.maximum(speaks, _TINY))
        log_joint = log_joint + said.silent @ np.log(np.maximum(1 - speaks, _TINY))
    top = log_joint.max(axis=1, keepdims=True)
    grown = np.exp(log_joint - top)
    total = grown.sum(axis=1, keepdims=True)
    return grown / total, (top + np.log(total))[:, 0]


def _active(votes: F64) -> int:
    """How many voters spoke."""
    return int(votes.any(axis=(0, 2)).sum())


def _notes(votes: F64, confusion: F64, converged: bool) -> tuple[str, ...]:
    said = []
    active = _active(votes)
    if active < _IDENTIFYING:
        said.append(
            f"{active} voters spoke: with fewer than {_IDENTIFYING}, their errors cannot be told apart; a "
            "label is what most of its votes say, its probability half way from their share to that of all"
        )
    if not converged:
        said.append("the fit had not converged; allow more iterations")
    chance = 1.0 / confusion.shape[1]
    worse = np.flatnonzero(np.einsum("mkk->m", confusion) / confusion.shape[1] < chance)
    if len(worse):
        said.append(f"{len(worse)} of {len(confusion)} voters are worse than chance under the fit")
    return tuple(said)
