"""Which frames become items, in which order, of which whole; geometry against SimpleITK and highdicom."""

from __future__ import annotations

import io
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from embedstore.contracts.record import Asset, Cut
from embedstore.errors import ReadFailure
from embedstore.readers.dicom import DicomReader
from embedstore.readers.dicom_frames import KIND_OF_CLASS, spread
from embedstore.readers.sources import FileSource
from embedstore.testing.readers import BytesSource

from .dicom_files import dataset, file_bytes, item

SOP = "1.2.840.10008.5.1.4.1.1."
US, XA, NM, SC, TOMO, MR, CT, PET = (
    SOP + number for number in ("3.1", "12.1", "20", "7.2", "13.1.3", "4.1", "2.1", "130")
)


def many(count: int, sop_class: str, **elements) -> Dataset:
    """A multi-frame object whose frame N (from 1) has the value N everywhere."""
    pixels = np.broadcast_to(np.arange(1, count + 1, dtype=np.uint16)[:, None, None], (count, 4, 6))
    return dataset(pixels.copy(), NumberOfFrames=count, SOPClassUID=sop_class, **elements)


def stack(positions, sop_class: str = MR, orientation=(1, 0, 0, 0, 1, 0), groups=None, **elements) -> Dataset:
    """An enhanced object with a frame at each position along z. groups: further macros of each frame."""
    frames = []
    for index, z in enumerate(positions):
        frame = Dataset()
        frame.PlanePositionSequence = item(ImagePositionPatient=[1.0, 2.0, float(z)])
        for keyword, value in (groups[index] if groups else {}).items():
            setattr(frame, keyword, value)
        frames.append(frame)
    shared = Dataset()
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=list(orientation))
    shared.PixelMeasuresSequence = item(PixelSpacing=[0.5, 0.25], SliceThickness=2)
    return many(
        len(frames), sop_class, PerFrameFunctionalGroupsSequence=Sequence(frames),
        SharedFunctionalGroupsSequence=Sequence([shared]), **elements,
    )  # fmt: skip


def described(ds: Dataset, **cut) -> list[Asset]:
    return list(DicomReader().describe(BytesSource(file_bytes(ds)), Cut(**cut)))


def numbers(assets: list[Asset]) -> list[int]:
    """The frames that the assets are read from."""
    return [int(DicomReader().read(asset, "raw").pixels[0, 0, 0]) for asset in assets]


def test_every_class_of_the_table_has_a_name():
    """A wrong number would be a private class to pydicom."""
    for uid in KIND_OF_CLASS:
        assert pydicom.uid.UID(uid).name != uid


def test_cine_is_sampled_with_times():
    found = described(many(100, US, FrameTime="40", FrameIncrementPointer=0x00181063))
    assert len(found) == 16
    assert numbers(found) == [index + 1 for index in spread(100, 16)]
    assert [asset.part for asset in found[:3]] == ["frame/4", "frame/10", "frame/16"]
    assert [asset.header.time_s for asset in found[:2]] == [0.12, 0.36]
    assert found[0].header.part_number == found[0].header.frame == 4
    assert len({asset.header.whole for asset in found}) == 1
    assert found[0].header.whole is not None


def test_short_cine_is_whole_and_sampling_can_be_chosen():
    ds = many(40, XA, CineRate=10)
    assert len(described(many(16, XA))) == 16
    assert numbers(described(ds, every=10)) == [1, 11, 21, 31]
    assert len(described(ds, unit="frame")) == 40
    assert numbers(described(ds, unit="frame", every=20)) == [1, 21]
    assert described(ds, unit="frame")[10].header.time_s == 1.0
    (whole,) = described(ds, unit="image")
    assert whole.part == "image"
    assert DicomReader().read(whole).pixels.shape == (40, 4, 6, 1)
    assert numbers(described(ds, unit="volume")) == numbers(described(ds))  # there is none


