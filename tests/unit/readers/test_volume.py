"""Values of volumes: equal to what nibabel and SimpleITK read, bounded, and refused for a reason."""

from __future__ import annotations

import gzip
import sys
import tracemalloc
import zipfile
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedstore.contracts.record import WHOLE_CUT, Asset, Cut
from embedstore.errors import ReadFailure
from embedstore.readers.choose import ReaderSet
from embedstore.readers.sources import FileSource, members
from embedstore.readers.volume import VolumeReader
from embedstore.settings import Limits
from embedstore.testing.readers import BytesSource

from .test_volume_geometry import shown
from .volume_files import VOLUME, assets, itk, nifti, pattern, volume, written

QUICK = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NIFTI_TYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
MHA = (
    "ObjectType = Image\nNDims = 3\nBinaryDataByteOrderMSB = False\nElementSpacing = 1 1 2\nDimSize = 3 4 2\n"
    "{more}ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
)


def described(data: bytes, limits: Limits | None = None, cut: Cut = WHOLE_CUT) -> list[Asset]:
    return list(VolumeReader(limits or Limits()).describe(BytesSource(data), cut))


def read_all(data: bytes, want="raw", cut: Cut = WHOLE_CUT) -> np.ndarray:
    reader = VolumeReader()
    found = list(reader.describe(BytesSource(data), cut))
    return np.stack([reader.read(asset, want).pixels for asset in found])


@QUICK
@given(
    dtype=st.sampled_from(NIFTI_TYPES),
    order=st.sampled_from("<>"),
    slope=st.sampled_from([None, 0.0, 1.0, -2.5, 1e-3, 3e38]),
    intercept=st.sampled_from([0.0, -1024.0, 1e6]),
    times=st.integers(1, 3),
    version=st.sampled_from([1, 2]),
    packed=st.booleans(),
)
def test_nifti_values_are_nibabels(tmp_path, dtype, order, slope, intercept, times, version, packed):
    values = pattern(4, 4, 3, 2, times, dtype=dtype).astype(np.dtype(dtype).newbyteorder(order))
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    header = kind.header_class(endianness=order)
    header.set_data_dtype(dtype)
    image = kind(values, np.diag([1.0, 1, 3, 1]), header)
    data = bytearray(image.to_bytes())
    image.header["scl_slope"], image.header["scl_inter"] = np.nan if slope is None else slope, intercept
    block = image.header.binaryblock
    data[: len(block)] = block
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(bytes(data), mtime=0) if packed else bytes(data))
    truth = nib.as_closest_canonical(nib.load(path))
    reader = VolumeReader()
    with np.errstate(all="ignore"):
        real = np.nan_to_num(truth.get_fdata().astype(np.float32), nan=0, posinf=0, neginf=0)
    for time, asset in enumerate(assets(path, VOLUME)):
        expected = shown(real.reshape(4, 3, 2, times)[..., time], "axial")
        found = reader.read(asset, "raw").pixels[..., 0]
        assert np.allclose(found, expected, rtol=1e-6)
        assert reader.read(asset).pixels.dtype == np.uint8


def test_time_points_are_parts_of_their_own(tmp_path):
    image = nib.Nifti1Image(pattern(1, 3, 4, 2, 3), np.diag([2.0, 2, 4, 1]))
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = 1500
    nib.save(image, tmp_path / "a.nii.gz")
    found = assets(tmp_path / "a.nii.gz")
    assert [asset.part for asset in found] == [f"time/{t}/slice/k/{k}" for t in range(3) for k in range(2)]
    assert [asset.header.time_s for asset in found] == [0, 0, 1.5, 1.5, 3, 3]
    assert len({asset.header.whole for asset in found}) == 3
    volumes = assets(tmp_path / "a.nii.gz", replace(VOLUME, every=2))
    assert [(a.part, a.header.part_number) for a in volumes] == [("time/0/volume", 1), ("time/2/volume", 3)]
    reader = VolumeReader()
    whole = reader.read(volumes[1], "raw")
    assert np.array_equal(whole.pixels[1], reader.read(found[5], "raw").pixels)


