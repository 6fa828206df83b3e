"""L2-penalised logistic regression, minimised in coordinates in which its curvature is nearly round.

The Gram matrix bounds the curvature of the loss for every C at once (Boehning, Annals of the Institute of
Statistical Mathematics 44:197, 1992). Its eigenvectors, computed once, precondition L-BFGS for the whole
grid: a fit takes some ten passes over the rows where plain coordinates take hundreds. `benchmarks/heads.py`
measures it beside scikit-learn's, which minimises the same sum. Rows fewer than their dimensions are turned
into their own span first, in which the best weights lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.evaluation.arrays import F64

_MAX_ITERATIONS = 1000
_MEMORY = 10
_LEAST_CURVATURE = 1e-4  # of sure rows there is hardly any; a floor keeps the coordinates finite
FINE, COARSE = 1e-16, 1e-7  # how far above its minimum the mean loss may stay, in nats


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """weights (k, dim), bias (k,): k is 1 for log odds, else the number of classes."""

    weights: F64
    bias: F64
    converged: bool = True

    def scores(self, x: NDArray[Any]) -> F64:
        """(n, k) log odds, or scores whose softmax are probabilities."""
        return np.asarray(x @ self.weights.T.astype(x.dtype) + self.bias.astype(x.dtype))


class LogisticPath:
    """The fits to one set of rows, for any C.

    x: (n, dim) float32 or float64, about centred: it decides the precision of the passes. target: (n,)
    probability of class 1, or (n, K) of each class (hard labels are 0 and 1). weights: (n,). The minimum is
    that of C * sum(weights * loss) + |W|^2 / 2, intercepts free.
    """

    def __init__(self, x: NDArray[Any], target: ArrayLike, weights: ArrayLike | None = None) -> None:
        self._span: NDArray[Any] | None = None  # (dim, n) orthonormal
        if len(x) < x.shape[1]:
            self._span, turned = np.linalg.qr(x.T)
            x = np.ascontiguousarray(turned.T)
        self._x = x
        told = np.asarray(target, dtype=x.dtype)
        self._binary = told.ndim == 1
        self._target = told[:, None] if self._binary else told
        given = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
        self._total = float(given.sum())
        self._share = (given / self._total).astype(x.dtype)
        values, axes = np.linalg.eigh(((x * self._share[:, None]).T @ x).astype(np.float64))
        self._values, self._axes = np.maximum(values, 0.0), axes
        self._loose = x.dtype == np.float32

    def fit(self, c: float, start: Linear | None = None) -> Linear:
        """The minimum for one C. start: a fit for a C nearby, from which it is a few steps away."""
        from scipy.optimize import minimize

        near = Linear(*self._zero()) if start is None else self._inside(start)
        scale, bias_scale = self._scales(c, near)
        axes = self._axes.astype(self._x.dtype)
        penalty = 1 / (c * self._total)

        def unpack(flat: F64) -> tuple[F64, F64]:
            parts = flat.reshape(len(bias_scale), -1)
            return parts[:, :-1] * scale, parts[:, -1] * bias_scale

        def loss(flat: F64) -> tuple[float, F64]:
            turned, bias = unpack(flat)
            z = self._x @ (axes @ turned.T.astype(axes.dtype)) + bias.astype(axes.dtype)
            value, residual = self._judge(z)
            residual *= self._share[:, None]
            slope = ((residual.T @ self._x) @ axes).astype(np.float64) + penalty * turned
            bias_slope = residual.sum(axis=0, dtype=np.float64)
            gradient = np.column_stack([slope * scale, bias_slope * bias_scale])
            return value + penalty / 2 * float((turned * turned).sum()), gradient.ravel()

        first = np.column_stack([near.weights @ self._axes / scale, near.bias / bias_scale]).ravel()
        tolerance = COARSE if self._loose else FINE
        found = minimize(
            loss,
            first,
            jac=True,
            method="L-BFGS-B",
            options={
                "maxcor": _MEMORY,
                "maxiter": _MAX_ITERATIONS,
                "maxfun": 2 * _MAX_ITERATIONS,
                # In round coordinates half the squared gradient is what is left to gain.
                "gtol": float(np.sqrt(2 * tolerance / len(first))),
                "ftol": tolerance / 10 if self._loose else 0.0,
            },
        )
        turned, bias = unpack(found.x)
        weights = turned @ self._axes.T
        weights = weights if self._span is None else weights @ self._span.T.astype(weights.dtype)
        return Linear(weights, bias, converged=bool(found.nit < _MAX_ITERATIONS))

    def _inside(self, start: Linear) -> Linear:
        if self._span is None:
            return start
        return Linear(start.weights @ self._span.astype(start.weights.dtype), start.bias)

    def _zero(self) -> tuple[F64, F64]:
        k = self._target.shape[1]
        return np.zeros((k, self._x.shape[1])), np.zeros(k)

    def _scales(self, c: float, near: Linear) -> tuple[F64, F64]:
        """(k, dim) and (k,) lengths of a unit step, by the mean curvature at a fit nearby."""
        p = _probabilities(near.scores(self._x), self._binary)
        curvature = np.maximum(self._share @ (p * (1 - p)), _LEAST_CURVATURE).astype(np.float64)
        roundness = curvature[:, None] * self._values + 1 / (c * self._total)
        return 1 / np.sqrt(roundness), 1 / np.sqrt(curvature)

    def _judge(self, z: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        """Mean loss, and (n, k) probability minus target."""
        p = _probabilities(z, self._binary)
        if self._binary:
            each = np.logaddexp(0, z) - self._target * z
        else:
            top = z.max(axis=1, keepdims=True)
            spread = np.log(np.exp(z - top).sum(axis=1, keepdims=True)) + top
            each = (self._target * (spread - z)).sum(axis=1, keepdims=True)
        return float(each[:, 0].astype(np.float64) @ self._share.astype(np.float64)), p - self._target


def _probabilities(z: NDArray[Any], binary: bool) -> NDArray[Any]:
    from scipy.special import expit, softmax

    return np.asarray(expit(z) if binary else softmax(z, axis=1))
