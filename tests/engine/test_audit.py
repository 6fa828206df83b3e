"""The audit through the Store: errors and twins that were planted are found; deciding is a vote."""

from __future__ import annotations

import shutil

import pytest

from embedstore.engine.label_requests import AuditRequest
from embedstore.engine.requests import VoteRequest
from embedstore.engine.store import Store
from embedstore.errors import NotFound, UsageError
from embedstore.pages.audit_page import audit_page

VOTERS = """
label_set: lit
voters:
  table: {kind: metadata, column: label, lookup: {bright: present, normal: absent}}
"""


@pytest.fixture
def voted(filled_path, tmp_path):
    shutil.copytree(filled_path, tmp_path / "own")
    (tmp_path / "voters.yaml").write_text(VOTERS)
    with Store.open(tmp_path / "own") as store:
        store.run_votes(VoteRequest(voters=tmp_path / "voters.yaml"))
        store.fit_label_model("lit")
        yield store


def test_what_a_person_got_wrong_is_suspected_and_put_right_by_a_vote(voted):
    truth = {item.id: item.columns["label"] == "bright" for item in voted.items("kind = 'image'")}
    wrong = [1, 2, 20]
    said = {n: "present" if truth[n] != (n in wrong) else "absent" for n in range(1, 31)}
    voted.say_labels("lit", said, "ana")
    voted.fit_label_model("lit")
    card = voted.audit_labels(AuditRequest(label_set="lit"))
    assert card.source == "fused labels"
    assert (card.images, card.patients) == (60, 30)
    suspected = {one.id: one for one in card.suspects}
    assert set(wrong) <= set(suspected)
    assert len(suspected) <= 6
    for n in wrong:
        assert suspected[n].suggested == ("present" if truth[n] else "absent")
        assert suspected[n].by
    voted.say_labels("lit", {n: suspected[n].suggested for n in wrong}, "ana")
    voted.fit_label_model("lit")
    labels = voted._workspace.catalog.labels.label_model("lit")
    fused = dict(zip(labels.items.tolist(), labels.labels.tolist(), strict=True))
    assert all(fused[n] == truth[n] for n in wrong)
    page = audit_page(card, lambda item: None)
    assert f"embedstore label say &#34;lit&#34; &#34;1={suspected[1].suggested}&#34; --by NAME" in page
    assert "<script" not in page


def test_twins_with_different_labels_are_shown(voted):
    every = voted.audit_labels(AuditRequest(label_set="lit", twin=-1.0, k=59))
    assert len(every.twins) == 20 * 40
    none = voted.audit_labels(AuditRequest(label_set="lit", twin=1.1))
    assert none.twins == ()


def test_an_audit_says_how_well_what_it_rests_on_tells_the_labels(voted):
    card = voted.audit_labels(AuditRequest(label_set="lit"))
    classifier, neighbours = card.quality["classifier"], card.quality["neighbours"]
    assert (classifier["metric"], neighbours["metric"]) == ("auroc", "balanced_accuracy")
    assert classifier["low"] > 0.6
    assert (classifier["n_images"], classifier["n_patients"], classifier["n_positives"]) == (60, 30, 20)
    assert card.warnings == ()
    # Nothing in the pictures tells the older patients of this cohort: doubts about their labels mean little.
    voted.say_labels("lit", {n: "present" if (n * 7919) % 3 else "absent" for n in range(1, 61)}, "ana")
    voted.fit_label_model("lit")
    card = voted.audit_labels(AuditRequest(label_set="lit"))
    assert card.suspects
    assert any(
        warning.startswith("the classifier cannot be told from chance (0.50)") for warning in card.warnings
    )
    assert "means little" in audit_page(card, lambda item: None)


def test_what_cannot_be_audited_is_refused(voted):
    with pytest.raises(NotFound, match="no label set"):
        voted.audit_labels(AuditRequest(label_set="ghost"))
    with pytest.raises(UsageError, match="two classes"):
        voted.audit_labels(AuditRequest(label_set="lit", where="label = 'bright'"))
    with pytest.raises(UsageError, match="no label"):
        voted.audit_labels(AuditRequest(label_set="lit", column="modality"))
    with pytest.raises(UsageError, match="not a class"):
        voted.say_labels("lit", {1: "maybe"}, "ana")
    with pytest.raises(UsageError, match="--by NAME"):
        voted.say_labels("lit", {1: "present"}, " ")
    with pytest.raises(NotFound):
        voted.say_labels("lit", {10_000: "present"}, "ana")
