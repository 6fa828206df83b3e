"""Segmentations and contours as masks, against highdicom and scikit-image."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from embedstore.errors import ReadFailure
from embedstore.readers.dicom_geometry import Plane, plane_of
from embedstore.readers.dicom_rtstruct import contour_mask, fill_polygon, read_structures
from embedstore.readers.dicom_seg import Reference, read_segments, region_of
from embedstore.readers.sources import FileSource
from embedstore.testing.readers import BytesSource

from .dicom_files import dataset, file_bytes, item

hd = pytest.importorskip("highdicom")


def slices(count: int, rows: int = 20, columns: int = 26) -> list[Dataset]:
    """A CT series with geometry, as highdicom wants it."""
    found = []
    for number in range(count):
        ds = dataset(
            np.zeros((rows, columns), np.int16), SOPInstanceUID=f"1.2.3.9.{number + 1}",
            FrameOfReferenceUID="1.2.9", ImagePositionPatient=[-10.0, -20.0, 3.0 * number],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0], PixelSpacing=[0.5, 0.75], SliceThickness=3,
            InstanceNumber=number + 1, StudyID="", StudyDate="20240101", StudyTime="", PatientBirthDate="",
            PatientSex="O", AccessionNumber="", ReferringPhysicianName="", SeriesNumber=1,
        )  # fmt: skip
        ds = pydicom.dcmread(io.BytesIO(file_bytes(ds)))
        found.append(ds)
    return found


def segmentation(kind: str, masks: np.ndarray, images: list[Dataset], count: int) -> bytes:
    code = hd.sr.CodedConcept("123037004", "SCT", "Anatomical Structure")
    described = [
        hd.seg.SegmentDescription(
            number + 1, f"part {number + 1}", code, code, hd.seg.SegmentAlgorithmTypeValues.MANUAL
        )
        for number in range(count)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seg = hd.seg.Segmentation(
            images, masks, kind, described, "1.2.3.5", 2, "1.2.3.5.1", 1, "M", "Model", "1", "SN"
        )
    out = io.BytesIO()
    seg.save_as(out)
    return out.getvalue()


def blobs(seed: int, frames: int, segments: int, rows: int = 20, columns: int = 26) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random((frames, rows, columns, segments)) > 0.7


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [("BINARY", ExplicitVRLittleEndian), ("FRACTIONAL", ExplicitVRLittleEndian), ("FRACTIONAL", RLELossless)],
)
def test_masks_come_back_for_their_images(kind, syntax):
    """Odd sizes, so that packed frames begin inside bytes; some frames are empty and left out."""
    images = slices(5, 7, 5)
    truth = blobs(1, 5, 3, 7, 5)
    truth[2, :, :, 1] = False
    given = truth.astype(np.float32) if kind == "FRACTIONAL" else truth.astype(np.uint8)
    data = segmentation(kind, given, images, 3)
    if syntax == RLELossless:
        ds = pydicom.dcmread(io.BytesIO(data))
        ds.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
        out = io.BytesIO()
        ds.save_as(out)
        data = out.getvalue()
    for segment in (1, 2, 3):
        masks = list(read_segments(BytesSource(data), [segment]))
        assert {mask.segment.label for mask in masks} == {f"part {segment}"}
        for place, image in enumerate(images):
            found = region_of(masks, Reference(image.SOPInstanceUID), plane_of(image, 0), (7, 5))
            expected = truth[place, :, :, segment - 1]
            if expected.any():
                assert found.dtype == bool
                assert np.array_equal(found, expected)
            else:
                assert found is None


def test_fractions_are_kept():
    images = slices(2)
    truth = np.linspace(0, 1, 2 * 20 * 26, dtype=np.float32).reshape(2, 20, 26, 1)
    data = segmentation("FRACTIONAL", truth, images, 1)
    for mask in read_segments(BytesSource(data)):
        place = next(n for n, one in enumerate(images) if Reference(one.SOPInstanceUID) in mask.references)
        expected = truth[place, :, :, 0]
        assert np.abs(mask.fraction - expected).max() <= 0.5 / 255 + 1e-6
        assert np.array_equal(mask.mask, mask.fraction >= 0.5)


def test_label_maps():
    images = slices(2)
    labels = np.random.default_rng(3).integers(0, 3, (2, 20, 26)).astype(np.uint8)
    data = segmentation("LABELMAP", labels, images, 2)
    masks = list(read_segments(BytesSource(data)))
    assert {mask.segment.number for mask in masks} == {1, 2}
    for mask in masks:
        place = next(n for n, one in enumerate(images) if Reference(one.SOPInstanceUID) in mask.references)
        assert np.array_equal(mask.mask, labels[place] == mask.segment.number)


def test_masks_without_references_are_found_by_their_plane():
    images = slices(3)
    truth = blobs(4, 3, 1)
    ds = pydicom.dcmread(io.BytesIO(segmentation("BINARY", truth[..., 0].astype(np.uint8), images, 1)))
    for group in ds.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    masks = list(read_segments(BytesSource(file_bytes(ds))))
    for place, image in enumerate(images):
        plane = plane_of(image, 0)
        found = region_of(masks, Reference(image.SOPInstanceUID), plane, (20, 26))
        assert np.array_equal(found, truth[place, :, :, 0])
    away = Plane((0, 0, 99), plane.along_row, plane.along_column, plane.spacing)
    assert region_of(masks, Reference("1.9"), away, (20, 26)) is None


def test_a_mask_of_another_matrix_is_sampled_at_pixel_centres():
    images = slices(1)
    truth = blobs(5, 1, 1)[..., 0]
    masks = list(read_segments(BytesSource(segmentation("BINARY", truth.astype(np.uint8), images, 1))))
    plane = plane_of(images[0], 0)
    shifted = Plane((-10 + 2 * 0.75, -20 + 0.5, 0), plane.along_row, plane.along_column, plane.spacing)
    found = region_of(masks, Reference(images[0].SOPInstanceUID), shifted, (19, 30))
    expected = np.zeros((19, 30), bool)
    expected[:, :24] = truth[0, 1:, 2:]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", ["liver_1frame.dcm", "liver_expb_1frame.dcm"])
def test_a_segmentation_of_another_writer(name):
    path = get_testdata_file(name)
    masks = list(read_segments(FileSource.of(Path(path))))
    assert np.array_equal(masks[0].mask, pydicom.dcmread(path).pixel_array > 0)


def test_overlapping_segments_as_highdicom_reads_them(shared_data):
    path = shared_data / "dicom" / "refuse_or_special" / "seg_image_ct_binary_overlap.dcm"
    seg = hd.seg.segread(path)
    masks = list(read_segments(FileSource.of(path)))
    for mask in masks:
        reference = mask.references[0]
        truth = seg.get_pixels_by_source_instance([reference.sop_uid], segment_numbers=[mask.segment.number])
        assert np.array_equal(mask.mask, truth[0, :, :, 0] > 0)
    assert len(masks) == 8


def test_an_image_is_no_segmentation():
    with pytest.raises(ReadFailure, match="SEG"):
        list(read_segments(BytesSource(file_bytes(dataset(np.zeros((2, 2), np.uint8))))))
    with pytest.raises(ReadFailure, match="RTSTRUCT"):
        read_structures(BytesSource(file_bytes(dataset(np.zeros((2, 2), np.uint8)))))


def test_polygons_are_filled_as_scikit_image_does():
    draw = pytest.importorskip("skimage.draw")
    rng = np.random.default_rng(0)
    for _ in range(30):
        corners = rng.uniform(-5, 40, (int(rng.integers(3, 12)), 2))
        truth = draw.polygon2mask((32, 28), corners)
        assert np.array_equal(fill_polygon(corners[:, 0], corners[:, 1], (32, 28)), truth)


def structure_set(contours: list[tuple[str | None, np.ndarray]]) -> bytes:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.7"
    ds.StructureSetROISequence = item(ROINumber=4, ROIName="Lesion")
    drawn = []
    for uid, points in contours:
        one = Dataset()
        one.ContourGeometricType, one.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
        one.ContourData = [float(part) for part in points.ravel()]
        if uid is not None:
            one.ContourImageSequence = item(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID=uid)
        drawn.append(one)
    roi = Dataset()
    roi.ReferencedROINumber, roi.ContourSequence = 4, Sequence(drawn)
    ds.ROIContourSequence = Sequence([roi])
    return file_bytes(ds)


def test_contours_become_masks_of_their_slice():
    image = slices(2)[1]
    plane = plane_of(image, 0)
    square = np.array([(4.5, 3.5), (4.5, 12.5), (10.5, 12.5), (10.5, 3.5)])  # column, row
    hole = np.array([(6.5, 5.5), (6.5, 8.5), (8.5, 8.5), (8.5, 5.5)])

    def points(corners):
        return np.array([(-10 + c * 0.75, -20 + r * 0.5, 3.0) for c, r in corners])

    expected = np.zeros((20, 26), bool)
    expected[4:13, 5:11] = True
    expected[6:9, 7:9] = False
    for uid in (image.SOPInstanceUID, None):
        (found,) = read_structures(BytesSource(structure_set([(uid, points(square)), (uid, points(hole))])))
        assert (found.number, found.name) == (4, "Lesion")
        mask = contour_mask(found.contours, Reference(image.SOPInstanceUID), plane, (20, 26))
        assert np.array_equal(mask, expected)
    assert contour_mask(found.contours, Reference("1.9"), plane_of(slices(1)[0], 0), (20, 26)) is None


def test_the_structure_set_that_pydicom_carries():
    path = get_testdata_file("rtstruct.dcm")
    found = read_structures(FileSource.of(Path(path)))
    truth = pydicom.dcmread(path, force=True)
    assert [one.name for one in found] == [one.ROIName for one in truth.StructureSetROISequence]
