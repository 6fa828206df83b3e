"""Subgroups, shortcuts and comparisons between sets, against cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from embedstore.errors import LeakageRefused
from embedstore.evaluation import metrics
from embedstore.evaluation.clustered import clustered_auc, compare_auc_between
from embedstore.evaluation.comparison import compare_between_by_bootstrap
from embedstore.evaluation.shortcut import leaning, one_hot, usual_values
from embedstore.evaluation.subgroups import NOT_RECORDED, age_band, subgroup_table


def rows(n: int = 400, seed: int = 0):
    """(n,) labels, scores that tell them, patients of two images each."""
    rng = np.random.default_rng(seed)
    y = np.repeat(rng.integers(0, 2, n // 2), 2)
    return y, y + rng.normal(0, 1, n), np.repeat(np.arange(n // 2), 2)


@pytest.mark.parametrize(
    ("age", "band"),
    [(0, "under 18"), (17.9, "under 18"), (18, "18 to 39"), (59.5, "40 to 59"), (80, "80 and over"),
     (None, NOT_RECORDED), (float("nan"), NOT_RECORDED)],
)  # fmt: skip
def test_age_bands(age, band):
    assert age_band(age) == band


def test_a_subgroup_has_the_numbers_of_its_own_rows():
    y, score, people = rows()
    sex = np.where(people % 2, "F", "M")
    found = {row.value: row for row in subgroup_table(y, score, people, {"sex": sex.tolist()})}
    women = sex == "F"
    assert found["F"].estimates[0] == clustered_auc(y[women], score[women], people[women])
    assert found["F"].n_positives == int(y[women].sum())
    assert found["F"].n_patients == 100
    told = {one.metric: one.value for one in found["F"].estimates}
    assert told["sensitivity"] == pytest.approx((score[women & (y == 1)] >= 0.5).mean())
    assert told["specificity"] == pytest.approx((score[women & (y == 0)] < 0.5).mean())


def test_few_positives_get_no_number():
    y, score, people = rows(80)
    group = np.where(np.cumsum(y) <= 19, "few", "rest")
    few, _ = subgroup_table(y, score, people, {"site": group.tolist()})
    assert few.n_positives == 19
    assert few.estimates == ()
    assert few.insufficient == "insufficient: 19 positives"
    assert few.to_json()["metrics"] == {}


def test_features_are_those_of_the_fitted_rows():
    fitted = [True, True, True, False]
    features, used = one_hot({"sex": ["F", "M", "F", "O"], "site": ["A", "A", "A", "B"]}, fitted)
    assert used == ("sex",)
    assert features.tolist() == [[1, 0], [0, 1], [1, 0], [0, 0]]
    assert one_hot({"site": ["A", "A", "A", "B"]}, fitted)[0].shape == (4, 0)


def test_a_score_that_follows_the_site_leans_and_one_that_does_not_does_not():
    y, score, people = rows(2000)
    site = np.where(people % 2, "A", "B")
    fair = leaning("site", site.tolist(), y, score, people)
    unfair = leaning("site", site.tolist(), y, score + 1.0 * (site == "B"), people)
    assert [(row.truth, row.value) for row in fair] == [("without", "B"), ("with", "B")]
    assert not any(row.leans for row in fair)
    assert all(row.leans and row.auroc.value > 0.7 for row in unfair)


def test_usual_values_leave_out_the_rare_and_the_unrecorded():
    people = np.arange(20)
    values = ["A"] * 8 + ["B"] * 8 + ["C"] * 2 + [NOT_RECORDED] * 2
    assert usual_values(values, people) == ("A", "B")
    assert usual_values(["A"] * 18 + ["C"] * 2, people) == ()


def test_sets_compared_by_bootstrap_agree_with_the_closed_form():
    one, two = rows(400, 1), rows(300, 2)
    two = (two[0], two[1], two[2] + 1000)
    drawn, exact = (
        compare_between_by_bootstrap("auroc", metrics.auroc, one, two),
        compare_auc_between(one, two),
    )
    assert drawn.difference.value == pytest.approx(exact.difference.value)
    assert drawn.difference.low == pytest.approx(exact.difference.low, abs=0.01)
    assert drawn.difference.high == pytest.approx(exact.difference.high, abs=0.01)
    assert (drawn.difference.n_images, drawn.difference.n_patients) == (700, 350)
    with pytest.raises(LeakageRefused):
        compare_between_by_bootstrap("auroc", metrics.auroc, one, one)
