"""Does the head see the finding, or the scanner? What metadata alone would reach, and whether scores follow.

A classifier of films may live on who was filmed where (Zech et al., PLoS Medicine 15:e1002683, 2018; Gichoya
et al., Lancet Digital Health 4:e406, 2022). Three looks: a model on metadata alone; how well vectors tell an
attribute; and whether the head's score tells it among images of the same truth, where it has nothing to tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embedstore.contracts.image import F32
from embedstore.evaluation.arrays import Groups, same_length
from embedstore.evaluation.clustered import clustered_auc
from embedstore.evaluation.intervals import Estimate
from embedstore.evaluation.subgroups import NOT_RECORDED

FEWEST_PATIENTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaning:
    """Does a score tell this value from the others among images of one truth? 0.5: not at all.

    truth: "without" or "with" the finding. auroc: its n_positives are the images that have the value. leans:
    the interval excludes 0.5.
    """

    attribute: str
    value: str
    truth: str
    auroc: Estimate
    leans: bool

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null."""
        names = ("attribute", "value", "truth", "leans")
        return {**{name: getattr(self, name) for name in names}, "auroc": self.auroc.to_json()}


def one_hot(columns: Mapping[str, Sequence[str]], fitted: ArrayLike) -> tuple[F32, tuple[str, ...]]:
    """(n, d) 0/1 features of categorical columns, and the columns they speak of.

    Values are those of the rows `fitted` (n,) bool: a value met only elsewhere is all zeros. A column that is
    constant there says nothing and is left out.
    """
    rows = np.asarray(fitted, dtype=bool)
    features, used = [], []
    for name, values in columns.items():
        told = np.asarray(values, dtype=object)
        same_length(rows=rows, values=told)
        met = sorted(set(told[rows].tolist()))
        if len(met) < 2:
            continue
        features += [(told == value).astype(np.float32) for value in met]
        used.append(name)
    return (np.stack(features, axis=1) if features else np.zeros((len(rows), 0), np.float32)), tuple(used)


def usual_values(values: Sequence[str], patients: Groups, fewest: int = FEWEST_PATIENTS) -> tuple[str, ...]:
    """The recorded values that at least so many patients have, sorted; () when fewer than two are left."""
    told, people = np.asarray(values, dtype=object), np.asarray(patients)
    met = sorted(set(values) - {NOT_RECORDED})
    kept = tuple(value for value in met if len(np.unique(people[told == value])) >= fewest)
    return kept if len(kept) > 1 else ()


def leaning(
    attribute: str, values: Sequence[str], y: ArrayLike, score: ArrayLike, patients: Groups
) -> tuple[Leaning, ...]:
    """For each usual value (the last of two), among the images without and those with the finding.

    y: (n,) 0/1 truth; score: (n,), of models that did not see the row's patient.
    """
    truth, found, people = np.asarray(y) == 1, np.asarray(score, dtype=np.float64), np.asarray(patients)
    told = np.asarray(values, dtype=object)
    same_length(y=truth, score=found, patients=people, values=told)
    rows = []
    for name, side in (("without", ~truth), ("with", truth)):
        usual = usual_values(told[side].tolist(), people[side])
        inside: NDArray[np.bool_] = side & np.isin(told, np.asarray(usual, dtype=object))
        for value in usual[1:] if len(usual) == 2 else usual:
            auroc = clustered_auc(told[inside] == value, found[inside], people[inside])
            leans = bool(auroc.low > 0.5 or auroc.high < 0.5)
            rows.append(Leaning(attribute=attribute, value=value, truth=name, auroc=auroc, leans=leans))
    return tuple(rows)
