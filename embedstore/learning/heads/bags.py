"""Heads on bags (multiple-instance learning): one label for a slide or study of which the images are parts.

"mean": logistic regression on the mean vector of a bag. "attention": the gated attention of Ilse, Tomczak and
Welling, Attention-based Deep Multiple Instance Learning, ICML 2018, equation 9: parts are weighed by
softmax(w . (tanh(V h) * sigmoid(U h))) and their weighted mean meets a linear classifier. Full gradients and
L-BFGS from a seeded start: the same rows and seed give the same head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64
from embedstore.learning.heads import logistic
from embedstore.learning.heads.choose import choose
from embedstore.learning.heads.record import FittedHead
from embedstore.learning.heads.rows import FitOptions, Fitted, Rows, shares
from embedstore.learning.heads.scaling import Scaler

HIDDEN = 32
PENALTIES: tuple[float, ...] = (1e-1, 1e-2, 1e-3)  # per bag, on the squares of all weights
_ITERATIONS = 200
_SHAPES = ("V", "U", "w", "c", "b")


def bag_rows(rows: Rows) -> tuple[Rows, I64]:
    """One row per bag, with its mean vector, label and patient, and (n,) which bag each part is in.

    Raises UsageError when parts of one bag have different labels or patients.
    """
    codes = np.arange(len(rows)) if rows.bags is None else rows.bags
    names, first, member = np.unique(codes, return_index=True, return_inverse=True)
    for what, values in (("labels", rows.y), ("patients", rows.patients)):
        if not np.array_equal(values, values[first][member]):
            raise UsageError(
                f"parts of one bag have different {what}; label whole bags, or choose smaller ones (--bag)"
            )
    found = rows.at(first)
    return replace(found, vectors=mean_vectors(rows.vectors, member, len(names)), bags=None), member


def mean_vectors(vectors: F32, member: I64, n_bags: int) -> F32:
    """(n_bags, dim) means of the parts of each bag."""
    total = np.zeros((n_bags, vectors.shape[1]))
    np.add.at(total, member, vectors.astype(np.float64))
    return (total / np.bincount(member, minlength=n_bags)[:, None]).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Attention:
    """V, U: (hidden, dim), w: (hidden,), c: (K, dim), b: (K,). x: scaled parts, member: (n,) their bags."""

    V: F64
    U: F64
    w: F64
    c: F64
    b: F64

    @classmethod
    def start(cls, dim: int, n_classes: int, hidden: int, seed: int) -> Attention:
        """Small random gates, no opinion."""
        rng = np.random.default_rng(seed)
        v, u = (rng.normal(size=(hidden, dim)) / np.sqrt(dim) for _ in range(2))
        w = rng.normal(size=hidden) / np.sqrt(hidden)
        return cls(v, u, w, np.zeros((n_classes, dim)), np.zeros(n_classes))

    def flat(self) -> F64:
        """All weights in one row."""
        return np.concatenate([getattr(self, name).ravel() for name in _SHAPES])

    def shaped(self, flat: F64) -> Attention:
        """The inverse of `flat`."""
        found, at = [], 0
        for name in _SHAPES:
            like = getattr(self, name)
            found.append(flat[at : at + like.size].reshape(like.shape))
            at += like.size
        return Attention(*found)

    def weigh(self, x: F64, member: I64, n_bags: int) -> tuple[F64, F64, F64]:
        """(n,) attention that sums to 1 in each bag, and the two gates (n, hidden)."""
        from scipy.special import expit

        t, s = np.tanh(x @ self.V.T), expit(x @ self.U.T)
        score = (t * s) @ self.w
        top = np.full(n_bags, -np.inf)
        np.maximum.at(top, member, score)
        grown = np.exp(score - top[member])
        return grown / np.bincount(member, grown, minlength=n_bags)[member], t, s

    def pooled(self, x: F64, member: I64, n_bags: int) -> F64:
        """(n_bags, dim) weighted means."""
        return _summed(self.weigh(x, member, n_bags)[0][:, None] * x, member, n_bags)

    def probabilities(self, x: F64, member: I64, n_bags: int) -> F64:
        """(n_bags, K)."""
        return _softmax(self.pooled(x, member, n_bags) @ self.c.T + self.b)

    def loss(self, x: F64, member: I64, truth: F64, penalty: float) -> tuple[float, F64]:
        """Mean cross entropy of bags with the penalty, and its gradient."""
        n = len(truth)
        a, t, s = self.weigh(x, member, n)
        z = _summed(a[:, None] * x, member, n)
        p = _softmax(z @ self.c.T + self.b)
        miss = (p - truth) / n
        back = miss @ self.c  # (n, dim)
        along = (x * back[member]).sum(axis=1)
        of_score = a * (along - np.bincount(member, a * along, minlength=n)[member])
        gate = of_score[:, None] * self.w
        gradient = Attention(
            V=(gate * s * (1 - t * t)).T @ x,
            U=(gate * t * s * (1 - s)).T @ x,
            w=of_score @ (t * s),
            c=miss.T @ z,
            b=miss.sum(axis=0),
        )
        weights = self.flat()
        value = -float((truth * np.log(np.maximum(p, 1e-300))).sum()) / n
        return value + penalty / 2 * float(weights @ weights), gradient.flat() + penalty * weights


def fit_attention(rows: Rows, scaler: Scaler, penalty: float) -> Attention:
    """L-BFGS on all bags at once."""
    from scipy.optimize import minimize

    bags, member = bag_rows(rows)
    x, truth = scaler(rows.vectors), shares(bags)
    first = Attention.start(x.shape[1], truth.shape[1], HIDDEN, rows.seed)
    found = minimize(
        lambda flat: first.shaped(flat).loss(x, member, truth, penalty),
        first.flat(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _ITERATIONS},
    )
    return first.shaped(found.x)


def fit(rows: Rows, options: FitOptions) -> Fitted:
    """The penalty has the least log loss of bags on patients left out."""
    bags, _ = bag_rows(rows)
    grid = [float(one) for one in (PENALTIES if options.grid is None else options.grid)]

    def losses(train: Rows, held: Rows) -> F64:
        parts, asked = (rows.at(np.isin(rows.patients, side.patients)) for side in (train, held))
        scaler = Scaler.of(parts.vectors, "standardise")
        of_held, member = bag_rows(asked)
        truth, x = shares(of_held), scaler(asked.vectors)
        made = [fit_attention(parts, scaler, one) for one in grid]
        told = [one.probabilities(x, member, len(truth)) for one in made]
        return np.stack([-(truth * np.log(np.maximum(p, 1e-7))).sum(axis=1) for p in told])

    choice = choose(bags, grid, losses, options.folds)
    scaler = Scaler.of(rows.vectors, "standardise")
    found = fit_attention(rows, scaler, choice.value)
    params = {
        "scaling": "standardise",
        "penalty": choice.value,
        "hidden": HIDDEN,
        "n_bags": len(bags),
        "inner": choice.estimate("log_loss", bags) if np.isfinite(choice.loss) else None,
    }
    arrays: dict[str, NDArray[Any]] = {name: getattr(found, name) for name in _SHAPES}
    return Fitted(params, {**arrays, "mean": scaler.mean, "scale": scaler.scale})


def apply(head: FittedHead, vectors: F32, bags: I64 | None = None) -> F64:
    """(n, dim) parts to (n, K): each part gets the answer for its bag."""
    member = _members(vectors, bags)
    x = logistic.scaler_of(head)(vectors)
    return _attention(head).probabilities(x, member, int(member.max(initial=-1)) + 1)[member]


def attention(head: FittedHead, vectors: F32, bags: I64 | None = None) -> F64:
    """(n,) weight of each part in its bag, which sum to 1 there: what the answer rests on."""
    member = _members(vectors, bags)
    x = logistic.scaler_of(head)(vectors)
    return _attention(head).weigh(x, member, int(member.max(initial=-1)) + 1)[0]


def _members(vectors: F32, bags: I64 | None) -> I64:
    codes = np.arange(len(vectors)) if bags is None else bags
    return np.unique(codes, return_inverse=True)[1].astype(np.int64).reshape(-1)


def _attention(head: FittedHead) -> Attention:
    return Attention(*(np.asarray(head.arrays[name]) for name in _SHAPES))


def _summed(values: F64, member: I64, n_bags: int) -> F64:
    total = np.zeros((n_bags, values.shape[1]))
    np.add.at(total, member, values)
    return total


def _softmax(z: F64) -> F64:
    from scipy.special import softmax

    return np.asarray(softmax(z, axis=1))


def dim(head: FittedHead) -> int:
    """Length of the vectors."""
    return len(head.arrays["mean"])


def fits(head: FittedHead) -> bool:
    """Whether the arrays are those of the card."""
    v, u, w, c, b = (np.asarray(head.arrays[name]) for name in _SHAPES)
    n, d = len(head.spec.classes), len(head.arrays["mean"])
    return v.shape == u.shape == (len(w), d) and c.shape == (n, d) and b.shape == (n,)
