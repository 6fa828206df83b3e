"""Conformal sets and p-values of a head, calibrated on training patients that were set aside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.engine.head_rows import HeadRows
from embedstore.engine.heads import Judged, OpenHead, answers
from embedstore.engine.workspace import Workspace
from embedstore.evaluation.arrays import Groups
from embedstore.evaluation.conformal import ConformalRule, fit_conformal
from embedstore.evaluation.coverage import achieved_coverage
from embedstore.evaluation.outliers import Outliers, flag_outliers
from embedstore.evaluation.proportions import proportion
from embedstore.learning.heads.record import FittedHead

_CONDITIONS = {"none": "none", "class": "class", "site": "group"}


def achieved(workspace: Workspace, rows: Judged, told: F32) -> Mapping[str, Any]:
    """What the sets promise and what they held on the test images; {} for a head without sets."""
    asked = rows.row.details.get("conformal")
    if asked and rows.head.task == "anomaly":
        return _alarms(rows, told, asked["alpha"])
    if not asked or rows.head.task != "classes":
        return {}
    rule = _rule(workspace, rows.head, rows.calibration, asked)
    test = rows.test
    where = _sites(workspace, test.items)
    found = achieved_coverage(
        rule.sets(told, where), test.y, test.patients, rows.head.spec.classes, where
    ).to_json()
    return {**asked, "promised": 1 - asked["alpha"], "achieved": found, **_promises(rule)}


def sets_of(workspace: Workspace, found: OpenHead, items: I64, told: F32) -> NDArray[np.bool_] | None:
    """(n, K) membership of items with these answers; None for a head without sets."""
    asked = found.row.details.get("conformal")
    if not asked or found.head.task != "classes":
        return None
    calibration = found.judged_rows(workspace, found.items[found.in_calibration])
    return _rule(workspace, found.head, calibration, asked).sets(told, _sites(workspace, items))


def outliers(head: FittedHead, calibration: HeadRows, told: F32, patients: Groups, fdr: float) -> Outliers:
    """p-values of scores (n, 1) against those of healthy patients that were set aside."""
    healthy = calibration.at(calibration.y == 0)
    return flag_outliers(
        answers(head, healthy)[:, 0],
        told[:, 0],
        fdr=fdr,
        patients=patients,
        calibration_patients=healthy.patients,
    )


def _alarms(rows: Judged, told: F32, fdr: float) -> Mapping[str, Any]:
    """How many test images are called unlike the reference, and how many rightly."""
    test = rows.test
    found = outliers(rows.head, rows.calibration, told, test.patients, fdr)
    strange, called = test.y == 1, found.flagged
    plain = {name: value for name, value in found.to_json().items() if name not in ("p", "flagged")}
    return {
        **plain,
        "power": proportion("power", called[strange], test.patients[strange]).to_json(),
        "false_discoveries": proportion(
            "false_discoveries", ~strange[called], test.patients[called]
        ).to_json(),
    }


def _rule(workspace: Workspace, head: FittedHead, rows: HeadRows, asked: Mapping[str, Any]) -> ConformalRule:
    condition = _CONDITIONS[asked["by"]]
    return fit_conformal(
        answers(head, rows),
        rows.y,
        alpha=asked["alpha"],
        method=asked["method"],
        condition=condition,  # type: ignore[arg-type]
        groups=_sites(workspace, rows.items) if condition == "group" else None,
        patients=rows.patients,
        seed=head.spec.seed,
    )


def _sites(workspace: Workspace, items: I64) -> list[str]:
    return ["" if one is None else str(one) for one in workspace.catalog.column(items, "site")]


def _promises(rule: ConformalRule) -> dict[str, Any]:
    return {"guarantees": [one.to_json() for one in rule.guarantees()]}
