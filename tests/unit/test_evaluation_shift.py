"""Shift tests: closed forms, scipy, their level over clustered patients, and the two kinds of change."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import ks_2samp

from benchmarks.published_statistics import mmd_closed_form
from embedstore.errors import UsageError
from embedstore.evaluation.concept import Domain, change_of
from embedstore.evaluation.mmd import mmd2, patient_kernel, patient_permutations
from embedstore.evaluation.shift import covariate_shift, smallest_detectable_shift
from embedstore.evaluation.shift_sides import Sides
from embedstore.evaluation.two_sample import holm, ks_test, mmd_test


def cohort(rng, patients=30, images=4, dim=4, shift=0.0):
    """Two sides whose patients' images correlate by 0.8; the new one moved along the first axis."""
    people = np.repeat(np.arange(2 * patients), images)
    own = rng.normal(size=(2 * patients, dim))
    x = np.sqrt(0.8) * own[people] + np.sqrt(0.2) * rng.normal(size=(len(people), dim))
    x[people >= patients, 0] += shift
    return Sides(x, people, np.arange(2 * patients) >= patients)


def test_mmd_is_that_of_two_gaussians():
    found = mmd_closed_form(repeats=150, seed=1)
    assert found["expected"]["closed_form"] == pytest.approx(0.177268, abs=5e-7)
    assert found["mean"] == pytest.approx(0.177268, abs=0.01)


def test_the_interval_of_mmd_covers_the_closed_form():
    rng = np.random.default_rng(9)
    covered = 0
    for _ in range(200):
        x = np.r_[rng.normal(size=60), rng.normal(1, 1, size=60)][:, None]
        sides = Sides(x, np.arange(120), np.arange(120) >= 60)
        found = mmd_test(sides, sides.permuted(9, 0), width=1.0)
        covered += found.low <= 0.177268 <= found.high
    assert 0.9 <= covered / 200 <= 0.985


def test_mmd_equals_the_sum_over_pairs_of_patients():
    rng = np.random.default_rng(0)
    x, people = rng.normal(size=(11, 3)), np.array([0, 0, 1, 2, 2, 2, 3, 4, 4, 5, 5])
    in_new = np.array([0, 0, 0, 1, 1, 1], bool)
    gauss = np.exp(-((x[:, None] - x[None]) ** 2).sum(-1) / (2 * 1.3**2))
    k = np.array([[gauss[np.ix_(people == a, people == b)].mean() for b in range(6)] for a in range(6)])
    np.testing.assert_allclose(patient_kernel(x, people, 1.3), k)
    within = sum(k[a, b] for s in ((0, 1, 2), (3, 4, 5)) for a in s for b in s if a != b) / 6
    between = k[:3, 3:].mean()
    assert float(mmd2(k, in_new)) == pytest.approx(within - 2 * between)


def test_a_shift_added_to_the_kernel_is_one_added_to_the_images():
    rng = np.random.default_rng(1)
    sides = cohort(rng, patients=8)
    along = np.array([0.6, 0.8, 0.0, 0.0])
    kernel = patient_kernel(sides.x, sides.people, 1.0)
    cross = patient_kernel(sides.x, sides.people, 1.0, along=along, shift=0.7)
    moved = sides.x + 0.7 * np.outer(sides.is_new, along)
    expected = mmd2(patient_kernel(moved, sides.people, 1.0), sides.in_new)
    assert float(mmd2(kernel, sides.in_new, cross)) == pytest.approx(float(expected))


def test_patients_permuted_keep_the_level_and_images_permuted_do_not():
    rng = np.random.default_rng(2)
    by_patient = by_image = 0
    for repeat in range(150):
        sides = cohort(rng)
        by_patient += mmd_test(sides, sides.permuted(199, repeat)).shifted
        apart = Sides(sides.x, np.arange(len(sides.x)), sides.is_new)
        by_image += mmd_test(apart, apart.permuted(99, repeat)).shifted
    assert by_patient / 150 <= 0.09
    assert by_image / 150 > 0.5


