"""Heads: the time of a sweep over C beside scikit-learn's at the same loss, and of applying one.

    python benchmarks/heads.py [--rows 20000] [--dim 768] [--values 20] [--folds 5] [--apply 100000]

Made vectors: correlated dimensions of falling variance, two classes that overlap, two images per patient.
Both sides fit every C of the grid on every fold of patients, on the same scaled rows, each fit starting from
the one before. scikit-learn's is LogisticRegression (lbfgs) at its own tolerance: the losses on the
training rows, which both minimise, say what each side reached. --rows 100000 is the size of a large archive.
Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import warnings
from collections.abc import Iterator

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from embedstore.evaluation.splits import patient_folds
from embedstore.learning.heads.logistic import fit_logistic
from embedstore.learning.heads.rows import FitOptions
from embedstore.learning.heads.scaling import Scaler
from embedstore.learning.heads.solver import LogisticPath


def cohort(rows: int, dim: int, seed: int):
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(dim, dim)).astype(np.float32) * np.exp(-np.arange(dim) / 100)[:, None]
    vectors = rng.normal(size=(rows, dim)).astype(np.float32) @ mix.astype(np.float32)
    scaled = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    direction = rng.normal(size=dim) / np.sqrt(dim)
    chance = 1 / (1 + np.exp(-scaled @ direction + 1))
    return vectors, (rng.random(rows) < chance).astype(np.int64), np.arange(rows) // 2


def loss(x, y, c: float, weights, bias) -> float:
    z = x.astype(np.float64) @ np.ravel(weights) + np.ravel(bias)[0]
    return float(c * np.sum(np.logaddexp(0, z) - y * z) + np.sum(np.square(weights)) / 2)


def ours(x, y, grid) -> Iterator:
    path, near = LogisticPath(x, y), None
    for c in grid:
        near = path.fit(c, near)
        yield near.weights, near.bias


def theirs(x, y, grid, tol: float, most: int) -> Iterator:
    model = LogisticRegression(tol=tol, max_iter=most, warm_start=True)
    for c in grid:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(C=c).fit(x, y)
        yield model.coef_, model.intercept_


def sweep(vectors, y, fold_of, grid, fit) -> tuple[float, list[list[float]]]:
    """Seconds of the fits alone, and the loss of every fold and C."""
    seconds, losses = 0.0, []
    for fold in np.unique(fold_of):
        train = fold_of != fold
        x = Scaler.of(vectors[train], "standardise")(vectors[train], np.float32)
        started = time.perf_counter()
        made = list(fit(x, y[train], grid))
        seconds += time.perf_counter() - started
        losses.append([loss(x, y[train], c, *one) for c, one in zip(grid, made, strict=True)])
    return seconds, losses


def apply_seconds(vectors, y, people, rows: int) -> dict[str, float]:
    """Best of five."""
    some = slice(0, min(2000, len(y)))
    options = FitOptions(grid=(0.01,), scaling="standardise")
    head = fit_logistic(
        vectors[some], y[some], people[some], name="h", space="s", target="t", classes=("0", "1"),
        options=options,
    )  # fmt: skip
    asked = np.resize(vectors, (rows, vectors.shape[1]))
    found = []
    for _ in range(5):
        started = time.perf_counter()
        head.predict(asked)
        found.append(time.perf_counter() - started)
    return {"rows": rows, "seconds": min(found)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--values", type=int, default=20)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--apply", type=int, default=100_000)
    parser.add_argument("--tol", type=float, default=1e-4, help="scikit-learn's tolerance (its default)")
    parser.add_argument("--most", type=int, default=1000, help="iterations scikit-learn may take")
    parser.add_argument("--ours-only", action="store_true", help="leave scikit-learn out")
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    vectors, y, people = cohort(told.rows, told.dim, told.seed)
    fold_of = patient_folds(people, told.folds, y=y, seed=told.seed)
    grid = [float(c) for c in np.logspace(-6, 1, told.values)]
    seconds, losses = sweep(vectors, y, fold_of, grid, ours)
    answer = {
        "rows": told.rows, "dim": told.dim, "values_of_c": told.values, "folds": told.folds,
        "grid": [grid[0], grid[-1]], "seed": told.seed, "machine": platform.machine(),
        "ours": {"seconds": round(seconds, 2)},
        "apply": apply_seconds(vectors, y, people, told.apply),
    }  # fmt: skip
    if not told.ours_only:
        other, reached = sweep(
            vectors, y, fold_of, grid, lambda x, t, g: theirs(x, t, g, told.tol, told.most)
        )
        gap = (np.array(losses) - np.array(reached)) / np.array(reached)
        answer["scikit_learn"] = {"seconds": round(other, 2), "tol": told.tol}
        answer["times_faster"] = round(other / seconds, 1)
        # Below 0: ours is lower. Above: scikit-learn's is.
        answer["relative_loss_gap"] = {"least": float(gap.min()), "greatest": float(gap.max())}
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
