"""Prompt sets, scores, calibration and abstention."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from embedstore.errors import BadInputFile, NotFound, UsageError
from embedstore.learning.calibrate import Calibration, fit_calibration
from embedstore.learning.prompts import chest_prompts, load_prompts, parse_prompts
from embedstore.learning.zeroshot import BELOW, UNCALIBRATED, class_scores, decide, softmax

FINDINGS = {"findings": {"effusion": {"present": ["fluid"], "absent": ["no fluid"]}}}
CLASSES = {"classes": ["CT", "MR", "film"]}


def test_the_shipped_prompts_are_four_findings_with_mirrored_phrases():
    prompts = chest_prompts()
    assert prompts.kind == "findings"
    assert prompts.classes == ("effusion", "pneumothorax", "nodule", "cardiomegaly")
    assert all(len(label.present) == len(label.absent) for label in prompts.labels)
    assert len(prompts.texts) == len(set(prompts.texts)) == 48


def test_templates_fill_every_phrase_and_a_label_may_bring_its_own():
    prompts = parse_prompts(
        {"templates": ["a {}", "the {}."], "classes": {"x": ["cat", "dog"], "y": {"templates": "{}!"}}}, "f"
    )
    assert prompts.labels[0].present == ("a cat", "the cat.", "a dog", "the dog.")
    assert prompts.labels[1].present == ("y!",)


def test_a_class_is_the_mean_of_its_normalised_prompts():
    prompts = parse_prompts({"classes": {"x": ["a", "b"], "y": ["c"]}}, "f")
    vectors = np.array([[3, 0], [0, 0.5], [-2, 0]], dtype=np.float32)
    prototypes = prompts.prototypes(vectors)
    np.testing.assert_allclose(prototypes.present, [[np.sqrt(0.5)] * 2, [-1, 0]], atol=1e-6)
    scores = class_scores(prototypes, np.array([[5, 0]], dtype=np.float32))
    np.testing.assert_allclose(scores, [[np.sqrt(0.5), -1]], atol=1e-6)


def test_a_finding_is_scored_present_less_absent():
    prototypes = parse_prompts(FINDINGS, "f").prototypes(np.eye(2, dtype=np.float32))
    np.testing.assert_allclose(
        class_scores(prototypes, np.array([[2.0, 0], [0, 1], [1, 1]])), [[1], [-1], [0]]
    )


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({}, "either 'classes' or 'findings'"),
        ({**FINDINGS, **CLASSES}, "either 'classes' or 'findings'"),
        ({"clases": ["a"]}, "unknown key 'clases'"),
        ({"classes": ["a"]}, "at least two"),
        ({"classes": {"a": [], "b": "x"}}, "classes 'a': expected a text or a list"),
        ({"classes": {"a": [1], "b": "x"}}, "1 is not a text"),
        ({"classes": {1: ["x"], "b": "x"}}, "names must be text"),
        ({"classes": ["a", "b"], "templates": "no place"}, "exactly one {}"),
        ({"findings": {"a": ["x"]}}, "finding.*'a': needs 'present' and 'absent'"),
        ({"findings": {"a": {"present": "x", "absent": "x"}}}, "both present and absent"),
        ({"findings": {"a": {"present": "x", "absent": "y", "abstent": 1}}}, "unknown key 'abstent'"),
    ],
)
def test_bad_prompt_files_name_file_and_key(found, message):
    with pytest.raises(BadInputFile, match=f"my.yaml.*{message}"):
        parse_prompts(found, "my.yaml")


def test_files_that_cannot_be_read_say_so(tmp_path):
    with pytest.raises(NotFound, match="no such file"):
        load_prompts(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("classes: [a\nb: c", encoding="utf-8")
    with pytest.raises(BadInputFile, match=r"broken.yaml, line 2"):
        load_prompts(broken)
    broken.write_bytes(b"classes: \xff\xfe")
    with pytest.raises(BadInputFile, match="UTF-8"):
        load_prompts(broken)
    broken.write_text("- a\n- b\n", encoding="utf-8")
    with pytest.raises(BadInputFile, match="top level"):
        load_prompts(broken)
    broken.write_text("classes: !!python/object/apply:os.system [true]", encoding="utf-8")
    with pytest.raises(BadInputFile):
        load_prompts(broken)


def _scored_findings(n: int = 600, seed: int = 0):
    rng = np.random.default_rng(seed)
    scores = 0.02 * rng.normal(size=(n, 2)) + 0.01
    y = (rng.random((n, 2)) < 1 / (1 + np.exp(-(150 * scores - 1)))).astype(np.int64)
    return scores, y


def test_platt_calibration_is_logistic_regression_on_the_score():
    scores, y = _scored_findings()
    calibration = fit_calibration("findings", scores, y)
    n, positives = len(y), y[:, 0].sum()
    # Platt's targets as weights on two copies of each row.
    target = np.where(y[:, 0] == 1, (positives + 1) / (positives + 2), 1 / (n - positives + 2))
    x = np.r_[scores[:, :1], scores[:, :1]] * 100
    weights = np.r_[target, 1 - target]
    fitted = LogisticRegression(C=np.inf, tol=1e-10).fit(x, np.repeat([1, 0], n), sample_weight=weights)
    assert calibration.slope[0] == pytest.approx(fitted.coef_[0, 0] * 100, rel=1e-3)
    assert calibration.intercept[0] == pytest.approx(fitted.intercept_[0], rel=1e-3)
    p = calibration.probabilities(scores)
    assert p[:, 0].mean() == pytest.approx(y[:, 0].mean(), abs=0.01)
    again = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
    np.testing.assert_array_equal(again.probabilities(scores), p)


def test_a_prior_shifts_the_log_odds():
    scores, y = _scored_findings()
    plain = fit_calibration("findings", scores, y)
    rare = fit_calibration("findings", scores, y, prior=[0.01, 0.5])
    share = y[:, 0].mean()
    shift = np.log(0.01 / 0.99) - np.log(share / (1 - share))
    assert rare.intercept[0] - plain.intercept[0] == pytest.approx(shift)
    with pytest.raises(UsageError, match="prior"):
        fit_calibration("findings", scores, y, prior=[0.0, 0.5])


def test_a_finding_without_examples_stays_uncalibrated_and_the_others_do_not():
    scores, y = _scored_findings()
    y[:, 1] = -1
    calibration = fit_calibration("findings", scores, y, names=["effusion", "nodule"])
    p = calibration.probabilities(scores)
    assert np.isfinite(p[:, 0]).all()
    assert np.isnan(p[:, 1]).all()
    assert calibration.notes == (
        "nodule is not calibrated: 0 present and 0 absent examples, it takes 10 with 2 of each",
    )
    decided = decide("findings", scores, p, 0.9)
    assert set(decided.reasons[:, 1]) == {UNCALIBRATED}
    assert set(decided.labels[:, 1]) == {-1}
    assert set(decided.reasons[decided.labels[:, 0] == -1, 0]) <= {BELOW}
    with pytest.raises(UsageError, match="it takes 10"):
        fit_calibration("findings", scores[:5], y[:5])


def test_scores_that_point_the_wrong_way_are_mentioned():
    scores, y = _scored_findings()
    assert "do not trust" in fit_calibration("findings", -scores, y).notes[0]


def test_class_calibration_recovers_temperature_and_prior():
    rng = np.random.default_rng(3)
    scores = 0.05 * rng.normal(size=(3000, 3))
    bias = np.array([0.0, 1.0, -1.0])
    p = softmax(scores / 0.03 + bias)
    y = np.array([rng.choice(3, p=row / row.sum()) for row in p.astype(float)])
    calibration = fit_calibration("classes", scores, y)
    assert 1 / calibration.slope[0] == pytest.approx(0.03, rel=0.1)
    assert calibration.intercept[1] - calibration.intercept[0] == pytest.approx(1.0, abs=0.15)
    found = calibration.probabilities(scores)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.abs(found - p).mean() < 0.02
    again = Calibration.from_json(json.loads(json.dumps(calibration.to_json())))
    np.testing.assert_array_equal(again.probabilities(scores), found)
    with pytest.raises(UsageError, match="0 of the rarest class"):
        fit_calibration("classes", scores, np.minimum(y, 1))


@pytest.mark.parametrize("kind", ["findings", "classes"])
@pytest.mark.parametrize("threshold", [None, 0.0, 0.2])
def test_without_probabilities_nothing_is_decided_whatever_the_threshold(kind, threshold):
    scores = np.array([[0.3, 0.1], [-0.3, 0.05]])
    undecided = decide(kind, scores, None, threshold)
    assert undecided.labels.shape == undecided.reasons.shape == (scores.shape if kind == "findings" else (2,))
    assert set(undecided.labels.ravel()) == {-1}
    assert set(undecided.reasons.ravel()) == {UNCALIBRATED}


def test_probabilities_decide_and_a_threshold_makes_them_abstain():
    p = np.array([[0.7, 0.2], [0.4, 0.95]])
    assert decide("findings", p, p, None).labels.tolist() == [[1, 0], [0, 1]]
    unsure = decide("findings", p, np.array([[0.7, np.nan], [0.4, 0.95]]), 0.9)
    assert unsure.labels.tolist() == [[-1, -1], [-1, 1]]
    assert unsure.reasons.tolist() == [[BELOW, UNCALIBRATED], [BELOW, ""]]
    shares = np.array([[0.6, 0.4], [0.05, 0.95]])
    assert decide("classes", shares, shares, None).labels.tolist() == [0, 1]
    assert decide("classes", shares, shares, 0.9).labels.tolist() == [-1, 1]


def test_softmax_rows_sum_to_one_however_large_the_scores():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 0.0]])), [[1, 0]])
    with pytest.raises(UsageError, match="above 0"):
        softmax(np.ones((1, 2)), 0)