def test_identity_does_not_depend_on_the_sampling():
    ds = many(40, XA, CineRate=10)
    every = {asset.part: asset.header for asset in described(ds, unit="frame")}
    for asset in described(ds, every=7) + described(ds):
        assert every[asset.part] == asset.header


@given(st.integers(1, 400), st.integers(1, 32))
def test_frames_are_spread_evenly(count, take):
    if count < take:
        return
    found = spread(count, take)
    steps = np.diff(found)
    assert found[0] >= 0
    assert found[-1] < count
    assert len(set(found)) == take
    assert len(found) < 2 or steps.max() - steps.min() <= 1
    assert abs(found[0] - (count - 1 - found[-1])) <= 1


def test_frame_times_by_vector():
    ds = many(3, US, FrameTimeVector=[0, 10, 30], FrameIncrementPointer=0x00181065, FrameTime="5")
    assert [asset.header.time_s for asset in described(ds)] == [0.0, 0.01, 0.04]


def test_frame_times_by_the_moments_of_the_frames():
    moments = ["20240101235959.500+0000", "20240102010000.000+0100", "20240102000001"]
    groups = [{"FrameContentSequence": item(FrameAcquisitionDateTime=moment)} for moment in moments]
    frames = [Dataset() for _ in groups]
    for frame, group in zip(frames, groups, strict=True):
        frame.FrameContentSequence = group["FrameContentSequence"]
    ds = many(3, SOP + "12.1.1", PerFrameFunctionalGroupsSequence=Sequence(frames))
    assert [asset.header.time_s for asset in described(ds)] == [0.0, 0.5, 1.5]


@pytest.mark.parametrize("sop_class", [MR, CT, PET, TOMO, SOP + "77.1.5.4", SC])
def test_stacks_are_sorted_along_their_normal(sop_class):
    positions = [6, 2, 4, 0, 8]
    found = described(stack(positions, sop_class))
    assert [asset.header.position_mm for asset in found] == [0, 2, 4, 6, 8]
    assert numbers(found) == [4, 2, 3, 1, 5]
    assert [asset.header.part_number for asset in found] == [1, 2, 3, 4, 5]
    assert [asset.part for asset in found] == ["frame/4", "frame/2", "frame/3", "frame/1", "frame/5"]
    assert len({asset.header.whole for asset in found}) == 1
    assert "Spacing" not in found[0].header.extra
    assert found[0].header.slice_thickness_mm == 2
    assert numbers(described(stack(positions, sop_class), every=2)) == [4, 3, 5]


def test_the_attributes_of_a_whole_are_in_memory_once():
    found = described(stack(range(50)))
    assert len({id(asset.header.extra) for asset in found}) == 1


def test_a_gap_is_flagged():
    assert described(stack([0, 2, 4, 8]))[0].header.extra["Spacing"] == "uneven"
    (volume,) = described(stack([0, 2, 4, 8]), unit="volume")
    assert DicomReader().read(volume).affine is None


def test_further_dimensions_part_the_wholes():
    """Two time points, two frame types, at the same three places."""
    positions, groups = [], []
    for time in (1, 2):
        for kind in ("M", "P"):
            for z in (0, 2, 4):
                positions.append(z)
                groups.append(
                    {
                        "FrameContentSequence": item(TemporalPositionIndex=time, StackID="1"),
                        "TemporalPositionSequence": item(TemporalPositionTimeOffset=1.5 * (time - 1)),
                        "MRImageFrameTypeSequence": item(FrameType=["ORIGINAL", "PRIMARY", "NONE", kind]),
                    }
                )
    found = described(stack(positions, groups=groups))
    wholes = defaultdict(list)
    for asset in found:
        wholes[asset.header.whole].append(asset)
    assert [numbers(members) for members in wholes.values()] == [
        [1, 2, 3],
        [4, 5, 6],
        [7, 8, 9],
        [10, 11, 12],
    ]
    assert [members[0].header.time_s for members in wholes.values()] == [0.0, 0.0, 1.5, 1.5]
    volumes = described(stack(positions, groups=groups), unit="volume")
    assert [volume.part for volume in volumes] == [f"volume/{n}" for n in (1, 2, 3, 4)]
    assert DicomReader().read(volumes[3], "raw").pixels[:, 0, 0, 0].tolist() == [10, 11, 12]


