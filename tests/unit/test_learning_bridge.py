"""Bridges on planted data, where the truth is known, and on data that would flatter them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from embedstore.errors import LeakageRefused, StoreDamaged, UsageError
from embedstore.learning.bridge import Bridge, fit_asif, fit_bridge, fit_ridge
from embedstore.learning.bridge_fit import relative
from embedstore.learning.bridge_quality import (
    BridgeQuality,
    assess_bridge,
    refuse_anchor_patients,
    retrieval_quality,
)
from embedstore.learning.retrieval import chance_of_a_hit, first_ranks, hits_at_k
from embedstore.learning.vectors import same_directions, unit_rows

PAIRS, QUERIES = 2500, 500


def planted(n: int, *, noise: float = 0.5, latent: int = 32, dims=(512, 384), seed: int = 0):
    """Two views of one latent, with an offset that crowds the cosines, as encoders' vectors do."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, latent))
    views = []
    for dim in dims:
        signal = z @ rng.normal(size=(latent, dim)) / np.sqrt(latent)
        views.append((signal + noise * rng.normal(size=(n, dim)) + 3.0).astype(np.float32))
    return views


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least"), [("asif", 0.75), ("ridge", 0.99)])
def test_planted_pairs_are_found_and_shuffled_ones_are_not(kind, least):
    images, texts = planted(PAIRS + QUERIES)
    patients = np.arange(QUERIES)
    bridge = fit_bridge(kind, images[:PAIRS], texts[:PAIRS])
    quality = retrieval_quality(bridge, images[PAIRS:], texts[PAIRS:], patients, resamples=200)
    assert quality.r_at_1 >= least
    assert quality.chance == pytest.approx(10 / QUERIES)
    lies = texts[:PAIRS][np.random.default_rng(1).permutation(PAIRS)]
    control = retrieval_quality(
        fit_bridge(kind, images[:PAIRS], lies), images[PAIRS:], texts[PAIRS:], patients, resamples=200
    )
    assert control.r_at_1 <= 0.01


@pytest.mark.parametrize("kind", ["asif", "ridge"])
def test_cross_validation_beats_chance_and_its_control_does_not(kind):
    images, texts = planted(300, noise=0.8, dims=(64, 48), latent=8)
    patients = np.arange(300) // 2
    quality = assess_bridge(kind, images, texts, patients, seed=1, resamples=300)
    assert quality.interval[0] > 3 * quality.chance
    assert quality.shuffled_interval[0] <= quality.chance <= quality.shuffled_interval[1]
    assert (quality.n_pairs, quality.n_patients, quality.n_queries, quality.pool) == (300, 150, 300, 60)
    assert BridgeQuality.from_json(json.loads(json.dumps(quality.to_json()))) == quality


def test_an_identical_report_is_a_right_answer_and_chance_knows_it():
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(4, 16)).astype(np.float32)[np.arange(200) % 4]
    images = rng.normal(size=(200, 16)).astype(np.float32)  # tell nothing
    quality = assess_bridge("ridge", images, texts, np.arange(200), resamples=300)
    expected = float(chance_of_a_hit(40, np.array([10.0]), 10)[0])
    assert quality.chance == pytest.approx(expected, abs=0.02)
    assert quality.interval[0] <= quality.chance <= quality.interval[1]


def test_a_text_embedded_twice_with_other_rounding_is_one_text():
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(300, 384)).astype(np.float32)
    again = texts * (1 + 1e-6 * rng.normal(size=texts.shape)).astype(np.float32)
    codes = same_directions(np.concatenate([texts, again]))
    np.testing.assert_array_equal(codes[:300], codes[300:])
    assert len(set(codes.tolist())) == 300


