"""Heads through the Store: what they learn from, whom they may be judged by, what they tell."""

from __future__ import annotations

import csv
import math
import sqlite3
from contextlib import closing

import pytest

from embedstore.engine.head_requests import Conformal, HeadRequest
from embedstore.engine.requests import VoteRequest
from embedstore.engine.store import Store
from embedstore.errors import LeakageRefused, NotFound, UsageError
from tests.conftest import REPOSITORY

VOTERS = """
label_set: {name}
voters:
  table: {{kind: metadata, column: label, lookup: {{bright: present, normal: absent}}}}
"""
BACKED = {"value", "low", "high", "n_images", "n_patients", "n_positives", "method"}


def backed(report) -> None:
    """Every metric says by what it is backed."""
    numbers = [*report.metrics.values()]
    numbers += [report.uncertainty[name] for name in ("aleatoric", "epistemic") if report.uncertainty]
    if "power" in report.conformal:
        numbers += [report.conformal["power"], report.conformal["false_discoveries"]]
    elif report.conformal:
        achieved = report.conformal["achieved"]
        numbers += [achieved[name] for name in ("overall", "size", "single", "empty")]
        numbers += [*achieved["by_class"].values(), *achieved["by_group"].values()]
    if report.shuffled:
        numbers.append(report.shuffled)
    for number in numbers:
        assert set(number) >= BACKED


