"""Vectors without a store: of images, of regions by every kind of mask, of slices scaled by their volume."""

from __future__ import annotations

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
from embedstore.contracts.record import Cut
from embedstore.contracts.region import Box, MaskFile
from embedstore.encoders.reference import factory
from embedstore.engine.embed import EmbedRequest, embed
from embedstore.engine.pooling import Pooling
from embedstore.engine.requests import EncoderChoice
from embedstore.errors import BadInputFile, NotFound, UsageError
from embedstore.settings import Settings
from tests.unit.readers.dicom_files import dataset, file_bytes
from tests.unit.readers.test_dicom_seg import segmentation, slices, structure_set

INLINE = Settings(reading="inline")
ROWS, COLUMNS, DEPTH = 20, 26, 4
REGION = np.zeros((ROWS, COLUMNS), bool)
REGION[4:13, 5:11] = True


def run(*paths: Path, profile: str = "default", region=None, **more):
    choice = EncoderChoice(name="reference", profile=profile)
    return embed(EmbedRequest(paths=paths, encoder=choice, region=region, **more), INLINE)


def encoded(pixels, intensity, profile="default", roi=None, scale=None):
    encoder = factory.load("reference", LoadRequest(profile=profile))
    return encoder.encode_images([ImageInput(Decoded(pixels[..., None], intensity), roi, scale)])[0]


def values(depth: int = DEPTH) -> np.ndarray:
    """(D, H, W) whole HU; slices have different ranges, none of them the volume's."""
    rng = np.random.default_rng(5)
    return np.stack([rng.integers(-60 * n, 40 + 30 * n, (ROWS, COLUMNS)) for n in range(depth)]).astype(
        "int16"
    )


@pytest.fixture
def film(tmp_path) -> tuple[Path, np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 255, (ROWS, COLUMNS), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "film.png")
    return tmp_path / "film.png", pixels


@pytest.fixture
def series(tmp_path) -> tuple[list[Path], list[pydicom.Dataset], np.ndarray]:
    """A CT of four slices in files whose names are in no order."""
    images, hu = slices(DEPTH, ROWS, COLUMNS), values()
    for number, ds in enumerate(images):
        ds.PixelData, ds.RescaleSlope, ds.RescaleIntercept = hu[number].tobytes(), 1, 0
    folder = tmp_path / "series"
    folder.mkdir()
    paths = [folder / f"{7 * (n + 2) % 5}.dcm" for n in range(DEPTH)]
    for path, ds in zip(paths, images, strict=True):
        path.write_bytes(file_bytes(ds))
    return paths, images, hu


def test_vectors_are_the_encoders_and_what_is_no_image_is_told(film, tmp_path):
    path, pixels = film
    (tmp_path / "notes.txt").write_text("words")
    (tmp_path / "cut.png").write_bytes(path.read_bytes()[:60])
    found = run(tmp_path)
    assert np.array_equal(found.vectors, encoded(pixels, "display")[None])
    assert [(row.path, row.part) for row in found.rows] == [(str(path), "image")]
    assert [Path(one.path).name for one in found.skips] == ["notes.txt"]
    assert [Path(one.path).name for one in found.failures] == ["cut.png"]


def test_the_same_vectors_in_a_process_of_its_own(film):
    request = EmbedRequest(paths=(film[0],), encoder=EncoderChoice(name="reference"))
    found = embed(request, Settings(reading="apart"))
    assert np.array_equal(found.vectors, run(film[0]).vectors)


