"""Risk against coverage by hand and by simulation; wordings against prompts whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from embedstore.errors import UsageError
from embedstore.learning.abstention import abstention_table, risk_coverage
from embedstore.learning.prompts import parse_prompts
from embedstore.learning.sensitivity import wordings


def test_a_curve_by_hand():
    coverage, risk = risk_coverage([0.9, 0.6, 0.8, 0.6], [True, False, False, True])
    np.testing.assert_allclose(coverage, [0.25, 0.5, 0.75, 1.0])
    # the two at .6 tie: each position carries half of their one error
    np.testing.assert_allclose(risk, [0, 1 / 2, 1.5 / 3, 2 / 4])
    with pytest.raises(UsageError, match="known truth"):
        risk_coverage([], [])


def test_risk_falls_with_coverage_where_confidence_is_honest():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1.0, 4000)
    table = abstention_table(sure, rng.random(4000) < sure, np.arange(4000) // 2)
    risks = [point["risk"]["value"] for point in table["points"]]
    assert risks == sorted(risks, reverse=True)
    for point in table["points"]:
        # the mean of 1 - s over the kept share c is c / 4, for s uniform on .5 to 1
        assert point["risk"]["low"] <= point["coverage"] / 4 <= point["risk"]["high"]
        assert point["risk"]["n_patients"] <= 2000
        assert (sure >= point["threshold"]).mean() == pytest.approx(point["coverage"])


def test_a_wording_that_turns_the_answer_around_is_seen():
    prompts = parse_prompts(
        {"findings": {"mass": {"present": ["a mass", "a lump", "a wrong word"], "absent": "clear"}}}, "p.yaml"
    )
    at = {"a mass": [1, 0.1], "a lump": [1, -0.1], "a wrong word": [-1, 2.5], "clear": [0, 1]}
    texts = np.array([at[text] for text in prompts.texts], np.float32)
    angle = np.linspace(-0.4, 0.4, 41)
    images = np.stack([np.cos(angle), np.sin(angle) + 0.3], axis=1).astype(np.float32)
    found = {one.text: one for one in wordings(prompts, texts, images)}
    assert set(found) == {"a mass", "a lump", "a wrong word"}
    assert found["a mass"].spearman > 0.99
    assert found["a mass"].flipped < 0.2
    assert found["a wrong word"].flipped > 0.8
    assert found["a wrong word"].spearman < 0


def test_findings_in_short_are_pairs_and_their_polarity_is_checked():
    prompts = parse_prompts({"findings": ["pneumothorax", "edema"]}, "p.yaml")
    assert prompts.labels[0].present == ("There is pneumothorax.",)
    assert prompts.labels[0].absent == ("There is no pneumothorax.",)
    for bad, words in (
        ({"findings": ["no edema"]}, "is the absence of 'edema'"),
        ({"findings": {"edema": {"present": "no edema", "absent": "clear"}}}, "put it under 'absent'"),
        ({"classes": ["edema", "no edema"]}, "list it under 'findings'"),
    ):
        with pytest.raises(UsageError, match=words):
            parse_prompts(bad, "p.yaml")
    assert parse_prompts({"classes": ["no finding", "edema"]}, "p.yaml").kind == "classes"