def test_slices_at_one_place_are_parted_though_no_attribute_says_why():
    found = described(stack([0, 2, 4, 0, 2, 4]))
    assert len({asset.header.whole for asset in found}) == 2
    assert numbers(found) == [1, 2, 3, 4, 5, 6]


def test_slices_at_one_place_are_parted_by_the_dimension_indexes():
    groups = [{"FrameContentSequence": item(DimensionIndexValues=[place, other])}
              for place, other in ((1, 1), (1, 2), (2, 1), (2, 2))]  # fmt: skip
    dimensions = []
    for pointer in (0x00209057, 0x00180086):
        one = Dataset()
        one.DimensionIndexPointer = pointer
        dimensions.append(one)
    ds = stack([0, 0, 2, 2], groups=groups, DimensionIndexSequence=Sequence(dimensions))
    assert numbers(described(ds)) == [1, 3, 2, 4]


def test_mixed_orientations_are_wholes_of_their_own_and_radial_scans_are_not():
    axial, sagittal = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1]
    orient = [
        {
            "PlaneOrientationSequence": item(ImageOrientationPatient=orientation),
            "PlanePositionSequence": item(ImagePositionPatient=[place, 0, place]),
        }
        for place in (0, 2)
        for orientation in (axial, sagittal)
    ]
    assert len({asset.header.whole for asset in described(stack([0, 0, 2, 2], groups=orient))}) == 2
    angles = np.deg2rad([0, 30, 60, 90])
    radial = [
        {"PlaneOrientationSequence": item(ImageOrientationPatient=[np.cos(a), np.sin(a), 0, 0, 0, 1])}
        for a in angles
    ]
    found = described(stack([0, 0, 0, 0], SOP + "77.1.5.4", groups=radial))
    assert len({asset.header.whole for asset in found}) == 1
    assert numbers(found) == [1, 2, 3, 4]
    assert {asset.header.position_mm for asset in found} == {None}


def test_volumes_have_an_affine_of_slices_rows_and_columns():
    (volume,) = described(stack([6, 2, 4, 0]), unit="volume")
    image = DicomReader().read(volume, "raw")
    assert volume.part == "volume"
    assert image.pixels.shape == (4, 4, 6, 1)
    assert image.pixels[:, 0, 0, 0].tolist() == [4, 2, 3, 1]
    assert image.spacing_mm == (2.0, 0.5, 0.25)
    assert np.allclose(image.affine @ [3, 2, 1, 1], [1 + 0.25, 2 + 2 * 0.5, 6, 1])


def test_nuclear_medicine_by_its_vectors():
    ds = many(
        6, NM, FrameIncrementPointer=[0x00540070, 0x00540080], TimeSlotVector=[1, 1, 1, 2, 2, 2],
        SliceVector=[3, 1, 2, 1, 2, 3], SpacingBetweenSlices=4,
        DetectorInformationSequence=item(
            ImagePositionPatient=[0, 0, 10], ImageOrientationPatient=[1, 0, 0, 0, 1, 0]
        ),
    )  # fmt: skip
    found = described(ds)
    assert numbers(found) == [2, 3, 1, 4, 5, 6]
    assert [asset.header.position_mm for asset in found] == [10, 14, 18] * 2
    assert len({asset.header.whole for asset in found}) == 2
    planar = many(20, NM, FrameIncrementPointer=[0x00540010, 0x00540020])
    assert len(described(planar)) == 20


