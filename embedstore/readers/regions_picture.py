"""Regions from pictures and volumes whose values are a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.record import Asset, Cut, Source
from embedstore.errors import ReadFailure
from embedstore.readers.choose import ReaderSet
from embedstore.readers.regions import ELSEWHERE, Mask, Misfit, OpenMask, Place, Unmarked, other_size

_EMPTY = "the mask is empty: no pixel is marked in it"
_OFF_GRID = 0.1  # of a voxel


def picture_mask(source: Source, segment: str | None, readers: ReaderSet) -> OpenMask:
    """The mask in a picture or volume. segment: the value that is meant. Raises ReadFailure."""
    if segment is not None and not segment.isdecimal():
        why = "is no value in a mask; values are whole numbers"
        raise Misfit(f"'{segment}' {why}", f"the segment {why}")
    value = int(segment) if segment is not None else None
    parts = [one for one in readers.describe(source) if isinstance(one, Asset)]
    if not parts:
        raise ReadFailure("the mask file holds no picture")
    if parts[0].reader == "volume":
        volumes = [one for one in readers.describe(source, Cut(unit="volume")) if isinstance(one, Asset)]
        if len(volumes) == 1:
            whole = readers.read(volumes[0], "raw")
            if whole.affine is not None:
                marked = _marked(whole.pixels, value)
                if not marked.any():
                    raise ReadFailure(_EMPTY)
                return VolumeRegion(marked, whole.affine)
    return PictureRegion(tuple(parts), value, readers)


def _marked(pixels: NDArray[np.float32], value: int | None) -> Mask:
    """Where any channel is not zero, or the first one has the value."""
    found: Mask = (pixels != 0).any(axis=-1) if value is None else pixels[..., 0] == value
    return found


@dataclass(frozen=True, slots=True, eq=False)
class PictureRegion:
    """Pictures of the images' size: the one that has the image's own part key, or the only one."""

    parts: tuple[Asset, ...]
    value: int | None
    readers: ReaderSet

    def on(self, place: Place) -> Mask:
        """See `OpenMask`."""
        same = [one for one in self.parts if one.part == place.asset.part]
        chosen = same[0] if same else self.parts[0]
        if not same and len(self.parts) > 1:
            raise Unmarked(
                f"{ELSEWHERE}: it has {len(self.parts)} pictures, and none is '{place.asset.part}'"
            )
        pixels = self.readers.read(chosen, "raw").pixels
        marked = _marked(pixels, self.value)
        if marked.shape != place.size:
            raise other_size(marked, place.size)
        if len(self.parts) == 1 and not marked.any():
            raise ReadFailure(_EMPTY)
        return marked


@dataclass(frozen=True, slots=True, eq=False)
class VolumeRegion:
    """A volume that is laid on images by geometry. mask: (D, H, W) bool. affine: as of an Image."""

    mask: Mask
    affine: NDArray[np.float64]

    def on(self, place: Place) -> Mask:
        """See `OpenMask`. On an image without geometry only a single slice of its size has its place."""
        if place.image.affine is None:
            if self.mask.shape == (1, *place.size):
                return np.asarray(self.mask[0])
            raise ReadFailure(
                "nothing says where in the patient the image lies, so a volume has no place on it"
            )
        index = _indexes(self.affine, place)
        nearest = np.rint(index)
        inside = ((nearest >= 0) & (nearest < np.array(self.mask.shape)[:, None, None])).all(axis=0)
        if not inside.any():
            raise Unmarked(ELSEWHERE)
        if np.abs(index - nearest)[:, inside].max() > _OFF_GRID:
            raise ReadFailure(
                "the mask's voxels do not lie on the image's pixels; resample the mask to the image first"
            )
        places = np.where(inside, nearest, 0).astype(np.int64)
        return np.asarray(self.mask[tuple(places)] & inside)


def _indexes(affine: NDArray[np.float64], place: Place) -> NDArray[np.float64]:
    """(3, rows, columns): where in a volume the pixel centres of the frame lie, in voxels."""
    image = place.image
    assert image.affine is not None
    rows, columns = np.mgrid[: place.size[0], : place.size[1]]
    rows, columns = rows - image.offset[0], columns - image.offset[1]
    to_volume = np.linalg.solve(affine, image.affine)
    along = to_volume[:3, 1:4]
    return np.asarray(np.einsum("ij,jrc->irc", along, np.stack([rows, columns, np.ones_like(rows)])))
