"""Linear heads: L2-penalised logistic regression on the vectors of one space.

Fitted with scikit-learn (lbfgs); what is kept is a JSON spec and plain arrays, and `predict` is numpy alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.contracts.image import F32, I64
from embedstore.contracts.labels import HeadSpec
from embedstore.errors import SpaceMismatch, StoreDamaged, UsageError
from embedstore.evaluation.arrays import F64, NO_LABEL, Groups, group_codes, same_length
from embedstore.evaluation.metrics import log_loss
from embedstore.evaluation.splits import patient_folds
from embedstore.learning.vectors import arrays_sha256, checked_rows, unit_rows
from embedstore.learning.zeroshot import softmax

Scaling = Literal["auto", "unit", "standardise"]
C_GRID: tuple[float, ...] = tuple(float(c) for c in np.logspace(-5, 2, 8))
_MAX_ITERATIONS = 2000
_WORSE_IN_A_ROW = 2
_SCALINGS = ("unit", "standardise")
_ARRAYS = ("weights", "bias", "mean", "scale")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LogisticHead:
    """A fitted head. Implements `contracts.labels.Head`.

    weights: (1, dim) for two classes, (K, dim) for more; bias: (1,) or (K,). Vectors are scaled to length 1
    if spec.params["scaling"] is "unit", then (v - mean) / scale.
    """

    spec: HeadSpec
    weights: F64
    bias: F64
    mean: F64
    scale: F64

    def decision(self, vectors: NDArray[Any]) -> F64:
        """(n, dim) vectors to (n, 1) log odds of class 1, or (n, K) scores."""
        rows = checked_rows(vectors, f"head '{self.spec.name}'", self.weights.shape[1])
        scaled = _scaled(rows, str(self.spec.params["scaling"]), self.mean, self.scale)
        return np.asarray(scaled @ self.weights.T + self.bias)

    def predict(self, vectors: NDArray[Any]) -> F32:
        """(n, dim) vectors to (n, K) probabilities."""
        return _probabilities(self.decision(vectors))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is stored beside the spec."""
        return {name: getattr(self, name) for name in _ARRAYS}

    def to_json(self) -> dict[str, Any]:
        """The spec as JSON."""
        plain = asdict(self.spec)
        plain["classes"] = list(self.spec.classes)
        return plain

    @classmethod
    def restore(cls, spec: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> LogisticHead:
        """The head that gave this spec and these arrays. Raises StoreDamaged when they do not fit."""
        try:
            told = HeadSpec(**{**spec, "classes": tuple(spec["classes"])})
            head = cls(spec=told, **{name: np.asarray(arrays[name], dtype=np.float64) for name in _ARRAYS})
            rows = 1 if len(told.classes) == 2 else len(told.classes)
            fits = head.weights.shape == (rows, len(head.mean)) and head.bias.shape == (rows,)
        except (KeyError, TypeError, ValueError) as error:
            raise StoreDamaged(f"a stored head lacks or garbles {error}; fit it again") from error
        if not fits or head.scale.shape != head.mean.shape:
            raise StoreDamaged(f"the stored head '{told.name}' does not fit its arrays; fit it again")
        return head


def check_space(expected: str, given: str, what: str = "the head") -> None:
    """Raise SpaceMismatch unless the vectors given are of the space that `what` was fitted in."""
    if expected != given:
        raise SpaceMismatch(
            f"{what} was fitted in space {expected[:12]} and was given vectors of space {given[:12]}; "
            "use the encoder it was fitted with, or fit a head in this space"
        )


def encode_labels(values: Sequence[Any], classes: Sequence[str] | None = None) -> tuple[I64, tuple[str, ...]]:
    """(n,) class indices of label values, -1 where a value is missing or not among the classes.

    classes: their order; by default the values met, sorted ("absent"/"no"/"0"-like names are not special).
    """
    texts = [None if value is None or str(value).strip() == "" else _text(value) for value in values]
    known = (
        tuple(classes) if classes is not None else tuple(sorted({text for text in texts if text is not None}))
    )
    index = {name: number for number, name in enumerate(known)}
    y = np.array([NO_LABEL if t is None else index.get(t, NO_LABEL) for t in texts], dtype=np.int64)
    return y, known


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


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
    scaling: Scaling = "auto",
    folds: int = 5,
    grid: Sequence[float] = C_GRID,
) -> LogisticHead:
    """Fit a head to training rows: vectors (n, dim), y (n,) classes (-1: dropped), groups (n,) patients.

    C, and with "auto" the scaling, has the smallest log loss over patient-grouped folds of these rows;
    nothing else is tuned. "unit" looks at directions, as search does; "standardise" gives every dimension the
    same weight. split: how training rows were told from test rows, for the record. The same rows and seed
    give the same head. Raises UsageError when a class has no row, or there are fewer than two patients.
    """
    truth, people = np.asarray(y, dtype=np.int64), group_codes(groups)
    rows = checked_rows(vectors, f"head '{name}'")
    same_length(vectors=rows, labels=truth, patients=people)
    kept = truth != NO_LABEL
    dropped = int(np.sum(~kept))
    rows, truth, people = rows[kept], truth[kept], group_codes(people[kept])
    counts = _class_counts(truth, classes)
    tried = {
        way: _choose_c(rows, truth, people, way, seed=seed, folds=folds, grid=sorted(grid))
        for way in (_SCALINGS if scaling == "auto" else (scaling,))
    }
    used = min(tried, key=lambda way: tried[way].loss)
    mean, scale = _moments(rows, used)
    model = next(_path(_scaled(rows, used, mean, scale), truth, [tried[used].c]))
    params = {
        "kind": "logistic",
        "scaling": used,
        "C": tried[used].c,
        "converged": model.converged,
        "cv_log_loss": {way: dict(choice.losses) for way, choice in tried.items()},
        "n": len(truth),
        "n_patients": len(np.unique(people)),
        "n_per_class": dict(zip(classes, counts, strict=True)),
        "dropped": dropped,
    }
    spec = HeadSpec(
        name=name,
        space=space,
        target=target,
        classes=tuple(classes),
        data_sha256=arrays_sha256(rows, truth, people),
        seed=seed,
        split=dict(split or {}),
        params=params,
    )
    return LogisticHead(spec=spec, weights=model.weights, bias=model.bias, mean=mean, scale=scale)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    weights: F64
    bias: F64
    converged: bool


