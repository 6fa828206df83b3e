"""Logistic regression on the vectors of one space: classes that exclude each other, or findings.

The strength of the penalty is chosen among the 45 values of DINOv2's evaluation (Oquab et al., TMLR 2024),
on patients left out. Labels may be soft; a missing label of a finding is left out, not taken for absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.contracts.image import F32, I64
from embedstore.evaluation.arrays import F64, NO_LABEL, Groups
from embedstore.evaluation.metrics import PROBABILITY_FLOOR
from embedstore.learning.heads.choose import Choice, choose, settled
from embedstore.learning.heads.fit import fit_kind
from embedstore.learning.heads.record import FittedHead, Parts
from embedstore.learning.heads.rows import FitOptions, Fitted, Identity, Rows
from embedstore.learning.heads.scaling import WAYS, Scaler
from embedstore.learning.heads.solver import Linear, LogisticPath
from embedstore.learning.heads.uncertainty import (
    averaged,
    fit_ensemble,
    laplace_covariance,
    moderated,
    parts_of_members,
    parts_of_normal,
)

C_GRID: tuple[float, ...] = tuple(float(c) for c in 10.0 ** np.linspace(-6, 5, 45))
_ARRAYS = ("weights", "bias", "mean", "scale")


def fit_logistic(
    vectors: NDArray[Any],
    y: ArrayLike,
    groups: Groups,
    *,
    name: str,
    space: str,
    target: str,
    classes: Sequence[str],
    seed: int = 0,
    split: Mapping[str, Any] | None = None,
    options: FitOptions | None = None,
    findings: bool = False,
) -> FittedHead:
    """Fit a head to training rows: vectors (n, dim), y (n,) classes (-1: dropped), groups (n,) patients.

    y may be (n, K) soft labels, or with `findings` (n, L) of 1, 0 and -1. C, and with "auto" the scaling, has
    the smallest log loss over patient-grouped folds of these rows; nothing else is tuned. The same rows and
    seed give the same head. Raises UsageError when a class has no row, or there are fewer than two patients.
    """
    identity = Identity(
        name=name, space=space, target=target, classes=tuple(classes), seed=seed, split=split or {}
    )
    return fit_kind(
        "logistic",
        vectors,
        y,
        groups,
        identity,
        task="findings" if findings else "classes",
        options=options,
    )


def fit(rows: Rows, options: FitOptions) -> Fitted:
    """See `fit_logistic`. weights: (1, dim) for two classes, (K, dim) for more, (L, dim) for findings."""
    targets = _targets(rows)
    ways = WAYS if options.scaling == "auto" else (options.scaling,)
    grids = [_grid(options, name) for name in (rows.classes if rows.task == "findings" else ("",))]
    pairs = list(zip(targets, grids, strict=True))
    tried = {way: [one.choose(way, grid, options) for one, grid in pairs] for way in ways}
    way = min(tried, key=lambda name: float(np.mean([choice.loss for choice in tried[name]])))
    scaler, choices = Scaler.of(rows.vectors, way), tried[way]
    fits = [one.fit(scaler, choice.value, options) for one, choice in zip(targets, choices, strict=True)]
    found = Linear(
        np.vstack([fit.weights for fit in fits]),
        np.concatenate([fit.bias for fit in fits]),
        all(fit.converged for fit in fits),
    )
    params: dict[str, Any] = {
        "scaling": way,
        "C": _told([choice.value for choice in choices], rows),
        "converged": found.converged,
        "long_tail": options.long_tail,
        "uncertainty": options.uncertainty,
    }
    inner = [
        choice.estimate("log_loss", one.rows)
        for one, choice in zip(targets, choices, strict=True)
        if np.isfinite(choice.loss)
    ]
    params["inner"] = _told(inner, rows) if inner else None
    arrays = {"weights": found.weights, "bias": found.bias, "mean": scaler.mean, "scale": scaler.scale}
    return Fitted(params, {**arrays, **_uncertainty(rows, targets, choices, scaler, fits, options)})


def _grid(options: FitOptions, finding: str) -> list[float]:
    """Ascending candidates for C; a refit gives each finding its own."""
    grid = C_GRID if options.grid is None else options.grid
    return sorted(float(c[finding]) if isinstance(c, Mapping) else float(c) for c in grid)


def _told(values: list[Any], rows: Rows) -> Any:
    """One value for classes, one by name for findings."""
    return dict(zip(rows.classes, values, strict=True)) if rows.task == "findings" else values[0]


def _uncertainty(
    rows: Rows,
    targets: list[_Target],
    choices: list[Choice],
    scaler: Scaler,
    fits: list[Linear],
    options: FitOptions,
) -> dict[str, NDArray[Any]]:
    if options.uncertainty == "laplace":
        found = [
            laplace_covariance(
                scaler(one.rows.vectors), fit, float(choice.value), one.weights(options.long_tail)
            )
            for one, choice, fit in zip(targets, choices, fits, strict=True)
        ]
        return {"covariance": np.concatenate(found)}
    if options.uncertainty == "ensemble":
        plain = replace(options, uncertainty="none")

        def member(drawn: Rows) -> tuple[F64, F64]:
            made = [
                one.fit(scaler, choice.value, plain)
                for one, choice in zip(_targets(drawn), choices, strict=True)
            ]
            return np.vstack([one.weights for one in made]), np.concatenate([one.bias for one in made])

        return fit_ensemble(rows, member, options.members)
    return {}


@dataclass(frozen=True, slots=True, eq=False)
class _Target:
    """What one regression learns. share: (n,) probability of class 1, or (n, K)."""

    rows: Rows
    share: F64

    def weights(self, long_tail: str) -> F64:
        """(n,) of the rows; balanced: each class weighs n / K together."""
        if long_tail != "balanced":
            return np.ones(len(self.rows))
        full = self._full()
        return np.asarray(full @ (1 / full.mean(axis=0)) / full.shape[1])

    def choose(self, way: str, grid: Sequence[float], options: FitOptions) -> Choice:
        weights = self.weights(options.long_tail)

        def losses(train: Rows, held: Rows) -> F64:
            one, other = _Target.of(train), _Target.of(held)
            return one.losses(other, way, grid, options)

        return choose(self.rows, grid, losses, options.folds, _has_all_classes, weights)

    @classmethod
    def of(cls, rows: Rows) -> _Target:
        if rows.y.ndim == 2:
            return cls(rows, rows.y[:, 1] if rows.y.shape[1] == 2 else rows.y)
        binary = len(rows.classes) == 2
        return cls(rows, (rows.y == 1).astype(float) if binary else np.eye(len(rows.classes))[rows.y])

    def losses(self, held: _Target, way: str, grid: Sequence[float], options: FitOptions) -> F64:
        """(candidates, held rows) log losses; infinite from a decade past the best C on."""
        scaler = Scaler.of(self.rows.vectors, way)
        # Half the precision is twice the speed, and moves the losses by less than a thousandth.
        shown, asked = (scaler(side.rows.vectors, np.float32) for side in (self, held))
        path = LogisticPath(shown, self.share, self.weights(options.long_tail))
        weights = held.weights(options.long_tail)
        found = np.full((len(grid), len(held.rows)), np.inf)
        means: list[float] = []
        near: Linear | None = None
        for number, c in enumerate(grid):
            near = path.fit(c, near)
            found[number] = _cross_entropy(_answers(near.scores(asked)), held._full())
            means.append(float(found[number] @ weights))
            # The least penalised fits take most of the time, and a loss that has turned does not come back.
            if settled(number, means, grid):
                break
        return found

    def fit(self, scaler: Scaler, c: float, options: FitOptions) -> Linear:
        path = LogisticPath(scaler(self.rows.vectors), self.share, self.weights(options.long_tail))
        found = path.fit(c)
        if options.long_tail != "adjusted":
            return found
        # With a free intercept, training on adjusted logits is this shift of the plain fit.
        prior = np.log(self._full().mean(axis=0))
        shift = prior[1:] - prior[0] if self.share.ndim == 1 else prior
        return replace(found, bias=found.bias - shift)

    def _full(self) -> F64:
        return np.column_stack([1 - self.share, self.share]) if self.share.ndim == 1 else self.share


def _targets(rows: Rows) -> list[_Target]:
    """One regression, or one for each finding, on the rows that have a label of it."""
    if rows.task == "classes":
        return [_Target.of(rows)]
    found = []
    for column in range(rows.y.shape[1]):
        known = rows.at(rows.y[:, column] != NO_LABEL)
        one = replace(known, y=known.y[:, column], classes=("absent", "present"), task="classes")
        found.append(_Target.of(one))
    return found


def _has_all_classes(rows: Rows) -> bool:
    if rows.y.ndim == 2:
        return bool((rows.y.sum(axis=0) > 0).all())
    return len(np.unique(rows.y)) == len(rows.classes)


def _answers(z: NDArray[Any]) -> F64:
    """Log odds (n, 1) or scores (n, K) to (n, K) probabilities."""
    from scipy.special import expit, softmax

    if z.shape[1] == 1:
        return np.hstack([expit(-z), expit(z)]).astype(np.float64)
    return np.asarray(softmax(z.astype(np.float64), axis=1))


def _cross_entropy(p: F64, share: F64) -> F64:
    return np.asarray(-(share * np.log(np.clip(p, PROBABILITY_FLOOR, 1.0))).sum(axis=1))


def scores(head: FittedHead, vectors: F32) -> F64:
    """(n, k) log odds (two classes: one; findings: each), or scores."""
    return scaler_of(head).scores(vectors, head.arrays["weights"], head.arrays["bias"])


def scaler_of(head: FittedHead) -> Scaler:
    """How the head scales its vectors."""
    return Scaler(str(head.spec.params["scaling"]), head.arrays["mean"], head.arrays["scale"])


def apply(head: FittedHead, vectors: F32, bags: I64 | None = None) -> F64:
    """(n, dim) to (n, K) probabilities, averaged over what the fit left open where the head knows it."""
    how, separate = head.spec.params.get("uncertainty", "none"), head.task == "findings"
    if how == "ensemble":
        return averaged(head.arrays, scaler_of(head)(vectors), separate)
    z = scores(head, vectors)
    if how == "laplace":
        z = moderated(z, scaler_of(head)(vectors), head.arrays["covariance"])
    if separate:
        from scipy.special import expit

        return np.asarray(expit(z))
    return _answers(z)


def parts(head: FittedHead, vectors: F32) -> Parts:
    """See `record.Parts`."""
    scaled, separate = scaler_of(head)(vectors), head.task == "findings"
    if head.spec.params["uncertainty"] == "ensemble":
        return parts_of_members(head.arrays, scaled, separate)
    return parts_of_normal(scores(head, vectors), scaled, head.arrays["covariance"], separate)


def dim(head: FittedHead) -> int:
    """Length of the vectors."""
    return int(head.arrays["weights"].shape[1])


def fits(head: FittedHead) -> bool:
    """Whether the arrays are those of the card."""
    weights, bias, mean, scale = (np.asarray(head.arrays[name]) for name in _ARRAYS)
    two = len(head.spec.classes) == 2 and head.task == "classes"
    rows = 1 if two else len(head.spec.classes)
    return weights.shape == (rows, len(mean)) and bias.shape == (rows,) and scale.shape == mean.shape
