"""Conformal sets against the Beta law, MAPIE and crepes, and what they promise to clustered patients."""

from __future__ import annotations

import json

import numpy as np
import pytest
from crepes import ConformalClassifier
from mapie.classification import SplitConformalClassifier
from sklearn.base import BaseEstimator, ClassifierMixin

from benchmarks.published_statistics import conformal_coverage
from embedstore.errors import UsageError
from embedstore.evaluation.conformal import (
    RapsPenalty,
    conformity_scores,
    fit_conformal,
    guarantee,
    patient_quantile,
)
from embedstore.evaluation.coverage import achieved_coverage


def drawn(rng, n, classes=4, sharpness=0.6):
    """Probabilities that are true, and classes drawn from them."""
    prob = rng.dirichlet(np.full(classes, sharpness), size=n)
    return prob, (rng.random((n, 1)) > np.cumsum(prob, axis=1)[:, :-1]).sum(axis=1)


class Told(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose features are its probabilities."""

    def __init__(self, classes=4):
        self.classes = classes
        self.classes_ = np.arange(classes)
        self.n_features_in_ = classes

    def fit(self, x, y):
        return self

    def predict_proba(self, x):
        return x

    def predict(self, x):
        return x.argmax(axis=1)


def by_mapie(method, prob, y, new, **predict):
    peer = SplitConformalClassifier(
        Told(), confidence_level=0.9, prefit=True, conformity_score=method, random_state=11
    )
    return peer.conformalize(prob, y).predict_set(new, conformity_score_params=predict)[1][:, :, 0]


def test_coverage_over_calibrations_follows_the_beta_law():
    found = conformal_coverage(repeats=300, seed=7)
    assert found["mean"] == pytest.approx(0.9002, abs=0.003)
    assert found["sd"] == pytest.approx(0.0164, abs=0.0025)
    assert found["expected"]["mean"] == pytest.approx(0.9002, abs=5e-5)
    assert found["expected"]["sd"] == pytest.approx(0.0164, abs=5e-5)


def test_the_chance_of_a_miss_is_that_of_simulated_calibrations():
    rng = np.random.default_rng(0)
    found = guarantee(60, 0.1)
    scores = np.sort(rng.random((4000, 60)), axis=1)[:, 54]  # ceil(61 x 0.9) = 55th; coverage is its height
    assert found.miss == pytest.approx(np.mean(scores < 0.9), abs=0.025)
    assert found.expected == pytest.approx(55 / 61)
    assert guarantee(60, 0.1, slack=0.05).miss < 0.5 * found.miss
    few = guarantee(8, 0.1)
    assert (few.expected, few.miss) == (1.0, 0.0)


def test_lac_gives_the_sets_of_mapie():
    rng = np.random.default_rng(1)
    prob, y = drawn(rng, 500)
    new, _ = drawn(rng, 400)
    ours = fit_conformal(prob, y, alpha=0.1).sets(new)
    np.testing.assert_array_equal(ours, by_mapie("lac", prob, y, new))


def test_aps_gives_the_sets_of_mapie_for_the_same_draws():
    rng = np.random.default_rng(2)
    prob, y = drawn(rng, 500)
    new, _ = drawn(rng, 400)
    u_known, u_new = (np.random.RandomState(11).uniform(size=n) for n in (500, 400))
    own = conformity_scores(prob, "aps", u_known)[np.arange(500), y]
    limit = patient_quantile(own, np.arange(500), 0.1)
    ours = conformity_scores(new, "aps", u_new) <= limit
    np.testing.assert_array_equal(ours, by_mapie("aps", prob, y, new, include_last_label="randomized"))


def test_class_conditional_sets_are_those_of_crepes():
    rng = np.random.default_rng(3)
    prob, y = drawn(rng, 483)
    new, _ = drawn(rng, 300)
    ours = fit_conformal(prob, y, alpha=0.1, condition="class").sets(new)
    # crepes takes p >= alpha; we take p > alpha: equal unless alpha (n + 1) is whole in a class.
    assert all(0.1 * (n + 1) % 1 for n in np.bincount(y))
    peer = ConformalClassifier().fit(1 - prob[np.arange(483), y], bins=y)
    bins = np.tile(np.arange(4), (300, 1))
    theirs = np.stack(
        [peer.predict_p(1 - new[:, [c]], bins=bins[:, c], smoothing=False)[:, 0] > 0.1 for c in range(4)],
        axis=1,
    )
    np.testing.assert_array_equal(ours, theirs)


def test_raps_is_aps_with_a_price_on_long_sets():
    rng = np.random.default_rng(4)
    prob, y = drawn(rng, 3000, classes=8)
    new, truth = drawn(rng, 3000, classes=8)
    sizes = {}
    for weight in (0.0, 0.5):
        penalty = RapsPenalty(weight=weight, free=2)
        rule = fit_conformal(prob, y, method="raps", penalty=penalty)
        sets = rule.sets(new)
        assert sets[np.arange(3000), truth].mean() == pytest.approx(0.9, abs=0.02)
        sizes[weight] = sets.sum(axis=1)
    plain = fit_conformal(prob, y, method="aps").sets(new)
    np.testing.assert_array_equal(plain.sum(axis=1), sizes[0.0])
    assert sizes[0.5].max() < sizes[0.0].max()


@pytest.mark.parametrize("method", ["lac", "aps", "raps"])
def test_a_class_and_a_site_are_covered_only_when_asked_for(method):
    rng = np.random.default_rng(5)
    prob, y = drawn(rng, 6000, classes=3)
    site = np.where(rng.random(6000) < 0.2, "B", "A")
    prob[site == "B"] = np.roll(prob[site == "B"], 1, axis=1)  # B is misjudged
    half = np.arange(6000) < 3000
    told = {"alpha": 0.1, "method": method}
    plain = fit_conformal(prob[half], y[half], **told).sets(prob[~half])
    by_site = fit_conformal(prob[half], y[half], condition="group", groups=site[half], **told)
    by_class = fit_conformal(prob[half], y[half], condition="class", **told).sets(prob[~half])
    classes, people = ("a", "b", "c"), np.arange(3000)
    found = [
        achieved_coverage(sets, y[~half], people, classes, site[~half])
        for sets in (plain, by_site.sets(prob[~half], site[~half]), by_class)
    ]
    assert found[0].by_group["B"].high < 0.9
    assert found[1].by_group["B"].value == pytest.approx(0.9, abs=0.035)
    assert all(one.value == pytest.approx(0.9, abs=0.035) for one in found[2].by_class.values())
    assert found[1].by_group["B"].n_images == int((site[~half] == "B").sum())
    json.dumps(found[1].to_json(), allow_nan=False)


def test_an_unseen_site_and_a_rare_class_get_every_class():
    rng = np.random.default_rng(6)
    prob, y = drawn(rng, 200, classes=3)
    rule = fit_conformal(prob, y, condition="group", groups=["A"] * 200)
    assert rule.sets(prob[:5], ["Z"] * 5).all()
    with pytest.raises(UsageError, match="which group"):
        rule.sets(prob[:5])
    rare = fit_conformal(prob, np.r_[np.full(5, 2), np.zeros(195, int)], condition="class")
    assert np.isinf(rare.thresholds[0, 1:]).all()  # 5 are fewer than 1 / alpha - 1, 0 too
    assert [one.n for one in rare.guarantees()] == [195, 0, 5]


def test_many_images_of_few_patients_do_not_pass_for_many_patients():
    """The promise is for one image of a new patient; counting images misses it where patients differ."""
    rng = np.random.default_rng(7)
    held = {"patients": 0.0, "images": 0.0}
    for _ in range(400):
        own = rng.normal(size=31)
        people = np.repeat(np.arange(30), np.where(np.arange(30) < 5, 40, 1))
        hard = own[people] - 1.5 * (people < 5) + 0.1 * rng.normal(size=len(people))  # many images: easy ones
        prob = np.c_[1 - norm_cdf(hard), norm_cdf(hard)]  # the true class is 0; harder, less likely
        new = np.array([[1 - norm_cdf(own[30]), norm_cdf(own[30])]])
        for name, groups in (("patients", people), ("images", None)):
            rule = fit_conformal(prob, np.zeros(len(people), int), alpha=0.2, patients=groups)
            held[name] += rule.sets(new)[0, 0] / 400
    assert held["patients"] >= 0.77
    assert held["images"] < 0.5


def norm_cdf(x):
    from scipy.stats import norm

    return norm.cdf(x)


def test_the_same_seed_gives_the_same_sets():
    rng = np.random.default_rng(8)
    prob, y = drawn(rng, 300)
    one, same, other = (fit_conformal(prob, y, method="aps", seed=s).sets(prob) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_shapes_and_levels_that_make_no_sense_are_refused():
    with pytest.raises(UsageError, match="alpha lies"):
        fit_conformal(np.full((4, 2), 0.5), [0, 1, 0, 1], alpha=1.5)
    with pytest.raises(UsageError, match="K of at least 2"):
        fit_conformal(np.ones((4, 1)), [0, 0, 0, 0])
    with pytest.raises(UsageError, match="group of each"):
        fit_conformal(np.full((4, 2), 0.5), [0, 1, 0, 1], condition="group")
