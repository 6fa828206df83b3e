"""Volumes stand as on a radiologist's screen: proven against nibabel and SimpleITK."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedstore.readers.sources import FileSource
from embedstore.readers.volume import VolumeReader

from .volume_files import LPS, VOLUME, assets, itk, itk_affine, nifti, pattern, rotation, volume, written

ANGLE = st.floats(-3.2, 3.2)
AFFINES = st.builds(
    lambda angles, sizes, origin: nib.affines.from_matvec(rotation(angles) * sizes, origin),
    st.tuples(ANGLE, ANGLE, ANGLE),
    st.tuples(*[st.sampled_from([0.5, -0.5, 1.0, -1.0, 2.5, -2.5])] * 3),
    st.tuples(*[st.floats(-200, 200)] * 3),
)
SHAPES = st.tuples(*[st.integers(1, 5)] * 3).filter(lambda shape: sum(side > 1 for side in shape) >= 2)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def shown(canonical, plane):
    """(D, H, W) as a screen shows RAS data (x, y, z): front of axial slices up, right of the patient left."""
    turned = {
        "axial": canonical[::-1, ::-1, :].transpose(2, 1, 0),
        "coronal": canonical[::-1, ::-1, ::-1].transpose(1, 2, 0),
        "sagittal": canonical[:, ::-1, ::-1].transpose(0, 2, 1),
    }
    return turned[plane]


@QUICK
@given(shape=SHAPES, affine=AFFINES)
def test_nifti_volumes_stand_as_nibabel_turns_them(tmp_path, shape, affine):
    values = pattern(1, *shape)
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(values, affine))
    (asset,) = assets(path, VOLUME)
    image = VolumeReader().read(asset, "raw")
    canonical = nib.as_closest_canonical(nib.load(path))
    expected = shown(np.asarray(canonical.dataobj), asset.header.extra["Plane"])
    assert np.array_equal(image.pixels[..., 0], expected)
    back = np.linalg.inv(LPS @ nib.load(path).affine) @ image.affine
    for place in product(*(range(side) for side in image.pixels.shape[:3])):
        voxel = back @ (*place, 1)
        assert np.allclose(voxel[:3], np.rint(voxel[:3]), atol=1e-3)
        assert values[tuple(np.rint(voxel[:3]).astype(int))] == image.pixels[place][0]


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_every_way_to_store_a_volume_shows_the_same_slices(tmp_path, order, signs):
    """A head is a head whichever way its voxels run: 48 storages of one volume."""
    first = nib.Nifti1Image(pattern(1, 4, 5, 6), np.diag([1.0, 1.0, 3.0, 1.0]))
    turns = np.array([[axis, sign] for axis, sign in zip(order, signs, strict=True)])
    nib.save(first, tmp_path / "a.nii")
    nib.save(first.as_reoriented(turns), tmp_path / "b.nii")
    one, two = volume(tmp_path / "a.nii"), volume(tmp_path / "b.nii")
    assert np.array_equal(one.pixels, two.pixels)
    assert np.allclose(one.affine, two.affine)
    numbers = [
        [(a.header.part_number, a.header.position_mm, VolumeReader().read(a, "raw").pixels.tobytes())
         for a in assets(tmp_path / name)]
        for name in ("a.nii", "b.nii")
    ]  # fmt: skip
    assert numbers[0] == numbers[1]


@QUICK
@given(
    shape=SHAPES,
    angles=st.tuples(ANGLE, ANGLE, ANGLE),
    spacing=st.tuples(*[st.floats(0.3, 5)] * 3),
    origin=st.tuples(*[st.floats(-200, 200)] * 3),
    suffix=st.sampled_from([".mha", ".nrrd", ".mhd", ".nhdr"]),
    dtype=st.sampled_from(["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]),
    packed=st.booleans(),
)
def test_nrrd_and_metaimage_are_what_itk_reads(
    tmp_path, shape, angles, spacing, origin, suffix, dtype, packed
):
    direction = rotation(angles)
    made = itk(pattern(3, *shape, dtype=dtype), spacing, origin, direction)
    path = written(made, tmp_path / f"a{suffix}", packed)
    truth = sitk.ReadImage(str(path))
    stored = sitk.GetArrayFromImage(truth)
    image = volume(path)
    back = np.linalg.inv(itk_affine(truth)) @ image.affine
    places = np.stack(
        np.meshgrid(*(np.arange(side) for side in image.pixels.shape[:3]), indexing="ij"), -1
    ).reshape(-1, 3)
    voxels = places @ back[:3, :3].T + back[:3, 3]
    assert np.allclose(voxels, np.rint(voxels), atol=2e-3)
    found = stored[tuple(np.rint(voxels).astype(int).T)].astype(np.float32)
    assert np.array_equal(found, image.pixels.reshape(-1))


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
@pytest.mark.parametrize("way", ["LPS", "RAS", "PIR", "ASL", "SRA", "LIP"])
def test_axial_slices_are_dicom_orient_lps(tmp_path, suffix, way):
    lps = itk(pattern(5, 4, 5, 6), (1, 1, 4), (-10, 20, 30))
    path = written(sitk.DICOMOrient(lps, way), tmp_path / f"a{suffix}")
    image = volume(path)
    assert np.array_equal(image.pixels[..., 0], sitk.GetArrayFromImage(lps).astype(np.float32))
    assert np.allclose(image.affine, itk_affine(lps))
    assert image.spacing_mm == pytest.approx((4, 1, 1))


def test_the_patients_right_is_on_the_left_and_the_front_up(tmp_path):
    """A landmark at the patient's right, front and head, in RAS millimetres."""
    values = np.zeros((11, 13, 9), np.int16)
    values[9, 11, 7] = 100  # far along +x (the patient's right, as RAS has it), +y (front), +z (head)
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(values, np.diag([1.0, 1, 1, 1])))
    source, reader = FileSource.of(path), VolumeReader()
    one = assets(path)[0]
    spots = {}
    for axis, index in (("k", 7), ("j", 11), ("i", 9)):
        pixels = reader.read(replace(one, source=source, part=f"slice/{axis}/{index}")).pixels[..., 0]
        spots[axis] = tuple(int(v) for v in np.argwhere(pixels == pixels.max())[0])
    assert spots == {"k": (1, 1), "j": (1, 1), "i": (1, 1)}


