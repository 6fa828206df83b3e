"""Metrics against scikit-learn, brute force and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.linear_model import LogisticRegression

from embedstore.evaluation import metrics
from embedstore.evaluation.baseline import pixel_features
from embedstore.evaluation.calibration import calibration_line, reliability

# Scores on a coarse grid, so that ties are common.
ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=40)


def _both(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    y, score = np.array([row[0] for row in rows]), np.array([row[1] for row in rows]) / 8
    y[:2] = (0, 1)
    return y, score


@given(ROWS)
def test_auroc_and_average_precision_equal_scikit_learn(rows):
    y, score = _both(rows)
    assert metrics.auroc(y, score) == pytest.approx(reference.roc_auc_score(y, score))
    assert metrics.average_precision(y, score) == pytest.approx(reference.average_precision_score(y, score))


@given(ROWS, st.integers(0, 10_000))
def test_whole_number_weights_are_repeated_rows(rows, seed):
    y, score = _both(rows)
    times = np.random.default_rng(seed).integers(0, 4, size=(3, len(y)))
    times[:, :2] += 1
    for metric in (
        metrics.auroc,
        metrics.average_precision,
        metrics.brier,
        metrics.log_loss,
        metrics.calibration_error,
    ):
        together = metric(y, score, times)
        one_by_one = [metric(np.repeat(y, t), np.repeat(score, t)) for t in times]
        np.testing.assert_allclose(together, one_by_one, atol=1e-12)


@given(ROWS)
def test_probability_metrics_equal_scikit_learn(rows):
    y, p = _both(rows)
    p = 0.05 + 0.9 * p
    assert metrics.brier(y, p) == pytest.approx(reference.brier_score_loss(y, p))
    assert metrics.log_loss(y, p) == pytest.approx(reference.log_loss(y, p))
    said = (p >= 0.5).astype(int)
    assert metrics.balanced_accuracy(y, said) == pytest.approx(reference.balanced_accuracy_score(y, said))


def test_multi_class_metrics_equal_scikit_learn():
    rng = np.random.default_rng(0)
    y, p = rng.integers(4, size=200), rng.dirichlet(np.ones(4), size=200)
    assert metrics.macro_auroc(y, p) == pytest.approx(reference.roc_auc_score(y, p, multi_class="ovr"))
    assert metrics.log_loss(y, p) == pytest.approx(reference.log_loss(y, p))
    assert metrics.brier(y, p) == pytest.approx(np.mean(np.sum((p - np.eye(4)[y]) ** 2, axis=1)))
    assert metrics.accuracy(y, p.argmax(1)) == pytest.approx(reference.accuracy_score(y, p.argmax(1)))


def test_a_metric_that_needs_both_classes_is_nan_with_one():
    score = np.array([0.1, 0.4, 0.4])
    assert np.isnan(metrics.auroc(np.ones(3), score))
    assert np.isnan(metrics.average_precision(np.zeros(3), score))
    assert np.isnan(metrics.auroc(np.array([]), np.array([])))
    weights = np.array([[1, 1, 1], [1, 0, 1]])
    found = metrics.auroc(np.array([0, 1, 0]), score, weights)
    assert found[0] == pytest.approx(0.75)
    assert np.isnan(found[1])


def test_calibration_error_by_hand():
    y, p = np.array([0, 1, 1, 1]), np.array([0.15, 0.15, 0.95, 1.0])
    # Bin .1-.2: gap |.15 - .5| for 2 of 4; bin .9-1: gap |.975 - 1| for 2 of 4.
    assert metrics.calibration_error(y, p) == pytest.approx(0.5 * 0.35 + 0.5 * 0.025)
    table = reliability(y, p, ["a", "a", "b", "c"])
    assert [row.share.n_images for row in table] == [0, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert (table[1].mean_predicted, table[1].share.value) == (pytest.approx(0.15), 0.5)
    assert [row.share.n_patients for row in table if row.share.n_images] == [1, 2]
    assert table[0].to_json()["observed"] is None


def test_calibration_line_is_logistic_regression_on_the_logit():
    rng = np.random.default_rng(1)
    x = rng.normal(size=400)
    y = (rng.random(400) < 1 / (1 + np.exp(-(0.4 + 0.6 * x)))).astype(int)
    p = 1 / (1 + np.exp(-x))
    intercept, slope = calibration_line(y, p)
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(x[:, None], y)
    assert float(slope) == pytest.approx(fitted.coef_[0, 0], abs=1e-4)
    assert float(intercept) == pytest.approx(fitted.intercept_[0], abs=1e-4)


def test_calibration_line_of_separated_classes_is_undefined_and_does_not_spoil_others():
    y, p = np.array([0, 0, 1, 1, 0, 1]), np.array([0.1, 0.2, 0.8, 0.9, 0.7, 0.3])
    weights = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]])
    intercept, slope = calibration_line(y, p, weights)
    assert np.isnan(slope).tolist() == [True, False, True]
    assert np.isnan(intercept).tolist() == [True, False, True]


def test_precision_and_recall_at_k():
    relevant = np.array([[1, 0, 1, 1], [0, 0, 0, 1]], dtype=bool)
    np.testing.assert_allclose(metrics.precision_at_k(relevant, 3), [2 / 3, 0])
    np.testing.assert_allclose(metrics.recall_at_k(relevant, np.array([4, 0]), 3), [0.5, np.nan])


@settings(deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.sampled_from([(), (1,), (3,)]), st.integers(0, 99))
def test_pixel_features_are_shares_and_moments(rows, columns, channels, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, size=(rows, columns, *channels), dtype=np.uint8)
    features = pixel_features(pixels)
    assert features.shape == (34,)
    assert features[2:].sum() == pytest.approx(1.0, abs=1e-5)
    if channels != (3,):
        assert features[0] == pytest.approx(pixels.mean() / 255, abs=1e-5)
        assert features[1] == pytest.approx(pixels.std() / 255, abs=1e-5)