def test_parts_that_are_not_there():
    (asset,) = described(stack([0, 2]), unit="volume")
    for part in ("volume/1", "volume/", "volume/3", "frame/3", "frame/01", "slice/1", "frame/"):
        other = Asset(source=asset.source, part=part, reader="dicom", header=asset.header)
        with pytest.raises(ReadFailure):
            DicomReader().read(other)


def classic(z: float, **elements) -> Asset:
    given = {
        "SOPClassUID": SOP + "2", "ImagePositionPatient": [0, 0, z], "PixelSpacing": [1, 1],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], **elements,
    }  # fmt: skip
    ds = dataset(np.zeros((4, 6), np.uint16), **given)
    return next(iter(DicomReader().describe(BytesSource(file_bytes(ds)))))


def test_classic_slices_share_a_whole():
    first, second = classic(0).header, classic(5, AcquisitionNumber=2, InstanceNumber=9).header
    assert first.whole == second.whole is not None
    assert (first.position_mm, second.position_mm) == (0, 5)
    assert "1.2.3" not in first.whole


@pytest.mark.parametrize(
    "other",
    [
        {"SeriesInstanceUID": "1.2.3.5"}, {"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]},
        {"PixelSpacing": [2, 2]}, {"TemporalPositionIdentifier": 2}, {"ImageType": ["DERIVED", "SECONDARY"]},
    ],
)  # fmt: skip
def test_classic_slices_that_do_not_belong_together(other):
    assert classic(0).header.whole != classic(0, **other).header.whole


def test_classic_mr_echoes_and_classic_pet_blocks():
    mr = {"SOPClassUID": SOP + "4", "Modality": "MR"}
    for keyword in ("EchoTime", "AcquisitionNumber"):
        assert len({classic(0, **{keyword: value}, **mr).header.whole for value in (1, 2)}) == 2
    pet = {"SOPClassUID": SOP + "128", "Modality": "PT", "NumberOfSlices": 10}
    pet["SeriesType"] = ["DYNAMIC", "IMAGE"]
    wholes = [classic(0, ImageIndex=n, FrameReferenceTime=100 * n, **pet).header for n in (1, 10, 11)]
    assert wholes[0].whole == wholes[1].whole != wholes[2].whole
    assert wholes[2].time_s == 1.1


def test_localizers_and_films_belong_to_no_whole():
    assert classic(0, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]).header.whole is None
    assert classic(0, SOPClassUID=SOP + "1.1").header.whole is None


def test_the_ct_series_as_simpleitk_reads_it(shared_data):
    itk = pytest.importorskip("SimpleITK")
    folder = shared_data / "dicom_series" / "ct_philips_head_phantom_5mm"
    files = sorted(folder.iterdir())
    random.Random(1).shuffle(files)
    reader = DicomReader()
    found = [next(iter(reader.describe(FileSource.of(path)))) for path in files]
    assert len({asset.header.whole for asset in found}) == 1
    found.sort(key=lambda asset: asset.header.position_mm)
    names = itk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    truth = itk.ReadImage(names)
    assert [Path(asset.source.path).name for asset in found] == [Path(name).name for name in names]
    for place in (0, 8, 16):
        image = reader.read(found[place], "hu")
        assert np.array_equal(image.pixels[..., 0], itk.GetArrayFromImage(truth)[place].astype(np.float32))
        for row, column in ((0, 0), (3, 100), (511, 511)):
            expected = truth.TransformIndexToPhysicalPoint((column, row, place))
            assert np.allclose((image.affine @ [0, row, column, 1])[:3], expected, atol=1e-4)


def test_fmri_is_parted_by_time_point(shared_data):
    reader = DicomReader()
    wholes = defaultdict(list)
    for path in sorted((shared_data / "dicom_series" / "mr_ge_epi_4d").iterdir()):
        (asset,) = reader.describe(FileSource.of(path))
        wholes[asset.header.whole].append(asset.header)
    assert [len(members) for members in wholes.values()] == [15] * 10
    assert {len({one.position_mm for one in members}) for members in wholes.values()} == {15}
    assert sorted({one.time_s for members in wholes.values() for one in members}) == [
        5.0 * n for n in range(10)
    ]


