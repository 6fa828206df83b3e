"""Reports that deny a finding stand before those that state it, whatever the wording; and it is said how."""

from __future__ import annotations

import csv

import pytest

from embedstore.contracts.query import Query
from embedstore.engine.requests import ZeroShotRequest
from tests.unit.test_learning_polarity import FINDINGS, NEGATIONS


@pytest.fixture
def told(store, tmp_path, ask, draw):
    """A report that states and one that denies each finding."""
    path = tmp_path / "reports.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["report_text", "patient_id"])
        for n, finding in enumerate(FINDINGS):
            writer.writerow([f"There is {finding} on this film.", f"P{n}"])
            writer.writerow([f"This film shows no {finding}.", f"A{n}"])
    draw(tmp_path / "a.png", 0)
    store.ingest(ask(tmp_path / "a.png", reports=(path,)))
    return store


@pytest.mark.parametrize("finding", FINDINGS)
def test_no_x_never_ranks_as_x(told, finding):
    for template in NEGATIONS:
        answer = told.search(Query(text=template.format(finding), within="reports", k=2 * len(FINDINGS)))
        place = {hit.item.report: hit.rank for hit in answer.hits}
        assert place[f"This film shows no {finding}."] < place[f"There is {finding} on this film."]
        assert answer.read_as["denied"] == finding
        assert f"absence of '{finding}'" in answer.note
    plain = told.search(Query(text=finding, within="reports", k=1))
    assert plain.read_as is None
    assert "absence of" not in plain.note


def test_images_are_ranked_by_the_pair_as_well(filled):
    asked, denied = (filled.search(Query(text=text, k=60)) for text in ("There is an opacity.", "no opacity"))
    assert denied.read_as == {"affirmed": "", "denied": "opacity", "cue": "no"}
    assert [hit.item.id for hit in denied.hits] != [hit.item.id for hit in asked.hits]


def test_a_calibrated_answer_shows_what_abstaining_buys_and_what_wording_does(filled, tmp_path):
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("findings:\n  bright:\n    present: [Lit., Lit up.]\n    absent: [Unlit.]\n")
    raw = filled.zeroshot(ZeroShotRequest(classes=prompts, where="site = 'B'", sensitivity=True))
    assert raw.use == "ranking only"
    assert raw.abstention == {}
    assert raw.calibration is None
    assert [(one["role"], one["text"]) for one in raw.sensitivity] == [
        ("present", "Lit."),
        ("present", "Lit up."),
    ]
    for one in raw.sensitivity:
        assert one["auroc"]["n_patients"] == 12
        assert -1 <= one["spearman"] <= 1
    told = filled.zeroshot(ZeroShotRequest(classes=prompts, where="site = 'B'", calibrate_where="site = 'A'"))
    assert told.use == "ranking and labels"
    assert told.calibration["n_examples"] == [36]
    assert "about 50 are needed" in told.calibration["notes"][0]
    assert told.abstention["bright"]["points"][0]["risk"]["n_images"] == 24
