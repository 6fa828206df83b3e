"""Suspected labels against cleanlab, against planted errors, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from cleanlab.filter import find_label_issues

from embedstore.errors import UsageError
from embedstore.learning.neighbours import nearest_rows
from embedstore.learning.noise import (
    confident_learning,
    contradicting_twins,
    disagreeing,
    neighbour_shares,
    out_of_fold,
)
from embedstore.learning.vectors import unit_rows
from embedstore.testing.noise import noisy_labels


@pytest.mark.parametrize("n_classes", [2, 3, 5])
def test_the_confident_joint_is_cleanlabs(n_classes):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        given = np.r_[np.arange(n_classes), rng.integers(n_classes, size=400)]
        raw = rng.normal(size=(len(given), n_classes)) + 1.5 * np.eye(n_classes)[given]
        p = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
        found = confident_learning(given, p)
        expected = find_label_issues(given, p, filter_by="confident_learning")
        np.testing.assert_array_equal(found.suspect, expected)
        assert found.suspect.any()
        np.testing.assert_array_equal(found.score, p[np.arange(len(given)), given])


def test_planted_errors_are_found_and_little_else():
    """`benchmarks/label_noise.py` has 100 seeds."""
    precision, recall, right = [], [], []
    for seed in range(3):
        made = noisy_labels(seed)
        told = out_of_fold(made.vectors, made.given, made.patients)
        rows = unit_rows(made.vectors)
        near, _ = nearest_rows(rows, rows, 10, (made.patients, made.patients))
        learned = confident_learning(made.given, told)
        beside = disagreeing(made.given, neighbour_shares(made.given, near, 3), 0.6)
        suspect = learned.suspect | beside.suspect
        precision.append(made.wrong[suspect].mean())
        recall.append(suspect[made.wrong].mean())
        hit = learned.suspect & made.wrong
        right.append((learned.suggested == made.truth)[hit].mean())
    assert np.mean(precision) >= 0.85
    assert np.mean(recall) >= 0.85
    assert np.mean(right) > 0.95


def test_no_row_is_judged_by_a_model_that_saw_its_patient():
    """Images of a patient are all but equal and share a wrong label: who saw one would believe it."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(60) % 2, 5)
    patients = np.repeat(np.arange(60), 5)
    own = rng.normal(size=(60, 400))
    vectors = (own[patients] + truth[:, None] * 0.4 + 0.01 * rng.normal(size=(300, 400))).astype(np.float32)
    given = np.where(patients == 7, 1 - truth, truth)
    apart = out_of_fold(vectors, given, patients, c=1e4)
    mixed = out_of_fold(vectors, given, np.arange(300), c=1e4)
    mine = patients == 7
    assert apart[mine, given[mine]].max() < 0.5 < mixed[mine, given[mine]].min()


def test_neighbours_are_other_patients_and_must_agree():
    rows = unit_rows(np.array([[1, 0], [1, 0.01], [1, 0.02], [1, 0.03], [0, 1]], np.float32))
    patients = np.array(["a", "a", "b", "c", "d"])
    near, cosines = nearest_rows(rows, rows, 2, (patients, patients))
    assert set(near[0].tolist()) == {2, 3}
    assert set(near[1].tolist()) == {2, 3}
    assert np.isfinite(cosines).all()
    shares = neighbour_shares(np.array([0, 0, 1, 1, 0]), near, 2)
    np.testing.assert_allclose(shares[0], [0, 1])
    found = disagreeing(np.array([0, 0, 1, 1, 0]), shares, 0.9)
    assert found.suspect[:2].all()
    assert found.suggested[0] == 1
    lonely, _ = nearest_rows(rows[:2], rows[:2], 3, (patients[:2], patients[:2]))
    assert (lonely == -1).all()
    np.testing.assert_allclose(neighbour_shares(np.array([0, 1]), lonely, 2), 0)
    assert not disagreeing(np.array([0, 1]), neighbour_shares(np.array([0, 1]), lonely, 2)).suspect.any()


def test_twins_with_different_labels_are_told_once():
    rows = unit_rows(np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1]], np.float32))
    near, cosines = nearest_rows(rows, rows, 3)
    assert contradicting_twins(np.array([0, 1, 1, 1, 0]), near, cosines, 0.999).tolist() == [[0, 1]]
    assert contradicting_twins(np.array([0, 0, 1, 1, 0]), near, cosines, 0.999).shape == (0, 2)


def test_an_audit_needs_two_of_each_class():
    with pytest.raises(UsageError, match="2 rows of each class"):
        out_of_fold(np.zeros((3, 2), np.float32), np.array([0, 0, 1]), np.arange(3))
    with pytest.raises(UsageError, match="do not fit"):
        confident_learning(np.zeros(3, int), np.zeros((2, 2)))