def test_the_enhanced_mr_as_simpleitk_reads_it(shared_data):
    itk = pytest.importorskip("SimpleITK")
    path = next((shared_data / "dicom_series" / "mr_enhanced_philips").iterdir())
    truth = itk.GetArrayFromImage(itk.ReadImage(str(path)))
    ds = pydicom.dcmread(path)
    found = list(DicomReader().describe(FileSource.of(path), Cut(unit="volume")))
    assert [asset.part for asset in found] == ["volume/1", "volume/2"]
    assert found[0].header.field_strength_t == 3
    image = DicomReader().read(found[0], "raw")
    group = ds.PerFrameFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
    first = ds.pixel_array[:32] * float(group.RescaleSlope) + float(group.RescaleIntercept)
    assert np.allclose(image.pixels[..., 0], first, rtol=1e-5)
    assert truth.shape[-2:] == image.pixels.shape[1:3]
    last = ds.PerFrameFunctionalGroupsSequence[31].PlanePositionSequence[0].ImagePositionPatient
    assert np.allclose((image.affine @ [31, 0, 0, 1])[:3], [float(part) for part in last], atol=1e-3)


def test_mosaics_are_cut_into_their_slices(shared_data):
    path = sorted((shared_data / "dicom_series" / "mr_siemens_mosaic").iterdir())[0]
    source, reader = FileSource.of(path), DicomReader()
    found = list(reader.describe(source))
    stored = pydicom.dcmread(path).pixel_array
    assert [asset.part for asset in found] == [f"slice/{n}" for n in range(1, 6)]
    assert {asset.header.extra["Mosaic"] for asset in found} == {5}
    for number, asset in enumerate(found):
        down, right = divmod(number, 3)
        tile = stored[72 * down : 72 * down + 72, 72 * right : 72 * right + 72]
        assert (asset.header.rows, asset.header.columns) == tile.shape
        assert np.array_equal(reader.read(asset, "raw").pixels[..., 0], tile)
    (volume,) = reader.describe(source, Cut(unit="volume"))
    assert reader.read(volume, "raw").pixels.shape == (5, 72, 72, 1)
    (whole,) = reader.describe(source, Cut(unit="image"))
    assert np.array_equal(reader.read(whole, "raw").pixels[..., 0], stored)
    with pytest.raises(ReadFailure):
        reader.read(Asset(source=source, part="slice/6", reader="dicom", header=found[0].header))


def test_highdicom_agrees_on_the_volume():
    hd = pytest.importorskip("highdicom")
    ds = stack([6, 2, 4, 0], orientation=(0, 1, 0, 0, 0, -1), FrameOfReferenceUID="1.2.9")
    for frame, x in zip(ds.PerFrameFunctionalGroupsSequence, (6.0, 2.0, 4.0, 0.0), strict=True):
        frame.PlanePositionSequence[0].ImagePositionPatient = [x, 2.0, 3.0]
    data = file_bytes(ds)
    volume = hd.Image.from_dataset(pydicom.dcmread(io.BytesIO(data))).get_volume(
        apply_real_world_transform=False
    )
    (asset,) = DicomReader().describe(BytesSource(data), Cut(unit="volume"))
    image = DicomReader().read(asset, "raw")
    for voxel in ((0, 0, 0), (3, 2, 5), (1, 3, 1)):
        place = image.affine @ [*voxel, 1]
        found = np.linalg.inv(volume.affine) @ place
        index = tuple(np.rint(found[:3]).astype(int))
        assert np.allclose(found[:3], index, atol=1e-6)
        assert volume.array[index] == image.pixels[(*voxel, 0)]