def test_all_three_tests_find_a_shift_and_say_from_how_many():
    rng = np.random.default_rng(3)
    found = covariate_shift(cohort(rng, shift=2.0), permutations=499)
    assert [test.name for test in found] == ["mmd2", "classifier_auroc", "ks"]
    for test in found:
        assert test.shifted, test
        assert (test.n_images, test.n_patients, test.n_new_images, test.n_new_patients) == (120, 30, 120, 30)
        assert test.p_value >= 1 / 500
        json.dumps(test.to_json(), allow_nan=False)
        assert test.low <= test.value <= test.high
        assert "patients permuted" in test.method
    assert found[1].low > 0.5
    assert 1 in found[2].detail["moved_components"]
    none = covariate_shift(cohort(rng), permutations=499)
    assert not any(test.p_value <= 0.005 for test in none)


def test_ks_is_scipys_for_one_image_per_patient():
    rng = np.random.default_rng(4)
    x = np.r_[rng.normal(size=70), rng.normal(0.7, 1, size=50)][:, None]
    sides = Sides(x, np.arange(120), np.arange(120) >= 70)
    found = ks_test(sides, sides.permuted(1999, 0), scores=sides.x)
    peer = ks_2samp(x[:70, 0], x[70:, 0])
    assert found.value == pytest.approx(peer.statistic)
    assert found.p_value == pytest.approx(peer.pvalue, abs=0.01)


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_permutations_keep_the_size_of_the_new_side_and_reach_everybody():
    drawn = patient_permutations(10, 3, 500, 0)
    assert set(drawn.sum(axis=1)) == {3}
    assert (np.abs(drawn.mean(axis=0) - 0.3) < 0.08).all()


def test_more_patients_detect_a_smaller_shift():
    rng = np.random.default_rng(5)
    shifts = []
    for patients in (15, 60):
        sides = cohort(rng, patients=patients, images=2)
        shifts.append(smallest_detectable_shift(sides, sides.permuted(199, 0)))
    assert 0 < shifts[1] < shifts[0]


def test_too_few_patients_and_patients_on_both_sides_are_refused():
    with pytest.raises(UsageError, match="3 patients on the new side"):
        Sides.of(np.zeros((9, 2)), np.zeros((3, 2)), range(9), ["a", "b", "c"])
    with pytest.raises(UsageError, match="both sides"):
        Sides.of(np.zeros((9, 2)), np.zeros((9, 2)), range(9), range(8, 17))


def judged(rng, covariate, concept):
    people = np.repeat(np.arange(240), 2)
    in_new = np.arange(240) >= 120
    x = rng.normal(size=(480, 3))
    x[:, 0] += covariate * in_new[people]
    odds = 1.5 * x[:, 0] - 0.5
    y = rng.random(480) < 1 / (1 + np.exp(-odds - concept * in_new[people]))
    # The model shrinks the odds: other images bring other residuals.
    return change_of("residual", y - 1 / (1 + np.exp(-0.5 * odds)), Domain.of(Sides(x, people, in_new)))


def test_other_images_and_other_meanings_are_told_apart():
    rng = np.random.default_rng(6)
    covariate, concept = judged(rng, 1.2, 0.0), judged(rng, 0.0, 1.5)
    assert (covariate.covariate_verdict, covariate.concept_verdict) == ("changed", "no change shown")
    assert (concept.covariate_verdict, concept.concept_verdict) == ("no change shown", "changed")
    for change in (covariate, concept):
        assert change.total.value == pytest.approx(change.covariate.value + change.concept.value)
        assert (change.total.n_images, change.total.n_patients) == (480, 240)
        json.dumps(change.to_json(), allow_nan=False)


def test_sides_that_share_no_images_cannot_be_told_apart():
    found = judged(np.random.default_rng(7), 12.0, 0.0)
    assert found.shared_patients < 10
    assert (found.covariate_verdict, found.concept_verdict) == ("cannot be told", "cannot be told")
