"""Small volumes of every format, made by the libraries that the reader is compared with."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from embedstore.contracts.image import Image
from embedstore.contracts.record import WHOLE_CUT, Asset, Cut
from embedstore.readers.sources import FileSource
from embedstore.readers.volume import VolumeReader

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
VOLUME = Cut(unit="volume")


def pattern(seed: int, *shape: int, dtype="int16"):
    """Values that differ everywhere, also negative where the type has them."""
    dtype = np.dtype(dtype)
    values = np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape)
    if dtype.kind == "f":
        return (values / 7 - 3).astype(dtype)
    return (values % 251 if dtype.itemsize == 1 else values - (100 if dtype.kind == "i" else 0)).astype(dtype)


def nifti(values, affine=None, *, version: int = 1, packed: bool = False, **header) -> bytes:
    kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
    image = kind(values, np.eye(4) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    data = image.to_bytes()
    return gzip.compress(data, mtime=0) if packed else data


def rotation(angles) -> np.ndarray:
    """(3, 3) turns about x, y and z."""
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        one = np.eye(3)
        a, b = [other for other in range(3) if other != axis]
        one[a, a], one[a, b], one[b, a], one[b, b] = c, -s, s, c
        turned = one @ turned
    return turned


def itk(values, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), direction=None, colour: bool = False):
    """SimpleITK image of (k, j, i) or (k, j, i, C) values."""
    image = sitk.GetImageFromArray(values, isVector=colour)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    if direction is not None:
        image.SetDirection(np.asarray(direction, float).ravel().tolist())
    return image


def written(image, path: Path, packed: bool = False) -> Path:
    sitk.WriteImage(image, str(path), useCompression=packed)
    return path


def assets(path: Path, cut: Cut = WHOLE_CUT) -> list[Asset]:
    return list(VolumeReader().describe(FileSource.of(path), cut))


def volume(path: Path, want="raw") -> Image:
    (asset,) = assets(path, VOLUME)
    return VolumeReader().read(asset, want)


def itk_affine(image) -> np.ndarray:
    """(4, 4) from (k, j, i, 1) to LPS mm."""
    size = image.GetDimension()
    matrix = np.eye(size + 1)
    matrix[:size, :size] = np.array(image.GetDirection()).reshape(size, size) * np.array(image.GetSpacing())
    matrix[:size, size] = image.GetOrigin()
    return matrix[:, [2, 1, 0, 3]]
