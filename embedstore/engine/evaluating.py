"""The evaluation of a head as a document: everything a reviewer asks, measured on patients not fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from embedstore.engine.checklists import checklist
from embedstore.engine.evaluating_split import separated, sites
from embedstore.engine.evaluating_views import (
    Told,
    asked_scores,
    attribute_values,
    finding_views,
    first_metric,
    shortcut,
)
from embedstore.engine.evaluation_records import (
    NO_SHORTCUT,
    EvaluationDocument,
    EvaluationRequest,
    Validation,
)
from embedstore.engine.head_report import evaluation_of, report_of
from embedstore.engine.heads import Judged, answers, judged
from embedstore.engine.requests import HeadReport, Progress, silent
from embedstore.engine.target_columns import LABEL_PREFIX
from embedstore.engine.unsealing import unseal
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.evaluation.arrays import F64, finite_or_none
from embedstore.evaluation.clustered import compare_auc_between
from embedstore.evaluation.comparison import (
    Comparison,
    compare_between_by_bootstrap,
    smallest_detectable,
    standard_error_of,
)
from embedstore.evaluation.intervals import Estimate, bootstrap
from embedstore.learning.refit import predicted_out_of_fold

_STEPS = 4
_RECIPE = ("kind", "C", "scaling", "long_tail", "converged")


def evaluate_document(
    workspace: Workspace, request: EvaluationRequest, progress: Progress = silent
) -> EvaluationDocument:
    """Judge a recorded head on its held-out patients, or on those of `where`, and count the look at them.

    Raises LeakageRefused when a patient, a picture or a near-duplicate stands on both sides, UsageError,
    NotFound, FilterError.
    """
    rows = judged(workspace, request.head, request.where)
    rows, disjoint = separated(workspace, rows, request, progress)
    items = np.concatenate([rows.train.items, rows.test.items])
    attributes = attribute_values(workspace, items, request.by)
    looks = unseal(workspace, (request.head,), rows.test.items, request.where)
    progress("judging", 0, _STEPS)
    report = report_of(workspace, rows)
    progress("judging", 1, _STEPS)
    out_of_fold, unfolded = _out_of_fold(rows)
    told = Told(out_of_fold, answers(rows.head, rows.test).astype(np.float64), attributes)
    validation = _validation(rows, told, disjoint["site_disjoint"])
    progress("judging", 2, _STEPS)
    views = finding_views(rows, told, request) if _of_classes(rows) else ()
    progress("judging", 3, _STEPS)
    beside, unlearned = shortcut(rows, told) if _of_classes(rows) else (NO_SHORTCUT, ())
    progress("judging", _STEPS, _STEPS)
    trained, tested = _trained(workspace, rows), _tested(workspace, rows, request, disjoint)
    plain = {field.name: getattr(report, field.name) for field in fields(HeadReport)}
    counts = {**report.counts, "unknown_patients": disjoint["unknown_test_patients"]}
    notes = (*report.notes, *unfolded, *unlearned, *_notes(rows, disjoint, validation, request))
    parts: dict[str, Any] = {
        **plain,
        "counts": counts,
        "trained": trained,
        "tested": tested,
        "disjointness": disjoint,
        "unsealed": looks,
        "validation": validation,
        "smallest_detectable": _detectable(validation.external or validation.internal),
        "findings": views,
        "shortcut": beside,
        "notes": notes,
    }
    return EvaluationDocument(**parts, checklist=checklist(parts))


def _of_classes(rows: Judged) -> bool:
    """Whether each image has one class of its own: what curves, subgroups and shortcuts are told of."""
    return rows.head.task == "classes" and rows.test.bags is None and rows.train.y.ndim == 1


def _out_of_fold(rows: Judged) -> tuple[F64 | None, tuple[str, ...]]:
    train = rows.train
    if not _of_classes(rows):
        return None, ("curves, subgroups and shortcuts are told of heads with one class for each image",)
    if rows.head.spec.target.startswith(LABEL_PREFIX):
        return None, ("nothing is judged on the training patients: their labels are fused, not gold",)
    try:
        return predicted_out_of_fold(rows.head, train.vectors, train.y, train.patients), ()
    except UsageError as error:
        return None, (f"no out-of-fold predictions for the training patients: {error}",)


def _validation(rows: Judged, told: Told, elsewhere: bool | None) -> Validation:
    classes, train, test = rows.head.spec.classes, rows.train, rows.test
    seed = rows.head.spec.seed
    if not _of_classes(rows):
        first = evaluation_of(rows, answers(rows.head, test)).estimates[0]
        inside, outside = (None, first) if elsewhere else (first, None)
        return Validation(internal=inside, internal_by="held-out patients", external=outside, difference=None)
    name, metric = first_metric(classes)
    of_test = asked_scores(classes, told.test)
    on_test = bootstrap(name, metric, test.y, of_test, test.patients, seed=seed)
    if not elsewhere:
        return Validation(internal=on_test, internal_by="held-out patients", external=None, difference=None)
    internal: Estimate | None = None
    difference: Comparison | None = None
    if told.train is not None:
        of_train = asked_scores(classes, told.train)
        internal = bootstrap(name, metric, train.y, of_train, train.patients, seed=seed)
        sides = (test.y, of_test, test.patients), (train.y, of_train, train.patients)
        if len(classes) == 2:
            difference = compare_auc_between(*sides)
        else:
            difference = compare_between_by_bootstrap(name, metric, *sides, seed=seed)
    by = "training patients, each by a refit without their fold"
    return Validation(internal=internal, internal_by=by, external=on_test, difference=difference)


def _detectable(found: Estimate | None) -> float | None:
    if found is None:
        return None
    return finite_or_none(smallest_detectable(standard_error_of(found), found.level))


def _trained(workspace: Workspace, rows: Judged) -> Mapping[str, Any]:
    spec, space, details = rows.head.spec, rows.space, rows.row.details
    return {
        "space": space.fingerprint,
        "encoder": space.encoder,
        "encoder_version": space.spec.get("version"),
        "licence": space.spec.get("licence"),
        "target": spec.target,
        "labels_from": _labels_from(spec.target, details),
        "recipe": {name: spec.params.get(name) for name in _RECIPE},
        "seed": spec.seed,
        "data_sha256": spec.data_sha256,
        "created": rows.row.created,
        "images": len(rows.train.items),
        "patients": len(np.unique(rows.train.patients)),
        "per_class": _per_class(spec.classes, rows.train.y),
        "sites": sites(workspace, rows.train.items),
        "left_out": dict(details.get("left_out") or {}),
    }


def _labels_from(target: str, details: Mapping[str, Any]) -> str:
    if details.get("label_file"):
        return "a file of labels"
    return "fused weak labels" if target.startswith(LABEL_PREFIX) else f"column {target}"


def _tested(
    workspace: Workspace, rows: Judged, request: EvaluationRequest, disjoint: Mapping[str, Any]
) -> Mapping[str, Any]:
    return {
        "role": "external" if disjoint["site_disjoint"] else "internal",
        "filter": request.where,
        "images": len(rows.test.items),
        "patients": len(np.unique(rows.test.patients)),
        "per_class": _per_class(rows.head.spec.classes, rows.test.y),
        "sites": sites(workspace, rows.test.items),
        "prevalence": request.prevalence,
    }


def _per_class(classes: tuple[str, ...], y: Any) -> Mapping[str, int]:
    if np.ndim(y) == 2:  # findings: how many have each; soft labels: how many lie nearest to each
        told = np.argmax(y, axis=1)[:, None] == np.arange(len(classes)) if y.dtype.kind == "f" else y == 1
        return {name: int(told[:, number].sum()) for number, name in enumerate(classes)}
    if y.dtype.kind == "f":
        return {name: len(y) for name in classes}
    return {name: int((y == number).sum()) for number, name in enumerate(classes)}


def _notes(
    rows: Judged, disjoint: Mapping[str, Any], validation: Validation, request: EvaluationRequest
) -> tuple[str, ...]:
    said = [disjoint["note"]] if disjoint["note"] else []
    if validation.external is None:
        where = "some images name no site" if disjoint["site_disjoint"] is None else "sites are on both sides"
        said.append(f"no external validation: {where}; fit with --test-where \"site = '...'\" for one")
    if not disjoint["copies_looked_for"]:
        said.append("near-duplicates across the split were not looked for")
    elif disjoint["pictures_not_readable"]:
        pairs = disjoint["pictures_not_readable"]
        said.append(f"{pairs} pairs of like images could not be compared, their files being out of reach")
    if request.prevalence is None and len(rows.head.spec.classes) == 2:
        said.append("predictive values are at the test images' own prevalence; --prevalence gives yours")
    return tuple(said)
