"""From voxels in space to slices as a radiologist's screen shows them.

Coordinates are LPS (PS3.3 C.7.6.2.1.1). Screens show axial slices from the feet (patient's right on the
left, front at the top), coronal ones from the front (right on the left, head at the top), sagittal ones from
the left (front on the left, head at the top). Slices are not resampled: of an oblique volume they are its own
planes, named and turned by the closest anatomical ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.readers.volume_header import VolumeHeader

PLANES = ("sagittal", "coronal", "axial")  # by the closest LPS axis of their normal
# Of each plane: ((world axis, sign) of rows downwards, (world axis, sign) of columns to the right).
_SCREEN = (((2, -1), (1, 1)), ((2, -1), (0, 1)), ((1, 1), (0, 1)))
_ISOTROPIC = 1.01


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """How voxels (i, j, k) become slices (d, h, w).

    axes: voxel axes that run along slices, rows and columns. flips: which of them run backwards.
      plane: name of the closest anatomical plane. affine: (4, 4) from (d, h, w) to LPS.
      normal: unit vector across the slices, to which d runs.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    shape: tuple[int, int, int]
    plane: str
    affine: NDArray[np.float64]
    normal: NDArray[np.float64]

    def voxel(self, d: int) -> int:
        """Index along the file's own axis of slice `d`, and the other way round."""
        return self.shape[0] - 1 - d if self.flips[0] else d

    def position(self, d: int) -> float:
        """Of slice `d` along the normal, in mm, as for DICOM's Image Position (Patient)."""
        return float((self.affine[:3, 3] + d * self.affine[:3, 0]) @ self.normal)

    def slice_affine(self, d: int) -> NDArray[np.float64]:
        """(4, 4) from (0, h, w) of slice `d` to LPS."""
        moved = self.affine.copy()
        moved[:3, 3] += d * moved[:3, 0]
        return moved

    def spacing(self) -> tuple[float, float, float]:
        """Slices, rows, columns: distances of centres in mm; across the slices along the normal."""
        rows, columns = np.linalg.norm(self.affine[:3, 1:3], axis=0)
        return abs(float(self.affine[:3, 0] @ self.normal)), float(rows), float(columns)

    def turn_plane(self, plane: NDArray[Any]) -> NDArray[Any]:
        """(a, b, C) along the two voxel axes of a slice in ascending order, to (h, w, C)."""
        turned = plane if self.axes[1] < self.axes[2] else plane.swapaxes(0, 1)
        return turned[_step(self.flips[1]), _step(self.flips[2])]

    def turn_volume(self, volume: NDArray[Any]) -> NDArray[Any]:
        """(i, j, k, C) to (d, h, w, C)."""
        turned = volume.transpose(*self.axes, 3)
        return turned[_step(self.flips[0]), _step(self.flips[1]), _step(self.flips[2])]


def view_of(header: VolumeHeader) -> View:
    """The slices a volume is cut into by default; see `cut_axis`."""
    return view_along(header, cut_axis(header))


def cut_axis(header: VolumeHeader) -> int:
    """The voxel axis across the slices: that of the acquisition where it can be told.

    In this order: the only axis with a single voxel; the slice axis that the header names; the axis with the
    largest spacing (by more than 1 %); the one closest to head and feet, that is axial slices.
    """
    single = [axis for axis, length in enumerate(header.layout.shape) if length == 1]
    if len(single) == 1:
        return single[0]
    if header.slice_axis is not None:
        return header.slice_axis
    order = sorted(range(3), key=lambda axis: header.spacing[axis])
    if header.scaled and header.spacing[order[2]] > _ISOTROPIC * header.spacing[order[1]]:
        return order[2]
    return closest_axes(header.affine).index(2)


def view_along(header: VolumeHeader, axis: int) -> View:
    """The slices across voxel axis `axis`, turned as a screen shows them."""
    worlds = closest_axes(header.affine)
    world = worlds[axis]
    (row_world, row_sign), (column_world, column_sign) = _SCREEN[world]
    row, column = worlds.index(row_world), worlds.index(column_world)
    flip_row = bool(header.affine[row_world, row] * row_sign < 0)
    flip_column = bool(header.affine[column_world, column] * column_sign < 0)
    right = header.affine[:3, column] * (-1 if flip_column else 1)
    down = header.affine[:3, row] * (-1 if flip_row else 1)
    normal = np.cross(right, down)
    normal /= np.linalg.norm(normal)
    flip_slices = bool(header.affine[:3, axis] @ normal < 0)
    axes, flips = (axis, row, column), (flip_slices, flip_row, flip_column)
    lengths = header.layout.shape
    shape = (lengths[axis], lengths[row], lengths[column])
    affine = header.affine @ _unturn(axes, flips, shape)
    return View(axes, flips, shape, PLANES[world], affine, normal)


def closest_axes(affine: NDArray[np.float64]) -> tuple[int, int, int]:
    """The world axis (0 to 2) that each voxel axis runs along most closely, each taken once.

    The rotation closest to the affine decides (its polar decomposition), the clearest axis first, as in
    nibabel's `io_orientation`.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(directions)
    closeness = np.abs(left @ right)
    worlds = [0, 0, 0]
    for axis in np.argsort(-closeness.max(axis=0), kind="stable"):
        world = int(np.argmax(closeness[:, axis]))
        worlds[int(axis)] = world
        closeness[world, :] = -1.0
    return worlds[0], worlds[1], worlds[2]


def _unturn(
    axes: tuple[int, int, int], flips: tuple[bool, bool, bool], shape: tuple[int, int, int]
) -> NDArray[np.float64]:
    """(4, 4) from (d, h, w, 1) to (i, j, k, 1)."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1.0
    for place, (axis, flipped, length) in enumerate(zip(axes, flips, shape, strict=True)):
        matrix[axis, place] = -1.0 if flipped else 1.0
        matrix[axis, 3] = length - 1 if flipped else 0
    return matrix


def _step(flipped: bool) -> slice:
    return slice(None, None, -1 if flipped else None)
