"""Every kind of head gives what its reference gives: scikit-learn, a closed form, the paper's algorithm."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from scipy.special import softmax
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from embedstore.contracts.labels import Head
from embedstore.errors import UsageError
from embedstore.evaluation import metrics
from embedstore.learning.heads.bags import Attention, attention
from embedstore.learning.heads.fit import fit_kind
from embedstore.learning.heads.kinds import KINDS
from embedstore.learning.heads.record import FittedHead
from embedstore.learning.heads.ridge import RidgePath
from embedstore.learning.heads.rows import FitOptions, Identity

N, DIM = 240, 12


def cohort(n=N, dim=DIM, n_classes=3, seed=0, signal=1.0):
    """Vectors, class indices, patients of two images each, and a direction per class."""
    rng = np.random.default_rng(seed)
    y = np.repeat(rng.permutation(np.arange(n // 2) % n_classes), 2)
    centres = rng.normal(size=(n_classes, dim))
    vectors = signal * centres[y] + rng.normal(size=(n, dim)) + 2
    return vectors.astype(np.float32), y, np.arange(n) // 2, centres.astype(np.float32)


def identity(n_classes=3):
    classes = tuple(f"c{c}" for c in range(n_classes))
    return Identity(name="h", space="a" * 64, target="t", classes=classes)


def unit(rows):
    rows = np.asarray(rows, dtype=np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def made(kind, **options):
    """A head of a kind on the cohort, with what it needs."""
    vectors, y, patients, centres = cohort(n_classes=2 if "anomaly" in KINDS[kind].tasks else 3)
    task = KINDS[kind].tasks[0]
    if task == "value":
        y = vectors @ np.arange(DIM) + np.random.default_rng(1).normal(size=N)
    who = identity({"classes": 3, "value": 1, "anomaly": 1}[task])
    texts = centres if KINDS[kind].needs_texts else None
    bags = patients if KINDS[kind].on_bags else None
    return fit_kind(kind, vectors, y, patients, who, texts=texts, bags=bags, options=FitOptions(**options))


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_of_any_kind_is_a_card_and_arrays_and_comes_back(kind):
    head, again = made(kind), made(kind)
    vectors = cohort(seed=9)[0]
    assert isinstance(head, Head)
    assert head.predict(vectors).dtype == np.float32
    assert head.spec == again.spec
    for name in head.arrays:
        np.testing.assert_array_equal(head.arrays[name], again.arrays[name])
    back = FittedHead.restore(json.loads(json.dumps(head.to_json())), head.arrays)
    np.testing.assert_array_equal(back.predict(vectors), head.predict(vectors))
    if head.task == "classes":
        np.testing.assert_allclose(head.predict(vectors).sum(axis=1), 1, atol=1e-6)
    with pytest.raises(UsageError, match=r"\(n, 12\)"):
        head.predict(vectors[:, :5])


@pytest.mark.parametrize("scaling", ["unit", "standardise"])
def test_ridge_is_scikit_learns(scaling):
    head = made("ridge", scaling=scaling)
    vectors = cohort()[0]
    y = vectors @ np.arange(DIM) + np.random.default_rng(1).normal(size=N)
    used = unit(vectors) if scaling == "unit" else vectors.astype(float)
    x = (used.astype(np.float32) - head.arrays["mean"]) / head.arrays["scale"]
    model = Ridge(alpha=head.spec.params["penalty"], solver="cholesky").fit(x, y)
    np.testing.assert_allclose(head.arrays["weights"][0], model.coef_, rtol=1e-5)
    assert head.spec.params["inner"]["n_patients"] == N // 2
    assert metrics.r2(y, head.predict(vectors)[:, 0]) > (0.5 if scaling == "unit" else 0.95)


def test_the_posterior_of_a_gaussian_head_is_that_of_bayesian_ridge_and_of_a_gaussian_process():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 5)) + 3
    y = x @ rng.normal(size=5) + rng.normal(size=60)
    model = BayesianRidge(max_iter=1000, tol=1e-12).fit(x, y)
    penalty, noise = model.lambda_ / model.alpha_, 1 / model.alpha_
    path = RidgePath(x, y)
    weights, bias = path.fit(penalty)
    covariance = path.covariance(penalty, noise)[0]
    np.testing.assert_allclose(weights, model.coef_, atol=1e-8)
    np.testing.assert_allclose(covariance[:-1, :-1], model.sigma_, atol=1e-10)
    # A Gaussian process with this prior on the weights and none on the intercept (generalised least squares).
    new = rng.normal(size=(7, 5)) + 3
    prior = noise / penalty
    inverse = np.linalg.inv(prior * x @ x.T + noise * np.eye(60))
    ones = np.ones(60)
    level = ones @ inverse @ y / (ones @ inverse @ ones)
    across = prior * new @ x.T
    lacking = 1 - across @ inverse @ ones
    mean = level + across @ inverse @ (y - level)
    variance = (
        prior * (new**2).sum(axis=1)
        - np.einsum("ij,jk,ik->i", across, inverse, across)
        + lacking**2 / (ones @ inverse @ ones)
    )
    rows = np.column_stack([new, np.ones(7)])
    np.testing.assert_allclose(new @ weights + bias, mean, atol=1e-10)
    np.testing.assert_allclose(np.einsum("ij,jk,ik->i", rows, covariance, rows), variance, atol=1e-10)


def test_neighbours_vote_as_in_scikit_learn():
    head = made("knn")
    vectors, y, _, _ = cohort()
    asked = cohort(seed=5)[0]
    model = KNeighborsClassifier(
        head.spec.params["k"], metric="cosine", algorithm="brute", weights=lambda d: np.exp((1 - d) / 0.07)
    ).fit(vectors, y)
    np.testing.assert_allclose(head.predict(asked), model.predict_proba(asked), atol=1e-4)


def test_tip_adapter_is_the_papers_formula():
    head = made("tip-adapter")
    vectors, y, _, centres = cohort()
    asked = cohort(seed=5)[0]
    scale, alpha, beta = head.spec.params["scale_alpha_beta"]
    f, keys, text = unit(asked), unit(vectors), unit(centres)
    logits = np.zeros((len(f), 3))
    for i, row in enumerate(f):
        logits[i] = scale * text @ row
        for key, label in zip(keys, y, strict=True):
            logits[i, label] += alpha * np.exp(-beta * (1 - row @ key))
    np.testing.assert_allclose(head.predict(asked), softmax(logits, axis=1), atol=1e-5)


def test_lp_plus_plus_walks_as_the_papers_algorithm_in_torch():
    head = made("lp++", grid=(40,))
    vectors, y, _, centres = cohort()
    f, t, labels = torch.tensor(unit(vectors)), torch.tensor(unit(centres)), torch.tensor(y)
    hot = torch.nn.functional.one_hot(labels).double()
    w = (hot.T @ f).requires_grad_()
    of_class = torch.stack([(f[labels == k] @ t[k]).mean() for k in range(3)])
    alpha = (250 * of_class.mean() * torch.ones(3, dtype=torch.double)).requires_grad_()
    step = 4 * N / torch.linalg.eigvalsh(f.T @ f)[-1]
    alpha_step = N / (4 * ((f @ t.T) ** 2).sum(dim=0).max())
    descent = torch.optim.SGD([w], lr=float(step), momentum=0.9)
    for number in range(40):
        loss = torch.nn.functional.cross_entropy(f @ w.T + (f @ t.T) * alpha, labels)
        descent.zero_grad()
        alpha.grad = None
        loss.backward()
        descent.step()
        if (number + 1) % 10 == 0:
            alpha.data -= alpha_step * alpha.grad
    expected = (w + alpha[:, None] * t).detach().numpy()
    np.testing.assert_allclose(head.arrays["weights"], expected, rtol=1e-5, atol=1e-3)


def test_words_help_where_images_are_few():
    vectors, y, patients, centres = cohort(n=1200, dim=64, n_classes=3, seed=3, signal=0.5)
    few, rest = slice(0, 24), slice(200, None)
    who = identity()
    found = {}
    for kind, texts in (("logistic", None), ("tip-adapter", centres), ("lp++", centres)):
        head = fit_kind(kind, vectors[few] - 2, y[few], patients[few], who, texts=texts)
        told = head.predict(vectors[rest] - 2).argmax(axis=1)
        found[kind] = float(metrics.accuracy(y[rest], told))
    assert found["tip-adapter"] > found["logistic"] + 0.02
    assert found["lp++"] > found["logistic"] + 0.02
    with pytest.raises(UsageError, match="--prompts"):
        fit_kind("lp++", vectors, y, patients, who)


def test_anomaly_scores_are_scikit_learns():
    vectors, y, _, _ = cohort(n_classes=2)
    asked, truth, _, _ = cohort(seed=0, n_classes=2)
    knn = NearestNeighbors(n_neighbors=5, metric="cosine", algorithm="brute").fit(vectors[y == 0])
    told = made("anomaly-knn").predict(asked)[:, 0]
    np.testing.assert_allclose(told, knn.kneighbors(asked)[0].mean(axis=1), atol=1e-5)
    shrunk = LedoitWolf().fit(vectors[y == 0].astype(float))
    found = made("mahalanobis").predict(asked)[:, 0]
    expected = [mahalanobis(row, shrunk.location_, np.linalg.inv(shrunk.covariance_)) for row in asked]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert metrics.auroc(truth, found) > 0.9
    with pytest.raises(UsageError, match="--healthy"):
        fit_kind("mahalanobis", asked, np.ones(N, int), np.arange(N), identity(1))


def bags(n_bags, seed):
    """Eight parts a bag; one part of a positive bag says so, the bag's mean hardly does."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(n_bags) % 2, 8)
    vectors = rng.normal(size=(8 * n_bags, 6))
    vectors[::8, 0] += 4 * (y[::8] == 1)
    vectors[1::8, 1] += 4 * (y[1::8] == 0)
    return vectors.astype(np.float32), y, np.repeat(np.arange(n_bags), 8)


