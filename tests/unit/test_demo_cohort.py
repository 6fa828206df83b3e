"""The synthetic cohort is the same bytes from the same seed, says what it is, and hides no label."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID

from embedstore.contracts.record import Asset
from embedstore.demo.anatomy import FINDINGS, SIDED, Lesion, draw_anatomy, draw_lesions, follow_up
from embedstore.demo.cohort import Cohort, build_cohort, find_cohort
from embedstore.demo.dicom_file import uid
from embedstore.demo.phantom import optical_depth
from embedstore.demo.reports import SYNTHETIC_NOTE, WRONG, Statement, write_report
from embedstore.demo.shapes import Pose, draw_pose
from embedstore.errors import UsageError
from embedstore.readers.dicom import DicomReader
from embedstore.readers.sources import source_at
from embedstore.settings import Limits

STRAIGHT = Pose(shift=0.0, rise=0.0, lean=0.0, scale=1.0, breath=0.0, arms=0.5)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return build_cohort(tmp_path_factory.mktemp("cohort"), patients=30, seed=5)


def films(cohort: Cohort) -> list[dict[str, str]]:
    with cohort.metadata_csv.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    one, two, other = (
        build_cohort(tmp_path / name, patients=4, seed=seed) for name, seed in (("1", 9), ("2", 9), ("3", 10))
    )
    assert tree(one.folder) == tree(two.folder)
    assert not set(tree(one.folder).values()) & set(tree(other.folder).values())
    assert find_cohort(one.folder, patients=4, seed=9) == one
    assert find_cohort(one.folder, patients=4, seed=10) is None
    assert find_cohort(tmp_path / "nothing", patients=4, seed=9) is None


def test_a_patient_does_not_depend_on_how_many_others_there_are(cohort: Cohort, tmp_path: Path) -> None:
    few = build_cohort(tmp_path, patients=4, seed=5)
    shared = {name: data for name, data in tree(few.folder).items() if name.endswith(".dcm")}
    assert shared.items() <= tree(cohort.folder).items()


def test_counts_and_tables_agree_with_the_files(cohort: Cohort) -> None:
    rows = films(cohort)
    on_disk = sorted(p.relative_to(cohort.folder).as_posix() for p in cohort.folder.rglob("*.dcm"))
    assert sorted(row["path"] for row in rows) == on_disk
    assert len(rows) == cohort.n_images
    assert len({row["patient_id"] for row in rows}) == cohort.n_patients == 30
    assert {name: sum(int(row[name]) for row in rows) for name in FINDINGS} == dict(cohort.positives)
    for row in rows:
        assert row["patient_id"].startswith(f"SYN-{row['site']}-")
        for name in SIDED:
            assert (row[f"{name}_side"] in ("right", "left")) == (row[name] == "1")
    with cohort.reports_csv.open(newline="", encoding="utf-8") as stream:
        reports = list(csv.DictReader(stream))
    assert [r["path"] for r in reports] == [r["path"] for r in rows]
    assert all(SYNTHETIC_NOTE in r["report"] for r in reports)


def test_every_header_is_complete_and_says_synthetic(cohort: Cohort) -> None:
    uids = set()
    for row in films(cohort):
        ds = pydicom.dcmread(cohort.folder / row["path"])
        own = [ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID]
        assert all(UID(value).is_valid and value.startswith("2.25.") for value in own)
        uids.update(own)
        assert ds.StudyInstanceUID == row["study_uid"]
        assert ds.PatientID == row["patient_id"]
        assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert "SYNTHETIC" in str(ds.PatientName)
        assert ds.InstitutionName == f"Synthetic Site {row['site']}"
        assert ds.SeriesDescription == ds.ImageComments == "SYNTHETIC PHANTOM"
        assert "synthetic" in row["path"]
        assert ds.ViewPosition == "PA"
        assert ds.PatientAge == f"{int(ds.StudyDate[:4]) - int(ds.PatientBirthDate[:4]):03d}Y"
    assert len(uids) == 3 * cohort.n_images


def test_no_label_is_in_a_header(cohort: Cohort) -> None:
    for row in films(cohort):
        ds = pydicom.dcmread(cohort.folder / row["path"], stop_before_pixels=True)
        said = str(ds).lower()
        assert not [name for name in (*FINDINGS, "pleural", "heart", "right", "left") if name in said]


def test_the_two_sites_store_differently(cohort: Cohort) -> None:
    kinds = {}
    for row in films(cohort):
        ds = pydicom.dcmread(cohort.folder / row["path"], stop_before_pixels=True)
        kinds.setdefault(row["site"], set()).add(
            (
                ds.Modality,
                ds.Manufacturer,
                ds.ManufacturerModelName,
                ds.PhotometricInterpretation,
                ds.BitsStored,
            )
        )
    (kind_a,), (kind_b,) = kinds["A"], kinds["B"]
    assert not set(kind_a) & set(kind_b)
    assert kind_b[3:] == ("MONOCHROME1", 12)


def test_both_sites_look_like_chest_films_once_rendered(cohort: Cohort) -> None:
    """Lungs darker than the spine on a screen, whichever way the grey values are stored."""
    reader = DicomReader()
    for row in films(cohort)[:12]:
        (asset,) = reader.describe(source_at(str(cohort.folder / row["path"]), Limits()))
        assert isinstance(asset, Asset)
        shown = reader.read(asset, "display").pixels[..., 0].astype(float)
        high, wide = shown.shape
        spine = shown[int(0.45 * high) : int(0.6 * high), int(0.46 * wide) : int(0.54 * wide)]
        lungs = [
            shown[int(0.3 * high) : int(0.45 * high), int(x * wide) : int((x + 0.1) * wide)]
            for x in (0.22, 0.68)
        ]
        assert spine.mean() > 1.5 * max(lung.mean() for lung in lungs)


def test_a_cohort_of_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least two patients"):
        build_cohort(tmp_path, patients=1)


def test_uids_differ_by_what_they_name() -> None:
    assert uid(1, "a") == uid(1, "a")
    assert len({uid(1, "a"), uid(2, "a"), uid(1, "b"), uid(11, "a")}) == 4


def test_findings_are_as_common_as_promised_and_occur_together() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_lesions(rng) for _ in range(4000)]
    for name in FINDINGS:
        share = np.mean([any(lesion.name == name for lesion in one) for one in drawn])
        assert 0.14 < share < 0.31
    assert np.mean([len(one) > 1 for one in drawn]) > 0.15
    right = np.mean([lesion.side == "right" for one in drawn for lesion in one if lesion.name in SIDED])
    assert 0.45 < right < 0.55


def test_a_follow_up_keeps_sides_and_invents_nothing() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        first = draw_lesions(rng)
        later = follow_up(first, rng)
        assert {(lesion.name, lesion.side) for lesion in later} <= {
            (lesion.name, lesion.side) for lesion in first
        }


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("name", "air"), [("effusion", False), ("pneumothorax", True), ("nodule", False)])
def test_a_finding_shows_on_its_own_side_only(name: str, air: bool, side: str) -> None:
    person = draw_anatomy(np.random.default_rng(3))
    lesion = Lesion(name=name, side=side, size=0.6, place=(0.5, 0.5))  # type: ignore[arg-type]
    change = optical_depth(person, (lesion,), STRAIGHT, (200, 200)) - optical_depth(
        person, (), STRAIGHT, (200, 200)
    )
    halves = {"right": change[:, :98], "left": change[:, 102:]}
    other = "left" if side == "right" else "right"
    assert np.abs(halves[other]).max() == 0
    assert (halves[side].min() < -0.05) == air
    assert np.abs(halves[side]).max() > 0.1


def test_a_large_heart_is_wider_than_half_the_chest() -> None:
    person = draw_anatomy(np.random.default_rng(4))
    large = Lesion(name="cardiomegaly", side=None, size=0.5)
    change = optical_depth(person, (large,), STRAIGHT, (200, 200)) - optical_depth(
        person, (), STRAIGHT, (200, 200)
    )
    assert change.max() > 0.1
    assert abs(change.min()) < 0.15


def test_depth_is_finite_for_many_people_and_poses() -> None:
    rng = np.random.default_rng(6)
    for _ in range(20):
        depth = optical_depth(draw_anatomy(rng), draw_lesions(rng), draw_pose(rng), (64, 60))
        assert depth.shape == (64, 60)
        assert depth.dtype == np.float32
        assert np.isfinite(depth).all()
        assert depth.min() >= 0


def statements(n: int) -> list[tuple[tuple[Lesion, ...], Statement, str]]:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(n):
        person, lesions = draw_anatomy(rng), draw_lesions(rng)
        report = write_report(person, lesions, rng)
        assert {s.finding for s in report.statements} == set(FINDINGS)
        found += [(lesions, s, report.text) for s in report.statements]
    return found


def test_reports_omit_deny_doubt_and_err_as_often_as_promised() -> None:
    said = statements(1500)
    share = {
        word: np.mean([s.said == word for _, s, _ in said])
        for word in ("present", "absent", "uncertain", "omitted")
    }
    assert min(share.values()) > 0.04
    certain = [s for _, s, _ in said if s.said in ("present", "absent")]
    assert abs(np.mean([s.wrong for s in certain]) - WRONG) < 0.015
    for lesions, s, _ in said:
        truly = next((lesion for lesion in lesions if lesion.name == s.finding), None)
        if s.said == "present" and not s.wrong:
            assert truly is not None
            assert s.side == truly.side
        if s.said == "absent" and not s.wrong:
            assert truly is None


def test_wording_varies() -> None:
    texts = {text for _, s, text in statements(300) if s.said == "present"}
    assert len(texts) > 150
