"""Intervals: coverage on simulated cohorts, clustering, and what they say about themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embedstore.errors import UsageError
from embedstore.evaluation import metrics
from embedstore.evaluation.comparison import smallest_detectable
from embedstore.evaluation.intervals import bootstrap, bootstrap_mean
from embedstore.evaluation.proportions import clustered_mean
from embedstore.evaluation.report import evaluate


def test_the_bootstrap_draws_patients_and_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    patients = rng.integers(12, size=60)
    y, score = rng.integers(2, size=60), rng.random(60)
    found = bootstrap("auroc", metrics.auroc, y, score, patients, resamples=50, seed=3)
    picks = np.random.default_rng(3).integers(12, size=(50, 12))
    values = []
    for pick in picks:
        rows = np.concatenate([np.flatnonzero(patients == p) for p in pick])
        values.append(float(metrics.auroc(y[rows], score[rows])))
    low, high = np.quantile(values, [0.025, 0.975])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert (found.n_images, found.n_patients, found.n_positives) == (60, 12, int(y.sum()))


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    covered = 0
    for trial in range(200):
        rng = np.random.default_rng(trial)
        effect = rng.normal(size=40)
        patients = np.repeat(np.arange(40), 5)
        values = effect[patients] + 0.3 * rng.normal(size=200)
        found = bootstrap_mean("mean", values, patients, resamples=400, seed=trial)
        covered += found.low <= 0 <= found.high
    assert 0.90 <= covered / 200 <= 0.98


def test_images_of_one_patient_do_not_narrow_the_interval():
    rng = np.random.default_rng(5)
    effect = rng.normal(size=30)
    once = bootstrap_mean("m", effect, np.arange(30), seed=1)
    tenfold = bootstrap_mean("m", np.repeat(effect, 10), np.repeat(np.arange(30), 10), seed=1)
    naive = bootstrap_mean("m", np.repeat(effect, 10), np.arange(300), seed=1)
    assert tenfold.high - tenfold.low == pytest.approx(once.high - once.low)
    assert naive.high - naive.low < 0.5 * (once.high - once.low)


def test_resamples_without_both_classes_are_counted_and_mentioned():
    y, score = np.array([1, 0, 0, 0]), np.array([0.9, 0.1, 0.2, 0.3])
    found = bootstrap("auroc", metrics.auroc, y, score, np.arange(4), resamples=400)
    assert found.skipped > 50
    assert f"undefined in {found.skipped} of 400 resamples" in found.note
    assert "only 4 patients" in found.note


def test_a_perfect_score_is_no_certainty():
    """All resamples agree: an interval from 1 to 1 would claim that nothing else can happen."""
    y = np.repeat([0, 1], 15)
    for found in (
        bootstrap("auroc", metrics.auroc, y, y * 0.5, np.arange(30)),
        bootstrap("accuracy", metrics.accuracy, y, y, np.arange(30)),
    ):
        # As scipy.stats.binomtest(15, 15).proportion_ci(method="exact") for the 15 patients of either class.
        assert (found.value, found.high) == (1, 1)
        assert found.low == pytest.approx(0.7819806)
        assert found.method == "exact bound where all patients agree"
    opposite = bootstrap("auroc", metrics.auroc, y, -y, np.arange(30))
    assert (opposite.low, opposite.high) == (0, pytest.approx(1 - 0.7819806))
    for found in (
        bootstrap_mean("precision at 5", np.ones(30), np.arange(30)),
        clustered_mean("set_size", np.ones(30), np.arange(30)),
    ):
        assert found.value == 1
        assert np.isnan([found.low, found.high]).all()
        assert "no interval: all patients agree" in found.note
        assert found.to_json()["low"] is None
    assert np.isnan(smallest_detectable(0.0))


def test_what_is_undefined_has_no_bound():
    y = np.ones(30, dtype=int)
    found = bootstrap("auroc", metrics.auroc, y, np.linspace(0, 1, 30), np.arange(30))
    assert np.isnan([found.value, found.low, found.high]).all()
    assert "undefined on these rows" in found.note
    constant = bootstrap("auroc", metrics.auroc, np.repeat([0, 1], 15), np.zeros(30), np.arange(30))
    assert (constant.value, constant.low) == (0.5, pytest.approx(np.nan, nan_ok=True))


def test_a_single_patient_gets_a_value_and_no_interval():
    found = bootstrap("auroc", metrics.auroc, [0, 1], [0.2, 0.8], ["p", "p"])
    assert found.value == 1.0
    assert np.isnan(found.low)
    assert "fewer than 2 patients" in found.note
    assert json.loads(json.dumps(found.to_json()))["low"] is None
    assert "no interval" in str(found)


def test_the_same_seed_gives_the_same_interval_and_another_does_not():
    rng = np.random.default_rng(2)
    y, score, patients = rng.integers(2, size=90), rng.random(90), rng.integers(30, size=90)
    runs = [bootstrap("auroc", metrics.auroc, y, score, patients, seed=s) for s in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_evaluate_reports_every_metric_with_interval_and_drops_unlabelled_rows():
    rng = np.random.default_rng(0)
    y = np.r_[rng.integers(2, size=120), [-1, -1]]
    p = np.clip(0.5 + 0.3 * (y - 0.5) + 0.2 * rng.normal(size=122), 0.01, 0.99)
    report = evaluate(y, np.c_[1 - p, p], np.arange(122) // 2, ("absent", "present"), resamples=200)
    names = [estimate.metric for estimate in report.estimates]
    assert names == [
        "auroc",
        "balanced_accuracy",
        "average_precision",
        "brier",
        "log_loss",
        "ece",
        "calibration_slope",
        "calibration_intercept",
    ]
    assert all(e.low <= e.value <= e.high or e.metric == "ece" for e in report.estimates)
    assert report.dropped == 2
    assert "2 rows without a label were dropped" in report.notes
    assert report.get("auroc").n_images == 120
    assert sum(row.share.n_images for row in report.reliability) == 120
    json.dumps(report.to_json(), allow_nan=False)
    with pytest.raises(UsageError, match="there are: auroc"):
        report.get("f1")


def test_nothing_is_balanced_over_one_class():
    p = np.random.default_rng(0).random(40)
    report = evaluate(np.zeros(40, int), np.column_stack([1 - p, p]), np.arange(40), ("a", "b"), resamples=50)
    assert np.isnan(report.get("balanced_accuracy").value)
    assert "a class is missing" in report.get("balanced_accuracy").note


def test_evaluate_of_three_classes():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=90)
    p = rng.dirichlet(np.ones(3), size=90) + 0.7 * np.eye(3)[y]
    report = evaluate(y, p / p.sum(1, keepdims=True), np.arange(90), ("a", "b", "c"), resamples=100)
    assert report.get("macro_auroc").low > 0.8
    assert report.get("accuracy").n_positives is None


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="different lengths"):
        bootstrap("auroc", metrics.auroc, [0, 1], [0.5], [1, 2])
    with pytest.raises(UsageError, match="2 classes need probabilities"):
        evaluate([0, 1], np.ones((2, 3)), [1, 2], ("a", "b"))