@pytest.mark.parametrize(
    ("sizes", "shape", "slices", "axis"),
    [
        ((1, 1, 3), (4, 5, 6), None, "k"), ((3, 1, 1), (4, 5, 6), None, "i"),
        ((1, 3, 1), (4, 5, 6), None, "j"),
        ((1, 1, 1), (4, 5, 6), None, "k"), ((1, 1, 1.005), (4, 5, 6), None, "k"),
        ((1, 1, 3), (4, 5, 6), 0, "i"), ((1, 1, 3), (1, 5, 6), 1, "i"),
    ],
)  # fmt: skip
def test_slices_lie_in_the_plane_of_acquisition(tmp_path, sizes, shape, slices, axis):
    image = nib.Nifti1Image(pattern(1, *shape), np.diag([*map(float, sizes), 1.0]))
    image.header.set_dim_info(slice=slices)
    nib.save(image, tmp_path / "a.nii")
    assert {asset.part.split("/")[1] for asset in assets(tmp_path / "a.nii")} == {axis}


def test_isotropic_volumes_are_cut_axially_whichever_axis_that_is(tmp_path):
    image = nib.Nifti1Image(pattern(1, 4, 5, 6), np.eye(4)).as_reoriented(np.array([[1, 1], [2, 1], [0, -1]]))
    nib.save(image, tmp_path / "a.nii")
    found = assets(tmp_path / "a.nii")
    assert {asset.header.extra["Plane"] for asset in found} == {"axial"}
    assert len(found) == 6


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_slices_are_the_planes_of_the_volume_and_rise_along_the_normal(tmp_path, cut):
    affine = nib.affines.from_matvec(rotation((0.2, -0.3, 0.4)) * (1, -1, 3), (5, 6, 7))
    path = tmp_path / "a.nii"
    path.write_bytes(nifti(pattern(2, 4, 5, 6), affine))
    whole, reader = volume(path), VolumeReader()
    found = assets(path, replace(VOLUME, unit="slice", every=cut))
    assert [asset.header.part_number for asset in found] == list(range(1, 7, cut))
    positions = [asset.header.position_mm for asset in found]
    assert np.allclose(np.diff(positions), 3 * cut, atol=1e-3)
    for asset in found:
        image = reader.read(asset, "raw")
        d = asset.header.part_number - 1
        assert np.array_equal(image.pixels, whole.pixels[d])
        assert np.allclose(image.affine @ (0, 2, 3, 1), whole.affine @ (d, 2, 3, 1))
        assert image.spacing_mm == pytest.approx((1, 1))
        normal = np.cross(image.affine[:3, 2], image.affine[:3, 1])
        assert image.affine[:3, 3] @ normal == pytest.approx(asset.header.position_mm, abs=1e-3)
        assert (asset.header.spacing_row_mm, asset.header.slice_thickness_mm) == pytest.approx((1, 3))
    assert len({asset.header.whole for asset in found}) == 1