def test_several_images_of_one_report_are_asked_for_once_per_patient():
    images, texts = planted(60, dims=(32, 24), latent=6)
    texts, patients = texts[np.arange(60) // 3 * 3], np.arange(60) // 3
    quality = assess_bridge("ridge", images, texts, patients, resamples=100)
    assert (quality.n_queries, quality.n_pairs, quality.pool) == (20, 60, 12)


@pytest.mark.parametrize("kind", ["asif", "ridge"])
def test_a_stored_bridge_comes_back_the_same(kind):
    images, texts = planted(80, dims=(20, 12), latent=4)
    bridge = fit_bridge(kind, images, texts)
    again = Bridge.restore(json.loads(json.dumps(bridge.spec())), bridge.arrays())
    np.testing.assert_array_equal(again.scores(texts[:7], images), bridge.scores(texts[:7], images))
    assert again.spec() == bridge.spec()
    np.testing.assert_allclose(np.linalg.norm(bridge.images_to_joint(images), axis=1), 1, atol=1e-5)
    assert bridge.images_to_joint(images).shape == (80, bridge.joint_dim)
    assert bridge.texts_to_joint(texts).shape == (80, bridge.joint_dim)


def test_scores_are_the_cosines_of_the_joint_space():
    images, texts = planted(50, dims=(20, 12), latent=4)
    bridge = fit_asif(images, texts, k=5, exponent=2.0)
    expected = bridge.texts_to_joint(texts) @ bridge.images_to_joint(images).T
    np.testing.assert_allclose(bridge.scores(texts, images, chunk=7), expected, atol=1e-6)


def test_relative_representation_by_hand():
    likeness = np.array([[0.5, -0.9, 0.3, 0.4], [-1, -2, -3, -4]], dtype=np.float32)
    found = relative(likeness, 2, 2.0)
    kept = np.array([0.25, 0, 0, 0.16])
    np.testing.assert_allclose(found[0], kept / np.linalg.norm(kept), atol=1e-6)
    assert not found[1].any()  # like no anchor: no direction, and a cosine of 0 with everything


def test_the_ridge_map_is_scikit_learns():
    images, texts = planted(120, dims=(20, 12), latent=4)
    bridge = fit_ridge(images, texts, alpha=0.7)
    x, y = unit_rows(images).astype(float), unit_rows(texts).astype(float)
    fitted = Ridge(alpha=0.7).fit(x, y)
    np.testing.assert_allclose(bridge.image_side, fitted.coef_.T, atol=1e-4)


@pytest.mark.parametrize("dims", [(20, 12), (90, 12)])
def test_alpha_is_the_one_that_refitting_without_each_patient_finds(dims):
    images, texts = planted(60, noise=1.5, dims=dims, latent=4)
    patients = np.arange(60) // 2
    chosen = fit_ridge(images, texts, patients=patients).params["alpha"]
    x, y = unit_rows(images).astype(float), unit_rows(texts).astype(float)

    def left_out_error(alpha: float) -> float:
        error = 0.0
        for patient in range(30):
            held = patients == patient
            fitted = Ridge(alpha=alpha).fit(x[~held], y[~held])
            error += float(np.sum((fitted.predict(x[held]) - y[held]) ** 2))
        return error

    step = 10**0.5  # of the grid
    here = left_out_error(chosen)
    assert here <= left_out_error(chosen * step) + 1e-9
    assert here <= left_out_error(chosen / step) + 1e-9


def test_ties_count_by_their_expectation():
    relevant = np.array([[True, False, False, False]])
    all_tied = np.zeros((1, 4), dtype=np.float32)
    assert hits_at_k(all_tied, relevant, 1)[0] == pytest.approx(0.25)
    assert hits_at_k(all_tied, relevant, 3)[0] == pytest.approx(0.75)
    assert first_ranks(all_tied, relevant)[0] == pytest.approx(2.5)
    clear = np.array([[0.5, 0.9, 0.5, 0.1]], dtype=np.float32)
    assert hits_at_k(clear, relevant, 2)[0] == pytest.approx(0.5)
    assert hits_at_k(clear, relevant, 1)[0] == 0


def test_anchor_patients_may_not_be_scored():
    with pytest.raises(LeakageRefused, match="1 patient stands on both sides of the bridge"):
        refuse_anchor_patients(["a", "b"], ["b", "c"])
    refuse_anchor_patients(["a", "b"], ["c"])


def test_what_is_no_set_of_pairs_is_refused():
    images, texts = planted(20, dims=(8, 6), latent=3)
    with pytest.raises(UsageError, match="are not pairs"):
        fit_asif(images, texts[:-1])
    with pytest.raises(UsageError, match="too few for a bridge"):
        fit_ridge(images[:3], texts[:3])
    with pytest.raises(UsageError, match="no bridge kind 'x'"):
        fit_bridge("x", images, texts)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="NaN"):
        fit_ridge(images * np.nan, texts)
    with pytest.raises(UsageError, match="one and the same vector"):
        fit_ridge(np.ones((20, 8)), texts)
    for fit in (fit_asif, fit_ridge):
        with pytest.raises(UsageError, match="at least 2 patients"):
            fit(images, texts, patients=["one"] * 20)
    with pytest.raises(UsageError, match="20 image-report pairs of 2 patients are too few for a bridge"):
        assess_bridge("ridge", images, texts, np.arange(20) % 2)
    bridge = fit_ridge(images, texts)
    with pytest.raises(UsageError, match=r"expected vectors of shape \(n, 8\)"):
        bridge.images_to_joint(texts)
    with pytest.raises(StoreDamaged, match="fit it again"):
        Bridge.restore(bridge.spec(), {"image_mean": images[0]})
    with pytest.raises(StoreDamaged, match="does not fit its arrays"):
        Bridge.restore({**bridge.spec(), "image_dim": 9}, bridge.arrays())
