"""Splits never part a patient's images, whatever the cohort looks like."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedstore.errors import LeakageRefused, UsageError
from embedstore.evaluation.splits import (
    disjointness,
    joined_groups,
    one_sided,
    patient_folds,
    refuse_leakage,
    shuffle_labels,
    split_by_mask,
    split_by_patient,
)

COHORTS = st.lists(st.tuples(st.integers(0, 15), st.integers(-1, 2)), min_size=2, max_size=80).filter(
    lambda rows: len({row[0] for row in rows}) >= 2
)


@given(COHORTS, st.floats(0.05, 0.95), st.integers(0, 50))
def test_a_split_is_a_partition_that_keeps_patients_whole(rows, fraction, seed):
    patients, y = (np.array(column) for column in zip(*rows, strict=True))
    split = split_by_patient(patients, y=y, test_fraction=fraction, seed=seed)
    assert sorted([*split.train, *split.test]) == list(range(len(rows)))
    assert not set(patients[split.train]) & set(patients[split.test])
    assert len(split.train)
    assert len(split.test)
    n_patients = len(set(patients))
    assert split.n_test_patients == min(max(1, round(fraction * n_patients)), n_patients - 1)


@given(COHORTS, st.integers(0, 50))
def test_folds_keep_patients_whole_and_are_of_like_size(rows, seed):
    patients, y = (np.array(column) for column in zip(*rows, strict=True))
    n_folds = min(4, len(set(patients)))
    folds = patient_folds(patients, n_folds, y=y, seed=seed)
    per_fold = [len(set(patients[folds == fold])) for fold in range(n_folds)]
    assert sum(per_fold) == len(set(patients))
    assert max(per_fold) - min(per_fold) <= 1


def test_rare_classes_are_spread_over_folds_and_split():
    patients, y = np.arange(100), (np.arange(100) < 8).astype(int)
    folds = patient_folds(patients, 4, y=y, seed=1)
    assert [int(y[folds == fold].sum()) for fold in range(4)] == [2, 2, 2, 2]
    split = split_by_patient(patients, y=y, test_fraction=0.25, seed=1)
    assert int(y[split.test].sum()) == 2


@given(COHORTS, st.floats(0.2, 0.8), st.integers(0, 50))
def test_no_class_of_two_patients_is_missing_where_a_swap_would_bring_it(rows, fraction, seed):
    patients, y = (np.array(column) for column in zip(*rows, strict=True))
    split = split_by_patient(patients, y=y, test_fraction=fraction, seed=seed)
    only_train, only_test = one_sided(split, patients, y)
    there = {value: set(patients[y == value]) for value in set(y.tolist()) - {-1}}
    in_test = set(patients[split.test])
    assert set(only_train) == {value for value, people in there.items() if not people & in_test}
    assert set(only_test) == {value for value, people in there.items() if people <= in_test}
    single = {value for value, people in there.items() if len(people) == 1}
    # Patients of one class each, and room for every class on either side: all of two or more are split.
    one_class = all(len(set(y[patients == p].tolist()) - {-1}) == 1 for p in set(patients.tolist()))
    sides = (split.n_train_patients, split.n_test_patients)
    if one_class and min(sides) >= len(there):
        assert set(only_train) == single
        assert not only_test


def test_rare_classes_stand_on_both_sides_for_every_seed():
    patients = np.repeat(np.arange(60), 2)
    y = np.repeat(np.select([np.arange(60) < 2, np.arange(60) < 5, np.arange(60) < 6], [1, 2, 3], 0), 2)
    for seed in range(40):
        split = split_by_patient(patients, y=y, test_fraction=0.1, seed=seed)
        assert split.n_test_patients == 6
        assert one_sided(split, patients, y) == ((3,), ())  # class 3 has one patient: it can be learned
    findings = np.zeros((120, 2), dtype=int)
    findings[:100, 0], findings[:4, 1] = 1, 1
    for seed in range(40):
        split = split_by_patient(patients, y=findings, test_fraction=0.1, seed=seed)
        assert one_sided(split, patients, findings) == ((), ())


def test_a_split_is_the_same_for_the_same_seed():
    patients = [f"p{i % 30}" for i in range(90)]
    one, same, other = (split_by_patient(patients, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.test, same.test)
    assert one.test.tolist() != other.test.tolist()
    assert one.describe()["n_test_patients"] == 8


def test_a_patient_across_sites_is_refused_and_not_named():
    patients = ["secret-name", "secret-name", "b", "c"]
    with pytest.raises(LeakageRefused, match="1 patient stands on both sides") as caught:
        split_by_mask(patients, [True, False, True, False])
    assert "secret-name" not in str(caught.value)
    split = split_by_mask(patients, [True, True, False, False])
    assert split.test.tolist() == [0, 1]


def test_an_empty_side_is_refused():
    with pytest.raises(UsageError, match="no test rows"):
        split_by_mask(["a", "b"], [False, False])
    with pytest.raises(UsageError, match="no training rows"):
        split_by_mask(["a", "b"], [True, True])
    with pytest.raises(UsageError, match="at least 2 patients"):
        split_by_patient(["a", "a"])
    with pytest.raises(UsageError, match="3 folds need"):
        patient_folds(["a", "b"], 3)


def test_leakage_is_found_between_numbers_and_their_text():
    with pytest.raises(LeakageRefused, match="2 patients stand on both sides of the bridge"):
        refuse_leakage([1, 2, 3], ["2", "3", "4"], what="the bridge")
    refuse_leakage([1], [2])


def test_shuffled_labels_move_between_patients_as_wholes():
    patients = np.repeat(np.arange(50), 3)
    y = np.repeat(np.arange(50) % 2, 3)
    shuffled = shuffle_labels(y, patients, seed=0)
    assert all(len(set(shuffled[patients == p])) == 1 for p in range(50))
    assert shuffled.sum() == y.sum()
    assert 0.3 < np.mean(shuffled == y) < 0.7


def test_a_split_that_rests_on_unknown_patients_is_not_called_disjoint():
    patients = ["a", "a", "b", "c", "d"]
    known = [True, True, False, True, False]
    split = split_by_mask(patients, [False, False, False, True, True])
    found = disjointness(split, patients, known)
    assert not found.patient_disjoint
    assert (found.unknown_train_patients, found.unknown_test_patients) == (1, 1)
    assert "--assume-independent" in found.note
    vouched = disjointness(split, patients, known, assume_independent=True)
    assert (vouched.patient_disjoint, vouched.assumed) == (True, True)
    assert "assumed to be of independent patients" in vouched.note
    sure = disjointness(split, patients, [True] * 5, assume_independent=True)
    assert (sure.patient_disjoint, sure.assumed, sure.note) == (True, False, "")


def test_near_duplicates_join_their_patients_so_that_a_draw_keeps_them_together():
    patients = np.repeat(np.arange(20), 2)
    first, second = [0, 3, 10], [39, 8, 10]  # rows: patients 0 and 19, 1 and 4, 5 and itself
    groups = joined_groups(patients, first, second)
    assert len(np.unique(groups)) == 18
    for seed in range(20):
        split = split_by_patient(groups, seed=seed)
        in_test = np.isin(np.arange(40), split.test)
        assert in_test[0] == in_test[39]
        assert in_test[3] == in_test[8]
    np.testing.assert_array_equal(joined_groups(patients, [], []), patients)
