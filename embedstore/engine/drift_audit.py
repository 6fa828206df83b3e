"""New images that are unlike the reference, and a sample of images for a person to label anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from embedstore.contracts.image import F32, I64
from embedstore.engine.drift_rows import ImageRows
from embedstore.engine.workspace import Workspace
from embedstore.evaluation.arrays import F64
from embedstore.evaluation.outliers import Outliers, flag_outliers

NEIGHBOUR = 5
_CHUNK = 2048


def strange_images(
    workspace: Workspace, reference: ImageRows, new: ImageRows, count: int, seed: int
) -> tuple[Mapping[str, Any], tuple[Mapping[str, Any], ...]]:
    """Outliers among the new images, and `count` images to label: half at random, half the strangest.

    Half of the reference's patients are looked at, the other half say how far apart known images are. A
    patient gives one image.
    """
    rng = np.random.default_rng(seed)
    looked_at, known = _halves(reference.drawn(seed), rng)
    distances = _distance(looked_at.vectors, new.vectors)
    found = flag_outliers(
        _distance(looked_at.vectors, known.vectors),
        distances,
        patients=new.patients,
        calibration_patients=known.patients,
    )
    told = found.to_json()
    del told["p"], told["flagged"]
    flagged = new.items[found.flagged]
    return {**told, "ids": flagged.tolist()}, _sample(workspace, new, found, distances, count, rng)


def _halves(rows: ImageRows, rng: np.random.Generator) -> tuple[ImageRows, ImageRows]:
    names, codes = np.unique(rows.patients, return_inverse=True)
    first = rng.permutation(len(names)) < len(names) // 2
    return rows.at(first[codes]), rows.at(~first[codes])


def _distance(known: F32, asked: F32) -> F64:
    """(n,) distance to the fifth nearest of the known images."""
    place = min(NEIGHBOUR, len(known)) - 1
    found = np.empty(len(asked))
    for start in range(0, len(asked), _CHUNK):
        likeness = asked[start : start + _CHUNK] @ known.T
        nearest = np.partition(-likeness, place, axis=1)[:, place]
        found[start : start + _CHUNK] = np.sqrt(np.maximum(2 + 2 * nearest, 0))
    return found


def _sample(
    workspace: Workspace,
    new: ImageRows,
    found: Outliers,
    distances: F64,
    count: int,
    rng: np.random.Generator,
) -> tuple[Mapping[str, Any], ...]:
    at_random = _one_per_patient(new, rng.permutation(len(new.items)))[: (count + 1) // 2]
    taken = set(new.patients[at_random].tolist())
    order = np.argsort(-distances, kind="stable")
    strangest = [row for row in _one_per_patient(new, order).tolist() if new.patients[row] not in taken]
    rows = [*at_random.tolist(), *strangest[: count - len(at_random)]]
    items = workspace.catalog.items([int(new.items[row]) for row in rows])
    return tuple(
        {
            "id": item.id,
            "path": item.path,
            "reason": "random" if place < len(at_random) else "unlike the reference",
            "p_value": float(found.p[row]),
        }
        for place, (item, row) in enumerate(zip(items, rows, strict=True))
    )


def _one_per_patient(rows: ImageRows, order: I64) -> I64:
    """The first row of each patient in that order."""
    first = np.unique(rows.patients[order], return_index=True)[1]
    return np.asarray(order[np.sort(first)])
