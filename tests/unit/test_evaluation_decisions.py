"""Shares, predictive values, decision curves, abstention and curves against other people's formulas."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as peer

from embedstore.errors import UsageError
from embedstore.evaluation.curves import GRID, precision_recall_curve, roc_curve
from embedstore.evaluation.decisions import decision_curve
from embedstore.evaluation.proportions import clustered_mean, operating_point, proportion
from embedstore.evaluation.selective import area_under_risk, risk_coverage


def test_one_image_per_patient_is_wilson():
    # Newcombe, Stat. Med. 17:857, 1998, table I, method 3.
    for hits, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        found = proportion("share", np.arange(n) < hits, np.arange(n))
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_repeated_rows_do_not_narrow_a_share_and_none_found_is_not_certain():
    rng = np.random.default_rng(0)
    hits, people = rng.random(60) < 0.3, np.arange(60)
    once = proportion("share", hits, people)
    many = proportion("share", np.repeat(hits, 7), np.repeat(people, 7))
    assert (many.low, many.high) == (pytest.approx(once.low), pytest.approx(once.high))
    all_right = proportion("share", np.ones(200), np.repeat(np.arange(20), 10))
    assert all_right.low == pytest.approx(0.8389, abs=1e-4)  # Wilson for 20 of 20


def test_a_share_of_clustered_images_covers_the_truth():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(500):
        own = rng.beta(2, 2, size=60)  # shares differ between patients: intraclass correlation 1/5
        people = np.repeat(np.arange(60), 5)
        found = proportion("share", rng.random(300) < own[people], people)
        covered += found.low <= 0.5 <= found.high
    assert 0.92 <= covered / 500 <= 0.97


def test_a_mean_over_patients_is_that_of_the_ratio_estimator():
    values, people = np.array([1.0, 2.0, 3.0, 4.0, np.nan]), np.array([0, 0, 1, 2, 3])
    found = clustered_mean("m", values, people)
    totals = np.array([3.0 - 5.0, 3.0 - 2.5, 4.0 - 2.5])
    se = np.sqrt(3 / 2 * np.sum(totals**2)) / 4
    assert found.value == 2.5
    assert found.high - found.value == pytest.approx(1.959964 * se, rel=1e-6)
    assert (found.n_images, found.n_patients) == (4, 3)


def test_predictive_values_are_bayes_at_the_stated_prevalence():
    y = np.r_[np.ones(100), np.zeros(100)]
    score = np.r_[np.arange(100) < 90, np.arange(100) < 20].astype(float)
    found = operating_point(y, score, np.arange(200), threshold=0.5, prevalence=0.02)
    assert found.sensitivity.value == 0.9
    assert found.specificity.value == 0.8
    assert found.ppv.value == pytest.approx(0.9 * 0.02 / (0.9 * 0.02 + 0.2 * 0.98))
    assert found.npv.value == pytest.approx(0.8 * 0.98 / (0.8 * 0.98 + 0.1 * 0.02))
    assert found.ppv.low < found.ppv.value < found.ppv.high
    assert (found.ppv.n_images, found.ppv.n_positives) == (200, 100)
    assert (found.sensitivity.n_images, found.specificity.n_images) == (100, 100)
    json.dumps(found.to_json(), allow_nan=False)
    with pytest.raises(UsageError, match="prevalence"):
        operating_point(y, score, np.arange(200), threshold=0.5, prevalence=2)


def test_the_interval_of_a_ppv_covers_it():
    rng = np.random.default_rng(2)
    covered = 0
    truth = 0.8 * 0.05 / (0.8 * 0.05 + 0.1 * 0.95)
    y = np.repeat([1, 0], [50, 150])
    for _ in range(400):
        said = np.where(y == 1, rng.random(200) < 0.8, rng.random(200) < 0.1).astype(float)
        found = operating_point(y, said, np.arange(200), threshold=0.5, prevalence=0.05)
        covered += found.ppv.low <= truth <= found.ppv.high
    assert 0.92 <= covered / 400 <= 0.985


def test_no_false_alarm_is_not_a_certain_ppv():
    y = np.repeat([1, 0], [20, 20])
    found = operating_point(y, y.astype(float), np.arange(40), threshold=0.5, prevalence=0.1)
    assert found.ppv.value == 1.0
    assert found.ppv.low < 0.8


def test_net_benefit_by_hand():
    y, p = np.array([1, 1, 0, 0, 0]), np.array([0.9, 0.3, 0.6, 0.1, 0.1])
    (found,) = decision_curve(y, p, np.arange(5), thresholds=(0.5,))
    assert found.model.value == pytest.approx(1 / 5 - 1 / 5)
    assert found.treat_all.value == pytest.approx(2 / 5 - 3 / 5)
    assert found.gain.value == pytest.approx(0.0)
    (low,) = decision_curve(y, p, np.arange(5), thresholds=(0.2,))
    assert low.model.value == pytest.approx(2 / 5 - 1 / 5 * 0.25)
    assert low.gain.value == pytest.approx(low.model.value - low.treat_all.value)
    assert low.model.n_positives == 2


def test_a_decision_curve_at_another_prevalence_weighs_its_rows():
    y = np.repeat([1, 0], [50, 50])
    p = np.where(y == 1, 0.9, 0.4)
    (found,) = decision_curve(y, p, np.arange(100), thresholds=(0.3,), prevalence=0.1)
    assert found.treat_all.value == pytest.approx(0.1 - 0.9 * 3 / 7)
    with pytest.raises(UsageError, match="both classes"):
        decision_curve([1, 1], [0.5, 0.5], [0, 1], prevalence=0.1)


def test_abstaining_on_the_unsure_leaves_fewer_errors():
    rng = np.random.default_rng(3)
    sure = rng.random(400)
    wrong = rng.random(400) > 0.5 + 0.5 * sure
    found = risk_coverage(wrong, sure, np.arange(400) // 2, resamples=200)
    risks = [point.risk.value for point in found.points]
    assert found.points[0].coverage == 1.0
    assert risks[0] == pytest.approx(wrong.mean())
    assert risks[-1] < 0.3 * risks[0]
    assert found.area.low < found.area.value < found.area.high < wrong.mean()
    order = np.argsort(-sure)
    running = np.cumsum(wrong[order]) / np.arange(1, 401)
    assert found.area.value == pytest.approx(running.mean())
    json.dumps(found.to_json(), allow_nan=False)


def test_equal_confidence_is_answered_as_one():
    wrong = np.array([True, False, False, False])
    found = risk_coverage(wrong, np.zeros(4), np.arange(4), coverages=(0.25,), resamples=10)
    assert found.points[0].coverage == 1.0
    assert float(area_under_risk(wrong, np.zeros(4))) == 0.25


def test_curves_pass_through_scikit_learns_points():
    rng = np.random.default_rng(4)
    y = rng.integers(2, size=300)
    score = np.round(y + rng.normal(size=300), 1)
    people = np.arange(300) // 3
    roc = roc_curve(y, score, people, resamples=50)
    fpr, tpr, _ = peer.roc_curve(y, score, drop_intermediate=False)
    highest = [np.interp(x, fpr, tpr) for x in roc.x]
    np.testing.assert_allclose(roc.y, highest, atol=1e-12)
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(roc.area.value, abs=0.005)
    assert roc.area.value == pytest.approx(peer.roc_auc_score(y, score))
    pr = precision_recall_curve(y, score, people, resamples=50)
    precision, recall, _ = peer.precision_recall_curve(y, score)
    for x, height in zip(pr.x[1:], pr.y[1:], strict=True):
        assert height == pytest.approx(precision[recall >= x - 1e-9][-1])
    assert len(pr.x) == GRID
    inside = [low <= height <= high for low, height, high in zip(roc.low, roc.y, roc.high, strict=True)]
    assert np.mean(inside) > 0.9
    json.dumps(pr.to_json(), allow_nan=False)


def test_curves_of_one_class_have_no_numbers():
    found = roc_curve([1, 1, 1], [0.1, 0.2, 0.3], [0, 1, 2], resamples=5)
    assert np.isnan(found.y).all()
    assert found.to_json()["low"][0] is None
