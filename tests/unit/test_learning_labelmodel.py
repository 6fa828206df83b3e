"""Dawid-Skene against crowd-kit, against planted voters, and against arithmetic."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene as Oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from embedstore.errors import UsageError
from embedstore.learning.labelmodel import DawidSkene, fit_dawid_skene, majority_vote


def simulate(n: int, accuracies, *, prior=(0.7, 0.3), silent: float = 0.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    n_classes = len(prior)
    truth = rng.choice(n_classes, size=n, p=prior)
    columns = []
    for accuracy in accuracies:
        other = (truth + rng.integers(1, n_classes, size=n)) % n_classes
        said = np.where(rng.random(n) < accuracy, truth, other)
        columns.append(np.where(rng.random(n) < silent, -1, said))
    return truth, np.stack(columns, axis=1)


def as_frame(votes: np.ndarray) -> pd.DataFrame:
    rows, columns = np.nonzero(votes >= 0)
    return pd.DataFrame({"task": rows, "worker": columns, "label": votes[rows, columns]})


# crowd-kit passes arguments to data frames that pandas 3 deprecates; nothing of ours does.
@pytest.mark.filterwarnings("ignore:The inplace keyword in", "ignore:The copy keyword is deprecated")
@pytest.mark.parametrize("silent", [0.0, 0.3])
def test_posteriors_equal_crowd_kits(silent):
    _, votes = simulate(400, [0.9, 0.8, 0.7, 0.6], prior=(0.5, 0.3, 0.2), silent=silent, seed=4)
    votes = votes[(votes >= 0).any(axis=1)]
    oracle = Oracle(n_iter=100, tol=-np.inf).fit(as_frame(votes))
    ours = fit_dawid_skene(votes, 3, smoothing=0, max_iterations=101, tolerance=-np.inf)
    expected = oracle.probas_.sort_index()[[0, 1, 2]].to_numpy()
    np.testing.assert_allclose(ours.predict(votes), expected, atol=1e-4)
    np.testing.assert_allclose(ours.prior, oracle.priors_[[0, 1, 2]], atol=1e-4)


def test_planted_voters_are_recovered_and_beat_the_majority():
    truth, votes = simulate(4000, [0.95, 0.6, 0.6, 0.6, 0.6], silent=0.1)
    model = fit_dawid_skene(votes, 2)
    assert model.converged
    np.testing.assert_allclose(model.prior, [0.7, 0.3], atol=0.03)
    np.testing.assert_allclose(model.accuracies(), [0.95, 0.6, 0.6, 0.6, 0.6], atol=0.04)
    fused = model.predict(votes).argmax(axis=1)
    majority, _ = majority_vote(votes, 2)
    assert np.mean(fused == truth) > np.mean(majority == truth) + 0.05


def test_fused_probabilities_are_calibrated():
    truth, votes = simulate(6000, [0.8, 0.75, 0.7, 0.65], silent=0.2, seed=7)
    p = fit_dawid_skene(votes, 2).predict(votes)[:, 1]
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        inside = (p >= low) & (p < low + 0.2)
        if inside.sum() > 100:
            assert truth[inside].mean() == pytest.approx(p[inside].mean(), abs=0.06)


def test_a_posterior_is_bayes_rule():
    confusion = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.4, 0.6]]])
    model = DawidSkene(
        prior=np.array([0.75, 0.25]), confusion=confusion, iterations=1, converged=True, log_likelihood=()
    )
    found = model.predict(np.array([[1, 0], [-1, 1], [-1, -1]]))
    both = np.array([0.75 * 0.1 * 0.7, 0.25 * 0.8 * 0.4])
    one = np.array([0.75 * 0.3, 0.25 * 0.6])
    np.testing.assert_allclose(found, [both / both.sum(), one / one.sum(), [0.75, 0.25]])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.floats(0, 1))
def test_the_likelihood_never_falls_and_rows_sum_to_one(seed, n_classes, smoothing):
    rng = np.random.default_rng(seed)
    votes = rng.integers(-1, n_classes, size=(30, 4))
    votes[0] = 0
    model = fit_dawid_skene(votes, n_classes, smoothing=smoothing, max_iterations=60)
    steps = np.diff(model.log_likelihood)
    assert (steps > -1e-6).all()
    np.testing.assert_allclose(model.confusion.sum(axis=2), 1)
    np.testing.assert_allclose(model.predict(votes).sum(axis=1), 1)
    assert model.prior.sum() == pytest.approx(1)


def test_smoothing_keeps_a_voter_of_few_words_from_certainty():
    truth, votes = simulate(200, [0.8, 0.8, 0.8])
    votes = np.c_[votes, np.full(200, -1)]
    votes[:3, 3] = truth[:3]
    sharp, soft = (fit_dawid_skene(votes, 2, smoothing=s) for s in (0.0, 1.0))
    assert soft.confusion[3].max() < 0.9 < sharp.confusion[3].max()


def test_a_given_prior_is_kept():
    _, votes = simulate(300, [0.8, 0.8, 0.8])
    np.testing.assert_allclose(fit_dawid_skene(votes, 2, prior=[1, 3]).prior, [0.25, 0.75])
    with pytest.raises(UsageError, match="positive share"):
        fit_dawid_skene(votes, 2, prior=[1, 0])


def test_too_few_voters_and_bad_voters_are_mentioned():
    _, votes = simulate(300, [0.8, 0.8])
    assert "2 voters spoke" in fit_dawid_skene(votes, 2).notes[0]
    _, votes = simulate(2000, [0.9, 0.9, 0.9, 0.2])
    assert any("1 of 4 voters are worse than chance" in note for note in fit_dawid_skene(votes, 2).notes)
    assert any("not converged" in note for note in fit_dawid_skene(votes, 2, max_iterations=2).notes)


def test_a_model_comes_back_from_json():
    _, votes = simulate(300, [0.8, 0.7, 0.6])
    model = fit_dawid_skene(votes, 2)
    again = DawidSkene.from_json(json.loads(json.dumps(model.to_json(["rules", "knn", "zeroshot"]))))
    np.testing.assert_array_equal(again.predict(votes), model.predict(votes))


def test_majority_vote_abstains_on_ties_and_silence():
    votes = np.array([[1, 1, 0], [1, 0, -1], [-1, -1, -1], [2, -1, -1]])
    labels, shares = majority_vote(votes, 3)
    assert labels.tolist() == [1, -1, -1, 2]
    np.testing.assert_allclose(shares, [[1 / 3, 2 / 3, 0], [0.5, 0.5, 0], [0, 0, 0], [0, 0, 1]])


def test_what_is_no_vote_is_refused():
    with pytest.raises(UsageError, match="no voter has voted"):
        fit_dawid_skene(np.full((3, 2), -1), 2)
    with pytest.raises(UsageError, match="class indices below 2"):
        fit_dawid_skene(np.array([[2, 0]]), 2)
    with pytest.raises(UsageError, match="shape"):
        majority_vote(np.zeros(3), 2)
