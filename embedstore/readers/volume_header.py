"""What the headers of all volume formats come down to: where the voxels lie, and where they are in space."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.record import Scalar
from embedstore.errors import ReadFailure
from embedstore.settings import Limits

Packing = Literal["", "deflate"]
CUT_SHORT = "the voxels are fewer than the header promises; the file is truncated"
# A deflate stream cannot grow by more than this factor (zlib technical notes: 1032).
_DEFLATE_RATIO = 1032


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the voxels lie in the bytes.

    shape: (i, j, k) voxels, i the fastest axis. times: time points; times_fastest: they are interleaved with
      the voxels instead of following each other. channels: interleaved components of a voxel, 1 (grey), 3
      (RGB) or 4 (RGBA). offset: of the first voxel, in the unpacked stream when packed. packing: "deflate"
      for zlib and gzip streams, which begin at packed_at. from_end: the voxels are the last bytes of the
      file, whatever the offset. slope, intercept: stored to real values.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    times: int = 1
    times_fastest: bool = False
    channels: int = 1
    packing: Packing = ""
    packed_at: int = 0
    from_end: bool = False
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def cells(self) -> int:
        """Values at one place of the fastest-running storage: channels, or time points interleaved."""
        return self.times if self.times_fastest else self.channels

    @property
    def volume_bytes(self) -> int:
        """Bytes of one volume as stored, all time points of it when they are interleaved."""
        return math.prod(self.shape) * self.cells * self.dtype.itemsize

    @property
    def end(self) -> int:
        """Bytes of the (unpacked) stream up to the last voxel."""
        volumes = 1 if self.times_fastest else self.times
        return self.offset + volumes * self.volume_bytes


@dataclass(frozen=True, slots=True, eq=False)
class VolumeHeader:
    """A header in the words of this package.

    affine: (4, 4) voxel (i, j, k) to LPS in mm. oriented: whether the file says so, or it is an assumption of
      its format. scaled: whether the size of a voxel is known. slice_axis: the axis (0 to 2) along which
      slices were acquired, where the file says it. time_step_s: between time points. data: name of the
      file that holds the voxels when it is another one. extra: further attributes, no free text.
    """

    format: str
    layout: Layout
    affine: NDArray[np.float64]
    oriented: bool
    scaled: bool
    slice_axis: int | None = None
    time_step_s: float | None = None
    modality: str | None = None
    data: str | None = None
    extra: dict[str, Scalar] = field(default_factory=dict)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Distance of voxel centres along i, j, k in mm."""
        i, j, k = (float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))
        return i, j, k


def check_layout(layout: Layout) -> None:
    """Sizes against each other, before anything is allocated. Raises ReadFailure."""
    if min(*layout.shape, layout.times) < 1:
        raise ReadFailure("the volume has no voxels (a dimension is zero)")
    if sum(length > 1 for length in layout.shape) < 2:
        raise ReadFailure("a line of values, not an image")
    if layout.channels not in (1, 3, 4):
        raise ReadFailure(
            f"its voxels are vectors of {layout.channels} components (a field or a tensor), not an image"
        )
    if layout.channels > 1 and layout.dtype != np.uint8:
        raise ReadFailure("its voxels are vectors (a displacement or gradient field), not an image")
    if layout.dtype.kind not in "iuf" or layout.dtype.itemsize > 8:
        raise ReadFailure("its voxels are complex or extended numbers; convert them to 32-bit floats first")
    if layout.offset < 0 or not (math.isfinite(layout.slope) and math.isfinite(layout.intercept)):
        raise ReadFailure("the header is damaged")


def check_unpacked(layout: Layout, limits: Limits) -> None:
    """Packed voxels against what may be unpacked; plain ones are read where they lie. Raises ReadFailure."""
    if layout.packing and layout.end > limits.max_file_bytes:
        raise ReadFailure(
            f"its voxels, unpacked, are larger than the limit of {limits.max_file_bytes:,} bytes; unpack it"
        )


def check_size(layout: Layout, size: int) -> None:
    """Whether a file of `size` bytes can hold the voxels at all. Raises ReadFailure."""
    most = max(size - layout.packed_at, 0) * _DEFLATE_RATIO if layout.packing else size
    if most < layout.end:
        raise ReadFailure(CUT_SHORT)


def placed(affine: NDArray[Any] | None) -> NDArray[np.float64] | None:
    """The affine when it places voxels in space at all: finite, with three independent axes."""
    if affine is None:
        return None
    found = np.asarray(affine, np.float64)
    if found.shape != (4, 4) or not np.isfinite(found).all() or float(np.abs(found).max()) > 1e9:
        return None
    lengths = np.linalg.norm(found[:3, :3], axis=0)
    if not (lengths > 1e-9).all():
        return None
    if abs(float(np.linalg.det(found[:3, :3] / lengths))) < 1e-4:
        return None
    return found


def upright_grid(spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """Axes i, j, k along +x, +y, +z of LPS, from the origin: what readers assume when a file says nothing."""
    return np.diag([*spacing, 1.0])
