"""Ridge regression for continuous targets (age, volume), as the posterior mean of a Gaussian linear model.

Closed form throughout (Bishop, Pattern Recognition and Machine Learning, 2006, section 3.3): weights have a
normal prior of variance noise / penalty, the intercept none; its posterior is exactly normal, so the Laplace
approximation is no approximation here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.evaluation.arrays import F64
from embedstore.learning.heads.choose import choose
from embedstore.learning.heads.record import FittedHead, Parts
from embedstore.learning.heads.rows import FitOptions, Fitted, Rows
from embedstore.learning.heads.scaling import WAYS, Scaler
from embedstore.learning.heads.uncertainty import fit_ensemble, member_scores, variances

PENALTIES: tuple[float, ...] = tuple(float(one) for one in 10.0 ** np.linspace(-3, 7, 21))
_ARRAYS = ("weights", "bias", "mean", "scale")


class RidgePath:
    """Fits to one set of rows for any penalty. x: (n, dim), y: (n,); intercepts are free."""

    def __init__(self, x: F64, y: F64) -> None:
        self._x, self._y = x, y
        self._centre, self._level = x.mean(axis=0), float(y.mean())
        centred = x - self._centre
        values, self._axes = np.linalg.eigh(centred.T @ centred)
        self._values = np.maximum(values, 0.0)
        self._moment = self._axes.T @ (centred.T @ (y - self._level))

    def fit(self, penalty: float) -> tuple[F64, float]:
        """(dim,) weights and the intercept that minimise |y - x w - b|^2 + penalty |w|^2."""
        weights = self._axes @ (self._moment / (self._values + penalty))
        return weights, self._level - float(self._centre @ weights)

    def noise(self, penalty: float) -> float:
        """Residual variance, by the degrees of freedom that the fit leaves."""
        weights, bias = self.fit(penalty)
        residual = self._y - self._x @ weights - bias
        used = 1 + float((self._values / (self._values + penalty)).sum())
        return float(residual @ residual) / max(len(self._y) - used, 1.0)

    def covariance(self, penalty: float, noise: float) -> F64:
        """(1, dim + 1, dim + 1) posterior covariance of the weights and (last) the intercept."""
        inner = noise * (self._axes / (self._values + penalty)) @ self._axes.T
        across = -inner @ self._centre
        corner = noise / len(self._y) + self._centre @ inner @ self._centre
        return np.block([[inner, across[:, None]], [across[None, :], np.array([[corner]])]])[None]


def fit(rows: Rows, options: FitOptions) -> Fitted:
    """The penalty, and with "auto" the scaling, has the least squared error on patients left out."""
    grid = sorted(PENALTIES if options.grid is None else [float(one) for one in options.grid])
    ways = WAYS if options.scaling == "auto" else (options.scaling,)

    def losses(way: str) -> Any:
        def of_fold(train: Rows, held: Rows) -> F64:
            scaler = Scaler.of(train.vectors, way)
            path, asked = RidgePath(scaler(train.vectors), train.y), scaler(held.vectors)
            made = [path.fit(penalty) for penalty in grid]
            return np.stack([(asked @ weights + bias - held.y) ** 2 for weights, bias in made])

        return of_fold

    tried = {way: choose(rows, grid, losses(way), options.folds) for way in ways}
    way = min(tried, key=lambda name: tried[name].loss)
    choice, scaler = tried[way], Scaler.of(rows.vectors, way)
    path = RidgePath(scaler(rows.vectors), rows.y)
    weights, bias = path.fit(choice.value)
    noise = path.noise(choice.value)
    params = {
        "scaling": way,
        "penalty": choice.value,
        "noise_variance": noise,
        "uncertainty": options.uncertainty,
        "inner": choice.estimate("squared_error", rows) if np.isfinite(choice.loss) else None,
    }
    arrays: dict[str, NDArray[Any]] = {
        "weights": weights[None],
        "bias": np.array([bias]),
        "mean": scaler.mean,
        "scale": scaler.scale,
    }
    if options.uncertainty == "laplace":
        arrays["covariance"] = path.covariance(choice.value, noise)
    if options.uncertainty == "ensemble":

        def member(drawn: Rows) -> tuple[F64, F64]:
            one = RidgePath(scaler(drawn.vectors), drawn.y).fit(choice.value)
            return one[0][None], np.array([one[1]])

        arrays |= fit_ensemble(rows, member, options.members)
    return Fitted(params, arrays)


def apply(head: FittedHead, vectors: F32, bags: I64 | None = None) -> F64:
    """(n, dim) to (n, 1) values."""
    if "member_weights" in head.arrays:
        return np.asarray(member_scores(head.arrays, _scaler(head)(vectors)).mean(axis=0))
    return _scaler(head).scores(vectors, head.arrays["weights"], head.arrays["bias"])


def parts(head: FittedHead, vectors: F32) -> Parts:
    """Variances: the noise, and that of the mean."""
    x = _scaler(head)(vectors)
    if "member_weights" in head.arrays:
        spread = member_scores(head.arrays, x)[:, :, 0].var(axis=0, ddof=1)
    else:
        spread = variances(x, head.arrays["covariance"])[:, 0]
    noise = float(head.spec.params["noise_variance"])
    return Parts(aleatoric=np.full(len(x), noise), epistemic=spread)


def _scaler(head: FittedHead) -> Scaler:
    return Scaler(str(head.spec.params["scaling"]), head.arrays["mean"], head.arrays["scale"])


def dim(head: FittedHead) -> int:
    """Length of the vectors."""
    return int(head.arrays["weights"].shape[1])


def fits(head: FittedHead) -> bool:
    """Whether the arrays are those of the card."""
    weights, bias, mean, scale = (np.asarray(head.arrays[name]) for name in _ARRAYS)
    return weights.shape == (1, len(mean)) and bias.shape == (1,) and scale.shape == mean.shape
