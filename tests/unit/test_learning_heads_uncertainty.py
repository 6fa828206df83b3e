"""How sure a head may be: the posterior beside automatic differentiation, answers beside quadrature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import entropy, norm

from embedstore.errors import UsageError
from embedstore.learning.heads.logistic import fit_logistic, scaler_of
from embedstore.learning.heads.rows import FitOptions
from embedstore.learning.heads.uncertainty import moderated, parts_of_normal, variances


def cohort(n=300, dim=5, seed=0, n_classes=2):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    vectors = rng.normal(size=(n, dim)) + 1.2 * rng.normal(size=(n_classes, dim))[y]
    return vectors.astype(np.float32), y, np.arange(n) // 2


def fit(vectors, y, patients, seed=0, findings=False, **options):
    names = [f"c{c}" for c in range(y.shape[1] if findings else int(y.max()) + 1)]
    options = FitOptions(**{"grid": (0.5,), "scaling": "standardise", **options})
    return fit_logistic(
        vectors, y, patients, name="h", space="s", target="t", classes=names, seed=seed,
        findings=findings, options=options,
    )  # fmt: skip


def test_the_posterior_is_the_inverse_of_the_hessian_of_the_penalised_loss():
    vectors, y, patients = cohort()
    head = fit(vectors, y, patients, uncertainty="laplace")
    x, truth = torch.tensor(scaler_of(head)(vectors)), torch.tensor(y, dtype=torch.double)

    def loss(theta):
        z = x @ theta[:-1] + theta[-1]
        return (torch.nn.functional.softplus(z) - truth * z).sum() + (theta[:-1] ** 2).sum() / (2 * 0.5)

    best = torch.tensor(np.r_[head.arrays["weights"][0], head.arrays["bias"]])
    hessian = torch.autograd.functional.hessian(loss, best).numpy()
    np.testing.assert_allclose(head.arrays["covariance"][0], np.linalg.inv(hessian), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("mean", [-6, -2, -0.5, 0, 1, 4])
@pytest.mark.parametrize("sd", [0.1, 1, 3, 8])
def test_the_probit_approximation_is_within_016_of_quadrature(mean, sd):
    exact = quad(lambda z: expit(z) * norm.pdf(z, mean, sd), mean - 12 * sd, mean + 12 * sd, limit=200)[0]
    z, x, covariance = np.array([[float(mean)]]), np.zeros((1, 1)), np.diag([0.0, sd**2])[None]
    assert expit(moderated(z, x, covariance))[0, 0] == pytest.approx(exact, abs=0.016)
    within = quad(
        lambda z: entropy([expit(z), expit(-z)]) * norm.pdf(z, mean, sd), mean - 12 * sd, mean + 12 * sd,
        limit=200,
    )[0]  # fmt: skip
    parts = parts_of_normal(z, x, covariance, separate=False)
    assert parts.aleatoric[0] == pytest.approx(within, abs=0.001)
    assert parts.aleatoric[0] + parts.epistemic[0] == pytest.approx(entropy([exact, 1 - exact]), abs=0.001)


@pytest.mark.parametrize("how", ["laplace", "ensemble"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_what_more_data_would_resolve_shrinks_with_more_data(how, n_classes):
    asked = cohort(60, seed=1, n_classes=n_classes)[0]
    few, many = (
        fit(*cohort(n, n_classes=n_classes), uncertainty=how, members=10).parts(asked) for n in (40, 4000)
    )
    assert many.epistemic.mean() < few.epistemic.mean() / 10
    assert (few.epistemic >= 0).all()
    assert few.aleatoric.shape == (60,)


def test_an_ensemble_answers_with_the_mean_of_refits_to_other_patients():
    vectors, y, patients = cohort()
    head = fit(vectors, y, patients, uncertainty="ensemble", members=7)
    assert head.arrays["member_weights"].shape == (7, 1, 5)
    x = scaler_of(head)(vectors)
    each = expit(np.einsum("nd,mkd->mn", x, head.arrays["member_weights"]) + head.arrays["member_bias"])
    np.testing.assert_allclose(head.predict(vectors)[:, 1], each.mean(axis=0), atol=1e-6)
    # The spread of the members is the standard error that resampling patients finds: Laplace's, about.
    spread = np.einsum("nd,mkd->mn", x, head.arrays["member_weights"]).std(axis=0).mean()
    laplace = fit(vectors, y, patients, uncertainty="laplace")
    assert spread == pytest.approx(np.sqrt(variances(x, laplace.arrays["covariance"])).mean(), rel=0.6)
    again = fit(vectors, y, patients, uncertainty="ensemble", members=7)
    np.testing.assert_array_equal(again.arrays["member_weights"], head.arrays["member_weights"])


def test_findings_have_their_own_parts_and_heads_without_have_none():
    vectors, y, patients = cohort()
    both = np.stack([y, 1 - y], axis=1)
    both[::3, 1] = -1
    head = fit(vectors, both, patients, findings=True, uncertainty="laplace")
    parts = head.parts(vectors)
    assert parts.epistemic.shape == (300, 2)
    # The second finding is known of fewer images.
    assert parts.epistemic[:, 1].mean() > parts.epistemic[:, 0].mean()
    assert fit(vectors, y, patients).parts(vectors) is None


def test_a_class_too_rare_to_resample_is_refused():
    vectors, _, patients = cohort(60)
    rare = np.maximum(patients - 23, 0)  # six classes of one patient each
    with pytest.raises(UsageError, match="too rare for an ensemble"):
        fit(vectors, rare, patients, uncertainty="ensemble", members=20)
