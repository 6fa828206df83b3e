"""The chapters of an evaluation document that are about numbers: per class, and about shortcuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.engine.drift import COLUMN_OF
from embedstore.engine.evaluation_records import EvaluationRequest, FindingView, Shortcut, Threshold
from embedstore.engine.heads import Judged
from embedstore.engine.workspace import Workspace
from embedstore.errors import UsageError
from embedstore.evaluation import metrics
from embedstore.evaluation.arrays import F64
from embedstore.evaluation.calibration import reliability
from embedstore.evaluation.clustered import compare_auc
from embedstore.evaluation.comparison import Comparison, compare_by_bootstrap
from embedstore.evaluation.curves import precision_recall_curve, roc_curve
from embedstore.evaluation.decisions import decision_curve
from embedstore.evaluation.intervals import Estimate, bootstrap
from embedstore.evaluation.proportions import operating_point
from embedstore.evaluation.shortcut import leaning, one_hot, usual_values
from embedstore.evaluation.subgroups import NOT_RECORDED, age_band, subgroup_table
from embedstore.learning.heads.fit import fit_kind
from embedstore.learning.heads.rows import FitOptions, Identity
from embedstore.learning.noise import out_of_fold

HALF, SENSITIVE = 0.5, 0.9
_MOST_ROWS = 3000  # to tell an attribute from vectors: more rows only narrow the interval
_RESAMPLES = 500
Values = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What a head said of rows it did not see. train: (n, K) out of fold, None when impossible.

    attributes: of the training rows, then of the test rows.
    """

    train: F64 | None
    test: F64
    attributes: Values


def attribute_values(workspace: Workspace, items: I64, by: Sequence[str]) -> Values:
    """Text values of columns, ages as bands. Raises FilterError for an unknown column."""
    columns = {name: COLUMN_OF.get(name, name) for name in by}
    rows = workspace.catalog.columns(items, list(columns.values()))
    return {name: [_text(column, row[column]) for row in rows] for name, column in columns.items()}


def _text(column: str, value: Any) -> str:
    if column.removeprefix("attr.") == "age":
        try:
            return age_band(value)
        except ValueError:
            return NOT_RECORDED
    return NOT_RECORDED if value is None or str(value).strip() == "" else str(value)


def first_metric(classes: Sequence[str]) -> tuple[str, metrics.Metric]:
    """What heads of these classes are compared by."""
    return ("auroc", metrics.auroc) if len(classes) == 2 else ("macro_auroc", metrics.macro_auroc)


def asked_scores(classes: Sequence[str], probabilities: F64) -> F64:
    """What the first metric takes: (n,) of class 1, or (n, K)."""
    return probabilities[:, 1] if len(classes) == 2 else probabilities


def compared(classes: Sequence[str], y: I64, first: F64, second: F64, patients: NDArray[Any]) -> Comparison:
    """Two (n, K) predictions for the same rows by the first metric, paired."""
    one, two = asked_scores(classes, first), asked_scores(classes, second)
    if len(classes) == 2:
        return compare_auc(y, one, two, patients)
    return compare_by_bootstrap("macro_auroc", metrics.macro_auroc, y, one, two, patients)


def finding_views(rows: Judged, told: Told, request: EvaluationRequest) -> tuple[FindingView, ...]:
    """One view per class, for two classes of the second alone."""
    classes = rows.head.spec.classes
    if len(classes) > 2 and (request.prevalence is not None or request.threshold is not None):
        raise UsageError("--prevalence and --threshold speak of one class; this head has more than two")
    chosen = [1] if len(classes) == 2 else list(range(len(classes)))
    return tuple(_view(rows, told, request, number) for number in chosen)


def _view(rows: Judged, told: Told, request: EvaluationRequest, number: int) -> FindingView:
    truth, score, people = rows.test.y == number, told.test[:, number], rows.test.patients
    of_test = {name: values[len(rows.train.y) :] for name, values in told.attributes.items()}
    return FindingView(
        name=rows.head.spec.classes[number],
        roc=roc_curve(truth, score, people),
        precision_recall=precision_recall_curve(truth, score, people),
        reliability=reliability(truth, score, people),
        decision=_decisions(truth, score, people, request.prevalence),
        thresholds=_thresholds(rows, told, request, number),
        subgroups=subgroup_table(truth, score, people, of_test, threshold=request.threshold or HALF),
        leaning=_leaning(rows, told, number),
    )


