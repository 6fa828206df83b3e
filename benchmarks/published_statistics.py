"""The synthetic figures of the statistics, each with its generator and seed, as means over repeats.

python benchmarks/published_statistics.py [--repeats 1.0] [NAME ...]

`--repeats 0.1` takes a tenth of the repeats. Prints one JSON object: per figure what was found, what theory
or a publication says, the number of repeats and the seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from embedstore.evaluation import metrics
from embedstore.evaluation.clustered import clustered_auc
from embedstore.evaluation.concept import Domain, change_of
from embedstore.evaluation.conformal import fit_conformal, guarantee
from embedstore.evaluation.mmd import mmd2, patient_kernel
from embedstore.evaluation.outliers import flag_outliers
from embedstore.evaluation.priors import em_prior, fit_temperature, to_prior
from embedstore.evaluation.shift import covariate_shift, smallest_detectable_shift
from embedstore.evaluation.shift_sides import Sides
from embedstore.evaluation.two_sample import mmd_test

Result = dict[str, Any]


def clustered_coverage(repeats: int = 2000, seed: int = 1) -> Result:
    """80 patients x 5 images, half of the patients positive, scores with intraclass correlation 0.8."""
    rng = np.random.default_rng(seed)
    truth = float(norm.cdf(1 / np.sqrt(2)))
    people = np.repeat(np.arange(80), 5)
    y = (people < 40).astype(int)
    hits = np.zeros(2)
    for _ in range(repeats):
        score = y + np.sqrt(0.8) * rng.normal(size=80)[people] + np.sqrt(0.2) * rng.normal(size=400)
        for column, clusters in enumerate((people, np.arange(400))):
            found = clustered_auc(y, score, clusters)
            hits[column] += found.low <= truth <= found.high
    by_patient, by_image = hits / repeats
    return {"by_patient": by_patient, "delong_by_image": by_image, "expected": "0.92-0.97; about 0.67"}


def conformal_coverage(repeats: int = 2000, seed: int = 2) -> Result:
    """500 calibration and 1,000 test rows of three classes, alpha 0.1, LAC on the true probabilities."""
    rng = np.random.default_rng(seed)
    found = np.empty(repeats)
    for repeat in range(repeats):
        prob = rng.dirichlet((1, 1, 1), size=1500)
        y = (rng.random((1500, 1)) > np.cumsum(prob, axis=1)[:, :-1]).sum(axis=1)
        rule = fit_conformal(prob[:500], y[:500], alpha=0.1)
        found[repeat] = rule.sets(prob[500:])[np.arange(1000), y[500:]].mean()
    law = guarantee(500, 0.1)
    sd = float(np.sqrt(law.sd**2 + (law.expected * (1 - law.expected) - law.sd**2) / 1000))
    return {
        "mean": found.mean(),
        "sd": found.std(ddof=1),
        "expected": {"mean": law.expected, "sd": sd, "chance_under_0.9": law.miss},
    }


def outlier_calls(repeats: int = 400, seed: int = 3) -> Result:
    """1,000 calibration, 450 null and 50 outlying scores of N(4, 1), Benjamini-Hochberg at 0.1."""
    rng = np.random.default_rng(seed)
    false_share, power = np.empty(repeats), np.empty(repeats)
    for repeat in range(repeats):
        new = np.r_[rng.normal(size=450), rng.normal(4, 1, size=50)]
        flagged = flag_outliers(rng.normal(size=1000), new, fdr=0.1).flagged
        false_share[repeat] = flagged[:450].sum() / max(1, flagged.sum())
        power[repeat] = flagged[450:].mean()
    return {"fdr": false_share.mean(), "power": power.mean(), "expected": "at most 0.095; at least 0.90"}


def temperature(repeats: int = 100, seed: int = 4) -> Result:
    """2,000 rows of five classes whose logits were made 2.5 times too large."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(repeats):
        logits = rng.normal(size=(2000, 5)) * 2
        y = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
        found.append(fit_temperature(2.5 * logits, y))
    return {"mean": np.mean(found), "sd": np.std(found, ddof=1), "expected": "2.5 within 0.05"}


def prior_shift(repeats: int = 100, seed: int = 5) -> Result:
    """Posteriors of N(0, 1) against N(3, 1) at 30 % positives, met with 2 % among 5,000 new rows."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(repeats):
        x = rng.normal(size=5000) + 3 * (rng.random(5000) < 0.02)
        p = expit(3 * x - 4.5 + np.log(0.3 / 0.7))
        found.append(em_prior(np.c_[1 - p, p], (0.7, 0.3))[1])
    return {"mean": np.mean(found), "sd": np.std(found, ddof=1), "expected": "0.02 within 0.002"}


def long_tail(repeats: int = 100, seed: int = 6) -> Result:
    """Logistic regression of N(0, 1) against N(2, 1) at 1 % positives, 20,000 rows to learn from and test."""
    rng = np.random.default_rng(seed)
    plain, adjusted = [], []
    for _ in range(repeats):
        y = (rng.random(40_000) < 0.01).astype(int)
        x = (rng.normal(size=40_000) + 2 * y)[:, None]
        head = LogisticRegression(C=1e6).fit(x[:20_000], y[:20_000])
        p = head.predict_proba(x[20_000:])
        share = y[:20_000].mean()
        even = to_prior(p, (1 - share, share), (0.5, 0.5))
        for kept, prob in ((plain, p), (adjusted, even)):
            kept.append(float(metrics.balanced_accuracy(y[20_000:], prob.argmax(axis=1))))
    cut = 1 + np.log(99) / 2
    bayes = float(norm.sf(cut - 2) + norm.cdf(cut)) / 2
    return {
        "plain": np.mean(plain),
        "adjusted": np.mean(adjusted),
        "expected": {"plain": bayes, "adjusted": float(norm.cdf(1)), "published": "0.547 to 0.84"},
    }


def mmd_closed_form(repeats: int = 400, seed: int = 7) -> Result:
    """Unbiased MMD^2 of 200 draws of N(0, 1) and 200 of N(1, 1), kernel width 1."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(repeats):
        x = np.r_[rng.normal(size=200), rng.normal(1, 1, size=200)][:, None]
        found.append(float(mmd2(patient_kernel(x, np.arange(400), 1.0), np.arange(400) >= 200)))
    closed = 2 / np.sqrt(3) * (1 - np.exp(-1 / 6))
    return {"mean": np.mean(found), "sd": np.std(found, ddof=1), "expected": {"closed_form": closed}}


