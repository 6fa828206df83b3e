"""Voters on vectors and metadata, and the account of their votes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embedstore.contracts.labels import LabelBatch, LabelingFunction, LabelSet
from embedstore.errors import UsageError
from embedstore.learning.calibrate import Calibration, fit_calibration
from embedstore.learning.metadata_voter import MetadataVoter
from embedstore.learning.prompts import Prototypes
from embedstore.learning.votes import (
    KnnVoter,
    ZeroShotVoter,
    describe_votes,
    finding_set,
    vote_matrix,
)
from embedstore.learning.zeroshot import class_scores

EFFUSION = finding_set("effusion")


def batch(vectors=None, columns=None):
    n = len(vectors) if vectors is not None else len(columns)
    return LabelBatch(item_ids=np.arange(n), texts=[""] * n, columns=columns or [{}] * n, vectors=vectors)


def test_the_neighbour_voter_never_asks_the_patients_own_images():
    vectors = np.array([[1, 0], [1, 0.01], [0, 1], [0.01, 1], [0.02, 1]], dtype=np.float32)
    voter = KnnVoter(
        label_set=EFFUSION,
        vectors=vectors,
        labels=np.array([1, 1, 0, 0, 0]),
        patients=["a", "a", "b", "c", "d"],
        k=2,
        agreement=1.0,
    )
    assert isinstance(voter, LabelingFunction)
    asked = batch(np.array([[1, 0], [1, 0]], dtype=np.float32), [{"patient": "z"}, {"patient": "a"}])
    assert voter(asked).tolist() == [1, 0]
    np.testing.assert_allclose(voter.probabilities(asked), [3 / 4, 3 / 4])


def test_the_neighbour_voter_equals_a_full_sort_and_abstains_on_disagreement():
    rng = np.random.default_rng(0)
    known, labels, patients = (
        rng.normal(size=(200, 8)),
        rng.integers(-1, 3, size=200),
        rng.integers(40, size=200),
    )
    asked, own = rng.normal(size=(50, 8)).astype(np.float32), rng.integers(40, size=50)
    voter = KnnVoter(
        label_set=LabelSet(name="x", classes=("a", "b", "c")),
        vectors=known.astype(np.float32),
        labels=labels,
        patients=patients,
        k=5,
        agreement=0.6,
    )
    votes = voter(batch(asked, [{"patient": p} for p in own]))
    unit = known / np.linalg.norm(known, axis=1, keepdims=True)
    expected = []
    for vector, patient in zip(asked, own, strict=True):
        order = [i for i in np.argsort(-(unit @ vector)) if patients[i] != patient and labels[i] >= 0][:5]
        counts = np.bincount(labels[order], minlength=3)
        expected.append(int(counts.argmax()) if counts.max() >= 3 else -1)
    assert votes.tolist() == expected
    assert -1 in expected


def test_a_balanced_neighbour_voter_hears_the_rare_class():
    """One positive of three neighbours is four times its share of a tenth: evidence for, not against."""
    rng = np.random.default_rng(1)
    common = np.stack([np.ones(90), rng.normal(size=90) * 0.01], axis=1)
    rare = np.stack([np.full(10, 0.2), np.linspace(0.9, 1.1, 10)], axis=1)
    vectors = np.concatenate([common, rare]).astype(np.float32)
    labels = np.r_[np.zeros(90, int), np.ones(10, int)]
    labels[[90, 91, 92, 93, 94, 95]] = 0  # the neighbourhood of the rare class is mixed
    settings = {"label_set": EFFUSION, "vectors": vectors, "labels": labels, "k": 10, "agreement": 0.6}
    patients = np.arange(100)
    plain, balanced = (KnnVoter(patients=patients, balanced=b, **settings) for b in (False, True))
    asked = batch(np.array([[0.2, 1.0], [1.0, 0.0]], dtype=np.float32), [{"patient": "z"}] * 2)
    assert plain(asked).tolist() == [0, 0]
    assert balanced(asked).tolist() == [1, 0]
    assert plain.version != balanced.version
    weights = np.array([6 / 96, 4 / 4])
    share = weights.max() / weights.sum()
    np.testing.assert_allclose(balanced.probabilities(asked)[0], (share * 10 + 1) / 12, rtol=1e-5)


def test_the_neighbour_voter_abstains_without_enough_neighbours_and_needs_patients():
    voter = KnnVoter(
        label_set=EFFUSION,
        vectors=np.eye(3, dtype=np.float32),
        labels=np.array([1, 1, -1]),
        patients="abc",
        k=3,
    )
    assert voter(batch(np.eye(3, dtype=np.float32), [{"patient": "z"}] * 3)).tolist() == [-1] * 3
    voter = KnnVoter(
        label_set=EFFUSION, vectors=np.eye(3, dtype=np.float32), labels=np.ones(3, int), patients="aab", k=2
    )
    # Of the three neighbours two are the patient's own: one is left, k are asked for.
    assert voter(batch(np.eye(3, dtype=np.float32)[:1], [{"patient": "a"}])).tolist() == [-1]
    with pytest.raises(UsageError, match="needs the column 'patient'"):
        voter(batch(np.eye(3, dtype=np.float32)))
    with pytest.raises(UsageError, match="needs vectors"):
        voter(batch(columns=[{"patient": "z"}]))
    with pytest.raises(UsageError, match="agreement"):
        KnnVoter(label_set=EFFUSION, vectors=np.eye(2), labels=np.ones(2), patients="ab", agreement=0.4)


def test_the_zero_shot_voter_goes_through_the_bridge_and_abstains_uncalibrated():
    prototypes = Prototypes(present=np.array([[1, 0]]), absent=np.array([[0, 1]]))
    steep = Calibration(
        kind="findings", slope=np.ones(1), intercept=np.zeros(1), prior=np.ones(1) / 2, n_examples=(50,)
    )
    swapped = ZeroShotVoter(
        label_set=EFFUSION,
        version="1",
        prototypes=prototypes,
        column=0,
        calibration=steep,
        threshold=0.7,
        to_joint=lambda v: v[:, ::-1],
    )
    vectors = np.array([[1, 0], [0, 1], [1, 1]], dtype=np.float32)
    assert isinstance(swapped, LabelingFunction)
    assert swapped(batch(vectors)).tolist() == [0, 1, -1]
    blind = replace(swapped, calibration=None, threshold=0.1)
    assert blind(batch(vectors)).tolist() == [-1] * 3
    assert blind.probabilities(batch(vectors)) is None


def test_the_zero_shot_voter_with_a_calibration_gives_probabilities():
    rng = np.random.default_rng(0)
    prototypes = Prototypes(present=np.array([[1.0, 0]]), absent=np.array([[0, 1.0]]))
    y = rng.integers(2, size=(200, 1))
    vectors = (np.c_[y, 1 - y] + 0.5 * rng.normal(size=(200, 2))).astype(np.float32)
    calibration = fit_calibration("findings", class_scores(prototypes, vectors), y)
    voter = ZeroShotVoter(
        label_set=EFFUSION,
        version="1",
        prototypes=prototypes,
        column=0,
        calibration=calibration,
        threshold=0.9,
    )
    votes, sure = voter(batch(vectors)), voter.probabilities(batch(vectors))
    assert np.mean(votes[votes >= 0] == y[votes >= 0, 0]) > 0.9
    assert ((sure >= 0.9) == (votes >= 0)).all()


def test_the_metadata_voter_looks_values_up():
    voter = MetadataVoter(
        label_set=EFFUSION, column="attr.grade", lookup={"2": "present", "Normal": "absent"}, name="grade"
    )
    columns = [{"attr.grade": 2.0}, {"grade": "NORMAL "}, {"attr.grade": None}, {}, {"attr.grade": "other"}]
    assert voter(batch(columns=columns)).tolist() == [1, 0, -1, -1, -1]
    other = MetadataVoter(label_set=EFFUSION, column="grade", lookup={"2": "present"}, default="absent")
    assert other(batch(columns=[{"grade": "3"}, {"grade": ""}])).tolist() == [0, -1]
    assert other.version != voter.version
    with pytest.raises(UsageError, match="'maybe' is not a class of effusion"):
        MetadataVoter(label_set=EFFUSION, column="x", lookup={"2": "maybe"})


def test_coverage_overlap_and_conflict_by_hand():
    votes = vote_matrix([[1, 1, -1, 0], [1, 0, -1, -1], [-1, -1, -1, -1]])
    one, two, three = describe_votes(votes, ["one", "two", "three"], 2)
    assert (one.coverage, one.overlap, one.conflict, one.counts) == (0.75, 0.5, 0.25, (1, 2))
    assert (two.coverage, two.overlap, two.conflict, two.counts) == (0.5, 0.5, 0.25, (1, 1))
    assert (three.coverage, three.conflict) == (0.0, 0.0)
    with pytest.raises(UsageError, match="no voter"):
        vote_matrix([])
    with pytest.raises(UsageError, match="different lengths"):
        vote_matrix([[1], [1, 0]])
