"""The volume reader keeps the reader contract in each of its formats."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from embedstore.discovery import READERS, find_plugin
from embedstore.readers.volume import VolumeReader
from embedstore.testing.readers import ReaderContract

nib = pytest.importorskip("nibabel")

SECRET = "GEHEIM"


def values(seed: int, *shape: int, dtype=np.int16):
    return np.random.default_rng(seed).integers(1, 1000, shape).astype(dtype)


class TestNifti(ReaderContract):
    make = VolumeReader
    secrets = (SECRET,)
    shape: tuple[int, ...] = (6, 5, 4)
    kind = nib.Nifti1Image

    def made(self, seed: int) -> bytes:
        image = self.kind(values(seed, *self.shape), np.diag([2.0, 2.0, 3.0, 1.0]))
        image.header["descrip"] = SECRET.encode()
        return image.to_bytes()

    def sample(self):
        return self.made(1)

    def other(self):
        return self.made(2)


class TestNifti2(TestNifti):
    kind = nib.Nifti2Image


class TestPackedNifti(TestNifti):
    def made(self, seed):
        return gzip.compress(super().made(seed), mtime=0)


class TestTimePoints(TestNifti):
    shape = (4, 3, 2, 3)


class TestColourNifti(TestNifti):
    def made(self, seed):
        rgb = np.random.default_rng(seed).integers(0, 256, (4, 5, 3, 3)).astype(np.uint8)
        voxels = rgb.view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
        return nib.Nifti1Image(voxels, np.eye(4)).to_bytes()


class TestMetaImage(TestNifti):
    def made(self, seed):
        return (
            b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
            b"ElementSpacing = 1 1 3\nDimSize = 6 5 4\nPatient = " + SECRET.encode() + b"\n"
            b"ElementType = MET_SHORT\nElementDataFile = LOCAL\n" + values(seed, 4, 5, 6).tobytes()
        )


class TestNrrd(TestNifti):
    encoding = "raw"

    def made(self, seed):
        data = values(seed, 4, 5, 6).tobytes()
        header = (
            f"NRRD0004\ntype: short\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: {self.encoding}\n"
            f"spacings: 1 1 3\ncontent: {SECRET}\npatient:={SECRET}\n\n"
        )
        return header.encode() + (gzip.compress(data, mtime=0) if self.encoding == "gzip" else data)


class TestPackedNrrd(TestNrrd):
    encoding = "gzip"


def test_it_is_found_by_entry_point():
    assert find_plugin(READERS, "volume").load() is VolumeReader
