"""Persons' votes are gold: they settle labels, judge voters, and decide what is suggested next."""

from __future__ import annotations

import numpy as np
import pytest

from embedstore.contracts.labels import Vote
from embedstore.engine.requests import VoteRequest
from embedstore.errors import UsageError

VOTERS = """
label_set: lit
voters:
  table: {kind: metadata, column: label, lookup: {bright: present, normal: absent}}
  site: {kind: metadata, column: site, lookup: {B: present}}
  copy: {kind: metadata, column: site, lookup: {B: present, A: absent}}
  other copy: {kind: metadata, column: site, lookup: {B: present, A: absent}}
"""


@pytest.fixture
def voted(filled, tmp_path):
    (tmp_path / "voters.yaml").write_text(VOTERS)
    filled.run_votes(VoteRequest(voters=tmp_path / "voters.yaml"))
    return filled


def say(store, values: dict[int, int], who: str = "person:ana") -> None:
    votes = [
        Vote(item_id=item, label_set="lit", value=value, voter=who, voter_version="1")
        for item, value in values.items()
    ]
    store._workspace.catalog.labels.save_votes(votes)


def test_what_a_person_said_stands_and_judges_the_others(voted):
    before = voted.label_report("lit")
    assert before.gold == 0
    assert all(one.accuracy is None for one in before.voters)
    truth = {item.id: int(item.columns["label"] == "bright") for item in voted.items("kind = 'image'")}
    known = dict(list(truth.items())[:20])
    say(voted, known)
    card = voted.fit_label_model("lit")
    assert card.gold == 20
    by_name = {one.voter: one for one in card.voters}
    assert by_name["table"].accuracy["value"] == 1
    assert by_name["table"].accuracy["n_images"] == 20
    assert by_name["table"].accuracy["n_patients"] == 10
    assert by_name["person:ana"].accuracy is None
    row = voted._workspace.catalog.labels.label_model("lit")
    fused = dict(zip(row.items.tolist(), row.probabilities[:, 1].tolist(), strict=True))
    assert all(fused[item] == value for item, value in known.items())
    say(voted, dict.fromkeys(known, 0), "person:bea")
    assert voted.label_report("lit").gold == sum(value == 0 for value in known.values())


def test_a_voter_that_copies_is_named(voted):
    card = voted.label_report("lit", truth="attr.bright")
    assert card.dependence[0]["known"] == "gold"
    assert any("'copy' and 'other copy' err together" in warning for warning in card.warnings)


def test_suggestions_are_half_random_and_leave_out_what_is_known(voted):
    say(voted, dict.fromkeys(range(1, 11), 0))
    voted.fit_label_model("lit")
    found = voted.suggest_labels("lit", 10, seed=3)
    assert [one.why for one in found] == ["random"] * 5 + ["doubt"] * 5
    assert len({one.patient for one in found}) == 10
    assert not {one.id for one in found} & set(range(1, 11))
    assert voted.suggest_labels("lit", 10, seed=3) == found
    assert {one.id for one in voted.suggest_labels("lit", 10, seed=4)} != {one.id for one in found}
    asked = [one.entropy for one in found if one.why == "doubt"]
    assert asked == sorted(asked, reverse=True)
    drawn = np.mean([one.entropy for one in found if one.why == "random"])
    assert np.mean(asked) >= drawn
    with pytest.raises(UsageError, match="left to label"):
        voted.suggest_labels("lit", 10, where="site = 'nowhere'")


def test_a_prior_names_each_class(voted):
    with pytest.raises(UsageError, match="absent, present"):
        voted.fit_label_model("lit", prior={"present": 0.1})
    rare = voted.fit_label_model("lit", prior={"present": 0.05, "absent": 0.95}).model
    common = voted.fit_label_model("lit", prior={"present": 0.95, "absent": 0.05}).model
    assert rare["labels"]["present"] < common["labels"]["present"]
