"""Drift through the Store: made cohorts in which images, meanings or neither have changed."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image

from embedstore.cli.output import plain
from embedstore.engine.drift_records import DriftRequest
from embedstore.engine.store import Store
from embedstore.errors import FilterError, UsageError

PATIENTS = 24
ERAS = {"reference": 0, "same": 0, "dimmed": 1, "renamed": 0}


def film(path, seed, bright, dimmed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 90, (40, 36)).astype(float) + np.arange(36)
    pixels[:20, :18] += 90 * bright
    if dimmed:
        pixels = pixels.T[:36] * 0.4 + 120
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def drifting(tmp_path_factory, ask):
    """Four eras of 24 patients with 2 images: as before, as before, with other pixels, with other labels."""
    folder = tmp_path_factory.mktemp("drifting")
    (folder / "images").mkdir()
    rows = []
    for number, (era, dimmed) in enumerate(ERAS.items()):
        for patient in range(PATIENTS):
            for image in range(2):
                bright = patient % 3 == 0
                name = f"images/{era}-{patient}-{image}.png"
                film(folder / name, 1000 * number + 10 * patient + image, bright, dimmed)
                label = "finding" if bright != (era == "renamed") else "none"
                if era == "dimmed":
                    label = ""
                site = "AB"[patient % 2]
                coin = (
                    "heads" if (patient * 7 + number) % 5 < 2 else "tails"
                )  # nothing to do with the picture
                rows.append([name, f"{era}-{patient}", era, site, "Maker", label, coin])
    with (folder / "table.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [["path", "patient_id", "era", "site", "manufacturer", "label", "coin"], *rows]
        )
    with Store.create(folder / "store") as store:
        assert store.ingest(ask(folder / "images", metadata=(folder / "table.csv",))).failed == 0
        yield store


def asked(store, new, **more):
    report = store.drift(DriftRequest(reference="attr.era = 'reference'", new=f"attr.era = '{new}'", **more))
    json.dumps(plain(asdict(report)), allow_nan=False)
    return report


def test_images_of_the_same_kind_show_no_shift(drifting):
    report = asked(drifting, "same", label="label")
    assert not report.covariate["shifted"]
    assert report.covariate["smallest_detectable_shift"] > 0
    assert (report.new["images"], report.new["patients"], report.new["unknown_patients"]) == (48, 24, 0)
    assert {(entry["by"], entry["value"]) for entry in report.groups} == {
        ("site", "A"), ("site", "B"), ("manufacturer", "Maker"),
    }  # fmt: skip
    assert {entry["against"] for entry in report.groups} == {"same"}
    assert not any(entry["shifted"] for entry in report.groups)
    assert report.concept is not None
    assert not report.concept["shifted"]
    shares = {row["class"]: row for row in report.label["classes"]}
    assert shares["finding"]["observed"]["value"] == pytest.approx(1 / 3)
    assert shares["finding"]["estimated"]["value"] == pytest.approx(1 / 3, abs=0.1)


def test_other_pixels_are_covariate_shift_and_no_word_on_concept_without_labels(drifting):
    report = asked(drifting, "dimmed", label="label", audit=6)
    assert report.covariate["shifted"]
    assert all(test["shifted"] for test in report.covariate["tests"])
    assert any(entry["shifted"] for entry in report.groups)
    assert report.concept is None
    assert any("concept shift cannot be told" in note for note in report.notes)
    assert report.outliers["n_flagged"] > 0
    assert report.outliers["n_calibration"] == 12
    reasons = [row["reason"] for row in report.audit]
    assert reasons == ["random"] * 3 + ["unlike the reference"] * 3
    patients = {drifting.item(row["id"]).patient for row in report.audit}
    assert len(patients) == 6


def test_shares_are_not_estimated_by_a_model_that_knows_nothing(drifting):
    found = asked(drifting, "same", label="attr.coin").label
    assert found["gain"]["low"] <= 0
    assert (found["model_knows"], found["decided_by"], found["shifted"]) == (False, "observed", False)
    assert [row["estimated"] for row in found["classes"]] == [None, None]
    assert all(row["observed"]["n_patients"] == PATIENTS for row in found["classes"])


def test_what_was_observed_decides_and_without_labels_the_estimate(drifting):
    assert asked(drifting, "same", label="label").label["decided_by"] == "observed"
    blind = asked(drifting, "dimmed", label="label").label
    assert (blind["model_knows"], blind["decided_by"]) == (True, "estimated")


def test_other_labels_on_like_images_are_concept_shift(drifting):
    report = asked(drifting, "renamed", label="label")
    assert not report.covariate["shifted"]
    assert report.concept["shifted"]
    assert report.concept["told"]
    brier = report.concept["changes"][0]
    assert brier["concept"]["low"] > 0.5
    assert brier["concept"]["n_patients"] == 48


def test_without_a_label_the_report_says_what_was_not_looked_at(drifting):
    report = asked(drifting, "same", audit=0, by=())
    assert (report.label, report.concept, report.audit, report.groups) == (None, None, (), ())
    assert any("--label" in note for note in report.notes)


def test_the_same_seed_gives_the_same_report(drifting):
    one, same = (asked(drifting, "same", by=(), seed=3) for _ in range(2))
    assert plain(asdict(one)) == plain(asdict(same))


def test_returning_patients_speak_for_the_reference(drifting):
    """Patient 0 to 11 of one era against all of it but their first image."""
    report = drifting.drift(
        DriftRequest(
            reference="attr.era = 'reference' and site = 'A'",
            new="(attr.era = 'reference' and site = 'B') or attr.era = 'same'",
            by=(),
        )
    )
    assert report.new["returning_patients_left_out"] == 0
    first = drifting.items("attr.era = 'reference'")[::2]
    ids = ", ".join(str(item.id) for item in first)
    report = drifting.drift(
        DriftRequest(
            reference=f"id in ({ids})",
            new=f"attr.era = 'same' or (attr.era = 'reference' and not id in ({ids}))",
            by=(),
        )
    )
    assert report.new["returning_patients_left_out"] == 24
    assert report.new["patients"] == 24


def test_what_cannot_be_compared_is_refused(drifting):
    with pytest.raises(UsageError, match="48 images pass both filters"):
        drifting.drift(DriftRequest(reference="attr.era = 'same'", new="attr.era = 'same'"))
    with pytest.raises(UsageError, match="no image"):
        asked(drifting, "never")
    with pytest.raises(FilterError, match="no column 'scanner'"):
        asked(drifting, "same", by=("scanner",))
    with pytest.raises(UsageError, match="takes two"):
        asked(drifting, "same", label="modality", by=())