def table_of(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_several_targets_are_findings_and_a_missing_one_is_left_out(store, cohort, tmp_path, ask):
    rows = table_of(cohort / "table.csv")
    for number, row in enumerate(rows):
        row["late"] = "" if number % 4 == 0 else str(int(int(row["age"]) > 45))
    with (cohort / "late.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    store.ingest(ask(cohort / "images", metadata=(cohort / "late.csv",)))
    card = store.fit_head(HeadRequest(target="bright", also=("late",), name="two", test_fraction=0.4))
    assert card.classes == ("bright", "late")
    assert set(card.fit["C"]) == {"bright", "late"}
    counted = card.fit["n_per_class"]
    assert sum(counted["late"].values()) < sum(counted["bright"].values()) == card.fit["n"]
    report = store.evaluate_head("two")
    backed(report)
    assert report.metrics["bright auroc"]["value"] > 0.8
    assert report.metrics["late auroc"]["n_images"] < report.metrics["bright auroc"]["n_images"]
    store.apply_head("two", out=tmp_path / "out.csv")
    assert {"id", "path", "patient", "p bright", "p late"} == set(table_of(tmp_path / "out.csv")[0])


def test_answers_hold_no_formula(store, tmp_path, draw, ask):
    lines = ["path,patient_id,label"]
    for number in range(24):
        draw(tmp_path / "in" / f"{number}.png", number, bool(number % 2))
        lines.append(f"in/{number}.png,=HYPERLINK({number}),{'-lit' if number % 2 else '=dark()'}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    store.ingest(ask(tmp_path / "in", metadata=(tmp_path / "table.csv",)))
    store.fit_head(HeadRequest(target="label", name="told", conformal=Conformal(alpha=0.3)))
    store.apply_head("told", out=tmp_path / "out.csv")
    cells = [cell for row in table_of(tmp_path / "out.csv") for cell in row.values()]
    assert not [cell for cell in cells if cell.startswith(("=", "-l"))]
    assert "'=HYPERLINK(0)" in cells


def test_a_head_on_fused_labels_is_judged_by_gold_only(filled, tmp_path):
    voters = tmp_path / "voters.yaml"
    voters.write_text(VOTERS.format(name="lit_up"))
    filled.run_votes(VoteRequest(voters=voters))
    filled.fit_label_model("lit_up")
    filled.fit_head(HeadRequest(target="label:lit_up", name="weak"))
    with pytest.raises(UsageError, match="no test image has a gold label"):
        filled.evaluate_head("weak")
    filled.fit_head(HeadRequest(target="label:lit_up", name="soft", soft=True, truth="bright"))
    report = filled.evaluate_head("soft")
    backed(report)
    assert report.metrics["auroc"]["value"] > 0.8
    with pytest.raises(UsageError, match="soft labels"):
        filled.fit_head(HeadRequest(target="bright", soft=True))


def test_test_patients_are_told_from_training_patients_by_the_names_they_have_now(cohort, tmp_path, ask):
    nameless = cohort / "nobody.csv"
    rows = table_of(cohort / "table.csv")
    with nameless.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["path", "site", "bright"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    with Store.create(tmp_path / "store") as store:
        store.ingest(ask(cohort / "images", metadata=(nameless,)))
        store.fit_head(HeadRequest(target="bright", name="h", test_fraction=0.5))
        store.evaluate_head("h")
        # Each image was a patient of its own; now two of each patient stand on both sides.
        store.ingest(ask(cohort / "images", metadata=(cohort / "table.csv",)))
        with pytest.raises(LeakageRefused, match="as they are known today"):
            store.evaluate_head("h")


def test_images_that_came_after_the_fit_are_judged_by_what_the_store_knows_of_them(filled):
    filled.fit_head(HeadRequest(target="bright", name="inside", where="site = 'A'"))
    report = filled.evaluate_head("inside", "site = 'B'")
    assert report.counts["images"] == 24
    assert report.metrics["auroc"]["value"] > 0.8


@pytest.mark.parametrize("by", ["none", "class", "site"])
def test_conformal_sets_tell_what_they_promised_and_held(filled, tmp_path, by):
    name = f"sets by {by}"
    card = filled.fit_head(
        HeadRequest(
            target="bright",
            name=name,
            test_fraction=0.3,
            conformal=Conformal(method="raps", alpha=0.3, by=by, share=0.5),
        )
    )
    assert card.split["n_calibration"] > 0
    report = filled.evaluate_head(name)
    backed(report)
    told = report.conformal
    assert told["promised"] == 0.7
    assert {one["promised"] for one in told["guarantees"]} == {0.7}
    assert all(0 <= one["miss"] <= 1 for one in told["guarantees"])
    assert len(told["guarantees"]) == {"none": 1, "class": 2, "site": 2}[by]
    assert set(told["achieved"]["by_group"]) == {"A", "B"}
    filled.apply_head(name, out=tmp_path / "out.csv")
    sets = {row["set"] for row in table_of(tmp_path / "out.csv")}
    assert sets <= {"", "0", "1", "0 | 1"}
    # Patients that calibrate are not judged either.
    with pytest.raises(LeakageRefused):
        filled.evaluate_head(name, "site = 'A'")


@pytest.mark.parametrize("how", ["laplace", "ensemble"])
def test_uncertainty_is_told_in_two_parts(filled, tmp_path, how):
    filled.fit_head(HeadRequest(target="bright", name=how, uncertainty=how))
    report = filled.evaluate_head(how)
    backed(report)
    assert report.uncertainty["by"] == how
    filled.apply_head(how, out=tmp_path / "out.csv")
    for row in table_of(tmp_path / "out.csv"):
        p = float(row["p 1"])
        whole = -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)
        assert float(row["epistemic"]) >= 0
        # The probit approximation of the mean answer is within .016 of the exact one.
        assert float(row["epistemic"]) + float(row["aleatoric"]) == pytest.approx(whole, abs=0.06)


@pytest.mark.parametrize(
    ("kind", "metric", "least", "more"),
    [
        ("ridge", "r2", -9, {"target": "age", "uncertainty": "laplace"}),
        ("knn", "auroc", 0.8, {"target": "bright"}),
        ("anomaly-knn", "auroc", 0.7, {"target": "label", "healthy": "normal"}),
        ("mahalanobis", "auroc", 0.4, {"target": "label", "healthy": "normal"}),
        ("bag-mean", "auroc", 0.8, {"target": "bright", "bag": "patient"}),
        ("bag-attention", "auroc", 0.8, {"target": "bright", "bag": "patient"}),
        ("tip-adapter", "auroc", 0.7, {"target": "bright", "prompts": True}),
        ("lp++", "auroc", 0.7, {"target": "bright", "prompts": True}),
    ],
)
def test_every_kind_is_fitted_judged_and_applied(filled, tmp_path, kind, metric, least, more):
    if more.get("prompts"):
        more = {**more, "prompts": tmp_path / "prompts.yaml"}
        more["prompts"].write_text("name: x\nfindings: {bright: {present: [An opacity.], absent: [None.]}}\n")
    filled.fit_head(HeadRequest(kind=kind, name=kind, test_fraction=0.4, **more))
    report = filled.evaluate_head(kind)
    backed(report)
    assert report.metrics[metric]["value"] > least
    assert filled.apply_head(kind, out=tmp_path / "out.csv") == 60
    rows = table_of(tmp_path / "out.csv")
    if "healthy" in more:
        assert report.conformal["n_calibration"] > 0
        assert all(0 < float(row["p_value"]) <= 1 and row["flagged"] in "01" for row in rows)
    if kind == "ridge":
        assert all(float(row["epistemic"]) > 0 and float(row["aleatoric"]) > 0 for row in rows)
    if "bag" in more:
        of_patient = {}
        for row in rows:
            of_patient.setdefault(row["patient"], set()).add(row["p 1"])
        assert all(len(told) == 1 for told in of_patient.values())


def test_the_documented_query_finds_what_a_head_predicted(filled, tmp_path):
    """docs/concepts/labels-and-heads.md, "Predictions", as it stands there."""
    page = REPOSITORY / "docs" / "concepts" / "labels-and-heads.md"
    query = page.read_text(encoding="utf-8").split("```sql\n")[1].split("```")[0]
    card = filled.fit_head(HeadRequest(target="bright", name="effusion-1", test_where="site = 'B'"))
    assert card.classes[1] == "1"
    filled.apply_head("effusion-1", out=tmp_path / "answers.csv")
    with closing(sqlite3.connect(f"file:{filled.path / 'catalog.db'}?mode=ro", uri=True)) as database:
        found = {row[0]: row[2] for row in database.execute(query)}
    rows = table_of(tmp_path / "answers.csv")
    assert list(rows[0]) == ["id", "path", "patient", "p 0", "p 1"]
    assert {
        int(row["id"]): pytest.approx(float(row["p 1"])) for row in rows if float(row["p 1"]) >= 0.8
    } == found
    assert 0 < len(found) < 60


def test_a_class_on_one_side_of_the_split_is_named(filled, tmp_path):
    """Three patients have 'odd', one has 'single'; the draw would leave both to chance."""
    names = ["odd"] * 6 + ["single"] * 2 + ["common"] * 30 + ["other"] * 22
    labels = tmp_path / "labels.csv"
    labels.write_text("id,label\n" + "".join(f"{n},{name}\n" for n, name in enumerate(names, 1)))
    for seed in range(3):
        asked = HeadRequest(target="kind", labels=labels, name=f"four {seed}", seed=seed, test_fraction=0.1)
        card = filled.fit_head(asked)
        assert card.warnings == (
            "'single' (1 patient) is on the training side only: nothing is measured of it",
        )
        assert card.fit["n_per_class"]["odd"] == 4
    report = filled.evaluate_head("four 0")
    assert "no row is of class 'single': nothing is measured of it" in report.notes
    by_site = filled.fit_head(HeadRequest(target="kind", labels=labels, test_where="site = 'B'"))
    assert [warning.split(" ")[0] for warning in by_site.warnings] == ["'odd'", "'single'"]
    assert filled.fit_head(HeadRequest(target="bright")).warnings == ()


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("brigth", r"no.* value in column 'brigth'; did you mean 'bright'\? columns with several values: .*"),
        ("finding", r"columns with several values: .*site.*attr\.bright; label sets: label:lit"),
        ("lit", r"'lit' is a label set .* give label:lit \(after: embedstore label model lit\)"),
        ("attr.lit", r"give label:lit"),
        ("laterality", r"columns with several values: .*attr\.bright"),
        ("label:lt", r"no label set is called 'lt'; did you mean 'lit'\?"),
        ("label:lit", r"run: embedstore label model lit"),
    ],
)
def test_a_target_that_is_not_there_is_answered_with_those_that_are(filled, tmp_path, target, says):
    (tmp_path / "voters.yaml").write_text(VOTERS.format(name="lit"))
    filled.run_votes(VoteRequest(voters=tmp_path / "voters.yaml"))
    for asked in (HeadRequest(target=target), HeadRequest(target=target, kind="ridge")):
        with pytest.raises((UsageError, NotFound), match=says):
            filled.fit_head(asked)
    if not target.startswith("label:"):
        with pytest.raises(UsageError, match=says):
            filled.fit_head(HeadRequest(target="bright", also=(target,)))


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"kind": "bag-mean"}, "needs --bag"),
        ({"kind": "logistic", "bag": "patient"}, "each image by itself"),
        ({"kind": "mahalanobis"}, "--healthy"),
        ({"kind": "tip-adapter"}, "--prompts"),
        ({"kind": "knn", "uncertainty": "laplace"}, "knows uncertainty by: none"),
        ({"kind": "knn", "also": ("label",)}, "one target"),
        ({"kind": "forest"}, "there are: logistic, ridge"),
    ],
)
def test_what_does_not_go_together_is_refused(filled, asked, match):
    with pytest.raises(UsageError, match=match):
        filled.fit_head(HeadRequest(target="bright", **asked))
