"""Did the sets hold what they promised, and how large did they have to be?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from embedstore.evaluation.arrays import Groups, group_codes, same_length
from embedstore.evaluation.intervals import Estimate
from embedstore.evaluation.proportions import clustered_mean, proportion


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """overall, by_class, by_group: share of images whose set has their true class. size: classes in a set.

    single, empty: shares of sets with one class and with none.
    """

    overall: Estimate
    size: Estimate
    single: Estimate
    empty: Estimate
    by_class: Mapping[str, Estimate]
    by_group: Mapping[str, Estimate]

    def to_json(self) -> dict[str, Any]:
        """A JSON object; undefined numbers are null."""
        plain = {name: getattr(self, name).to_json() for name in ("overall", "size", "single", "empty")}
        strata = {"by_class": self.by_class, "by_group": self.by_group}
        return plain | {
            name: {key: one.to_json() for key, one in found.items()} for name, found in strata.items()
        }


def achieved_coverage(
    sets: ArrayLike,
    y: ArrayLike,
    patients: Groups,
    classes: Sequence[str],
    groups: Groups | None = None,
) -> Coverage:
    """The coverage of (n, K) sets on (n,) true classes of patients that were not calibrated on."""
    member, truth, people = np.asarray(sets, dtype=bool), np.asarray(y, np.int64), group_codes(patients)
    same_length(sets=member, y=truth, patients=people)
    right, sizes = member[np.arange(len(truth)), truth], member.sum(axis=1)
    strata = np.array([str(one) for one in groups]) if groups is not None else np.empty(0)

    def share(of: ArrayLike, rows: Any = slice(None)) -> Estimate:
        return proportion("coverage", np.asarray(of)[rows], people[rows])

    return Coverage(
        overall=share(right),
        size=clustered_mean("set_size", sizes, people),
        single=proportion("single_class_sets", sizes == 1, people),
        empty=proportion("empty_sets", sizes == 0, people),
        by_class={name: share(right, truth == c) for c, name in enumerate(classes)},
        by_group={str(name): share(right, strata == name) for name in np.unique(strata)},
    )
