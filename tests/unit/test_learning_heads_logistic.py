"""Linear heads: scikit-learn's answer in numpy, bound to a space, the same every time."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight

from embedstore.contracts.labels import Head
from embedstore.errors import SpaceMismatch, StoreDamaged, UsageError
from embedstore.evaluation import metrics
from embedstore.evaluation.priors import to_prior
from embedstore.learning.heads.labels import encode_labels
from embedstore.learning.heads.logistic import fit_logistic
from embedstore.learning.heads.record import FittedHead, check_space
from embedstore.learning.heads.rows import FitOptions
from embedstore.learning.heads.scaling import WAYS

SPACE = "a" * 64
SETTINGS = ("scaling", "grid", "folds", "long_tail", "uncertainty", "members")


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
            "options": FitOptions(**{key: options.pop(key) for key in SETTINGS if key in options}),
            **options,
        },
    )


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("scaling", ["standardise", "unit"])
@pytest.mark.parametrize(
    ("n", "dim"), [(400, 24), (80, 300)], ids=["many rows", "fewer rows than dimensions"]
)
def test_numpy_predictions_are_scikit_learns(n_classes, scaling, n, dim):
    vectors, y, groups = cohort(n=n, dim=dim, n_classes=n_classes)
    head = fit(vectors, y, groups, scaling=scaling)
    assert isinstance(head, Head)
    x = vectors / np.linalg.norm(vectors, axis=1, keepdims=True) if scaling == "unit" else vectors
    x = (x.astype(float) - head.arrays["mean"]) / head.arrays["scale"]
    model = LogisticRegression(C=head.spec.params["C"], max_iter=2000, tol=1e-9).fit(x, y)
    found = head.predict(vectors)
    np.testing.assert_allclose(found, model.predict_proba(x), atol=1e-6)
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
        alone = {way: fit(rows, y, groups, scaling=way).spec.params["inner"]["value"] for way in WAYS}
        assert params["scaling"] == min(alone, key=alone.get) == better


def test_the_same_rows_and_seed_give_the_same_head():
    vectors, y, groups = cohort()
    one, two = fit(vectors, y, groups), fit(vectors, y, groups)
    np.testing.assert_array_equal(one.arrays["weights"], two.arrays["weights"])
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
    np.savez(tmp_path / "head.npz", **head.arrays)
    with np.load(tmp_path / "head.npz", allow_pickle=False) as arrays:
        again = FittedHead.restore(json.loads(json.dumps(head.to_json())), dict(arrays))
    np.testing.assert_array_equal(again.predict(vectors), head.predict(vectors))
    assert again.spec == head.spec
    with pytest.raises(StoreDamaged, match="fit it again"):
        FittedHead.restore(head.to_json(), {"weights": head.arrays["weights"]})
    with pytest.raises(StoreDamaged, match="does not fit its arrays"):
        FittedHead.restore(head.to_json(), {**head.arrays, "bias": np.zeros(2)})


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
    assert head.arrays["weights"][0, 3] == pytest.approx(0, abs=1e-7)


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


def scaled(head, vectors):
    """As the head scales them, by hand."""
    return (vectors.astype(float) - head.arrays["mean"]) / head.arrays["scale"]


def penalised_loss(x, y, c, weights, bias, shares=None):
    """What scikit-learn minimises, from the formula."""
    z = x @ weights.T + bias
    wide = np.hstack([np.zeros_like(z), z]) if z.shape[1] == 1 else z
    return (
        c * (log_softmax(wide, axis=1)[np.arange(len(y)), y] * -(1 if shares is None else shares)).sum()
        + (weights**2).sum() / 2
    )


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("c", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("long_tail", ["none", "balanced"])
def test_the_loss_is_scikit_learns(n_classes, c, long_tail):
    vectors, y, groups = cohort(n_classes=n_classes, signal=0.3)
    y[: len(y) // 3] = 0  # so that balancing does something
    head = fit(vectors, y, groups, scaling="standardise", grid=(c,), long_tail=long_tail)
    x = scaled(head, vectors)
    weight = None if long_tail == "none" else "balanced"
    model = LogisticRegression(C=c, class_weight=weight, tol=1e-10, max_iter=10_000).fit(x, y)
    share = None if weight is None else compute_sample_weight("balanced", y)
    ours, theirs = (
        penalised_loss(x, y, c, *one, share)
        for one in ((head.arrays["weights"], head.arrays["bias"]), (model.coef_, model.intercept_))
    )
    assert ours == pytest.approx(theirs, rel=1e-8)


def test_missing_labels_of_a_finding_are_not_negatives():
    vectors, first, groups = cohort(n=500, signal=0.4)
    second = (np.random.default_rng(3).random(500) < 0.3).astype(int)
    y = np.column_stack([first, second])
    y[::2, 1] = -1
    head = fit(vectors, y, groups, classes=("a", "b"), findings=True, scaling="standardise", grid=(0.1,))
    x = scaled(head, vectors)
    for column, known in ((0, slice(None)), (1, slice(1, None, 2))):
        model = LogisticRegression(C=0.1, tol=1e-10, max_iter=10_000).fit(x[known], y[known, column])
        told = head.predict(vectors)[:, column]
        np.testing.assert_allclose(told, model.predict_proba(x)[:, 1], atol=1e-6)
    assert head.spec.params["n_per_class"]["b"] == {
        "present": int((y[:, 1] == 1).sum()),
        "absent": int((y[:, 1] == 0).sum()),
    }
    with pytest.raises(UsageError, match="'b' present"):
        fit(vectors, np.where(y == 1, [1, -1], y), groups, classes=("a", "b"), findings=True)


def test_soft_labels_are_rows_shared_between_the_classes():
    vectors, y, groups = cohort(n=300, n_classes=3, signal=0.4)
    share = 0.7 * np.eye(3)[y] + 0.1
    head = fit(vectors, share, groups, classes=("a", "b", "c"), scaling="standardise", grid=(0.5,))
    x = scaled(head, vectors)
    model = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(
        np.repeat(x, 3, axis=0), np.tile(np.arange(3), 300), sample_weight=share.ravel()
    )
    np.testing.assert_allclose(head.predict(vectors), model.predict_proba(x), atol=1e-6)
    hard = fit(vectors, np.eye(3)[y], groups, classes=("a", "b", "c"))
    np.testing.assert_array_equal(hard.predict(vectors), fit(vectors, y, groups).predict(vectors))


def test_logit_adjustment_finds_a_rare_class():
    # N(0, 1) against N(2, 1), 1 % positive: Bayes' rule has a balanced accuracy of .547, the even one .841.
    rng = np.random.default_rng(4)
    y = (rng.random(60_000) < 0.01).astype(int)
    x = (rng.normal(size=60_000) + 2 * y)[:, None].astype(np.float32)
    people, train, test = np.arange(60_000), slice(20_000), slice(20_000, None)
    told = {
        way: fit(x[train], y[train], people[train], scaling="standardise", grid=(1.0,), long_tail=way)
        for way in ("none", "adjusted", "balanced")
    }
    found = {
        way: float(metrics.balanced_accuracy(y[test], head.predict(x[test]).argmax(axis=1)))
        for way, head in told.items()
    }
    assert found["none"] == pytest.approx(0.547, abs=0.02)
    assert found["adjusted"] == pytest.approx(norm.cdf(1), abs=0.02)
    assert found["balanced"] == pytest.approx(norm.cdf(1), abs=0.02)
    share = y[train].mean()
    moved = to_prior(told["none"].predict(x[test]), (1 - share, share), (0.5, 0.5))
    np.testing.assert_allclose(told["adjusted"].predict(x[test]), moved, atol=1e-6)


def test_the_inner_loss_is_told_with_what_is_behind_it():
    vectors, y, groups = cohort(signal=0.3)
    inner = fit(vectors, y, groups).spec.params["inner"]
    assert inner["low"] < inner["value"] < inner["high"]
    assert (inner["n_images"], inner["n_patients"]) == (400, 200)
    assert set(
        fit(vectors, np.stack([y, 1 - y], 1), groups, classes=("a", "b"), findings=True).spec.params["inner"]
    ) == {"a", "b"}
