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
from embedstore.learning.labelmodel import (
    MAXIMUM_LIKELIHOOD,
    DawidSkene,
    Priors,
    fit_dawid_skene,
)
from embedstore.learning.vote_counts import UNSEEN, majority_vote, soft_counts
from embedstore.testing.votes import made_votes

# Table 1 of Dawid and Skene (1979): what five anaesthetists said of the fitness (1 to 4) of 45 patients; the
# first of them was asked three times. A patient is "three answers of observer 1, then observers 2 to 5".
ANAESTHETISTS = """\
111-1111 333-4334 112-2122 222-3121 222-3222 222-3322 112-2111 333-3433 222-2223 232-2223 444-4444 222-3343
111-1111 222-3212 121-1111 111-2111 111-1111 111-1111 222-2221 222-1322 222-2222 222-2221 222-3222 221-2222
111-1111 111-1111 232-2222 111-1111 111-1111 112-1121 111-1111 333-3233 111-1111 222-2222 222-3232 433-4343
221-2232 232-3233 333-3432 111-1111 111-1111 121-2111 232-2222 121-1111 222-2222
"""


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
    ours = fit_dawid_skene(votes, 3, priors=MAXIMUM_LIKELIHOOD, max_iterations=101, tolerance=-np.inf)
    expected = oracle.probas_.sort_index()[[0, 1, 2]].to_numpy()
    np.testing.assert_allclose(ours.predict(votes), expected, atol=1e-4)
    np.testing.assert_allclose(ours.prior, oracle.priors_[[0, 1, 2]], atol=1e-4)


def test_the_published_example_is_reproduced():
    counts = np.zeros((45, 5, 4))
    for patient, told in enumerate(ANAESTHETISTS.split()):
        first, others = told.split("-")
        for observer, said in enumerate((first, *others)):
            for answer in said:
                counts[patient, observer, int(answer) - 1] += 1
    model = fit_dawid_skene(counts, 4, priors=MAXIMUM_LIKELIHOOD, tolerance=1e-12)
    np.testing.assert_allclose(model.prior, [0.39997, 0.42158, 0.11179, 0.06667], atol=1e-5)
    assert model.log_likelihood == pytest.approx(-190.7310, abs=1e-4)
    np.testing.assert_allclose(np.diag(model.confusion[0]), [0.907, 0.877, 0.661, 0.444], atol=5e-4)
    assert model.objective[-1] == pytest.approx(model.log_likelihood)
    assert model.predict(counts).shape == (45, 4)


def test_a_rare_finding_and_three_voters_do_not_collapse():
    """What went wrong: by likelihood alone nearly all, or nothing, is called present."""
    lost: dict[str, list[float]] = {"likelihood": [], "priors": []}
    called: dict[str, list[float]] = {"likelihood": [], "priors": []}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth = (rng.random(150) < 0.2).astype(int)
        columns = []
        for sensitivity, specificity, spoken in ((0.85, 0.95, 0.5), (0.9, 0.4, 0.97), (0.4, 0.95, 1.0)):
            right = np.where(truth == 1, rng.random(150) < sensitivity, rng.random(150) < specificity)
            said = np.where(right, truth, 1 - truth)
            columns.append(np.where(rng.random(150) < spoken, said, -1))
        votes = np.stack(columns, axis=1)
        majority = majority_vote(votes, 2)[0] == 1
        for name, priors in (("likelihood", MAXIMUM_LIKELIHOOD), ("priors", Priors())):
            fused = fit_dawid_skene(votes, 2, priors=priors).predict(votes).argmax(axis=1)
            lost[name].append(float(np.mean(majority == truth) - np.mean(fused == truth)))
            called[name].append(float(fused.mean()))
    assert max(lost["likelihood"]) > 0.3
    assert max(lost["priors"]) < 0.05
    assert min(called["likelihood"]) < 0.05
    assert max(called["likelihood"]) > 0.5
    assert min(called["priors"]) > 0.05
    assert max(called["priors"]) < 0.3


def test_planted_voters_are_recovered_and_beat_the_majority():
    truth, votes = simulate(4000, [0.95, 0.6, 0.6, 0.6, 0.6], silent=0.1)
    majority, _ = majority_vote(votes, 2)
    # Where voters are weak, the shares of votes that the default leans on are too even.
    for priors, near in ((Priors(items=0), 0.05), (Priors(), 0.06)):
        model = fit_dawid_skene(votes, 2, priors=priors)
        assert model.converged
        np.testing.assert_allclose(model.prior, [0.7, 0.3], atol=near)
        np.testing.assert_allclose(model.accuracies(), [0.95, 0.6, 0.6, 0.6, 0.6], atol=near)
        fused = model.predict(votes).argmax(axis=1)
        assert np.mean(fused == truth) > np.mean(majority == truth) + 0.05


