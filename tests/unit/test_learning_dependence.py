"""Voters that copy each other are noticed; independent ones are left in peace."""

from __future__ import annotations

import numpy as np
import pytest

from embedstore.learning.dependence import dependent_pairs, warned

NAMES = ("a", "b", "c", "d", "e")


def voters(seed: int, copied: float, n: int = 1500):
    """Five voters of accuracy .8 on n items; b repeats a with the given chance."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(2, size=n)
    votes = np.stack([np.where(rng.random(n) < 0.8, truth, 1 - truth) for _ in NAMES], axis=1)
    votes[:, 1] = np.where(rng.random(n) < copied, votes[:, 0], votes[:, 1])
    return truth, votes


@pytest.mark.parametrize("gold", [False, True])
def test_a_copy_is_found_and_named(gold):
    truth, votes = voters(0, copied=0.7)
    found = dependent_pairs(votes, NAMES, 2, np.arange(len(votes)), truth if gold else None)
    assert {found[0].first, found[0].second} == {"a", "b"}
    assert found[0].known == ("gold" if gold else "model")
    assert "'a' and 'b' err together" in warned(found)[0].sentence


@pytest.mark.parametrize("gold", [False, True])
def test_independent_voters_raise_no_warning(gold):
    alarms = 0
    for seed in range(20):
        truth, votes = voters(seed, copied=0.0)
        pairs = dependent_pairs(votes, NAMES, 2, np.arange(len(votes)), truth if gold else None)
        assert len(pairs) == 10
        alarms += len(warned(pairs))
    assert alarms == 0


def test_images_of_one_patient_are_not_counted_as_many():
    truth, votes = voters(1, copied=0.25, n=60)
    many, patients = np.repeat(votes, 30, axis=0), np.repeat(np.arange(60), 30)
    one = dependent_pairs(votes, NAMES, 2, np.arange(60), truth)
    more = dependent_pairs(many, NAMES, 2, patients, np.repeat(truth, 30))
    by_name = {(p.first, p.second): p for p in more}
    for pair in one:
        assert by_name[pair.first, pair.second].n_patients == pair.n_patients == 60
        assert by_name[pair.first, pair.second].w == pytest.approx(pair.w)
        assert by_name[pair.first, pair.second].p_value == pytest.approx(pair.p_value)


def test_what_cannot_be_seen_is_not_claimed():
    truth, votes = voters(2, copied=0.9)
    assert dependent_pairs(votes[:, :3], NAMES[:3], 2, np.arange(len(votes))) == ()
    assert dependent_pairs(votes[:, :3], NAMES[:3], 2, np.arange(len(votes)), truth)