def _alike(rng: np.random.Generator, patients: int = 40, images: int = 5, dim: int = 8) -> Sides:
    """Two sides of one population; the vectors of a patient's images correlate by 0.8."""
    people = np.repeat(np.arange(2 * patients), images)
    own, each = rng.normal(size=(2 * patients, dim)), rng.normal(size=(len(people), dim))
    return Sides(
        np.sqrt(0.8) * own[people] + np.sqrt(0.2) * each, people, np.arange(2 * patients) >= patients
    )


def permutation_levels(repeats: int = 400, seed: int = 8) -> Result:
    """How often each test at 0.05 claims a shift between 40 and 40 patients of one population."""
    rng = np.random.default_rng(seed)
    patients = dict.fromkeys(("mmd2", "classifier_auroc", "ks"), 0.0)
    images = 0.0
    for repeat in range(repeats):
        sides = _alike(rng)
        for test in covariate_shift(sides, permutations=999, seed=repeat):
            patients[test.name] += test.shifted / repeats
        apart = Sides(sides.x, np.arange(len(sides.x)), sides.is_new)
        images += mmd_test(apart, apart.permuted(199, repeat), seed=repeat).shifted / repeats
    return {
        "patients_permuted": patients,
        "images_permuted_mmd2": images,
        "expected": "at most 0.09; images fail",
    }


def detectable_shift(repeats: int = 100, seed: int = 9) -> Result:
    """Power of the MMD test at the shift it calls the smallest detectable, 40 and 40 patients."""
    rng = np.random.default_rng(seed)
    shifts, found = [], 0.0
    for repeat in range(repeats):
        sides = _alike(rng)
        drawn = sides.permuted(299, repeat)
        shift = smallest_detectable_shift(sides, drawn, seed=repeat)
        assert shift is not None
        centred = sides.x - sides.x.mean(axis=0)
        variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
        moved = _alike(rng)
        x = moved.x + np.outer(moved.is_new, shift * np.sqrt(variances[-1]) * axes[:, -1])
        test = mmd_test(Sides(x, moved.people, moved.in_new), drawn, seed=repeat)
        shifts.append(shift)
        found += test.shifted / repeats
    return {"mean_shift": np.mean(shifts), "power": found, "expected": "power about 0.8"}


def concept_levels(repeats: int = 200, seed: int = 10) -> Result:
    """150 and 150 patients x 3 images, true probabilities; how often each kind of change is claimed.

    covariate: the images move by one deviation. concept: at the same images the classes' odds are e times
    larger. Change of the residual (class minus probability).
    """
    rng = np.random.default_rng(seed)
    claimed = {
        kind: {"covariate": 0.0, "concept": 0.0} for kind in ("nothing", "covariate", "concept", "both")
    }
    people = np.repeat(np.arange(300), 3)
    in_new = np.arange(300) >= 150
    for _ in range(repeats):
        for kind, found in claimed.items():
            x = np.sqrt(0.8) * rng.normal(size=(300, 4))[people] + np.sqrt(0.2) * rng.normal(size=(900, 4))
            x[:, 0] += in_new[people] * (kind in ("covariate", "both"))
            told = 1.5 * x[:, 0] - 0.5
            y = rng.random(900) < expit(told + in_new[people] * (kind in ("concept", "both")))
            sides = Sides(x, people, in_new)
            # A model that errs: it shrinks the odds, so that other images bring other losses.
            change = change_of("residual", y - expit(0.5 * told), Domain.of(sides))
            for name in found:
                found[name] += (getattr(change, f"{name}_verdict") == "changed") / repeats
    return {"claimed": claimed, "expected": "concept claimed at about 0.05 unless it is there"}


FIGURES: dict[str, Callable[..., Result]] = {
    one.__name__: one
    for one in (
        clustered_coverage,
        conformal_coverage,
        outlier_calls,
        temperature,
        prior_shift,
        long_tail,
        mmd_closed_form,
        permutation_levels,
        detectable_shift,
        concept_levels,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--repeats", type=float, default=1.0, help="share of the repeats")
    args = parser.parse_args()
    found = {}
    for name in args.names or FIGURES:
        repeats, seed = FIGURES[name].__defaults__
        repeats = max(2, int(args.repeats * repeats))
        found[name] = {**FIGURES[name](repeats, seed), "repeats": repeats, "seed": seed}
    print(json.dumps(found, indent=1, default=float))


if __name__ == "__main__":
    main()
