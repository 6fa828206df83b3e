"""The evaluation document of a head: what it holds, what it refuses, and that looks are counted."""

from __future__ import annotations

import csv
import json
import shutil
from contextlib import contextmanager

import pytest
from PIL import Image

from embedstore.cli.output import plain
from embedstore.engine.head_requests import HeadRequest
from embedstore.engine.store import Store
from embedstore.errors import FilterError, LeakageRefused, UsageError
from embedstore.pages.evaluation_page import evaluation_markdown, evaluation_page

ELSEWHERE = HeadRequest(target="bright", name="elsewhere", test_where="site = 'B'")


@pytest.fixture(scope="module")
def document(filled_path, tmp_path_factory):
    """Of a head fitted at site A and judged at site B."""
    path = tmp_path_factory.mktemp("elsewhere") / "store"
    shutil.copytree(filled_path, path)
    with Store.open(path) as opened:
        opened.fit_head(ELSEWHERE)
        yield opened.evaluate_head("elsewhere", prevalence=0.05, threshold=0.3)


def write_cohort(folder, draw, rows):
    """Images drawn by their number, with a table: (patient or "", site, finding) each."""
    (folder / "images").mkdir()
    with (folder / "table.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "patient_id", "site", "label"])
        for number, (patient, site, finding) in enumerate(rows):
            draw(folder / "images" / f"{number}.png", number, bright=bool(finding))
            writer.writerow([f"images/{number}.png", patient, site, finding])


@contextmanager
def head_of(folder, ask):
    """A store of that cohort with a head "h", fitted at site A."""
    with Store.create(folder / "store") as store:
        assert store.ingest(ask(folder / "images", metadata=(folder / "table.csv",))).failed == 0
        store.fit_head(HeadRequest(target="label", name="h", test_where="site = 'B'"))
        yield store


def test_it_says_who_was_trained_on_and_who_was_tested(document):
    assert document.trained["sites"] == {"A": 36}
    assert document.tested["sites"] == {"B": 24}
    assert document.tested["role"] == "external"
    assert (document.trained["patients"], document.tested["patients"]) == (18, 12)
    assert document.trained["per_class"] == {"0": 24, "1": 12}
    assert document.disjointness["patient_disjoint"]
    assert document.disjointness["site_disjoint"]
    assert document.counts["unknown_patients"] == 0


def test_inside_and_outside_stand_beside_each_other_with_their_difference(document):
    validation = document.validation
    assert validation.external.to_json() == {**document.metrics["auroc"], "metric": "auroc"}
    assert validation.internal.n_patients == 18
    difference = validation.difference.difference
    assert difference.value == pytest.approx(validation.external.value - validation.internal.value)
    assert difference.n_patients == 30
    assert validation.external.value == 1.0
    assert document.smallest_detectable is None, "a perfect score has no interval to go by"


def test_predictive_values_are_at_the_prevalence_asked_for(document):
    (view,) = document.findings
    assert [one.chosen.split()[0] for one in view.thresholds] == ["one", "90%", "asked"]
    point = view.thresholds[2].point
    assert (point.threshold, point.prevalence) == (0.3, 0.05)
    sensitivity, specificity = point.sensitivity.value, point.specificity.value
    hits = 0.05 * sensitivity
    assert point.ppv.value == pytest.approx(hits / (hits + 0.95 * (1 - specificity)))
    assert point.sensitivity.n_images == point.sensitivity.n_positives == document.counts["positives"]


def test_few_positives_are_insufficient_and_metadata_is_a_rival(document):
    (view,) = document.findings
    groups = {(row.attribute, row.value): row for row in view.subgroups}
    assert groups["site", "B"].insufficient == "insufficient: 8 positives"
    assert {attribute for attribute, _ in groups} == {"sex", "age", "vendor", "site", "view"}
    assert document.shortcut.columns == ("age",)
    assert document.shortcut.gain.verdict == "better"
    assert document.shortcut.baseline.n_images == 24
    (site, *_) = [one for one in document.shortcut.encoded if "site" in one.metric]
    assert site.n_images == 60


def test_every_item_of_both_guidelines_is_filled_or_needs_its_author(document):
    items = {(row.guideline, row.item): row for row in document.checklist}
    assert sum(guideline == "CLAIM 2024" for guideline, _ in items) == 44
    numbers = {item.rstrip("abcdefg") for guideline, item in items if guideline == "TRIPOD+AI"}
    assert numbers == {str(number) for number in range(1, 28)}
    assert {row.status for row in items.values()} == {"filled", "needs author"}
    assert all(row.answer for row in items.values() if row.status == "filled")
    assert items["CLAIM 2024", "33"].status == "filled"
    assert items["CLAIM 2024", "44"].status == "needs author"


def test_page_markdown_and_json_are_made_of_the_record(document):
    found = json.loads(json.dumps(plain(document.to_json()), allow_nan=False))
    assert found["metrics"]["auroc"]["value"] == document.metrics["auroc"]["value"]
    value = f"{document.metrics['brier']['value']:.3f}"
    page, text = evaluation_page(document), evaluation_markdown(document)
    for made in (page, text):
        assert value in made
        assert "needs author" in made
        assert "insufficient: 8 positives" in made
    assert page.count('class="chart"') == 4
    assert "http" not in page.split("</style>")[1]


def test_each_look_at_the_same_images_is_counted_whichever_head_looked(filled):
    filled.fit_head(ELSEWHERE)
    filled.fit_head(HeadRequest(target="bright", name="again", test_where="site = 'B'", seed=1))
    filled.fit_head(HeadRequest(target="bright", name="apart", test_where="site = 'A'"))
    looks = [filled.evaluate_head(name).unsealed for name in ("elsewhere", "elsewhere", "apart", "again")]
    assert [look["times"] for look in looks] == [1, 2, 1, 3]
    assert looks[-1]["heads"] == ["again", "elsewhere"]


def test_a_refused_evaluation_is_no_look(filled):
    filled.fit_head(ELSEWHERE)
    with pytest.raises(LeakageRefused):
        filled.evaluate_head("elsewhere", "site = 'A'")
    with pytest.raises(FilterError):
        filled.evaluate_head("elsewhere", by=("scanner",))
    assert filled.evaluate_head("elsewhere").unsealed["times"] == 1


def test_a_picture_on_both_sides_is_refused_or_left_out(tmp_path, draw, ask):
    write_cohort(tmp_path, draw, [(f"P{n}", "AB"[n >= 20], n % 2) for n in range(40)])
    # Other bytes of the same picture: as colour.
    with Image.open(tmp_path / "images" / "5.png") as picture:
        picture.convert("RGB").save(tmp_path / "images" / "33.png")
    with head_of(tmp_path, ask) as store:
        with pytest.raises(LeakageRefused, match="one picture stands on both sides of head 'h'"):
            store.evaluate_head("h")
        found = store.evaluate_head("h", without_copies=True)
        assert found.disjointness["copies_left_out"] == 1
        assert found.counts["images"] == 19
        assert found.unsealed["times"] == 1


def test_unknown_patients_are_told_apart_and_not_called_disjoint_unless_vouched_for(tmp_path, draw, ask):
    write_cohort(tmp_path, draw, [(f"P{n}" if n < 30 else "", "AB"[n >= 20], n % 2) for n in range(40)])
    with head_of(tmp_path, ask) as store:
        found = store.evaluate_head("h")
        assert not found.disjointness["patient_disjoint"]
        assert found.counts["unknown_patients"] == 10
        assert any("--assume-independent" in note for note in found.notes)
        assert "Not known to be patient-disjoint" in evaluation_page(found)
        (item,) = [row for row in found.checklist if (row.guideline, row.item) == ("CLAIM 2024", "20")]
        assert item.status == "needs author"
        vouched = store.evaluate_head("h", assume_independent=True)
        assert vouched.disjointness["patient_disjoint"]
        assert vouched.disjointness["assumed_independent"]


def test_a_split_within_sites_is_internal(filled):
    filled.fit_head(HeadRequest(target="bright", name="random", test_fraction=0.3))
    found = filled.evaluate_head("random")
    assert found.tested["role"] == "internal"
    assert (found.validation.external, found.validation.difference) == (None, None)
    assert any("no external validation" in note for note in found.notes)


def test_several_classes_have_a_view_each(filled, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("id,label\n" + "".join(f"{n},{'abc'[(n // 2) % 3]}\n" for n in range(1, 61)))
    filled.fit_head(HeadRequest(target="mine", labels=table, name="three", test_where="site = 'B'"))
    found = filled.evaluate_head("three")
    assert [view.name for view in found.findings] == ["a", "b", "c"]
    assert found.validation.difference.difference.metric == "difference of macro_auroc"
    assert "a against the rest" in evaluation_page(found)
    with pytest.raises(UsageError, match="speak of one class"):
        filled.evaluate_head("three", prevalence=0.1)
