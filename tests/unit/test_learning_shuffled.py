"""The control of a head: several shuffles, whose interval includes chance where one shuffle may not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embedstore.errors import UsageError
from embedstore.evaluation import metrics
from embedstore.evaluation.control import shuffle_control
from embedstore.learning.heads.logistic import fit_logistic
from embedstore.learning.heads.rows import FitOptions
from embedstore.learning.shuffled import shuffled_predictions


def rows(n_patients: int, seed: int, n_classes: int = 2, signal: float = 1.5, dim: int = 40):
    rng = np.random.default_rng(seed)
    patients = np.repeat(np.arange(n_patients), 2)
    y = np.repeat(rng.integers(n_classes, size=n_patients), 2)
    vectors = rng.normal(size=(len(y), dim))
    vectors[:, :n_classes] += signal * np.eye(n_classes)[y]
    # Images of one patient are alike, as they are in life: that is what makes a single shuffle misleading.
    vectors += np.repeat(rng.normal(size=(n_patients, dim)), 2, axis=0)
    return vectors.astype(np.float32), y, patients


def fit(vectors, y, patients, seed=0, **options):
    classes = tuple(f"c{c}" for c in range(int(y.max()) + 1))
    options = FitOptions(grid=(0.01, 0.1), **options)
    return fit_logistic(
        vectors, y, patients, name="h", space="s", target="t", classes=classes, seed=seed, options=options
    )


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_interval_over_shuffles_includes_chance_and_the_head_lies_above(n_classes):
    vectors, y, patients = rows(80, 1, n_classes)
    new, truth, people = rows(60, 2, n_classes)
    head = fit(vectors, y, patients)
    told = shuffled_predictions(head, vectors, y, patients, new)
    assert told.shape == (20, len(new), n_classes)
    metric = metrics.auroc if n_classes == 2 else metrics.macro_auroc
    scores = told[:, :, 1] if n_classes == 2 else told
    own = head.predict(new)
    observed = float(metric(truth, own[:, 1] if n_classes == 2 else own, None))
    control = shuffle_control("auroc", metric, truth, observed, scores, people)
    assert control.low < 0.5 < control.high < observed
    assert control.value == pytest.approx(0.5, abs=0.1)
    assert control.p_value == pytest.approx(1 / 21)
    assert (control.shuffles, control.n_images, control.n_patients) == (20, 120, 60)
    assert json.loads(json.dumps(control.to_json()))["p_value"] == control.p_value


def test_a_head_that_learned_nothing_is_not_told_from_its_control():
    """The p-value of a permutation test is uniform when there is nothing to learn."""
    p_values = []
    for seed in range(30):
        vectors, y, patients = rows(30, 100 + seed, signal=0.0, dim=10)
        new, truth, people = rows(30, 200 + seed, signal=0.0, dim=10)
        head = fit(vectors, y, patients, scaling="unit")
        scores = shuffled_predictions(head, vectors, y, patients, new, shuffles=9)[:, :, 1]
        observed = float(metrics.auroc(truth, head.predict(new)[:, 1].astype(float), None))
        p_values.append(shuffle_control("auroc", metrics.auroc, truth, observed, scores, people).p_value)
    assert 0.35 < np.mean(p_values) < 0.7
    assert min(p_values) <= 0.2


def test_the_control_is_the_same_fit_on_other_labels():
    vectors, y, patients = rows(40, 3)
    head = fit(vectors, y, patients, scaling="standardise")
    first, again = (shuffled_predictions(head, vectors, y, patients, vectors, shuffles=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = fit(vectors, y, patients, scaling="standardise", seed=1)
    assert not np.array_equal(first, shuffled_predictions(other, vectors, y, patients, vectors, shuffles=3))


def test_what_cannot_be_shuffled_is_said():
    vectors, y, patients = rows(20, 4)
    head = fit(vectors, y, patients)
    with pytest.raises(UsageError, match="too rare"):
        shuffled_predictions(head, vectors, np.zeros_like(y), patients, vectors)
    with pytest.raises(UsageError, match="two shuffles"):
        shuffle_control("auroc", metrics.auroc, y, 0.5, np.zeros((1, len(y))), patients)
    undefined = shuffle_control("auroc", metrics.auroc, np.zeros(4, int), np.nan, np.zeros((3, 4)), range(4))
    assert undefined.to_json()["value"] is None
    assert undefined.shuffles == 0
