"""Regions in a store: from tables of boxes and from DICOM masks, found among regions and nowhere else."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from embedstore.contracts.encoder import LoadRequest
from embedstore.contracts.image import Image as Decoded
from embedstore.contracts.image import ImageInput
from embedstore.contracts.query import Query
from embedstore.contracts.region import Box, MaskFile
from embedstore.encoders.reference import factory
from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store
from embedstore.errors import BadInputFile, NotFound, UsageError
from embedstore.fingerprint import file_sha256
from tests.unit.readers.dicom_files import file_bytes
from tests.unit.readers.test_dicom_seg import segmentation, slices, structure_set

ROWS, COLUMNS, DEPTH = 20, 26, 4
BOXES = {"nodule": (5, 4, 11, 13), "scar": (12, 1, 25, 19)}


def vector_of(pixels, intensity="display", profile="default", roi=None):
    encoder = factory.load("reference", LoadRequest(profile=profile))
    return encoder.encode_images([ImageInput(Decoded(pixels[..., None], intensity), roi)])[0]


def boxed(x0, y0, x1, y1, shape=(ROWS, COLUMNS)):
    mask = np.zeros(shape, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def ask(*paths: Path, profile: str = "default", **more) -> IngestRequest:
    return IngestRequest(paths=paths, encoder=EncoderChoice(name="reference", profile=profile), **more)


def write_table(path: Path, rows: list[dict]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list({name: None for row in rows for name in row}))
        writer.writeheader()
        writer.writerows(rows)
    return path


def regions_of(store: Store) -> list:
    return store.items("kind = 'region'")


def stored(store: Store, item_id: int) -> np.ndarray:
    space = store._workspace.space("image")
    return store._workspace.catalog.item_vectors(space.id, np.array([item_id]))[1][0]


@pytest.fixture
def films(tmp_path) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found = {name: rng.integers(0, 255, (ROWS, COLUMNS), dtype=np.uint8) for name in ("a.png", "b.png")}
    (tmp_path / "films").mkdir()
    for name, pixels in found.items():
        Image.fromarray(pixels).save(tmp_path / "films" / name)
    return found


@pytest.fixture
def boxes(tmp_path) -> Path:
    """Two boxes on a, none on b, as published tables have them."""
    rows = [
        {"path": "films/a.png", "label": label, "x0": x0, "y0": y0, "x1": x1, "y1": y1}
        for label, (x0, y0, x1, y1) in BOXES.items()
    ]
    return write_table(tmp_path / "boxes.csv", [*rows, {"path": "films/b.png", "label": "none"}])


@pytest.fixture
def series(tmp_path) -> tuple[Path, list[pydicom.Dataset], np.ndarray]:
    rng, images = np.random.default_rng(5), slices(DEPTH, ROWS, COLUMNS)
    hu = rng.integers(-200, 300, (DEPTH, ROWS, COLUMNS)).astype(np.int16)
    folder = tmp_path / "series"
    folder.mkdir()
    for number, ds in enumerate(images):
        ds.PixelData, ds.RescaleSlope, ds.RescaleIntercept = hu[number].tobytes(), 1, 0
        (folder / f"{number}.dcm").write_bytes(file_bytes(ds))
    return folder, images, hu


def test_boxes_of_a_table_become_items_beside_their_image(store, films, boxes, tmp_path):
    report = store.ingest(ask(tmp_path / "films", regions=(boxes,)))
    assert (report.added, report.images, report.regions) == (4, 2, 2)
    assert report.seen == report.added + report.skipped + report.failed
    for item in regions_of(store):
        corners = BOXES[item.columns["label"]]
        assert item.part == f"image#box/{','.join(map(str, corners))}"
        assert [item.extra[f"region_{name}"] for name in ("x0", "y0", "x1", "y1")] == list(corners)
        assert item.extra["region_pixels"] == boxed(*corners).sum()
        assert item.sha256 == file_sha256(tmp_path / "films" / "a.png")
        assert np.array_equal(stored(store, item.id), vector_of(films["a.png"], roi=boxed(*corners)))
    again = store.ingest(ask(tmp_path / "films", regions=(boxes,)))
    assert (again.added, again.seen, again.known) == (0, 4, 4)
    assert (store.status().images, store.status().regions) == (2, 2)


def test_regions_come_to_images_that_are_in_the_store_already(store, films, boxes, tmp_path):
    store.ingest(ask(tmp_path / "films"))
    assert store.ingest(ask(tmp_path / "films", regions=(boxes,))).regions == 2
    assert store.ingest(ask(tmp_path / "films")).added == 0


@pytest.mark.parametrize(
    "row",
    [
        {"xmin": 5, "ymin": 4, "xmax": 11, "ymax": 13},
        {"x1": 5, "y1": 4, "x2": 11, "y2": 13},
        {"x": 5.2, "y": 3.9, "width": 6, "height": 9},
        {"box": "[5, 4, 11, 13]"},
        {"mask": "mask.png"},
        {"mask": "mask.png", "segment": 200},
        {"mask": "mask.png", "segment": 200.0},
    ],
)
def test_the_spellings_of_a_region(store, films, tmp_path, row):
    Image.fromarray(boxed(5, 4, 11, 13) * np.uint8(200)).save(tmp_path / "mask.png")
    table = write_table(tmp_path / "regions.csv", [{"path": "a.png", **row}])
    assert store.ingest(ask(tmp_path / "films", regions=(table,))).regions == 1
    (item,) = regions_of(store)
    assert np.array_equal(stored(store, item.id), vector_of(films["a.png"], roi=boxed(5, 4, 11, 13)))


PUBLISHED = {  # columns as in VinDr-CXR, NODE21, RSNA pneumonia, and a COCO file made a table
    ("image_id", "class_name", "class_id", "x_min", "y_min", "x_max", "y_max"): (
        "a",
        "scar",
        3,
        5,
        4,
        11,
        13,
    ),
    ("img_name", "label", "x", "y", "width", "height"): ("a.png", "scar", 5.0, 4.0, 6.0, 9.0),
    ("patientId", "x", "y", "width", "height", "Target"): ("a", 5.0, 4.0, 6.0, 9.0, "scar"),
    ("image_id", "file_name", "category", "x", "y", "w", "h"): (17, "a.png", "scar", 5, 4, 6, 9),
}


@pytest.mark.parametrize("columns", PUBLISHED, ids=lambda columns: columns[0])
def test_tables_as_data_sets_publish_them(store, films, tmp_path, columns):
    healthy = dict.fromkeys(columns, "") | {columns[0]: "b"}
    table = write_table(tmp_path / "t.csv", [dict(zip(columns, PUBLISHED[columns], strict=True)), healthy])
    mapping = {"patientId": "path"} if "patientId" in columns else {}
    report = store.ingest(ask(tmp_path / "films", regions=(table,), mapping=mapping))
    (item,) = regions_of(store)
    assert (item.part, item.columns["label"]) == ("image#box/5,4,11,13", "scar")
    assert (report.images, report.failed) == (2, 0)


def test_further_columns_of_a_table_are_attributes_of_its_regions(store, films, tmp_path):
    row = {"path": "a.png", "x": 5, "y": 4, "width": 6, "height": 9, "label": "scar", "region_pixels": 1}
    for malignancy in (4, 2):  # the same command with a mended table
        table = write_table(tmp_path / "t.csv", [{**row, "malignancy": malignancy}])
        store.ingest(ask(tmp_path / "films", regions=(table,)))
        (item,) = store.items(f"attr.malignancy = {malignancy}")
        assert item.kind == "region"
        assert not {"x", "y", "width", "height"} & item.extra.keys()
    (item,) = regions_of(store)
    assert item.extra["region_pixels"] == 54


def test_tables_that_name_no_region_are_refused(store, films, tmp_path):
    for rows, match in (
        ([{"path": "a.png", "note": "x"}], "no column has a region"),
        ([{"name": "a", "x0": 1, "y0": 1, "x1": 2, "y1": 2}], "no column says which image"),
        ([{"path": "a.png", "mask": "gone.png"}], r"line 2: its mask is no file: .*gone\.png"),
        ([{"path": "a.png", "x0": 9, "y0": 1, "x1": 2, "y1": 2}], "line 2: the box 9,1,2,2 is empty"),
        ([{"path": "a.png", "box": "1 2 3"}], "line 2: a box has four numbers"),
        ([{"path": "a.png", "x0": "", "y0": 1, "x1": 2, "y1": 2}], "line 2: a box has four numbers"),
        ([{"path": "a.png", "x0": 0.2, "y0": 0.1, "x1": 0.8, "y1": 1}], "line 2: boxes are in pixels"),
        ([{"path": "a.png", "box": "1 2 nan 3"}], "line 2: a box has four numbers"),
        ([{"path": "a.png", "x0": 1, "y0": 1, "x1": "inf", "y1": 2}], "line 2: a box has four numbers"),
        (
            [{"path": "a.png", "x0": 1, "y0": 1, "x1": x1, "y1": 2} for x1 in (5, "")],
            "line 3: a box has four numbers",
        ),
        (
            [{"path": path, "patient_id": "P", "x": 1, "y": 1, "w": 2, "h": 2} for path in ("a.png", "")],
            "line 3: nothing says which image",
        ),
    ):
        table = write_table(tmp_path / "regions.csv", rows)
        with pytest.raises(BadInputFile, match=match):
            store.ingest(ask(tmp_path / "films", regions=(table,)))
    assert store.status().images == 0
    with pytest.raises(NotFound):
        store.ingest(ask(tmp_path / "films", masks=(tmp_path / "gone",)))


def test_a_region_that_does_not_fit_is_one_failure(store, films, tmp_path):
    rows = [{"path": "a.png", "x0": 5, "y0": 4, "x1": x1, "y1": 13} for x1 in (11, 27)]
    report = store.ingest(ask(tmp_path / "films", regions=(write_table(tmp_path / "regions.csv", rows),)))
    assert (report.images, report.regions, report.failed) == (2, 1, 1)
    assert report.failures[0].part == "image#box/5,4,27,13"
    assert "not inside the image" in report.failures[0].reason


def test_rows_about_images_that_were_not_met_are_told(store, films, tmp_path):
    rows = [{"path": "films/c.png", "x0": 1, "y0": 1, "x1": 2, "y1": 2}]
    report = store.ingest(ask(tmp_path / "films", regions=(write_table(tmp_path / "regions.csv", rows),)))
    assert report.regions == 0
    assert "rows of --regions about none of the images met: 1" in report.notes


def test_a_region_that_is_called_two_things_is_told(store, films, tmp_path):
    rows = [{"path": "a.png", "box": "1 1 9 9", "label": label} for label in ("mass", "mass", "nodule")]
    report = store.ingest(ask(tmp_path / "films", regions=(write_table(tmp_path / "regions.csv", rows),)))
    assert [item.columns["label"] for item in regions_of(store)] == ["mass"]
    assert "call a region otherwise than a row before, which counts: 1" in report.notes[0]


@pytest.mark.parametrize("kind", ["seg", "rtstruct"])
def test_dicom_masks_find_their_slices_among_many(store, series, films, tmp_path, kind):
    folder, images, hu = series
    truth, masks = np.zeros((DEPTH, ROWS, COLUMNS), bool), tmp_path / "masks"
    masks.mkdir()
    truth[1:3] = boxed(5, 4, 11, 13)
    if kind == "seg":
        other = np.roll(truth, 8, axis=2) & (np.arange(DEPTH) == 1)[:, None, None]
        data = segmentation("BINARY", np.stack([truth, other], -1).astype(np.uint8), images, 2)
    else:
        corners = [(4.5, 3.5), (4.5, 12.5), (10.5, 12.5), (10.5, 3.5)]
        data = structure_set(
            [
                (
                    images[n].SOPInstanceUID,
                    np.array([(-10 + c * 0.75, -20 + r * 0.5, 3.0 * n) for c, r in corners]),
                )
                for n in (1, 2)
            ]
        )
    (masks / "mask.dcm").write_bytes(data)
    (masks / "notes.txt").write_text("not a mask")
    report = store.ingest(ask(folder, tmp_path / "films", profile="ct", masks=(masks,)))
    assert (report.images, report.failed) == (DEPTH, 2), "films have no HU"
    wanted = {("part 1" if kind == "seg" else "Lesion", n): truth[n] for n in (1, 2)}
    if kind == "seg":
        wanted["part 2", 1] = other[1]
    assert report.regions == len(wanted)
    for item in regions_of(store):
        number = int(Path(item.path).stem)
        mask = wanted.pop((item.columns["label"], number))
        assert np.array_equal(
            stored(store, item.id), vector_of(hu[number].astype(np.float32), "hu", "ct", mask)
        )
        assert item.part.startswith(f"image#mask/{file_sha256(masks / 'mask.dcm')[:32]}/")
    assert not wanted
    again = store.ingest(ask(folder, profile="ct", masks=(masks,)))
    assert (again.added, again.skipped) == (0, DEPTH + report.regions)


def test_a_segment_may_go_by_its_label(store, series, tmp_path):
    folder, images, _ = series
    truth = np.repeat(boxed(5, 4, 11, 13)[None], DEPTH, 0).astype(np.uint8)[..., None]
    (tmp_path / "mask.dcm").write_bytes(segmentation("BINARY", truth, images, 1))
    rows = [{"sop_uid": images[1].SOPInstanceUID, "mask": "mask.dcm", "segment": "part 1"}]
    asked = ask(folder, profile="ct", regions=(write_table(tmp_path / "regions.csv", rows),))
    assert store.ingest(asked).regions == 1
    assert store.ingest(asked).added == 0
    (item,) = regions_of(store)
    assert Path(item.path).name == "1.dcm"
    assert "region_segment" not in item.extra
    assert store.thumbnail(item.id, 64) is not None


def test_segments_that_were_found_nowhere_are_nothing(store, series, tmp_path):
    folder, images, _ = series
    truth = np.zeros((DEPTH, ROWS, COLUMNS, 2), np.uint8)
    truth[1, 4:13, 5:11, 0] = 1
    (tmp_path / "mask.dcm").write_bytes(segmentation("BINARY", truth, images, 2))
    report = store.ingest(ask(folder, profile="ct", masks=(tmp_path / "mask.dcm",)))
    assert (report.seen, report.images, report.regions) == (DEPTH + 1, DEPTH, 1)


def test_segments_that_are_not_described_are_told_apart(store, series, tmp_path):
    folder, images, hu = series
    truth = np.zeros((DEPTH, ROWS, COLUMNS, 2), np.uint8)
    truth[1, 4:13, 5:11, 0] = truth[1, 1:19, 12:25, 1] = 1
    seg = pydicom.dcmread(io.BytesIO(segmentation("BINARY", truth, images, 2)))
    del seg.SegmentSequence
    seg.save_as(tmp_path / "mask.dcm")
    store.ingest(ask(folder, profile="ct", masks=(tmp_path / "mask.dcm",)))
    found = {item.extra["region_segment"]: stored(store, item.id) for item in regions_of(store)}
    assert found.keys() == {1, 2}
    for number, vector in found.items():
        mask = truth[1, :, :, number - 1] > 0
        assert np.array_equal(vector, vector_of(hu[1].astype(np.float32), "hu", "ct", mask))


def test_a_mask_that_was_copied_counts_once(store, series, tmp_path):
    folder, images, _ = series
    masks = tmp_path / "masks"
    masks.mkdir()
    truth = np.repeat(boxed(5, 4, 11, 13)[None], DEPTH, 0).astype(np.uint8)[..., None]
    data = segmentation("BINARY", truth, images, 1)
    for name in ("mask.dcm", "copy.dcm"):
        (masks / name).write_bytes(data)
    rows = [{"sop_uid": one.SOPInstanceUID, "mask": "masks/mask.dcm", "segment": 1} for one in images]
    table = write_table(tmp_path / "regions.csv", rows)
    report = store.ingest(ask(folder, profile="ct", masks=(masks,), regions=(table,)))
    assert (report.seen, report.images, report.regions) == (2 * DEPTH, DEPTH, DEPTH)


def test_wholes_are_made_of_images_alone(store, series, tmp_path):
    folder, images, _ = series
    truth = np.repeat(boxed(5, 4, 11, 13)[None], DEPTH, 0).astype(np.uint8)[..., None]
    (tmp_path / "mask.dcm").write_bytes(segmentation("BINARY", truth, images, 1))
    for number, item in enumerate(images):
        (folder / f"{number}.dcm").write_bytes(file_bytes(item))
    store.ingest(ask(folder, profile="ct", pool=("mean",)))
    before = store.search(Query(like=1, within="wholes"))
    report = store.ingest(ask(folder, profile="ct", pool=("mean",), masks=(tmp_path / "mask.dcm",)))
    assert report.regions == DEPTH
    after = store.search(Query(like=1, within="wholes"))
    assert [hit.parts for hit in after.hits] == [hit.parts for hit in before.hits] == [DEPTH]
    assert after.hits[0].score == pytest.approx(before.hits[0].score)


def test_regions_do_not_weigh_in_the_range_of_their_volume(series, tmp_path):
    """Its percentiles would be others if a slice counted again with each of its regions."""
    folder, images, _ = series
    truth = np.zeros((DEPTH, ROWS, COLUMNS, 1), np.uint8)
    truth[0, 4:13, 5:11] = 1
    (tmp_path / "mask.dcm").write_bytes(segmentation("BINARY", truth, images, 1))
    found = []
    for masks in ((), (tmp_path / "mask.dcm",)):
        with Store.create(tmp_path / f"store {len(masks)}") as store:
            store.ingest(ask(folder, profile="mr-volume", masks=masks))
            found.append({i.path: stored(store, i.id).tolist() for i in store.items("kind = 'image'")})
            assert len(regions_of(store)) == len(masks)
    assert found[0] == found[1]


def test_a_mask_that_cannot_be_read_and_one_about_others_are_told(store, series, films, tmp_path):
    _, images, _ = series
    data = segmentation("BINARY", np.ones((DEPTH, ROWS, COLUMNS, 1), np.uint8), images, 1)
    (tmp_path / "cut.dcm").write_bytes(data[:600])
    (tmp_path / "whole.dcm").write_bytes(data)
    masks = (tmp_path / "cut.dcm", tmp_path / "whole.dcm", tmp_path / "films" / "a.png")
    report = store.ingest(ask(tmp_path / "films" / "b.png", masks=masks))
    assert (report.images, report.regions, report.failed) == (1, 0, 2)
    reasons = {Path(one.path).name: one.reason for one in report.failures}
    assert set(reasons) == {"cut.dcm", "a.png"}
    assert "with --regions" in reasons["a.png"]
    assert "regions drawn on none of the images met: 1 of 1" in report.notes


def test_an_image_that_was_taken_for_a_mask_stays_an_image(store, films, tmp_path):
    (tmp_path / "films" / "a.png").rename(tmp_path / "a.png")
    store.ingest(ask(tmp_path / "a.png"))
    assert store.ingest(ask(tmp_path / "films", masks=(tmp_path / "a.png",))).failed == 1
    row = store._workspace.catalog.known_sources([str(tmp_path / "a.png")])[str(tmp_path / "a.png")]
    assert (row.outcome, row.sha256) == ("items", file_sha256(tmp_path / "a.png"))


def test_an_encoder_of_whole_images_takes_no_regions(store, films, boxes, tmp_path):
    starter = EncoderChoice(name="starter", profile="draft", threads=1)
    with pytest.raises(UsageError, match="whole images only"):
        store.ingest(IngestRequest(paths=(tmp_path / "films",), encoder=starter, regions=(boxes,)))
    assert store.status().images == 0


def test_regions_are_of_whomever_their_image_is(store, films, boxes, tmp_path):
    """A table that tells it may come after them, by itself, or before them."""
    rows = [{"path": "films/a.png", "patient_id": "P1", "split": "test", "label": "chest"}]
    metadata = write_table(tmp_path / "metadata.csv", rows)
    with Store.create(tmp_path / "told first") as other:
        other.ingest(ask(tmp_path / "films", metadata=(metadata,), site="A"))
        other.ingest(ask(tmp_path / "films", regions=(boxes,)))
        first = {i.columns["label"]: (i.patient, i.columns["split"]) for i in regions_of(other)}
    store.ingest(ask(tmp_path / "films", regions=(boxes,)))
    assert store.ingest(ask(tmp_path / "films", metadata=(metadata,), site="A")).moved == 1 + len(BOXES)
    assert first == dict.fromkeys(BOXES, ("A/P1", "test"))
    assert first == {i.columns["label"]: (i.patient, i.columns["split"]) for i in regions_of(store)}
    (asked, *_) = regions_of(store)
    assert not store.search(Query(like=asked.id, exclude_patient="P1")).hits
    store.ingest(ask(tmp_path / "films", regions=(boxes,)))
    assert {item.patient for item in regions_of(store)} == {"A/P1"}
    (tmp_path / "films").rename(tmp_path / "moved")
    store.ingest(ask(tmp_path / "moved"))
    assert all(store.thumbnail(item.id, 64) for item in regions_of(store))


def test_a_later_ingest_without_them_leaves_regions_as_they_are(store, films, boxes, tmp_path):
    store.ingest(ask(tmp_path / "films", regions=(boxes,)))
    before = {item.id: (item.columns["label"], dict(item.extra)) for item in regions_of(store)}
    table = write_table(
        tmp_path / "labels.csv", [{"path": "films/a.png", "patient_id": "P1", "label": "ill"}]
    )
    report = store.ingest(ask(tmp_path / "films", metadata=(table,)))
    assert report.added == 0
    after = {item.id: (item.columns["label"], dict(item.extra)) for item in regions_of(store)}
    assert after == before
    assert {item.columns["patient_id"] for item in regions_of(store)} == {"P1"}


# Search


@pytest.fixture
def marked(store, films, boxes, tmp_path):
    store.ingest(ask(tmp_path / "films", regions=(boxes,)))
    return store


@pytest.mark.parametrize("index", ["exact", "faiss"])
def test_regions_are_found_among_regions_and_images_among_images(marked, tmp_path, index):
    (nodule,) = marked.items("kind = 'region' and label = 'nodule'")
    found = marked.search(Query(like=nodule.id, index=index))
    assert found.query.within == "regions"
    assert {hit.item.kind for hit in found.hits} == {"region"}
    assert found.hits[0].item.id == nodule.id
    assert found.matched == 2
    images = marked.search(Query(like=nodule.id, within="images", index=index))
    assert {hit.item.kind for hit in images.hits} == {"image"}
    whole = marked.search(Query(image=str(tmp_path / "films" / "a.png"), index=index))
    assert whole.query.within == "images"
    assert [hit.item.part for hit in whole.hits] == ["image", "image"]


def test_a_box_on_a_file_asks_for_regions(marked, tmp_path):
    path = str(tmp_path / "films" / "a.png")
    found = marked.search(Query(image=path, region=Box(*BOXES["scar"])))
    assert found.hits[0].item.columns["label"] == "scar"
    assert found.hits[0].score == pytest.approx(1)
    Image.fromarray(boxed(*BOXES["nodule"]) * np.uint8(1)).save(tmp_path / "mask.png")
    found = marked.search(Query(image=path, region=MaskFile(str(tmp_path / "mask.png"))))
    assert found.hits[0].item.columns["label"] == "nodule"
    with pytest.raises(UsageError, match=r"does not fit .*a\.png: the box 0,0,99,99 is not inside"):
        marked.search(Query(image=path, region=Box(0, 0, 99, 99)))
    for odd, match in (
        (Query(like=1, region=Box(0, 0, 9, 9)), "part of --image"),
        (Query(image=path, region=Box(0, 0, 9, 9), within="wholes"), "part of --image"),
        (Query(text="nodule", says="present", within="regions"), "among images or reports"),
    ):
        with pytest.raises(UsageError, match=match):
            marked.search(odd)


def test_a_store_without_regions_says_so(store, films, tmp_path):
    store.ingest(ask(tmp_path / "films"))
    found = store.search(Query(like=1, within="regions"))
    assert not found.hits
    assert "holds no regions" in found.note


def test_the_picture_of_a_region_shows_where_it_lies(marked, films):
    (nodule,) = marked.items("kind = 'region' and label = 'nodule'")
    shown = np.asarray(Image.open(io.BytesIO(marked.thumbnail(nodule.id, 64))))
    x0, y0, x1, y1 = BOXES["nodule"]
    assert shown.shape == (ROWS, COLUMNS, 3)
    for row, column in ((y0 - 1, x0 - 1), (y0 - 1, x1), (y1, x0 - 1), (y1, x1), (y0 + 3, x0 - 1)):
        assert tuple(shown[row, column]) == (255, 176, 0)
    inside = shown[y0:y1, x0:x1]
    assert np.array_equal(inside, np.repeat(films["a.png"][y0:y1, x0:x1, None], 3, axis=2))


def test_the_picture_of_a_query_shows_its_region(marked, tmp_path):
    path, (nodule,) = tmp_path / "films" / "a.png", marked.items("kind = 'region' and label = 'nodule'")
    box = Box(*BOXES["nodule"])
    assert marked.picture_of(path, 64, region=box) == marked.thumbnail(nodule.id, 64)
    assert marked.picture_of(path, 64, region=box) != marked.picture_of(path, 64)
    assert marked.picture_of(path, 64, region=Box(0, 0, 99, 99)) is None


def test_the_picture_of_a_query_is_of_the_slice_that_the_region_lies_on(store, tmp_path):
    voxels = np.random.default_rng(2).integers(0, 255, (6, 7, 4)).astype(np.uint8)
    labels = np.zeros_like(voxels)
    labels[2:4, 3:5, 2] = 1
    for name, values in (("image", voxels), ("labels", labels)):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii")
    region = MaskFile(str(tmp_path / "labels.nii"))
    store.ingest(ask(tmp_path / "image.nii"))
    shown = Image.open(io.BytesIO(store.picture_of(tmp_path / "image.nii", 64, region=region)))
    (third,) = store.items("part_number = 3")
    plain = Image.open(io.BytesIO(store.thumbnail(third.id, 64))).convert("RGB")
    assert np.array_equal(np.asarray(shown)[-1], np.asarray(plain)[-1])  # below the frame
