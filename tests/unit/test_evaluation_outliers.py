"""Outlier calls, class shares and temperature: published figures, closed forms, clusters."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.published_statistics import long_tail, outlier_calls, prior_shift, temperature
from embedstore.errors import UsageError
from embedstore.evaluation.outliers import conformal_p, flag_outliers
from embedstore.evaluation.priors import em_prior, estimate_shift, fit_temperature, to_prior


def test_false_calls_are_bounded_and_outliers_found():
    found = outlier_calls(repeats=100, seed=1)
    assert found["fdr"] <= 0.095
    assert found["power"] >= 0.90


def test_p_values_by_hand_and_by_patient():
    assert conformal_p([1.0, 2.0, 3.0], [0.0, 2.0, 9.0]).tolist() == [1.0, 0.75, 0.25]
    repeated = conformal_p([1.0, 2.0, 2.0, 2.0, 3.0], [2.0, 2.5], ["a", "b", "b", "b", "c"])
    assert repeated.tolist() == pytest.approx([0.75, 0.5])


def test_p_values_of_known_images_are_uniform():
    rng = np.random.default_rng(0)
    p = np.concatenate([conformal_p(rng.normal(size=99), rng.normal(size=1)) for _ in range(2000)])
    for level in (0.05, 0.2, 0.5):
        assert np.mean(p <= level) == pytest.approx(level, abs=0.03)


def test_outliers_say_what_calibration_could_show():
    found = flag_outliers(np.arange(9.0), [100.0, 3.0], fdr=0.1)
    assert not found.flagged.any()  # ten times 1/10 at best, of two images
    assert found.to_json()["smallest_p"] == 0.1
    json.dumps(found.to_json(), allow_nan=False)
    with pytest.raises(UsageError, match="at least one known image"):
        conformal_p([], [1.0])


def test_the_share_of_a_finding_is_found_without_labels():
    assert prior_shift(repeats=30, seed=1)["mean"] == pytest.approx(0.02, abs=0.002)
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    np.testing.assert_allclose(to_prior(probabilities, (0.5, 0.5), (0.5, 0.5)), probabilities)
    moved = to_prior(probabilities, (0.7, 0.3), (0.98, 0.02))
    odds = 0.8 / 0.2 * (0.02 / 0.98) / (0.3 / 0.7)
    assert moved[1, 1] == pytest.approx(odds / (1 + odds))
    with pytest.raises(UsageError, match="one positive number"):
        to_prior(probabilities, (0.5, 0.5, 0.1), (0.5, 0.5))


def test_the_interval_of_a_share_counts_patients():
    rng = np.random.default_rng(1)
    y = np.repeat(rng.random(60) < 0.3, 5)
    x = rng.normal(size=300) + 3 * y
    p = 1 / (1 + np.exp(4.5 - 3 * x))
    told = np.c_[1 - p, p]
    by_patient = estimate_shift(told, (0.5, 0.5), np.repeat(np.arange(60), 5))[1]
    by_image = estimate_shift(told, (0.5, 0.5), np.arange(300))[1]
    assert by_patient.low <= 0.3 <= by_patient.high
    assert by_patient.high - by_patient.low > 1.6 * (by_image.high - by_image.low)
    assert (by_patient.n_images, by_patient.n_patients, by_patient.n_positives) == (300, 60, None)


def test_weighted_shares_are_those_of_repeated_rows():
    rng = np.random.default_rng(2)
    prob = rng.dirichlet((1, 1, 1), size=40)
    times = rng.integers(0, 4, size=(2, 40))
    found = em_prior(prob, (0.3, 0.3, 0.4), times)
    for row in range(2):
        repeated = em_prior(np.repeat(prob, times[row], axis=0), (0.3, 0.3, 0.4))
        np.testing.assert_allclose(found[row], repeated, atol=1e-5)


def test_temperature_and_logit_adjustment():
    assert temperature(repeats=30, seed=1)["mean"] == pytest.approx(2.5, abs=0.05)
    with pytest.raises(UsageError, match="shape"):
        fit_temperature(np.zeros(3), [0, 1, 0])
    found = long_tail(repeats=20, seed=1)
    assert found["plain"] == pytest.approx(0.547, abs=0.012)
    assert found["adjusted"] == pytest.approx(0.84, abs=0.012)