def test_an_npz_needs_no_pickle(film, tmp_path):
    found = run(film[0])
    found.write(tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as stored:
        assert set(stored) == {"vectors", "paths", "parts", "space"}
        assert np.array_equal(stored["vectors"], found.vectors)
        assert stored["vectors"].dtype == np.float32
        assert stored["paths"].tolist() == [str(film[0])]
        assert str(stored["space"]) == found.space
    assert [path.name for path in tmp_path.iterdir() if "npz" in path.name] == ["out.npz"]


# Regions


def test_a_box_and_a_picture_of_it_are_one_region(film, tmp_path):
    path, pixels = film
    truth = encoded(pixels, "display", roi=REGION)
    assert not np.array_equal(truth, encoded(pixels, "display"))
    assert np.array_equal(run(path, region=Box(5, 4, 11, 13)).vectors[0], truth)
    for name, mask in (("m.png", REGION * np.uint8(200)), ("m.tif", REGION * np.uint16(3))):
        Image.fromarray(mask).save(tmp_path / name)
        assert np.array_equal(run(path, region=MaskFile(str(tmp_path / name))).vectors[0], truth)
    labels = np.where(REGION, 2, 1).astype(np.uint8)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    chosen = run(path, region=MaskFile(str(tmp_path / "labels.png"), "2"))
    assert np.array_equal(chosen.vectors[0], truth)


def test_regions_that_do_not_fit_are_refused(film, tmp_path):
    path, _ = film
    with pytest.raises(UsageError, match="not inside the image, which is 26 pixels wide and 20 high"):
        run(path, region=Box(5, 4, 27, 13))
    Image.fromarray(REGION.T * np.uint8(1)).save(tmp_path / "turned.png")
    with pytest.raises(BadInputFile, match=r"turned.png: the mask is 20 pixels wide and 26 high"):
        run(path, region=MaskFile(str(tmp_path / "turned.png")))
    Image.fromarray(REGION * np.uint8(0)).save(tmp_path / "empty.png")
    with pytest.raises(BadInputFile, match=r"empty.png: the mask is empty"):
        run(path, region=MaskFile(str(tmp_path / "empty.png")))
    with pytest.raises(BadInputFile, match="'tumour' is no value"):
        run(path, region=MaskFile(str(tmp_path / "empty.png"), "tumour"))
    (tmp_path / "cut.png").write_bytes(path.read_bytes()[:60])
    with pytest.raises(BadInputFile, match=r"cut\.png"):
        run(path, region=MaskFile(str(tmp_path / "cut.png")))
    with pytest.raises(NotFound, match=r"gone\.png"):
        run(path, region=MaskFile(str(tmp_path / "gone.png")))


def _volume_mask(images, truth, path: Path, flip: bool) -> None:
    """A NIfTI mask (RAS) of a DICOM series (LPS), also with its axes flipped in storage."""
    affine = np.eye(4)
    affine[:3, 0] = np.array(images[0].ImageOrientationPatient[:3]) * images[0].PixelSpacing[1]
    affine[:3, 1] = np.array(images[0].ImageOrientationPatient[3:]) * images[0].PixelSpacing[0]
    affine[:3, 2] = np.subtract(images[1].ImagePositionPatient, images[0].ImagePositionPatient)
    affine[:3, 3] = images[0].ImagePositionPatient
    stored = truth.transpose(2, 1, 0).astype(np.uint8)
    if flip:
        stored = stored[::-1, :, ::-1]
        affine = affine @ np.array(
            [[-1, 0, 0, COLUMNS - 1], [0, 1, 0, 0], [0, 0, -1, DEPTH - 1], [0, 0, 0, 1]]
        )
    nib.save(nib.Nifti1Image(stored, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine), path)


@pytest.mark.parametrize("kind", ["seg", "rtstruct", "nifti", "flipped nifti"])
def test_masks_find_their_slices(series, tmp_path, kind):
    paths, images, hu = series
    truth = np.zeros((DEPTH, ROWS, COLUMNS), bool)
    truth[1:3] = REGION
    mask = tmp_path / ("mask.nii.gz" if "nifti" in kind else "mask.dcm")
    if kind == "seg":
        others = np.roll(truth, 3, axis=2)
        mask.write_bytes(segmentation("BINARY", np.stack([others, truth], -1).astype(np.uint8), images, 2))
    elif kind == "rtstruct":
        corners = [(4.5, 3.5), (4.5, 12.5), (10.5, 12.5), (10.5, 3.5)]  # column, row: closed form of REGION
        drawn = [
            (
                images[n].SOPInstanceUID,
                np.array([(-10 + c * 0.75, -20 + r * 0.5, 3.0 * n) for c, r in corners]),
            )
            for n in (1, 2)
        ]
        mask.write_bytes(structure_set(drawn))
    else:
        _volume_mask(images, truth, mask, "flipped" in kind)
    segment = {"seg": "part 2", "rtstruct": "lesion"}.get(kind)
    found = run(paths[0].parent, profile="ct", region=MaskFile(str(mask), segment))
    expected = {str(paths[n]): encoded(hu[n].astype(np.float32), "hu", "ct", REGION) for n in (1, 2)}
    assert {row.path: v.tolist() for row, v in zip(found.rows, found.vectors, strict=True)} == {
        path: vector.tolist() for path, vector in expected.items()
    }
    assert {one.path for one in found.skips} == {str(paths[0]), str(paths[3])}
    assert found.failures == ()


def test_dicom_masks_of_other_images_and_unnamed_segments(series, tmp_path):
    paths, images, _ = series
    truth = np.zeros((DEPTH, ROWS, COLUMNS, 2), np.uint8)
    truth[:, 3:9, 3:9] = 1
    (tmp_path / "seg.dcm").write_bytes(segmentation("BINARY", truth, images, 2))
    with pytest.raises(BadInputFile, match=r"choose one with --segment: 1 'part 1', 2 'part 2'"):
        run(paths[0], profile="ct", region=MaskFile(str(tmp_path / "seg.dcm")))
    with pytest.raises(BadInputFile, match="no segment is called 'liver'"):
        run(paths[0], profile="ct", region=MaskFile(str(tmp_path / "seg.dcm"), "liver"))
    stranger = slices(1, ROWS, COLUMNS)[0]
    stranger.SOPInstanceUID, stranger.ImagePositionPatient = "1.2.77", [0, 0, 500]
    stranger.RescaleSlope, stranger.RescaleIntercept = 1, 0
    (tmp_path / "stranger.dcm").write_bytes(file_bytes(stranger))
    with pytest.raises(BadInputFile, match=r"seg.dcm: the mask belongs to other images"):
        run(tmp_path / "stranger.dcm", profile="ct", region=MaskFile(str(tmp_path / "seg.dcm"), "1"))
    drawn = structure_set([("1.9", np.array([(0, 0, 9), (5, 0, 9), (5, 5, 9.0)]))])
    (tmp_path / "rt.dcm").write_bytes(drawn)
    with pytest.raises(BadInputFile, match=r"rt.dcm: the mask belongs to other images"):
        run(paths[0], profile="ct", region=MaskFile(str(tmp_path / "rt.dcm")))


@pytest.mark.parametrize("kind", ["seg", "rtstruct"])
def test_equal_coordinates_of_another_scan_are_another_place(series, tmp_path, kind):
    """Two scanners count from the same corner; only one frame of reference makes it one place."""
    _, images, _ = series
    if kind == "seg":
        truth = np.zeros((DEPTH, ROWS, COLUMNS, 1), np.uint8)
        truth[:, 3:9, 3:9] = 1
        mask = segmentation("BINARY", truth, images, 1)
    else:
        corners = np.array([(-8, -18, 0), (-8, -15, 0), (-4, -15, 0), (-4, -18, 0.0)])
        ds = pydicom.dcmread(io.BytesIO(structure_set([(None, corners)])))
        ds.StructureSetROISequence[0].ReferencedFrameOfReferenceUID = images[0].FrameOfReferenceUID
        mask = file_bytes(ds)
    (tmp_path / "mask.dcm").write_bytes(mask)
    region = MaskFile(str(tmp_path / "mask.dcm"))
    other = slices(1, ROWS, COLUMNS)[0]
    other.SOPInstanceUID, other.RescaleSlope, other.RescaleIntercept = "1.2.78", 1, 0
    (tmp_path / "same.dcm").write_bytes(file_bytes(other))
    assert len(run(tmp_path / "same.dcm", profile="ct", region=region).vectors) == 1
    other.FrameOfReferenceUID = "1.2.10"
    (tmp_path / "other.dcm").write_bytes(file_bytes(other))
    with pytest.raises(BadInputFile, match=r"mask.dcm: the mask belongs to other images"):
        run(tmp_path / "other.dcm", profile="ct", region=region)


def test_a_volume_between_the_pixels_is_no_mask(series, tmp_path):
    paths, images, _ = series
    moved = [pydicom.dcmread(io.BytesIO(file_bytes(one))) for one in images]
    for one in moved:
        one.ImagePositionPatient = np.add([float(x) for x in one.ImagePositionPatient], (0.3, 0, 0)).tolist()
    _volume_mask(moved, np.ones((DEPTH, ROWS, COLUMNS), bool), tmp_path / "mask.nii", False)
    with pytest.raises(BadInputFile, match="resample the mask"):
        run(paths[0], profile="ct", region=MaskFile(str(tmp_path / "mask.nii")))


def test_a_box_of_a_cropped_ultrasound_image_is_in_pixels_of_the_frame(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 255, (40, 50), dtype=np.uint8)
    region = pydicom.Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 10, 8
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 45, 35
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.1
    ds = dataset(pixels, Modality="US", SOPClassUID="1.2.840.10008.5.1.4.1.1.6.1")
    ds.SequenceOfUltrasoundRegions = [region]
    (tmp_path / "us.dcm").write_bytes(file_bytes(ds))
    found = run(tmp_path / "us.dcm", region=Box(12, 10, 30, 33))
    assert np.array_equal(found.vectors[0], encoded(pixels[10:33, 12:30], "display"))
    whole = run(tmp_path / "us.dcm")
    assert np.array_equal(whole.vectors[0], encoded(pixels[8:36, 10:46], "display"))


# Wholes


def test_slices_are_pooled_also_by_the_pixels_of_a_region(series, film, tmp_path):
    paths, images, _ = series
    truth = np.zeros((DEPTH, ROWS, COLUMNS), np.uint8)
    truth[1, 4:13, 5:11], truth[2, 2:4, 3:5] = 1, 1
    (tmp_path / "seg.dcm").write_bytes(segmentation("BINARY", truth, images, 1))
    for text in ("mean", "max"):
        parts = run(paths[0].parent, profile="ct")
        whole = run(paths[0].parent, profile="ct", pool=Pooling.of(text))
        expected = getattr(parts.vectors.astype(np.float64), text)(axis=0)
        assert np.allclose(whole.vectors, expected, atol=1e-6)
        assert [(row.part, row.parts) for row in whole.rows] == [("whole", DEPTH)]
        assert whole.space != parts.space
    region = MaskFile(str(tmp_path / "seg.dcm"))
    rows = run(paths[0].parent, profile="ct", region=region)
    areas = [truth[paths.index(Path(row.path))].sum() for row in rows.rows]
    gated = run(paths[0].parent, profile="ct", region=region, pool=Pooling.of("mean:region"))
    assert np.allclose(gated.vectors[0], np.average(rows.vectors, axis=0, weights=areas), atol=1e-6)
    with pytest.raises(UsageError, match="--box or --mask"):
        run(paths[0], profile="ct", pool=Pooling.of("mean:region"))
    alone = run(film[0], pool=Pooling.of("max"))
    assert np.array_equal(alone.vectors, run(film[0]).vectors)
    assert alone.rows[0].part == "image"


# Slices are scaled by their volume


def test_slices_of_a_series_share_the_extremes_of_the_volume(series):
    paths, _, hu = series
    found = run(paths[0].parent, profile="ct-volume")
    scale = float(hu.min()), float(hu.max())
    by_path = {row.path: vector for row, vector in zip(found.rows, found.vectors, strict=True)}
    for path, plane in zip(paths, hu, strict=True):
        expected = encoded(plane.astype(np.float32), "hu", "ct-volume", scale=scale)
        assert np.array_equal(by_path[str(path)], expected)
    alone = run(paths[1], profile="ct-volume")
    assert np.array_equal(alone.vectors[0], encoded(hu[1].astype(np.float32), "hu", "ct-volume"))
    assert not np.allclose(alone.vectors[0], by_path[str(paths[1])], atol=1e-3)


def test_percentiles_are_of_the_whole_volume_also_of_slices_that_are_not_taken(tmp_path):
    rng = np.random.default_rng(2)
    stored = (rng.gamma(2.0, 300.0, (12, 10, 9)) * (rng.random((12, 10, 9)) > 0.3)).astype(np.float32)
    nib.save(nib.Nifti1Image(stored, np.diag([-1.0, -1, 4, 1])), tmp_path / "mr.nii")
    low, high = np.percentile(stored[stored != 0].astype(np.float64), (0.5, 99.5))
    found = run(tmp_path / "mr.nii", profile="mr-volume", cut=Cut(every=4))
    assert [row.part for row in found.rows] == ["slice/k/0", "slice/k/4", "slice/k/8"]
    for row, vector in zip(found.rows, found.vectors, strict=True):
        plane = stored[:, :, int(row.part.rpartition("/")[2])].T
        expected = encoded(plane, "raw", "mr-volume", scale=(float(low), float(high)))
        assert np.allclose(vector, expected, atol=1e-5)
        assert not np.allclose(vector, encoded(plane, "raw", "mr-volume"), atol=1e-3)


def test_an_unreadable_slice_does_not_stop_its_volume(series):
    paths, _, hu = series
    paths[2].write_bytes(paths[2].read_bytes()[:-300])
    found = run(paths[0].parent, profile="ct-volume")
    assert [one.path for one in found.failures] == [str(paths[2])]
    kept = hu[[0, 1, 3]]
    by_path = {row.path: vector for row, vector in zip(found.rows, found.vectors, strict=True)}
    scale = float(kept.min()), float(kept.max())
    assert np.array_equal(
        by_path[str(paths[0])], encoded(hu[0].astype(np.float32), "hu", "ct-volume", scale=scale)
    )
