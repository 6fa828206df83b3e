"""Volumes in two files: NIfTI and Analyze pairs, .mhd and .nhdr; and what must not be followed."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from embedstore.contracts.record import Skip
from embedstore.errors import ReadFailure
from embedstore.readers.choose import ReaderSet
from embedstore.readers.sources import FileSource, members
from embedstore.readers.volume import VolumeReader
from embedstore.settings import Limits

from .test_volume_geometry import shown
from .volume_files import VOLUME, assets, itk, pattern, volume, written


def nifti_pair(folder: Path, seed: int = 1, name: str = "a") -> Path:
    nib.save(nib.Nifti1Pair(pattern(seed, 4, 3, 2), np.diag([-1.0, 1, 2, 1])), folder / f"{name}.img")
    return folder / f"{name}.hdr"


def analyze_pair(folder: Path) -> Path:
    image = nib.AnalyzeImage(pattern(1, 4, 3, 2), np.diag([-1.0, 1, 2, 1]))
    nib.save(image, folder / "a.img")
    return folder / "a.hdr"


def mhd(folder: Path) -> Path:
    return written(itk(pattern(1, 2, 3, 4)), folder / "a.mhd")


def nhdr(folder: Path) -> Path:
    return written(itk(pattern(1, 2, 3, 4)), folder / "a.nhdr")


def packed_nhdr(folder: Path) -> Path:
    return written(itk(pattern(1, 2, 3, 4)), folder / "a.nhdr", packed=True)


KINDS = [nifti_pair, analyze_pair, mhd, nhdr, packed_nhdr]


@pytest.mark.parametrize("make", KINDS)
def test_both_files_are_one_volume_and_one_skip(tmp_path, make):
    header = make(tmp_path)
    readers = ReaderSet.installed()
    found = {path: list(readers.describe(FileSource.of(path))) for path in sorted(tmp_path.iterdir())}
    assert len(found) == 2
    (data,) = set(found) - {header}
    (skip,) = found[data]
    assert isinstance(skip, Skip)
    assert "belong to the header" in skip.reason
    assert len(found[header]) == 2
    assert all(asset.part.startswith("data/") for asset in found[header])
    assert np.stack([readers.read(asset, "raw").pixels for asset in found[header]]).shape == (2, 3, 4, 1)


@pytest.mark.parametrize("make", [nifti_pair, analyze_pair])
def test_pairs_are_what_nibabel_reads(tmp_path, make):
    header = make(tmp_path)
    truth = nib.as_closest_canonical(nib.load(header))
    assert np.array_equal(volume(header).pixels[..., 0], shown(truth.get_fdata(), "axial"))
    assert (volume(header).affine is None) == (make is analyze_pair)  # Analyze does not say left from right


def test_an_analyze_scale_factor_is_applied_as_spm_does(tmp_path):
    image = nib.Spm99AnalyzeImage(pattern(1, 4, 3, 2).astype(np.float64) / 3, np.diag([-1.0, 1, 2, 1]))
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "a.img")
    truth = nib.as_closest_canonical(nib.load(tmp_path / "a.hdr")).get_fdata()
    assert np.allclose(volume(tmp_path / "a.hdr").pixels[..., 0], shown(truth, "axial"), rtol=1e-6)


@pytest.mark.parametrize("suffixes", [(".HDR", ".IMG"), (".hdr", ".img.gz"), (".hdr.gz", ".img.gz")])
def test_pairs_by_other_names(tmp_path, suffixes):
    plain = nifti_pair(tmp_path)
    expected = volume(plain).pixels
    (tmp_path / "other").mkdir()
    for suffix, old in zip(suffixes, (".hdr", ".img"), strict=True):
        data = (tmp_path / f"a{old}").read_bytes()
        made = tmp_path / "other" / f"a{suffix}"
        made.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    header, data = (tmp_path / "other" / f"a{suffix}" for suffix in suffixes)
    assert np.array_equal(volume(header).pixels, expected)
    (skip,) = ReaderSet.installed().describe(FileSource.of(data))
    assert isinstance(skip, Skip)


def test_one_header_over_two_volumes_makes_two_items(tmp_path):
    """The header's bytes alone do not tell patients apart, so the part does."""
    one, two = nifti_pair(tmp_path, 1, "one"), nifti_pair(tmp_path, 2, "two")
    two.write_bytes(one.read_bytes())
    first, second = assets(one), assets(two)
    assert not {asset.part for asset in first} & {asset.part for asset in second}
    assert first[0].header.whole != second[0].header.whole


def test_voxels_that_changed_are_noticed(tmp_path):
    header = nifti_pair(tmp_path)
    asset = assets(header)[0]
    reader = VolumeReader()
    before = reader.read(asset).pixels
    data = bytearray((tmp_path / "a.img").read_bytes())
    data[7] ^= 1
    (tmp_path / "a.img").write_bytes(bytes(data) + b"x")
    with pytest.raises(ReadFailure, match="has changed"):
        reader.read(asset)
    assert before.shape == (3, 4, 1)


def test_voxels_that_are_missing(tmp_path):
    header = nifti_pair(tmp_path)
    (tmp_path / "a.img").unlink()
    with pytest.raises(ReadFailure, match="not beside the header"):
        assets(header)


@pytest.mark.parametrize(
    "where", ["../b.raw", "/etc/hostname", "sub/b.raw", "..", ".", "..\\b.raw", "b.raw/"]
)
@pytest.mark.parametrize("form", ["mhd", "nhdr"])
def test_a_header_cannot_name_a_file_elsewhere(tmp_path, where, form):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for place in (tmp_path / "b.raw", folder / "sub" / "b.raw"):
        place.write_bytes(bytes(1000))
    header = folder / f"a.{form}"
    header.write_text(
        f"ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\nElementType = MET_SHORT\n"
        f"ElementDataFile = {where}\n"
        if form == "mhd"
        else f"NRRD0004\ntype: short\ndimension: 3\nsizes: 4 3 2\nendian: little\nencoding: raw\n"
        f"data file: {where}\n\n"
    )
    with pytest.raises(ReadFailure, match=r"outside its own folder|not beside"):
        assets(header)


@pytest.mark.parametrize("name", ["LIST", "a%03d.raw 1 9 1"])
def test_voxels_in_many_files_are_refused(tmp_path, name):
    header = tmp_path / "a.mhd"
    header.write_text(
        f"ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\nElementType = MET_SHORT\nElementDataFile = {name}\n"
    )
    with pytest.raises(ReadFailure, match="several files"):
        assets(header)


def test_a_pair_inside_an_archive_is_refused_with_a_remedy(tmp_path):
    header = nifti_pair(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.write(header, "a.hdr")
        opened.write(tmp_path / "a.img", "a.img")
    member = members(tmp_path / "a.zip", Limits())[0]
    with pytest.raises(ReadFailure, match="unpack"):
        list(VolumeReader().describe(member, VOLUME))


def test_other_files_of_the_same_suffix_are_not_taken_for_voxels(tmp_path):
    """A DICOM file called .img beside an unrelated header stays what it is."""
    nifti_pair(tmp_path)
    (tmp_path / "b.img").write_bytes(b"some words")
    (tmp_path / "c.raw").write_bytes(b"some words")
    mhd(tmp_path)
    readers = ReaderSet.installed()
    for name in ("b.img", "c.raw"):
        (skip,) = readers.describe(FileSource.of(tmp_path / name))
        assert "plain text" in skip.reason