@pytest.mark.parametrize("times_first", [True, False])
def test_nrrd_sequences(times_first):
    values = pattern(1, 3, 2, 4, 5)  # time, k, j, i
    stored = values.transpose(1, 2, 3, 0) if times_first else values
    none, space = "none", "(1,0,0) (0,1,0) (0,0,2)"
    header = (
        "NRRD0005\ntype: short\ndimension: 4\nspace: right-anterior-superior\n"
        + (f"sizes: 3 5 4 2\nspace directions: {none} {space}\nkinds: list domain domain domain\n"
           if times_first
           else f"sizes: 5 4 2 3\nspace directions: {space} {none}\nkinds: domain domain domain list\n")
        + "endian: little\nencoding: raw\nspace origin: (0,0,0)\n\n"
    )  # fmt: skip
    data = header.encode() + np.ascontiguousarray(stored).tobytes()
    found = read_all(data, cut=VOLUME)[..., 0]
    assert np.array_equal(found, values[:, :, ::-1, ::-1].astype(np.float32))
    assert np.array_equal(read_all(data)[..., 0].reshape(3, 2, 4, 5), found)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
@pytest.mark.parametrize("packed", [True, False])
def test_colour_volumes(tmp_path, suffix, packed):
    values = np.random.default_rng(1).integers(0, 256, (2, 3, 4, 3)).astype(np.uint8)
    path = written(itk(values, colour=True), tmp_path / f"a{suffix}", packed)
    assert np.array_equal(volume(path, "display").pixels, values)
    assert np.array_equal(volume(path, "raw").pixels, values.astype(np.float32))


def test_fields_are_refused(tmp_path):
    path = written(itk(np.zeros((2, 3, 4, 3), np.float32), colour=True), tmp_path / "a.mha")
    with pytest.raises(ReadFailure, match="vectors"):
        assets(path)
    five = nib.Nifti1Image(np.zeros((3, 3, 3, 1, 3), np.float32), np.eye(4)).to_bytes()
    with pytest.raises(ReadFailure, match="more than four dimensions"):
        described(five)
    complex_ = nib.Nifti1Image(np.zeros((3, 3, 3), np.complex64), np.eye(4)).to_bytes()
    with pytest.raises(ReadFailure, match="complex"):
        described(complex_)


def test_a_member_of_an_archive(tmp_path):
    data = nifti(pattern(1, 4, 3, 2))
    for name, content in (("a.nii", data), ("a.nii.gz", gzip.compress(data))):
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr(name, content)
        (member,) = members(tmp_path / "a.zip", Limits())
        reader = VolumeReader()
        found = np.stack([reader.read(asset, "raw").pixels for asset in reader.describe(member)])
        assert np.array_equal(found, read_all(data))


def test_the_display_is_that_of_the_whole_volume():
    """One range for all slices: percentiles of the finite values other than zero."""
    rng = np.random.default_rng(1)
    values = rng.normal(100, 20, (40, 30, 20)).astype(np.float32)
    values[:10], values[20, 3, 4], values[21, 3, 4], values[22, 3, 4] = 0, np.nan, np.inf, -np.inf
    data = nifti(values, np.diag([1.0, 1, 2, 1]))
    found = read_all(data, "display")[..., 0]
    seen = values[np.isfinite(values) & (values != 0)].astype(np.float64)
    low, high = np.percentile(seen, (0.5, 99.5))
    real = shown(values, "axial").astype(np.float64)
    expected = np.rint(np.clip((np.nan_to_num(real, nan=low, posinf=high, neginf=low) - low) / (high - low),
                               0, 1) * 255)  # fmt: skip
    assert np.abs(found - expected).max() <= 1
    assert np.isfinite(read_all(data, "raw")).all()


def test_the_display_of_a_large_volume_is_from_a_sample():
    values = np.random.default_rng(2).gamma(2, 100, (160, 150, 120)).astype(np.int16)
    image = VolumeReader()
    source = BytesSource(nifti(values))
    found = [image.read(a).pixels for a in list(image.describe(source))[::40]]
    seen = values[values != 0]
    low, high = np.percentile(seen, (0.5, 99.5))
    slices = shown(values, "axial")[::40].astype(float)
    expected = np.clip((slices - low) / (high - low), 0, 1) * 255
    assert np.abs(np.stack(found)[..., 0] - expected).max() < 3


@pytest.mark.parametrize("value", [0, 7])
def test_a_constant_volume_is_black(value):
    assert not read_all(nifti(np.full((3, 4, 2), value, np.int16)), "display").any()


def test_a_mask_is_black_and_white():
    values = np.zeros((4, 4, 2), np.uint8)
    values[1:3] = 1
    assert set(np.unique(read_all(nifti(values), "display"))) == {0, 255}


def test_an_empty_map_of_nan_is_black():
    assert not read_all(nifti(np.full((3, 4, 2), np.nan, np.float32)), "display").any()


