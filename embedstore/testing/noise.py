"""Made vectors of made patients with labels that are wrong in known places, for whoever tests an audit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32


@dataclass(frozen=True, slots=True, eq=False)
class NoisyLabels:
    """vectors: (n, dim). given: (n,) labels, wrong where `wrong`. truth: (n,). patients: (n,)."""

    vectors: F32
    given: NDArray[np.int64]
    truth: NDArray[np.int64]
    wrong: NDArray[np.bool_]
    patients: NDArray[np.int64]


def noisy_labels(
    seed: int,
    *,
    n_patients: int = 300,
    n_images: int = 4,
    n_classes: int = 3,
    dim: int = 64,
    gap: float = 3.5,
    rate: float = 0.136,
) -> NoisyLabels:
    """Gaussian classes with centres `gap` from the origin, patients of one class each, a share relabelled.

    An image is its class's centre, a patient's own shift (deviation .5 a dimension) and its own noise (.7);
    the share `rate` of the images gets another class, evenly.
    """
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_classes, dim))
    centres *= gap / np.linalg.norm(centres, axis=1, keepdims=True)
    patients = np.repeat(np.arange(n_patients), n_images)
    truth = rng.integers(n_classes, size=n_patients)[patients]
    shift = 0.5 * rng.normal(size=(n_patients, dim))[patients]
    vectors = centres[truth] + shift + 0.7 * rng.normal(size=(len(truth), dim))
    wrong = np.zeros(len(truth), bool)
    wrong[rng.choice(len(truth), round(rate * len(truth)), replace=False)] = True
    other = (truth + rng.integers(1, n_classes, size=len(truth))) % n_classes
    return NoisyLabels(vectors.astype(np.float32), np.where(wrong, other, truth), truth, wrong, patients)