def test_fused_probabilities_are_calibrated():
    truth, votes = simulate(6000, [0.8, 0.75, 0.7, 0.65], silent=0.2, seed=7)
    p = fit_dawid_skene(votes, 2).predict(votes)[:, 1]
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        inside = (p >= low) & (p < low + 0.2)
        if inside.sum() > 100:
            assert truth[inside].mean() == pytest.approx(p[inside].mean(), abs=0.06)


@pytest.mark.parametrize(("abstain", "least"), [(1.0, 0.02), (100.0, 0.04)])
def test_made_votes_are_fused_better_than_by_majority(abstain, least):
    """Dense, and sparse: one word of a voter on some 25 items. `benchmarks/label_model.py` has 100 seeds."""
    gains = []
    for seed in range(3):
        truth, votes = made_votes(10_000, 10, abstain=abstain, seed=seed)
        voted = (votes >= 0).any(axis=1)
        majority, _ = majority_vote(votes, 2)
        coin = np.random.default_rng([seed, 1]).integers(2, size=len(truth))
        guess = np.where(majority < 0, coin, majority)
        model = fit_dawid_skene(votes, 2, silence=True, tolerance=1e-6)
        right = model.predict(votes).argmax(axis=1) == truth
        gains.append(right[voted].mean() - (guess == truth)[voted].mean())
    assert np.mean(gains) > least


def test_silence_is_evidence_only_where_asked_for_and_never_of_who_did_not_look():
    rng = np.random.default_rng(3)
    truth = (rng.random(3000) < 0.4).astype(int)
    votes = np.stack([np.where(rng.random(3000) < 0.8, truth, 1 - truth) for _ in range(4)], axis=1)
    votes[:, 3] = np.where((truth == 1) & (rng.random(3000) < 0.7), 1, -1)  # speaks of what is there only
    heard, deaf = (fit_dawid_skene(votes, 2, silence=told) for told in (True, False))
    np.testing.assert_allclose(heard.speaks[3], [0.0, 0.7], atol=0.06)
    assert deaf.speaks is None
    quiet = np.array([[1, 0, -1, -1]])
    assert heard.predict(quiet)[0, 1] < deaf.predict(quiet)[0, 1] - 0.1
    absent = np.where(quiet == -1, UNSEEN, quiet)
    assert heard.predict(absent)[0, 1] > heard.predict(quiet)[0, 1] + 0.1
    again = DawidSkene.from_json(json.loads(json.dumps(heard.to_json("abcd"))))
    np.testing.assert_array_equal(again.predict(quiet), heard.predict(quiet))
    assert 0.75 < heard.accuracies()[0] < 0.85
    assert heard.accuracies()[3] > 0.95


def test_known_classes_teach_who_is_right():
    """Three of four voters copy one mistake; a few known items show it."""
    rng = np.random.default_rng(5)
    truth = rng.integers(2, size=2000)
    copied = np.where(rng.random(2000) < 0.55, truth, 1 - truth)
    votes = np.stack([copied, copied, copied, np.where(rng.random(2000) < 0.9, truth, 1 - truth)], axis=1)
    known = np.where(np.arange(2000) < 200, truth, -1)
    blind = fit_dawid_skene(votes, 2).predict(votes).argmax(axis=1)
    told = fit_dawid_skene(votes, 2, known=known)
    assert told.confusion[3, 0, 0] > 0.5
    assert np.mean(blind == truth) < 0.6
    assert (np.diff(told.objective) > -1e-6).all()
    with pytest.raises(UsageError, match="known classes"):
        fit_dawid_skene(votes, 2, known=np.full(2000, 2))


