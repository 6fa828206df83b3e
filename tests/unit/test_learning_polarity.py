"""A query that denies is read as a denial, whatever its wording; one that does not is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from embedstore.learning.polarity import Polarity, read_polarity

FINDINGS = (
    "atelectasis", "cardiomegaly", "consolidation", "edema", "pleural effusion", "emphysema", "fibrosis",
    "hiatal hernia", "infiltration", "mass", "nodule", "pleural thickening", "pneumonia", "pneumothorax",
)  # fmt: skip
NEGATIONS = (
    "no {}", "No evidence of {}.", "without {}", "There is no {}.", "{} is absent", "absence of {}",
    "negative for {}", "free of {}", "no {} is seen", "{} has resolved",
)  # fmt: skip
AFFIRMATIONS = ("{}", "There is {}.", "small {}", "no change in {}", "possible {}", "{} cannot be excluded")


@pytest.mark.parametrize("finding", FINDINGS)
def test_no_wording_of_absence_is_taken_for_presence(finding):
    for template in NEGATIONS:
        told = read_polarity(template.format(finding))
        assert (told.affirmed, told.denied) == ("", finding), template
        assert told.texts[:2] == (f"There is no {finding}.", f"There is {finding}.")
        assert len(told.texts) == 8
        assert "absence of" in told.sentence
    for template in AFFIRMATIONS:
        text = template.format(finding)
        assert read_polarity(text) == Polarity(affirmed=text), template


@pytest.mark.parametrize(
    ("text", "affirmed", "denied"),
    [
        ("effusion without pneumothorax", "effusion", "pneumothorax"),
        ("No pneumothorax but a large effusion", "a large effusion", "pneumothorax"),
        ("cardiomegaly, no effusion or edema", "cardiomegaly", "effusion or edema"),
        ("No effusion. Small nodule.", "small nodule", "effusion"),
        ("lung nodule with no calcification", "lung nodule", "calcification"),
        ("no evidence of any pleural effusion", "", "pleural effusion"),
    ],
)
def test_what_is_asked_for_and_what_is_not_are_kept_apart(text, affirmed, denied):
    told = read_polarity(text)
    assert (told.affirmed, told.denied) == (affirmed, denied)


@pytest.mark.parametrize("text", ["no", "", "normal chest", "not only effusion", "...", "NO"])
def test_what_denies_nothing_comes_back_as_it_is(text):
    assert read_polarity(text) == Polarity(affirmed=text)


def test_the_direction_leads_from_presence_to_absence():
    rng = np.random.default_rng(0)
    present = rng.normal(size=8).astype(np.float32)
    absent = present + 0.1 * rng.normal(size=8).astype(np.float32)  # as encoders have it
    other = rng.normal(size=8).astype(np.float32)
    told = read_polarity("no mass")
    pairs = np.tile(np.stack([absent, present]), (4, 1))
    way = told.direction(pairs)
    near = way @ absent / np.linalg.norm(absent)
    assert near > way @ present / np.linalg.norm(present)
    assert near > way @ other / np.linalg.norm(other)  # what never mentions it is not its absence
    deaf = told.direction(np.stack([present] * 8))
    assert deaf @ present < 0
    both = read_polarity("effusion without mass").direction(np.vstack([pairs, other]))
    np.testing.assert_allclose(both - way, other / np.linalg.norm(other), atol=1e-5)
    plain = read_polarity("mass").direction(np.stack([present, other]))
    np.testing.assert_array_equal(plain, present)