def test_the_gradient_of_gated_attention_is_torchs():
    vectors, y, member = bags(5, 0)
    x, truth = vectors.astype(float), np.eye(2)[y[::8]]
    net = Attention.start(6, 2, 4, seed=1)
    net = net.shaped(net.flat() + 0.1 * np.random.default_rng(2).normal(size=net.flat().size))
    value, gradient = net.loss(x, member, truth, penalty=0.01)
    V, U, w, c, b = (torch.tensor(getattr(net, name), requires_grad=True) for name in "VUwcb")
    h = torch.tensor(x)
    loss = 0.005 * sum((part**2).sum() for part in (V, U, w, c, b))
    for bag in range(5):
        parts = h[member == bag]
        gate = torch.tanh(parts @ V.T) * torch.sigmoid(parts @ U.T)
        pooled = torch.softmax(gate @ w, dim=0) @ parts
        loss = loss - torch.log_softmax(pooled @ c.T + b, dim=0)[int(y[8 * bag])] / 5
    loss.backward()
    assert value == pytest.approx(float(loss.detach()), rel=1e-12)
    expected = np.concatenate([part.grad.numpy().ravel() for part in (V, U, w, c, b)])
    np.testing.assert_allclose(gradient, expected, atol=1e-12)


def test_attention_finds_the_part_that_says_it():
    vectors, y, member = bags(80, 3)
    new, truth, of_new = bags(80, 4)
    who = identity(2)
    head = fit_kind("bag-attention", vectors, y, member, who, bags=member)
    told = head.predict(new, of_new)
    assert (told.reshape(80, 8, 2) == told.reshape(80, 8, 2)[:, :1]).all()
    assert metrics.auroc(truth[::8], told[::8, 1]) > 0.95
    weights = attention(head, new, of_new).reshape(80, 8)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert (weights[truth[::8] == 1].argmax(axis=1) == 0).mean() > 0.8


def test_the_mean_of_a_bag_meets_a_logistic_regression():
    vectors, y, member = bags(80, 3)
    head = fit_kind("bag-mean", vectors, y, member, identity(2), bags=member, options=FitOptions(grid=(1.0,)))
    means = vectors.reshape(80, 8, 6).mean(axis=1)
    used = unit(means) if head.spec.params["scaling"] == "unit" else means
    x = (used - head.arrays["mean"]) / head.arrays["scale"]
    model = LogisticRegression(C=1.0, tol=1e-10).fit(x, y[::8])
    np.testing.assert_allclose(head.predict(vectors, member)[::8], model.predict_proba(x), atol=1e-5)
    assert head.spec.params["n_bags"] == 80
    torn = y.copy()
    torn[0] = 1 - torn[0]
    with pytest.raises(UsageError, match="different labels"):
        fit_kind("bag-mean", vectors, torn, member, identity(2), bags=member)