def test_hounsfield_units_only_where_the_file_says_ct():
    data = pattern(1, 2, 4, 3, dtype="<i2").tobytes()
    ct = MHA.format(more="Modality = MET_MOD_CT\n").encode() + data
    assert described(ct)[0].header.modality == "CT"
    assert np.array_equal(read_all(ct, "hu"), read_all(ct, "raw"))
    for other in (MHA.format(more="").encode() + data, nifti(pattern(1, 3, 4, 2))):
        with pytest.raises(ReadFailure, match="not known to be Hounsfield"):
            read_all(other, "hu")
    with pytest.raises(ReadFailure, match="uptake"):
        read_all(ct, "suv")


def test_the_intensity_function_of_a_metaimage():
    data = pattern(1, 2, 4, 3, dtype="<i2").tobytes()
    more = "ElementToIntensityFunctionSlope = 2\nElementToIntensityFunctionOffset = 5\n"
    scaled, plain = MHA.format(more=more).encode() + data, MHA.format(more="").encode() + data
    assert np.array_equal(read_all(scaled), read_all(plain) * 2 + 5)


def test_voxels_at_the_end_of_the_file(tmp_path):
    data = pattern(1, 2, 4, 3, dtype="<i2").tobytes()
    header = MHA.format(more="HeaderSize = -1\n").replace("LOCAL", "a.raw")
    (tmp_path / "a.mhd").write_text(header)
    (tmp_path / "a.raw").write_bytes(b"something before" + data)
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.mhd")))
    assert np.array_equal(volume(tmp_path / "a.mhd").pixels[..., 0], truth.astype(np.float32))


def test_slices_of_a_huge_plain_file_need_no_memory(tmp_path):
    """2 GB of voxels (a sparse file), read along every axis."""
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.diag([1.0, 1, 2, 1]))
    header = image.header.copy()
    header["dim"][1:4] = 2048, 1024, 512
    path = tmp_path / "a.nii"
    with path.open("wb") as out:
        out.write(header.binaryblock + bytes(4))
        out.seek(352 + 2 * (100 * 1024 * 2048 + 7 * 2048 + 5))
        out.write((1234).to_bytes(2, "little"))
        out.truncate(352 + 2 * 2048 * 1024 * 512)
    tracemalloc.start()
    reader = VolumeReader()
    found = list(reader.describe(FileSource.of(path)))
    pixels = reader.read(found[100], "raw").pixels
    coronal = reader.read(replace(found[0], part="slice/j/7"), "raw").pixels
    reader.read(found[3])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 512
    assert pixels.max() == coronal.max() == 1234
    assert peak < 120 << 20


def test_what_is_promised_is_checked_before_it_is_allocated():
    header = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).header
    for dims in ((32767, 32767, 3), (4000, 4000, 4000), (512, 512, 32767), (8000, 8000, 30)):
        header["dim"][1:4] = dims
        block = header.binaryblock + bytes(4)
        for data in (block + bytes(1000), gzip.compress(block + bytes(1000))):
            tracemalloc.start()
            with pytest.raises(ReadFailure, match=r"limit|truncated"):
                described(data)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
            tracemalloc.stop()


