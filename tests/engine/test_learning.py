"""Zero-shot, votes, label models and heads through the Store."""

from __future__ import annotations

import csv

import pytest

from embedstore.engine.head_requests import HeadRequest
from embedstore.engine.requests import BridgeRequest, VoteRequest, ZeroShotRequest
from embedstore.errors import LeakageRefused, NotFound, UsageError

VOTERS = """
label_set: bright
voters:
  table: {kind: metadata, column: label, lookup: {bright: present, normal: absent}}
  neighbours: {kind: neighbours, where: "site = 'A'", k: 3, agreement: 0.6}
  report rules: {kind: rules, finding: opacity}
"""
PROMPTS = """
name: corner
findings:
  bright: {present: [There is an opacity.], absent: [No opacity. Normal.]}
"""


def test_a_head_is_judged_on_other_patients(filled):
    card = filled.fit_head(HeadRequest(target="bright", name="by site", test_where="site = 'B'"))
    assert card.split["n_test_patients"] == 12
    report = filled.evaluate_head("by site")
    assert report.counts["images"] == 24
    assert report.metrics["auroc"]["value"] == 1.0
    assert report.metrics["auroc"]["low"] == pytest.approx(0.025 ** (1 / 4))  # 4 of 12 patients are bright
    assert "all patients agree" in report.metrics["auroc"]["note"]
    assert report.metrics["auroc"]["n_patients"] == 12
    assert report.shuffled["low"] < 0.5 < report.shuffled["high"]
    assert report.shuffled["shuffles"] == 20
    assert report.shuffled["p_value"] < 0.05
    with pytest.raises(LeakageRefused):
        filled.evaluate_head("by site", "site = 'A'")
    assert filled.apply_head("by site") == 60


def test_heads_refuse_what_cannot_be_learned(filled, tmp_path):
    with pytest.raises(UsageError, match="two classes"):
        filled.fit_head(HeadRequest(target="modality"))
    with pytest.raises(NotFound, match="no head is called"):
        filled.evaluate_head("nobody")
    table = tmp_path / "labels.csv"
    table.write_text("id,label\n" + "".join(f"{n},{'ab'[n % 3 == 0]}\n" for n in range(1, 61)))
    card = filled.fit_head(HeadRequest(target="mine", labels=table, name="from a file"))
    assert card.classes == ("a", "b")


def test_votes_are_fused_and_exported_with_what_is_behind_them(filled, tmp_path):
    voters = tmp_path / "voters.yaml"
    voters.write_text(VOTERS)
    card = filled.run_votes(VoteRequest(voters=voters))
    assert {voter.voter for voter in card.voters} == {"table", "neighbours", "report rules"}
    fused = filled.fit_label_model("bright", truth="attr.bright")
    assert fused.model["accuracy"]["value"] > 0.9
    assert filled.export_labels("bright", tmp_path / "out.csv") == 60
    with (tmp_path / "out.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert float(rows[0]["p_absent"]) + float(rows[0]["p_present"]) == pytest.approx(1, abs=1e-5)
    assert "table" in rows[0]["votes"]
    filled.export_labels("bright", tmp_path / "out.parquet")
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "out.parquet").num_rows == 60
    again = filled.run_votes(VoteRequest(voters=voters))
    assert again.items == card.items


def test_fused_and_majority_are_compared_on_the_same_items(filled, tmp_path):
    voters = tmp_path / "voters.yaml"
    voters.write_text(
        """
label_set: brightness
voters:
  table: {kind: metadata, column: label, lookup: {bright: present, normal: absent}}
  site: {kind: metadata, column: site, lookup: {B: present}}
"""
    )
    filled.run_votes(VoteRequest(voters=voters))
    model = filled.fit_label_model("brightness", truth="attr.bright").model
    # They contradict each other on the dark films of site B: 8 of its 12 patients, 2 films each.
    assert model["majority_undecided"] == 16
    assert model["majority_coverage"] == pytest.approx(44 / 60)
    assert model["accuracy"]["n_images"] == 60
    assert (
        model["majority_accuracy"]["n_images"] == model["accuracy_where_majority_decided"]["n_images"] == 44
    )
    assert model["majority_accuracy"]["value"] == 1


def test_zero_shot_ranks_until_it_is_calibrated(filled, tmp_path):
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("findings: {bright: {present: [Lit.], absent: [Unlit.]}}")
    raw = filled.zeroshot(ZeroShotRequest(classes=prompts, where="site = 'B'"))
    assert not raw.calibrated
    assert {row.reason for row in raw.rows} == {"uncalibrated"}
    assert all(row.probabilities is None and row.label is None for row in raw.rows)
    forced = filled.zeroshot(ZeroShotRequest(classes=prompts, where="site = 'B'", threshold=0.0, save=True))
    assert not forced.calibrated
    assert forced.use == "ranking only"
    assert forced.saved_votes == 0
    assert all(row.label is None and row.probabilities is None for row in forced.rows)
    assert {row.reason for row in forced.rows} == {"uncalibrated"}
    told = filled.zeroshot(
        ZeroShotRequest(classes=prompts, where="site = 'B'", calibrate_where="site = 'A'", save=True)
    )
    assert told.calibrated
    assert told.saved_votes > 0
    assert all(0 <= row.probabilities["bright"] <= 1 for row in told.rows)


def test_what_scores_are_not_shown_to_tell_stays_uncalibrated(filled, tmp_path):
    """Probabilities would be the base rate, or the wrong way round, in the dress of an answer."""
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text(PROMPTS)  # the tiny encoder scores all dark films above all bright ones by these
    asked = {"classes": prompts, "where": "site = 'B'", "calibrate_where": "site = 'A'"}
    told = filled.zeroshot(ZeroShotRequest(**asked, save=True))
    assert not told.calibrated
    assert told.use == "ranking only"
    assert told.saved_votes == 0
    assert {(row.label, row.probabilities, row.reason) for row in told.rows} == {(None, None, "uncalibrated")}
    (note,) = told.calibration["notes"]
    assert note.startswith("bright is not calibrated: its scores are not shown to tell")
    assert "AUROC 0.000 [0.000, 0.459] (n = 36 images, 18 patients, 12 positive)" in note
    prompts.write_text("findings: {bright: {present: [Lit.], absent: [Unlit.]}}")
    with pytest.raises(UsageError, match="3 present and 6 absent patients, it takes 10 with 2 of each"):
        filled.zeroshot(ZeroShotRequest(**asked | {"calibrate_where": "site = 'A' and age < 39"}))
    prompts.write_text("classes: {bright: [Lit.], normal: [Lit again.]}")
    told = filled.zeroshot(ZeroShotRequest(**asked, truth="label"))
    assert {row.reason for row in told.rows} == {"uncalibrated"}
    assert "not shown to tell" in told.calibration["notes"][0]


def test_an_encoder_with_one_space_needs_no_bridge(filled):
    with pytest.raises(UsageError, match="needs no bridge"):
        filled.fit_bridge(BridgeRequest(encoder="reference"))
