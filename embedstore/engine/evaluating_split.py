"""What may be said of the split behind an evaluation: patients, sites and pictures on one side only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from embedstore.contracts.image import I64
from embedstore.engine.evaluation_records import EvaluationRequest
from embedstore.engine.heads import Judged
from embedstore.engine.leakage import Crossings, find_crossings, refuse_crossings
from embedstore.engine.requests import Progress
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.evaluation.splits import disjointness, split_by_mask


def separated(
    workspace: Workspace, rows: Judged, request: EvaluationRequest, progress: Progress
) -> tuple[Judged, Mapping[str, Any]]:
    """The rows, without copies if asked for, and what is known of their split.

    Raises LeakageRefused when one picture, as it is or nearly so, stands on both sides.
    """
    crossings, dropped = None, 0
    if request.compare_pictures:
        crossings = find_crossings(workspace, rows.space, rows.train.items, rows.test.items, progress)
        if request.without_copies:
            copies = np.unique([pair.second for pair in crossings.pairs])
            kept = ~np.isin(rows.test.items, copies)
            dropped = int((~kept).sum())
            rows = replace(rows, test=rows.test.at(kept))
            if not kept.any():
                raise UsageError("every test image is a copy of a training image; none is left to judge by")
        else:
            refuse_crossings(crossings, what=f"head '{request.head}' (or evaluate --without-copies)")
    return rows, _told(workspace, rows, request.assume_independent, crossings, dropped)


def _told(
    workspace: Workspace, rows: Judged, assumed: bool, crossings: Crossings | None, dropped: int
) -> Mapping[str, Any]:
    items = np.concatenate([rows.train.items, rows.test.items])
    patients = np.concatenate([rows.train.patients, rows.test.patients])
    in_test = np.arange(len(items)) >= len(rows.train.items)
    known = np.array(workspace.catalog.column(items, "patient_known"), dtype=bool)
    found = disjointness(split_by_mask(patients, in_test), patients, known, assume_independent=assumed)
    return {
        "patient_disjoint": found.patient_disjoint,
        "unknown_train_patients": found.unknown_train_patients,
        "unknown_test_patients": found.unknown_test_patients,
        "assumed_independent": found.assumed,
        "site_disjoint": site_disjoint(*(sites(workspace, side.items) for side in (rows.train, rows.test))),
        "copies_looked_for": crossings is not None,
        "copies_left_out": dropped,
        "pictures_compared": crossings.looked_at if crossings else 0,
        "pictures_not_readable": crossings.not_looked_at if crossings else 0,
        "note": found.note,
    }


def sites(workspace: Workspace, items: I64) -> Mapping[str, int]:
    """Images by site, most first; "" for those whose site is not known."""
    told = ("" if one is None else str(one) for one in workspace.catalog.column(items, "site"))
    return dict(Counter(told).most_common())


def site_disjoint(train: Mapping[str, int], test: Mapping[str, int]) -> bool | None:
    """Whether no site is on both sides; None where a site is not known."""
    if set(train) & set(test) - {""}:
        return False
    return None if "" in train or "" in test else True
