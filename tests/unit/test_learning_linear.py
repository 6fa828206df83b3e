"""Linear heads: scikit-learn's answer in numpy, bound to a space, the same every time."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from embedstore.contracts.labels import Head
from embedstore.errors import SpaceMismatch, StoreDamaged, UsageError
from embedstore.evaluation import metrics
from embedstore.learning.linear import LogisticHead, check_space, encode_labels, fit_logistic

SPACE = "a" * 64


def cohort(n=400, dim=24, n_classes=2, seed=0, signal=1.0):
    rng = np.random.default_rng(seed)
    groups = np.arange(n) // 2
    y = rng.integers(n_classes, size=n)
    centres = signal * rng.normal(size=(n_classes, dim))
    vectors = centres[y] + rng.normal(size=(n, dim)) * rng.uniform(0.5, 5, size=dim) + 7
    return vectors.astype(np.float32), y, groups


def fit(vectors, y, groups, **options):
    n_classes = int(np.max(y)) + 1
    return fit_logistic(
        vectors,
        y,
        groups,
        **{
            "name": "h",
            "space": SPACE,
            "target": "label",
            "classes": [f"c{c}" for c in range(n_classes)],
            **options,
        },
    )


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("scaling", ["standardise", "unit"])
def test_numpy_predictions_are_scikit_learns(n_classes, scaling):
    vectors, y, groups = cohort(n_classes=n_classes)
    head = fit(vectors, y, groups, scaling=scaling)
    assert isinstance(head, Head)
    x = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if scaling == "unit" else vectors
    x = (x.astype(float) - head.mean) / head.scale
    model = LogisticRegression(C=head.spec.params["C"], max_iter=2000, tol=1e-4).fit(x, y)
    found = head.predict(vectors)
    np.testing.assert_allclose(found, model.predict_proba(x), atol=1e-5)
    assert found.shape == (len(y), n_classes)
    assert found.dtype == np.float32


def test_it_learns_what_is_there_and_nothing_from_noise():
    vectors, y, groups = cohort(n=600)
    head = fit(vectors[:400], y[:400], groups[:400])
    assert metrics.auroc(y[400:], head.predict(vectors[400:])[:, 1]) > 0.9
    noise, y, groups = cohort(n=600, signal=0.0)
    head = fit(noise[:400], y[:400], groups[:400])
    # The proper score drives C down until the head says the base rate.
    assert np.ptp(head.predict(noise[400:])[:, 1]) < 0.5
    assert head.spec.params["C"] <= 0.01


def test_the_scaling_with_the_smaller_loss_on_patients_left_out_is_taken():
    vectors, y, groups = cohort(n=300)
    lengths = np.random.default_rng(2).uniform(1, 1000, size=300).astype(np.float32)
    for rows, better in (
        (vectors * lengths[:, None], "unit"),
        (np.c_[lengths * (y + 1), vectors], "standardise"),
    ):
        params = fit(rows, y, groups).spec.params
        best = {way: min(losses.values()) for way, losses in params["cv_log_loss"].items()}
        assert params["scaling"] == min(best, key=best.get) == better


def test_the_same_rows_and_seed_give_the_same_head():
    vectors, y, groups = cohort()
    one, two = fit(vectors, y, groups), fit(vectors, y, groups)
    np.testing.assert_array_equal(one.weights, two.weights)
    assert one.spec == two.spec
    assert fit(vectors + 1, y, groups).spec.data_sha256 != one.spec.data_sha256


def test_c_is_chosen_on_whole_patients():
    # A patient's images are copies: folds that parted them would reward memorising.
    rng = np.random.default_rng(1)
    base, y = rng.normal(size=(60, 200)).astype(np.float32), np.arange(60) % 2
    vectors, labels, groups = np.repeat(base, 5, axis=0), np.repeat(y, 5), np.repeat(np.arange(60), 5)
    apart, together = fit(vectors, labels, np.arange(300)), fit(vectors, labels, groups)
    assert together.spec.params["C"] < apart.spec.params["C"]


def test_missing_labels_are_dropped_and_counted():
    vectors, y, groups = cohort()
    y[::4] = -1
    head = fit(vectors, y, groups)
    assert head.spec.params["dropped"] == 100
    assert head.spec.params["n"] == 300
    assert sum(head.spec.params["n_per_class"].values()) == 300
    assert head.spec.data_sha256 == fit(vectors[y >= 0], y[y >= 0], groups[y >= 0]).spec.data_sha256


def test_a_stored_head_predicts_the_same(tmp_path):
    vectors, y, groups = cohort(n_classes=3)
    head = fit(vectors, y, groups, split={"kind": "mask", "n_test": 5})
    np.savez(tmp_path / "head.npz", **head.arrays())
    with np.load(tmp_path / "head.npz", allow_pickle=False) as arrays:
        again = LogisticHead.restore(json.loads(json.dumps(head.to_json())), dict(arrays))
    np.testing.assert_array_equal(again.predict(vectors), head.predict(vectors))
    assert again.spec == head.spec
    with pytest.raises(StoreDamaged, match="fit it again"):
        LogisticHead.restore(head.to_json(), {"weights": head.weights})
    with pytest.raises(StoreDamaged, match="does not fit its arrays"):
        LogisticHead.restore(head.to_json(), {**head.arrays(), "bias": np.zeros(2)})


def test_another_space_is_refused():
    check_space(SPACE, SPACE)
    with pytest.raises(SpaceMismatch, match=r"head 'h' was fitted in space aaaaaaaaaaaa .* bbbbbbbbbbbb"):
        check_space(SPACE, "b" * 64, "head 'h'")
    vectors, y, groups = cohort()
    with pytest.raises(UsageError, match=r"head 'h': expected vectors of shape \(n, 24\)"):
        fit(vectors, y, groups).predict(vectors[:, :5])


def test_a_constant_dimension_does_no_harm():
    vectors, y, groups = cohort()
    vectors[:, 3] = 0
    head = fit(vectors, y, groups)
    assert np.isfinite(head.predict(vectors)).all()
    assert head.weights[0, 3] == 0


def test_what_cannot_be_learnt_is_refused():
    vectors, y, groups = cohort(n=40)
    with pytest.raises(UsageError, match="no training row is labelled 'c2'"):
        fit(vectors, y, groups, classes=["c0", "c1", "c2"])
    with pytest.raises(UsageError, match="at least two classes"):
        fit(vectors, y * 0, groups, classes=["c0"])
    with pytest.raises(UsageError, match="at least 2 patients"):
        fit(vectors, y, np.zeros(40))
    with pytest.raises(UsageError, match="every class needs labelled rows of at least 2 patients"):
        fit(vectors, y, y)
    with pytest.raises(UsageError, match="NaN"):
        fit(vectors * np.nan, y, groups)


def test_labels_become_class_indices():
    y, classes = encode_labels(["b", None, "a ", "", 2.0, "b"])
    assert classes == ("2", "a", "b")
    assert y.tolist() == [2, -1, 1, -1, 0, 2]
    y, classes = encode_labels(["no", "yes", "?"], ["no", "yes"])
    assert y.tolist() == [0, 1, -1]
