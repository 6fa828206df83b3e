"""Is one head better than another? Both are asked about the same images of patients neither was fitted on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from embedstore.engine.comparison_records import ComparedMetric, HeadComparison
from embedstore.engine.evaluating_split import separated
from embedstore.engine.evaluating_views import asked_scores, compared, first_metric
from embedstore.engine.evaluation_records import EvaluationRequest
from embedstore.engine.heads import Judged, answers, judged
from embedstore.engine.requests import Progress, silent
from embedstore.engine.unsealing import unseal
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.evaluation import metrics
from embedstore.evaluation.arrays import F64
from embedstore.evaluation.comparison import compare_by_bootstrap
from embedstore.evaluation.intervals import bootstrap

_LOSSES = {"brier": metrics.brier, "log_loss": metrics.log_loss}


def compare_heads(
    workspace: Workspace,
    names: tuple[str, str],
    where: str | None = None,
    *,
    without_copies: bool = False,
    progress: Progress = silent,
) -> HeadComparison:
    """Paired differences of two heads on the held-out images they share.

    What both hold out, neither was fitted on. Raises UsageError (other classes or labels, nothing in common),
    LeakageRefused (a picture that either was fitted on).
    """
    heads = [judged(workspace, name, where) for name in names]
    classes = heads[0].head.spec.classes
    alike = classes == heads[1].head.spec.classes and all(one.head.task == "classes" for one in heads)
    if names[0] == names[1] or not alike:
        raise UsageError(
            f"'{names[0]}' and '{names[1]}' cannot be compared: two heads of the same classes can"
        )
    first, second = _shared(heads[0], heads[1])
    dropped = 0
    sides = []
    for rows, name in zip((first, second), names, strict=True):
        request = EvaluationRequest(head=name, without_copies=without_copies)
        kept, told = separated(workspace, rows, request, progress)
        dropped += told["copies_left_out"]
        sides.append(kept)
    first, second = _shared(*sides)
    looks = unseal(workspace, names, first.test.items, where)
    said = [answers(side.head, side.test).astype(np.float64) for side in (first, second)]
    return HeadComparison(
        first=names[0],
        second=names[1],
        target=first.head.spec.target,
        classes=classes,
        counts={
            "images": len(first.test.items),
            "patients": len(np.unique(first.test.patients)),
            "positives": int((first.test.y == 1).sum()) if len(classes) == 2 else 0,
        },
        metrics=_metrics(first, said[0], said[1]),
        unsealed=looks,
        notes=(f"{dropped} copies of training images were left out",) if dropped else (),
    )


def _shared(first: Judged, second: Judged) -> tuple[Judged, Judged]:
    """Both, with the test rows that both have, in one order."""
    both, of_first, of_second = np.intersect1d(first.test.items, second.test.items, return_indices=True)
    if not len(both):
        raise UsageError(
            "the two heads hold no image in common out; fit them with one --test-where or --seed"
        )
    found = replace(first, test=first.test.at(of_first)), replace(second, test=second.test.at(of_second))
    differing = int((found[0].test.y != found[1].test.y).sum())
    if differing:
        raise UsageError(
            f"{differing} test images have other labels for either head; compare heads of one target"
        )
    return found


def _metrics(rows: Judged, first: F64, second: F64) -> tuple[ComparedMetric, ...]:
    classes, y, people = rows.head.spec.classes, rows.test.y, rows.test.patients
    name, metric = first_metric(classes)
    sides = asked_scores(classes, first), asked_scores(classes, second)

    def row(name: str, metric: metrics.Metric, comparison: Any) -> ComparedMetric:
        one, two = (bootstrap(name, metric, y, side, people) for side in sides)
        return ComparedMetric(metric=name, first=one, second=two, comparison=comparison)

    found = [row(name, metric, compared(classes, y, first, second, people))]
    for name, metric in _LOSSES.items():
        found.append(row(name, metric, compare_by_bootstrap(name, metric, y, *sides, people, larger=False)))
    return tuple(found)