def test_a_soft_vote_counts_for_what_it_is_sure_of():
    counts = soft_counts(np.array([[1, 0, -1, 1]]), np.array([[0.7, np.nan, np.nan, 0.4]]), 2)
    np.testing.assert_allclose(counts, [[[0, 0.4], [1, 0], [0, 0], [0, 0]]])
    gains = []
    for seed in range(5):
        truth, votes = simulate(2000, [0.8] * 5, prior=(0.5, 0.5), seed=seed)
        rng = np.random.default_rng([seed, 1])
        unsure = rng.random(votes.shape) < 0.5
        votes = np.where(unsure, rng.integers(2, size=votes.shape), votes)  # who is unsure guesses
        softly = soft_counts(votes, np.where(unsure, 0.55, 0.8), 2)
        hard, soft = (fit_dawid_skene(v, 2).predict(v).argmax(axis=1) for v in (votes, softly))
        gains.append(np.mean(soft == truth) - np.mean(hard == truth))
    assert np.mean(gains) > 0.03


def test_a_posterior_is_bayes_rule():
    confusion = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.4, 0.6]]])
    model = DawidSkene(
        prior=np.array([0.75, 0.25]), confusion=confusion, iterations=1, converged=True, log_likelihood=0.0
    )
    found = model.predict(np.array([[1, 0], [-1, 1], [-1, -1]]))
    both = np.array([0.75 * 0.1 * 0.7, 0.25 * 0.8 * 0.4])
    one = np.array([0.75 * 0.3, 0.25 * 0.6])
    np.testing.assert_allclose(found, [both / both.sum(), one / one.sum(), [0.75, 0.25]])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(2, 4),
    st.builds(
        Priors,
        votes=st.floats(0, 30),
        right=st.floats(0.1, 0.9),
        items=st.floats(0, 1000),
        silence=st.floats(0, 30),
    ),
    st.booleans(),
)
def test_the_objective_never_falls_and_rows_sum_to_one(seed, n_classes, priors, silence):
    rng = np.random.default_rng(seed)
    votes = rng.integers(-2, n_classes, size=(30, 4))
    votes[0] = 0
    known = rng.integers(-1, n_classes, size=30)
    model = fit_dawid_skene(votes, n_classes, priors=priors, known=known, silence=silence, max_iterations=60)
    steps = np.diff(model.objective)
    assert (steps > -1e-6).all()
    np.testing.assert_allclose(model.confusion.sum(axis=2), 1)
    np.testing.assert_allclose(model.predict(votes).sum(axis=1), 1)
    assert model.prior.sum() == pytest.approx(1)


def test_priors_keep_a_voter_of_few_words_from_certainty():
    truth, votes = simulate(200, [0.8, 0.8, 0.8])
    votes = np.c_[votes, np.full(200, -1)]
    votes[:3, 3] = truth[:3]
    sharp, soft = (fit_dawid_skene(votes, 2, priors=p) for p in (MAXIMUM_LIKELIHOOD, Priors()))
    assert soft.confusion[3].max() < 0.9 < sharp.confusion[3].max()


def test_priors_are_the_modes_of_their_dirichlet_densities():
    np.testing.assert_allclose(Priors().confusion(2), [[3.8, 2.2], [2.2, 3.8]])
    assert Priors().confusion(12).min() == 0
    assert not MAXIMUM_LIKELIHOOD.confusion(3).any()
    silent = np.array([[0, -1], [1, -1]])
    confusion = fit_dawid_skene(silent, 2).confusion[1]
    np.testing.assert_allclose(confusion, np.array([[3.8, 2.2], [2.2, 3.8]]) / 6)
    with pytest.raises(UsageError, match="share right"):
        fit_dawid_skene(silent, 2, priors=Priors(right=1.0))


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


def test_the_only_word_there_is_is_never_overruled():
    """6 of 17 present by the one voter: a fit that mistrusts it would call all 17 absent."""
    lone = np.array([[1]] * 6 + [[0]] * 11)
    model = fit_dawid_skene(lone, 2)
    assert (model.kind, model.predict(lone).argmax(axis=1).tolist()) == ("vote-shares", lone[:, 0].tolist())
    assert model.predict(lone)[0, 1] == pytest.approx((1 + model.prior[1]) / 2)
    two = np.array([[1, -1], [1, 1], [0, 0], [-1, 0]])
    assert fit_dawid_skene(two, 2).predict(two).argmax(axis=1).tolist() == [1, 1, 0, 0]
    taught = fit_dawid_skene(lone, 2, known=lone[:, 0])
    assert taught.kind == "dawid-skene"
    restored = DawidSkene.from_json(model.to_json(["rules"]))
    assert np.array_equal(restored.predict(lone), model.predict(lone))


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
    with pytest.raises(UsageError, match="0 or more"):
        fit_dawid_skene(np.full((2, 2, 2), -1.0), 2)