def _decisions(truth: Any, score: F64, people: Any, prevalence: float | None) -> Any:
    if truth.all() or not truth.any():
        return ()
    return decision_curve(truth, score, people, prevalence=prevalence)


def _thresholds(rows: Judged, told: Told, request: EvaluationRequest, number: int) -> tuple[Threshold, ...]:
    truth, score, people = rows.test.y == number, told.test[:, number], rows.test.patients
    share = request.prevalence if request.prevalence is not None else float(truth.mean())
    if not 0 < share < 1:
        return ()
    asked = {"one half": HALF}
    positives = rows.train.y == number
    if told.train is not None and positives.any():
        words = f"{SENSITIVE:.0%} sensitivity among training patients, out of fold"
        asked[words] = float(np.quantile(told.train[positives, number], 1 - SENSITIVE, method="lower"))
    if request.threshold is not None:
        asked["asked for"] = request.threshold
    return tuple(
        Threshold(chosen=words, point=operating_point(truth, score, people, threshold=at, prevalence=share))
        for words, at in asked.items()
    )


def _leaning(rows: Judged, told: Told, number: int) -> Any:
    """On training rows out of fold and on test rows: nobody's own patient was fitted on."""
    known = told.train is not None
    sides = [rows.train, rows.test] if known else [rows.test]
    score = np.concatenate([one[:, number] for one in (told.train, told.test) if one is not None])
    truth = np.concatenate([side.y == number for side in sides])
    people = np.concatenate([side.patients for side in sides])
    found: list[Any] = []
    for name, values in told.attributes.items():
        found += leaning(name, values[len(values) - len(score) :], truth, score, people)
    return tuple(found)


def shortcut(rows: Judged, told: Told) -> tuple[Shortcut, tuple[str, ...]]:
    """The head beside a model on metadata alone, what its vectors tell, and what could not be told."""
    classes, train, test = rows.head.spec.classes, rows.train, rows.test
    in_train = np.arange(len(train.y) + len(test.y)) < len(train.y)
    features, used = one_hot(told.attributes, in_train)
    vectors = np.concatenate([train.vectors, test.vectors])
    people = np.concatenate([train.patients, test.patients])
    encoded = tuple(
        one for name, values in told.attributes.items() if (one := _encoded(name, values, vectors, people))
    )
    if not used:
        note = "no metadata baseline: what it could use is constant or not recorded among the training images"
        return Shortcut(columns=(), baseline=None, gain=None, encoded=encoded), (note,)
    said = _metadata_model(rows, features[in_train]).predict(features[~in_train]).astype(np.float64)
    name, metric = first_metric(classes)
    baseline = bootstrap(name, metric, test.y, asked_scores(classes, said), test.patients)
    gain = compared(classes, test.y, told.test, said, test.patients)
    return Shortcut(columns=used, baseline=baseline, gain=gain, encoded=encoded), ()


def _metadata_model(rows: Judged, features: F32) -> Any:
    spec, train = rows.head.spec, rows.train
    identity = Identity(
        name=f"{spec.name} (metadata alone)",
        space="metadata",
        target=spec.target,
        classes=spec.classes,
        seed=spec.seed,
    )
    options = FitOptions(scaling="standardise")
    return fit_kind("logistic", features, train.y, train.patients, identity, options=options)


def _encoded(name: str, values: Sequence[str], vectors: F32, people: NDArray[Any]) -> Estimate | None:
    usual = usual_values(values, people)
    if not usual:
        return None
    told = np.asarray(values, dtype=object)
    rows = np.flatnonzero(np.isin(told, np.asarray(usual, dtype=object)))
    if len(rows) > _MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:_MOST_ROWS])
    codes = np.array([usual.index(value) for value in told[rows]], np.int64)
    said = out_of_fold(vectors[rows], codes, people[rows])
    _, metric = first_metric(usual)
    words = f"auroc of {name} ({', '.join(usual)})"
    return bootstrap(words, metric, codes, asked_scores(usual, said), people[rows], resamples=_RESAMPLES)