def test_a_gzip_bomb_is_unpacked_no_further_than_its_header_says():
    data = nifti(np.ones((30, 20, 10), np.int16))
    bomb = gzip.compress(data + bytes(200 << 20), mtime=0)
    tracemalloc.start()
    found = read_all(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (10, 20, 30, 1)
    assert peak < 8 << 20


def test_packed_voxels_beyond_memory_go_to_a_file(monkeypatch):
    data = gzip.compress(nifti(pattern(1, 12, 11, 10)))
    expected = read_all(data)
    monkeypatch.setattr("embedstore.readers.volume_voxels._HELD_BYTES", 100)
    assert np.array_equal(read_all(data), expected)


@pytest.mark.parametrize("where", [-1, -4, -8, -20])
def test_damaged_gzip_is_found_by_its_checksum(where):
    data = bytearray(gzip.compress(nifti(pattern(1, 12, 11, 10))))
    data[where] ^= 0x55
    with pytest.raises(ReadFailure):
        read_all(bytes(data))
    with pytest.raises(ReadFailure, match="truncated"):
        read_all(bytes(data[:where]) if where < -8 else bytes(data[:-9]))


def test_gzip_in_several_members():
    """As bgzip and some scanners' exports write it."""
    data = nifti(pattern(1, 12, 11, 10))
    parts = b"".join(gzip.compress(data[start : start + 700]) for start in range(0, len(data), 700))
    assert np.array_equal(read_all(parts), read_all(data))


@pytest.mark.parametrize(
    "part",
    ["", "volume/", "slice/k/2", "slice/k/-1", "slice/k/01", "slice/x/0", "time/0/slice/k/0", "time/0/volume",
     "slice/k/99999999999", "data/0123456789abcdef/volume", "slice/k/0\n", "slice/k/٣"],
)  # fmt: skip
def test_parts_that_are_not_there(part):
    data = nifti(pattern(1, 4, 3, 2), np.diag([1.0, 1, 2, 1]))
    asset = described(data)[0]
    with pytest.raises(ReadFailure, match=r"no such part|has changed"):
        VolumeReader().read(replace(asset, part=part))


def test_limits_of_volumes_and_of_parts():
    data = nifti(pattern(1, 10, 10, 10))
    assert len(described(data, Limits(max_pixels=100))) == 10
    with pytest.raises(ReadFailure, match="slice by slice"):
        described(data, Limits(max_pixels=100), VOLUME)
    with pytest.raises(ReadFailure, match="--every"):
        described(data, Limits(max_members=9))
    assert len(described(data, Limits(max_file_bytes=2000))) == 10  # read where it lies
    with pytest.raises(ReadFailure, match="larger than the limit"):
        described(gzip.compress(data), Limits(max_file_bytes=2000))


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(["nifti", "packed", "mha", "nrrd"]),
    st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
    st.integers(0, 1200) | st.none(),
)
def test_hostile_headers_are_answers_or_failures(kind, edits, cut):
    values = pattern(1, 6, 5, 4)
    data = bytearray(
        MHA.format(more="").encode() + pattern(1, 2, 4, 3).tobytes()
        if kind == "mha"
        else b"NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 6 5 4\n"
        b"space directions: (1,0,0) (0,1,0) (0,0,2)\n"
        b"endian: little\nencoding: raw\nkinds: domain domain domain\n\n" + values.tobytes()
        if kind == "nrrd"
        else nifti(values)
    )
    for place, new in edits:
        data[place : place + len(new)] = new
    made = bytes(data[:cut])
    source = BytesSource(gzip.compress(made, mtime=0) if kind == "packed" else made)
    reader = VolumeReader(Limits(max_pixels=1 << 20, max_file_bytes=1 << 24))
    reasons = []
    try:
        for unit in ("slice", "volume"):
            for asset in list(reader.describe(source, Cut(unit=unit)))[:2]:
                for want in ("display", "raw"):
                    pixels = reader.read(asset, want).pixels
                    assert pixels.shape[-3:-1] == (asset.header.rows, asset.header.columns)
                    assert np.isfinite(pixels).all()
    except ReadFailure as failure:
        reasons.append(failure.reason)
    assert all(0 < len(reason) < 300 and "\n" not in reason for reason in reasons)
    assert all(stream.closed for stream in source.opened)


def test_every_shared_volume_is_what_nibabel_reads(shared_data):
    paths = sorted((shared_data / "nifti").iterdir())
    assert len(paths) == 7
    readers = ReaderSet.installed()
    for path in paths:
        truth = nib.as_closest_canonical(nib.load(path))
        real = truth.get_fdata().reshape(*truth.shape[:3], -1)
        found = list(readers.describe(FileSource.of(path)))
        depth = len(found) // real.shape[3]
        for number, asset in enumerate(found):
            time, d = divmod(number, depth)
            image = readers.read(asset, "raw")
            plane = shown(real[..., time], asset.header.extra["Plane"])[d]
            assert np.array_equal(image.pixels[..., 0], plane.astype(np.float32))
            assert asset.header.part_number == d + 1
        middle = readers.read(found[depth // 2]).pixels
        assert middle.max() > 200


def test_broken_shared_volumes(shared_data):
    for name in ("nii_dim_lies.nii", "truncated.nii.gz"):
        reader = VolumeReader()

        def everything(reader=reader, name=name):
            for asset in reader.describe(FileSource.of(shared_data / "broken" / "made" / name)):
                reader.read(asset)

        with pytest.raises(ReadFailure, match="truncated"):
            everything()


def test_without_nibabel_the_failure_says_what_to_install(monkeypatch):
    data = nifti(pattern(1, 4, 3, 2))
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(ReadFailure, match=r"embedstore\[volumes\]"):
        described(data)
    assert described(MHA.format(more="").encode() + bytes(48))  # needs no library
