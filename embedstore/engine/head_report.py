"""The metrics of a head on patients it was not fitted on, with its control, sets and uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32
from embedstore.engine.head_sets import achieved
from embedstore.engine.heads import Judged, answers
from embedstore.engine.requests import HeadReport
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.evaluation import metrics
from embedstore.evaluation.arrays import group_codes
from embedstore.evaluation.control import shuffle_control
from embedstore.evaluation.intervals import Estimate, bootstrap_mean
from embedstore.evaluation.metrics import Metric
from embedstore.evaluation.report import Evaluation, evaluate
from embedstore.evaluation.report_tasks import evaluate_findings, evaluate_scores, evaluate_values
from embedstore.learning.shuffled import shuffled_predictions


def report_of(workspace: Workspace, rows: Judged) -> HeadReport:
    """The metrics of a head on its test rows.

    Beside it, the same fit on labels shuffled between patients, many times.
    """
    told = answers(rows.head, rows.test)
    found = evaluation_of(rows, told)
    first = found.estimates[0]
    control, without = _control(rows, first)
    return HeadReport(
        head=rows.head.spec.name,
        classes=rows.head.spec.classes,
        counts={
            "images": len(rows.test.items),
            "patients": len(np.unique(rows.test.patients)),
            "positives": int(np.sum(_any_positive(rows.test.y))),
            "dropped": found.dropped,
        },
        metrics={estimate.metric: estimate.to_json() for estimate in found.estimates},
        reliability=tuple(bin.to_json() for bin in found.reliability),
        shuffled=control,
        split=rows.head.spec.split,
        notes=(*found.notes, *without),
        conformal=achieved(workspace, rows, told),
        uncertainty=_uncertainty(rows),
    )


def _any_positive(y: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray((y if y.ndim == 1 else y.max(axis=1)) == 1)


def evaluation_of(rows: Judged, told: F32) -> Evaluation:
    """Every metric of the head's task with its interval."""
    head, test = rows.head, rows.test
    if head.task == "findings":
        return evaluate_findings(test.y, told, test.patients, head.spec.classes, seed=head.spec.seed)
    if head.task == "value":
        return evaluate_values(test.y, told[:, 0], test.patients, head.spec.target, seed=head.spec.seed)
    if head.task == "anomaly":
        return evaluate_scores(test.y, told[:, 0], test.patients, seed=head.spec.seed)
    return evaluate(test.y, told, test.patients, head.spec.classes, seed=head.spec.seed)


def _control(rows: Judged, observed: Estimate) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The first metric of fits with the same settings to labels shuffled between patients, and a note."""
    head, train, test = rows.head, rows.train, rows.test
    bags = [None if side.bags is None else group_codes(side.bags) for side in (train, test)]
    try:
        told = shuffled_predictions(
            head, train.vectors, train.y, train.patients, test.vectors, bags=bags[0], asked_bags=bags[1]
        )
    except UsageError as error:
        return {}, (f"no control: {error}",)
    y, scores, metric = _first(rows, told)
    known = y >= 0 if y.dtype.kind == "i" else np.isfinite(y)
    found = shuffle_control(
        observed.metric, metric, y[known], observed.value, scores[:, known], test.patients[known]
    )
    return found.to_json(), ()


def _first(rows: Judged, told: F32) -> tuple[Any, F32, Metric]:
    """Labels, (shuffles, n[, K]) scores and metric behind the first number of the account."""
    head, y = rows.head, rows.test.y
    if head.task == "findings":
        return y[:, 0], told[:, :, 0], metrics.auroc
    if head.task == "value":
        return y, told[:, :, 0], metrics.r2
    if head.task == "anomaly":
        return y, told[:, :, 0], metrics.auroc
    if len(head.spec.classes) == 2:
        return y, told[:, :, 1], metrics.auroc
    return y, told, metrics.macro_auroc


def _uncertainty(rows: Judged) -> Mapping[str, Any]:
    """Means of the two parts over the test images; {} for a head that does not know them."""
    parts = rows.head.parts(rows.test.vectors)
    if parts is None:
        return {}
    unit = "squared unit of the target" if rows.head.task == "value" else "nats"
    found: dict[str, Any] = {"by": rows.head.spec.params["uncertainty"], "unit": unit}
    for name in ("aleatoric", "epistemic"):
        values = getattr(parts, name)
        each = values if values.ndim == 1 else values.mean(axis=1)
        found[name] = bootstrap_mean(name, each, rows.test.patients, seed=rows.head.spec.seed).to_json()
    return found