def test_units_other_than_millimetres(tmp_path):
    image = nib.Nifti1Image(pattern(1, 4, 5, 6), np.diag([0.001, 0.001, 0.003, 1.0]))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "a.nii")
    assert volume(tmp_path / "a.nii").spacing_mm == pytest.approx((3, 1, 1))


def test_without_orientation_nothing_is_claimed(tmp_path):
    """Neither sform nor qform: shown as nibabel assumes, but no affine is given."""
    image = nib.Nifti1Image(pattern(1, 4, 5, 6), None)
    image.header.set_zooms((1, 1, 3))
    image.header["sform_code"] = image.header["qform_code"] = 0
    path = tmp_path / "a.nii"
    path.write_bytes(image.to_bytes())
    found = volume(path)
    assert found.affine is None
    assert found.spacing_mm == pytest.approx((3, 1, 1))
    assert assets(path)[0].header.extra["Orientation"] == "assumed"
    canonical = nib.as_closest_canonical(nib.load(path))
    assert np.array_equal(found.pixels[..., 0], shown(np.asarray(canonical.dataobj), "axial"))


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1e30, 1, 1, 1])])
def test_an_impossible_affine_is_no_affine(tmp_path, bad):
    image = nib.Nifti1Image(pattern(1, 4, 5, 6), np.eye(4))
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        image.header[name] = bad[row]
    image.header["qform_code"] = 0
    path = tmp_path / "a.nii"
    path.write_bytes(image.header.binaryblock + bytes(4) + image.get_fdata().astype("<i2").tobytes("F"))
    found = volume(path)
    assert found.affine is None
    assert found.pixels.shape == (6, 5, 4, 1)


@pytest.mark.parametrize(
    ("moved", "said"),
    [
        (np.diag([-2.0, 2, 3, 1]), "sform; the qform is mirrored"),
        (nib.affines.from_matvec(np.diag([2.0, 2, 3]), (1.1, 0, 0)), "sform; the qform differs"),
        (nib.affines.from_matvec(np.diag([2.0, 2, 3]), (0.9, 0, 0)), None),
    ],
)
def test_two_transforms_that_disagree_are_told_and_the_sform_is_used(tmp_path, moved, said):
    """As nibabel does it; ITK may take the other one, so whoever filters can find these files."""
    image = nib.Nifti1Image(pattern(1, 4, 5, 6), np.diag([2.0, 2, 3, 1]))
    image.set_sform(image.affine, 2)
    image.set_qform(moved, 1)
    nib.save(image, tmp_path / "a.nii")
    assert {asset.header.extra.get("Orientation") for asset in assets(tmp_path / "a.nii")} == {said}
    found = volume(tmp_path / "a.nii")
    assert np.allclose(LPS @ found.affine @ (0, 0, 0, 1), image.affine @ _voxel_of(found, image))


def _voxel_of(found, image) -> np.ndarray:
    """(4,) the voxel of the file that became the first one shown; values differ everywhere."""
    place = np.argwhere(np.asarray(image.dataobj) == found.pixels[0, 0, 0, 0])
    assert len(place) == 1
    return np.array([*place[0], 1])