def _class_counts(truth: I64, classes: Sequence[str]) -> list[int]:
    if len(classes) < 2:
        raise UsageError("a head needs at least two classes; check the label column and the filter")
    if len(truth) and truth.max() >= len(classes):
        raise UsageError(f"a label index is beyond the {len(classes)} classes")
    counts = [int(count) for count in np.bincount(truth, minlength=len(classes))]
    for name, count in zip(classes, counts, strict=True):
        if count == 0:
            raise UsageError(f"no training row is labelled '{name}'; a head cannot learn a class unseen")
    return counts


def _moments(rows: F32, scaling: str) -> tuple[F64, F64]:
    used = (unit_rows(rows) if scaling == "unit" else rows).astype(np.float64)
    mean = used.mean(axis=0)
    if scaling == "unit":
        # One common factor: directions stay as they are, and C means the same whatever the dimension.
        return mean, np.full(rows.shape[1], max(float(used.std(axis=0).mean()), 1e-12))
    spread = used.std(axis=0)
    return mean, np.where(spread > 1e-9 * max(float(spread.max()), 1e-300), spread, 1.0)


def _scaled(rows: F32, scaling: str, mean: F64, scale: F64) -> F64:
    used = unit_rows(rows) if scaling == "unit" else rows
    return np.asarray((used.astype(np.float64) - mean) / scale)


@dataclass(frozen=True, slots=True)
class _Choice:
    """The best C, its loss, and the losses of all that every fold tried (NaN when there was one C only)."""

    c: float
    loss: float
    losses: Mapping[str, float]


def _choose_c(
    rows: F32, truth: I64, people: I64, scaling: str, *, seed: int, folds: int, grid: Sequence[float]
) -> _Choice:
    """The C of an ascending grid with the least log loss on patients left out."""
    n_people = len(np.unique(people))
    if n_people < 2:
        raise UsageError("choosing C needs labelled rows of at least 2 patients")
    if len(grid) == 1:
        return _Choice(grid[0], float("nan"), {})
    fold_of = patient_folds(people, min(folds, n_people), y=truth, seed=seed)
    total, counted = np.zeros(len(grid)), 0
    for fold in np.unique(fold_of):
        train, held = fold_of != fold, fold_of == fold
        if len(np.unique(truth[train])) < int(truth.max()) + 1:
            continue  # a class lives in one fold only: this fold cannot be judged
        total += _fold_losses(rows, truth, train, scaling, grid) * int(held.sum())
        counted += int(held.sum())
    if not counted:
        raise UsageError("every class needs labelled rows of at least 2 patients")
    losses = total / counted
    best = int(losses.argmin())
    told = {f"{c:g}": float(loss) for c, loss in zip(grid, losses, strict=True) if np.isfinite(loss)}
    return _Choice(grid[best], float(losses[best]), told)


def _fold_losses(rows: F32, truth: I64, train: NDArray[np.bool_], scaling: str, grid: Sequence[float]) -> F64:
    """Log loss of the rows left out, for each C; infinite beyond the C where it has only been rising."""
    mean, scale = _moments(rows[train], scaling)
    # Half the precision is twice the speed, and moves the losses by less than a thousandth.
    shown, asked = (_scaled(rows[side], scaling, mean, scale).astype(np.float32) for side in (train, ~train))
    losses = np.full(len(grid), np.inf)
    for number, fit in enumerate(_path(shown, truth[train], grid)):
        losses[number] = log_loss(truth[~train], _probabilities(asked @ fit.weights.T + fit.bias))
        # The least penalised fits take most of the time, and a loss that has turned does not come back.
        if number - int(losses.argmin()) >= _WORSE_IN_A_ROW:
            break
    return losses


def _path(x: F64 | F32, truth: I64, grid: Sequence[float]) -> Iterator[_Fit]:
    """The fit for each C, ascending; each starts from the one before."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(solver="lbfgs", max_iter=_MAX_ITERATIONS, tol=1e-4, warm_start=True)
    for c in grid:
        model.set_params(C=c)
        with warnings.catch_warnings():
            # A fit that was cut off is usable; whether the final one was is recorded in the spec.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, truth)
        weights, bias = (np.array(part, dtype=np.float64) for part in (model.coef_, model.intercept_))
        yield _Fit(weights, bias, converged=int(model.n_iter_.max()) < _MAX_ITERATIONS)


def _probabilities(z: NDArray[Any]) -> F32:
    """Log odds (n, 1) or scores (n, K) to (n, K) probabilities."""
    return softmax(np.hstack([np.zeros_like(z), z]) if z.shape[1] == 1 else z)
