"""The clustered variance against its published identities, and on cohorts whose truth is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import norm

from embedstore.errors import LeakageRefused
from embedstore.evaluation import metrics
from embedstore.evaluation.clustered import clustered_auc, compare_auc, compare_auc_between
from embedstore.evaluation.comparison import compare_by_bootstrap, smallest_detectable

TRUE_AUC = float(norm.cdf(1 / np.sqrt(2)))


def cohort(rng, patients=80, images=5, icc=0.8, shift=1.0):
    """Half of the patients are positive; the scores of one patient's images correlate by `icc`."""
    people = np.repeat(np.arange(patients), images)
    y = (people < patients // 2).astype(int)
    own = rng.normal(size=patients)[people] * np.sqrt(icc)
    return y, shift * y + own + rng.normal(size=len(people)) * np.sqrt(1 - icc), people


def delong_standard_error(y, score):
    """DeLong, DeLong and Clarke-Pearson 1988, by its definition over all pairs."""
    positive, negative = score[y == 1], score[y == 0]
    won = (positive[:, None] > negative).astype(float) + 0.5 * (positive[:, None] == negative)
    return np.sqrt(won.mean(1).var(ddof=1) / len(positive) + won.mean(0).var(ddof=1) / len(negative))


def standard_error(estimate):
    auc = estimate.value
    reach = np.log(estimate.high / (1 - estimate.high)) - np.log(auc / (1 - auc))
    return reach * auc * (1 - auc) / norm.ppf(0.975)


def test_one_image_per_patient_is_delong():
    rng = np.random.default_rng(0)
    y, score = rng.integers(2, size=90), np.round(rng.normal(size=90), 1)  # rounded: with ties
    found = clustered_auc(y, score, np.arange(90))
    assert found.value == pytest.approx(float(metrics.auroc(y, score)), abs=1e-12)
    assert standard_error(found) == pytest.approx(delong_standard_error(y, score), rel=1e-9)


def test_repeating_every_row_changes_nothing():
    rng = np.random.default_rng(1)
    y, score, people = rng.integers(2, size=60), rng.normal(size=60), rng.integers(25, size=60)
    once = clustered_auc(y, score, people)
    five = clustered_auc(np.repeat(y, 5), np.repeat(score, 5), np.repeat(people, 5))
    np.testing.assert_allclose(
        [once.value, once.low, once.high], [five.value, five.low, five.high], rtol=0, atol=1e-12
    )
    assert (five.n_images, five.n_patients, five.n_positives) == (300, once.n_patients, 5 * int(y.sum()))


def test_the_interval_covers_the_truth_where_one_by_images_does_not():
    rng = np.random.default_rng(2)
    by_patient = by_image = 0
    for _ in range(400):
        y, score, people = cohort(rng)
        for clusters, hits in ((people, 0), (np.arange(len(y)), 1)):
            found = clustered_auc(y, score, clusters)
            inside = found.low <= TRUE_AUC <= found.high
            by_patient += inside * (1 - hits)
            by_image += inside * hits
    assert 0.92 <= by_patient / 400 <= 0.97
    assert 0.60 <= by_image / 400 <= 0.74


def test_better_takes_an_interval_without_zero():
    rng = np.random.default_rng(3)
    y, score, people = cohort(rng)
    worse = score + 3 * rng.normal(size=len(y))
    assert compare_auc(y, score, worse, people).verdict == "better"
    assert compare_auc(y, worse, score, people).verdict == "worse"
    alike = compare_auc(y, score, score + 0.05 * rng.normal(size=len(y)), people)
    assert alike.verdict == "not told apart"
    assert alike.difference.low < 0 < alike.difference.high
    json.dumps(alike.to_json(), allow_nan=False)


def test_a_difference_of_one_score_with_itself_is_none():
    y, score, people = cohort(np.random.default_rng(4))
    found = compare_auc(y, score, score, people)
    assert (found.difference.low, found.difference.high, found.verdict) == (0.0, 0.0, "not told apart")


def test_the_paired_comparison_keeps_its_level_over_clustered_patients():
    rng = np.random.default_rng(5)
    claimed = 0
    for _ in range(300):
        y, base, people = cohort(rng, patients=60, images=4)
        first, second = (base + rng.normal(size=60)[people] for _ in range(2))
        claimed += compare_auc(y, first, second, people).verdict != "not told apart"
    assert claimed / 300 <= 0.08


def test_the_bootstrap_agrees_with_the_formula():
    rng = np.random.default_rng(6)
    y, score, people = cohort(rng, patients=200, images=2)
    other = score + rng.normal(size=len(y))
    formula = compare_auc(y, score, other, people).difference
    drawn = compare_by_bootstrap("auroc", metrics.auroc, y, score, other, people, resamples=800)
    assert drawn.difference.value == pytest.approx(formula.value)
    assert drawn.difference.low == pytest.approx(formula.low, abs=0.012)
    assert drawn.difference.high == pytest.approx(formula.high, abs=0.012)
    assert drawn.smallest_detectable == pytest.approx(
        smallest_detectable((formula.high - formula.low) / 2 / 1.96), rel=0.1
    )


def test_a_smaller_loss_is_the_better_one():
    rng = np.random.default_rng(7)
    y = rng.integers(2, size=200)
    good, bad = 0.5 + 0.4 * (y - 0.5), np.full(200, 0.5)
    found = compare_by_bootstrap(
        "brier", metrics.brier, y, good, bad, np.arange(200), larger=False, resamples=200
    )
    assert found.difference.high < 0
    assert found.verdict == "better"


def test_internal_and_external_are_compared_only_between_different_patients():
    rng = np.random.default_rng(8)
    inside, outside = cohort(rng, shift=3.0), cohort(rng, shift=0.3)
    with pytest.raises(LeakageRefused, match="80 of the patients"):
        compare_auc_between(outside, inside)
    moved = (*outside[:2], outside[2] + 1000)
    found = compare_auc_between(moved, inside)
    assert found.verdict == "worse"
    assert found.difference.n_patients == 160
    apart = [standard_error(clustered_auc(*one)) for one in (moved, inside)]
    assert found.difference.high - found.difference.value == pytest.approx(1.959964 * np.hypot(*apart))


def test_the_smallest_detectable_difference_is_that_of_the_textbook():
    assert smallest_detectable(1.0) == pytest.approx(1.959964 + 0.841621, abs=1e-5)


def test_a_score_that_separates_the_classes_has_the_bound_of_the_rarer_one():
    y = np.repeat([0, 1], [40, 20])
    apart = clustered_auc(y, y + 0.5, np.arange(60))
    assert (apart.value, apart.high) == (1.0, 1.0)
    assert apart.low == pytest.approx(0.025 ** (1 / 20))
    assert "exact bound" in apart.method
    assert clustered_auc(y, -y, np.arange(60)).high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_what_has_no_interval_says_so():
    apart = clustered_auc([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], ["a", "b", "c", "c"])
    assert apart.value == 1.0
    assert np.isnan(apart.low)
    assert "no interval" in apart.note
    assert np.isnan(clustered_auc([1, 1], [0.1, 0.2], ["a", "b"]).value)
    assert compare_auc([0, 1], [0.1, 0.2], [0.2, 0.1], ["a", "b"]).verdict == "not told apart"
