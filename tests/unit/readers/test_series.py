"""Series of slices in files of their own: order, spacing, orientation and values equal to SimpleITK's."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedstore.contracts.record import Asset
from embedstore.errors import ReadFailure
from embedstore.readers.dicom import DicomReader
from embedstore.readers.series import FLAGS, order_series, read_stack
from embedstore.readers.sources import FileSource
from embedstore.readers.volume import VolumeReader
from embedstore.settings import Limits

from .dicom_files import dataset, file_bytes
from .test_volume_geometry import ANGLE
from .volume_files import VOLUME, itk_affine, nifti, pattern, rotation

AXIAL = ((1, 0, 0), (0, 1, 0))


def write_slices(
    folder, positions, directions=AXIAL, *, spacing=(0.7, 0.9), origin=(-10, 20, 30), **elements
):
    """One CT file per position along the normal (or at a point), in a shuffled order of names."""
    folder.mkdir(exist_ok=True)
    row, column = (np.asarray(direction, float) for direction in directions)
    normal = np.cross(row, column)
    names = list(range(len(positions)))
    random.Random(3).shuffle(names)
    before = len(list(folder.iterdir()))
    for number, (position, name) in enumerate(zip(positions, names, strict=True)):
        place = np.asarray(origin) + (normal * position if np.isscalar(position) else np.asarray(position))
        values = np.random.default_rng(number).integers(0, 4000, (4, 5)).astype(np.uint16)
        tag = f"{elements.get('SeriesInstanceUID', '1.2.3.4')}.{before + number}"
        ds = dataset(
            values,
            SOPInstanceUID=tag,
            ImagePositionPatient=[f"{v:.10g}"[:16] for v in place],
            ImageOrientationPatient=[f"{v:.10f}"[:13] for v in (*row, *column)],
            PixelSpacing=list(spacing),
            RescaleSlope=1,
            RescaleIntercept=-1024,
            RescaleType="HU",
            SliceThickness=1,
            InstanceNumber=names[number] + 1,
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            **elements,
        )
        (folder / f"{before:03}_{name:03}.dcm").write_bytes(file_bytes(ds))
    return folder


def described(folder) -> list[Asset]:
    reader = DicomReader()
    return [
        found
        for path in sorted(folder.iterdir())
        for found in reader.describe(FileSource.of(path))
        if isinstance(found, Asset)
    ]


def stacks_of(folder):
    return order_series(described(folder))


def read(stack, want="hu", **options):
    return read_stack(stack, lambda asset: DicomReader().read(asset, want), **options)


def itk_series(folder):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    return reader.GetFileNames(), reader.Execute()


def check_against_itk(folder, stack, want="hu"):
    names, truth = itk_series(folder)
    assert [asset.source.path for asset in stack.assets] == list(names)
    image = read(stack, want)
    assert np.array_equal(image.pixels[..., 0], sitk.GetArrayFromImage(truth).astype(np.float32))
    assert np.allclose(image.affine, itk_affine(truth), atol=1e-4)
    x, y, z = truth.GetSpacing()
    assert image.spacing_mm == pytest.approx((z, y, x), rel=1e-5)


def test_the_shared_ct_series_is_simpleitks(shared_data):
    """17 slices whose names are not in order."""
    folder = shared_data / "dicom_series" / "ct_philips_head_phantom_5mm"
    (stack,) = stacks_of(folder)
    assert len(stack.assets) == 17
    assert stack.flags == ()
    assert stack.step_mm == pytest.approx(5, abs=0.01)
    assert [a.source.path for a in stack.assets] != sorted(a.source.path for a in stack.assets)
    check_against_itk(folder, stack)


def test_the_shared_epi_is_ten_volumes(shared_data, tmp_path):
    folder = shared_data / "dicom_series" / "mr_ge_epi_4d"
    stacks = stacks_of(folder)
    assert [len(stack.assets) for stack in stacks] == [15] * 10
    assert len({stack.whole for stack in stacks}) == 10
    for number, stack in enumerate(stacks):
        assert stack.flags == ()
        part = tmp_path / str(number)
        part.mkdir()
        for asset in stack.assets:
            shutil.copy(asset.source.path, part)
        names, truth = itk_series(part)
        assert [a.source.path.split("/")[-1] for a in stack.assets] == [n.split("/")[-1] for n in names]
        image = read(stack, "raw")
        assert np.array_equal(image.pixels[..., 0], sitk.GetArrayFromImage(truth).astype(np.float32))
        assert np.allclose(image.affine, itk_affine(truth), atol=1e-3)


def test_stacks_do_not_depend_on_the_order_they_come_in(tmp_path):
    assets = described(write_slices(tmp_path / "a", [0, 3, 6, 9, 12]))
    truth = [[a.source.path for a in stack.assets] for stack in order_series(assets)]
    for seed in range(5):
        random.Random(seed).shuffle(assets)
        assert [[a.source.path for a in stack.assets] for stack in order_series(assets)] == truth
    assert [a.header.part_number for a in order_series(assets)[0].assets] == [1, 2, 3, 4, 5]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(ANGLE, ANGLE, ANGLE),
    step=st.floats(0.5, 6),
    count=st.integers(2, 6),
    spacing=st.tuples(st.floats(0.3, 2), st.floats(0.3, 2)).map(lambda two: tuple(round(v, 4) for v in two)),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
)
def test_oblique_series_are_simpleitks(tmp_path_factory, angles, step, count, spacing, origin):
    turned = rotation(angles)
    folder = write_slices(
        tmp_path_factory.mktemp("series"),
        [step * number for number in range(count)],
        (turned[:, 0], turned[:, 1]),
        spacing=spacing,
        origin=origin,
    )
    (stack,) = stacks_of(folder)
    assert stack.flags == ()
    check_against_itk(folder, stack)


def test_a_gap_is_flagged_and_refused_unless_tolerated(tmp_path):
    (stack,) = stacks_of(write_slices(tmp_path / "a", [0, 2, 4, 8, 10, 12]))
    assert stack.flags == ("gap",)
    with pytest.raises(ReadFailure, match="missing"):
        read(stack)
    image = read(stack, tolerate=("gap",))
    assert image.pixels.shape == (6, 4, 5, 1)
    assert image.affine is None
    assert image.spacing_mm is None


def test_uneven_steps_are_flagged(tmp_path):
    (stack,) = stacks_of(write_slices(tmp_path / "a", [0, 2, 4.3, 6.2, 8]))
    assert stack.flags == ("uneven steps",)
    with pytest.raises(ReadFailure, match="differ by over 2 %"):
        read(stack)


def test_rounded_positions_are_even(tmp_path):
    (stack,) = stacks_of(write_slices(tmp_path / "a", [round(number * 1.25 / 3, 2) for number in range(12)]))
    assert stack.flags == ()


def test_a_doubled_slice_is_flagged(tmp_path):
    (stack,) = stacks_of(write_slices(tmp_path / "a", [0, 2, 4, 4, 6]))
    assert stack.flags == ("duplicate position",)
    with pytest.raises(ReadFailure, match="at one place"):
        read(stack)


def test_places_taken_twice_each_are_two_volumes(tmp_path):
    """Two acquisitions in one series that nothing else tells apart: by number, and flagged."""
    folder = write_slices(tmp_path / "a", [0, 2, 4, 0, 2, 4])
    assets = [
        replace(a, header=replace(a.header, instance_number=int(a.header.sop_uid.split(".")[-1])))
        for a in described(folder)
    ]
    stacks = order_series(assets)
    assert [stack.flags for stack in stacks] == [("repeated",), ("repeated",)]
    found = [[a.header.instance_number for a in stack.assets] for stack in stacks]
    assert found == [[0, 1, 2], [3, 4, 5]]
    assert len({stack.whole for stack in stacks}) == 2
    assert read(stacks[0]).spacing_mm == pytest.approx((2, 0.7, 0.9))


def test_orientations_of_one_series_are_stacks_of_their_own(tmp_path):
    folder = write_slices(tmp_path / "a", [0, 2, 4])
    write_slices(folder, [0, 2, 4, 6], ((1, 0, 0), (0, 0, -1)))
    stacks = stacks_of(folder)
    assert sorted(len(stack.assets) for stack in stacks) == [3, 4]
    assert {stack.flags for stack in stacks} == {("mixed orientation",)}
    for stack in stacks:
        assert read(stack).affine is not None


def test_pixel_spacings_of_one_series_are_stacks_of_their_own(tmp_path):
    folder = write_slices(tmp_path / "a", [0, 2, 4])
    write_slices(folder, [6, 8], spacing=(1.5, 1.5))
    stacks = stacks_of(folder)
    assert {stack.flags for stack in stacks} == {("mixed spacing",)}
    assert sorted(len(stack.assets) for stack in stacks) == [2, 3]


def test_a_tilted_gantry_is_in_the_affine(tmp_path):
    """Slices shift sideways as they rise: the step is not along the normal."""
    (stack,) = stacks_of(write_slices(tmp_path / "a", [(0, 1.0 * n, 3.0 * n) for n in range(4)]))
    image = read(stack)
    assert np.allclose(image.affine[:3, 0], (0, 1, 3), atol=1e-6)
    assert image.spacing_mm == pytest.approx((3, 0.7, 0.9))


def test_slices_that_wander_make_no_volume(tmp_path):
    (stack,) = stacks_of(write_slices(tmp_path / "a", [(0, 0, 0), (9, 0, 2), (0, 0, 4), (9, 0, 6)]))
    with pytest.raises(ReadFailure, match="steps between slices"):
        read(stack)


def test_fans_of_slices_are_not_parallel(tmp_path):
    """Radial slices under one key: flagged by their headers, refused by what is decoded."""
    folder = write_slices(tmp_path / "a", [0, 2])
    write_slices(folder, [5, 7], (rotation((0, 0.2, 0))[:, 0], (0, 1, 0)))
    assets = [replace(a, header=replace(a.header, whole="fan")) for a in described(folder)]
    (stack,) = order_series(assets)
    assert "not parallel" in stack.flags
    with pytest.raises(ReadFailure, match="no volume"):
        read(stack)


def test_without_positions_numbers_order_and_nothing_is_claimed(tmp_path):
    assets = [
        replace(a, header=replace(a.header, position_mm=None, part_number=None))
        for a in described(write_slices(tmp_path / "a", [0, 2, 4]))
    ]
    (stack,) = order_series(assets)
    assert stack.flags == ("no position",)
    assert [a.header.instance_number for a in stack.assets] == [1, 2, 3]
    with pytest.raises(ReadFailure, match="nothing of where they lie"):
        read(stack)


def test_what_is_no_slice_is_in_no_stack(tmp_path):
    (tmp_path / "a.dcm").write_bytes(file_bytes(dataset(np.zeros((4, 5), np.uint16))))
    (asset,) = DicomReader().describe(FileSource.of(tmp_path / "a.dcm"))
    assert order_series([replace(asset, header=replace(asset.header, whole=None))]) == ()


def test_one_slice_is_a_volume_of_one(tmp_path):
    (stack,) = stacks_of(write_slices(tmp_path / "a", [3]))
    assert stack.flags == ()
    image = read(stack)
    assert image.pixels.shape == (1, 4, 5, 1)
    assert image.spacing_mm == pytest.approx((1, 0.7, 0.9))


def test_a_stack_beyond_the_limit_is_not_read(tmp_path):
    (stack,) = stacks_of(write_slices(tmp_path / "a", [0, 2, 4]))

    def never(asset):
        raise AssertionError

    with pytest.raises(ReadFailure, match="limit"):
        read_stack(stack, never, limits=Limits(max_pixels=59))


def test_slices_of_a_nifti_stack_to_its_volume(tmp_path):
    affine = np.diag([-1.5, 1, 3, 1.0])
    affine[:3, :3] = rotation((0.1, 0.2, -0.3)) @ affine[:3, :3]
    (tmp_path / "a.nii").write_bytes(nifti(pattern(1, 4, 5, 6, 2), affine))
    reader, source = VolumeReader(), FileSource.of(tmp_path / "a.nii")
    stacks = order_series(reader.describe(source))
    assert [stack.flags for stack in stacks] == [(), ()]
    for stack, asset in zip(stacks, reader.describe(source, VOLUME), strict=True):
        image = read_stack(stack, lambda one: reader.read(one, "raw"))
        whole = reader.read(asset, "raw")
        assert np.array_equal(image.pixels, whole.pixels)
        assert np.allclose(image.affine, whole.affine)
        assert image.spacing_mm == pytest.approx(whole.spacing_mm)


def test_every_flag_is_explained():
    assert all(text.strip() and "\n" not in text for text in FLAGS.values())
