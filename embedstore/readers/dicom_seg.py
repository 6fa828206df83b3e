"""Segmentations (SEG) as masks of the images they were made on (PS3.3 A.51, C.8.20)."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from embedstore.contracts.image import F32
from embedstore.contracts.record import Source
from embedstore.errors import ReadFailure
from embedstore.readers.dicom_file import DicomFile, parse, shape_of
from embedstore.readers.dicom_geometry import Plane, plane_of
from embedstore.readers.dicom_pixels import decode_frame, refuse_unsupported
from embedstore.readers.dicom_transforms import functional_group
from embedstore.readers.dicom_values import code, integer, items_of, meaning, numbers, text
from embedstore.readers.quiet import quiet_pydicom
from embedstore.readers.sources import DEFAULT_LIMITS
from embedstore.settings import Limits

SegmentKind = Literal["BINARY", "FRACTIONAL", "LABELMAP"]
SEGMENTATION, LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
_MOST_SEGMENTS = _MOST_FRAMES = 1 << 16
_SAME_PLACE_MM = 0.1
_SAME_DIRECTION = 0.999


@dataclass(frozen=True, slots=True)
class Reference:
    """An image that a mask belongs to. frame: from 1 in a multi-frame object, else None."""

    sop_uid: str
    frame: int | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """What a segment is. number: as the file counts it, from 1; category, kind: meanings of their codes."""

    number: int
    label: str | None
    category: str | None = None
    kind: str | None = None
    algorithm: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SegmentMask:
    """One segment in one frame of a segmentation.

    frame: of the segmentation, from 1. references: the images it was made on. plane: where it lies. mask:
    (H, W) bool; fraction: (H, W) float32 in 0..1 of a fractional segmentation (probability or occupancy),
    whose mask is where it is at least one half; None for the others.
    """

    segment: Segment
    frame: int
    references: tuple[Reference, ...]
    plane: Plane | None
    mask: NDArray[np.bool_]
    fraction: F32 | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as its header has it. index: from 0. number: of its segment, None in a label map.

    references, plane: see `SegmentMask`.
    """

    index: int
    number: int | None
    references: tuple[Reference, ...]
    plane: Plane | None

    def lies_on(self, image: Reference, plane: Plane | None) -> bool:
        """Whether it may have pixels of an image; see `region_of`."""
        coplanar = plane is not None and self.plane is not None and _coplanar(plane, self.plane)
        return image in self.references or coplanar


class SegmentationFile:
    """A segmentation whose header was read, once: that of thousands of frames takes seconds."""

    def __init__(self, source: Source, limits: Limits = DEFAULT_LIMITS) -> None:
        """Raises ReadFailure, also for what is no segmentation."""
        self._source = source
        with source.open() as stream:
            self._file = parse(stream, source.size, limits)
        ds = self._file.header
        if (text(ds, "SOPClassUID") or "") not in (SEGMENTATION, LABEL_MAP):
            raise ReadFailure("not a DICOM segmentation (SEG)")
        self._shape = shape_of(self._file, limits)
        refuse_unsupported(self._file)
        if self._shape.frames > _MOST_FRAMES:
            raise ReadFailure(f"more frames than the limit of {_MOST_FRAMES:,}")
        with quiet_pydicom():
            self.space = text(ds, "FrameOfReferenceUID")
            self.frames = tuple(
                Frame(n, _segment_number(ds, n), _references(ds, n), plane_of(ds, n))
                for n in range(self._shape.frames)
            )
            used = {frame.number for frame in self.frames if frame.number is not None}
            self.segments = {number: Segment(number, None) for number in sorted(used)} | segments_of(ds)

    def of(self, segments: Container[int] | None) -> tuple[Frame, ...]:
        """The frames that show these segments, or may; None for all."""
        return tuple(
            frame
            for frame in self.frames
            if frame.number is None or segments is None or frame.number in segments
        )

    def masks(self, frames: Iterable[Frame], segments: Container[int] | None) -> Iterator[SegmentMask]:
        """What frames show of these segments, with one frame in memory at a time. Raises ReadFailure."""
        with self._source.open() as stream:
            for frame in frames:
                values = decode_frame(self._file, self._shape, stream, frame.index).values
                with quiet_pydicom():
                    yield from _masks(self._file, frame, values, self.segments, segments)


def read_segments(
    source: Source, segments: Iterable[int] | None = None, limits: Limits = DEFAULT_LIMITS
) -> Iterator[SegmentMask]:
    """The masks of a segmentation, frame by frame, with one frame in memory at a time.

    segments: numbers of those wanted, None for all. Raises ReadFailure, before the first mask for what is no
    segmentation.
    """
    wanted = None if segments is None else frozenset(segments)
    file = SegmentationFile(source, limits)
    yield from file.masks(file.of(wanted), wanted)


def segments_of(ds: Dataset) -> dict[int, Segment]:
    """The segments that a dataset declares, by number."""
    found: dict[int, Segment] = {}
    for item in items_of(ds, "SegmentSequence", _MOST_SEGMENTS):
        number = integer(item, "SegmentNumber")
        if number is not None:
            found[number] = Segment(
                number,
                text(item, "SegmentLabel"),
                meaning(item, "SegmentedPropertyCategoryCodeSequence"),
                meaning(item, "SegmentedPropertyTypeCodeSequence"),
                code(item, "SegmentAlgorithmType"),
            )
    return found


def region_of(
    masks: Iterable[SegmentMask], image: Reference, plane: Plane | None, size: tuple[int, int]
) -> NDArray[np.bool_] | None:
    """The mask for one image: all masks that belong to it, united; None when none does.

    A mask belongs to the image that it refers to; one without references, or that refers to other images
    only, to the image whose plane is its own within 0.1 mm. Masks of another matrix are sampled at the
    centres of the image's pixels. size: (rows, columns) of the image.
    """
    referring, lying = [], []
    for mask in masks:
        if image in mask.references:
            referring.append(mask)
        elif plane is not None and mask.plane is not None and _coplanar(plane, mask.plane):
            lying.append(mask)
    found = [
        fitted for fitted in (_fitted(mask, plane, size) for mask in referring or lying) if fitted is not None
    ]
    return np.logical_or.reduce(found) if found else None


def _masks(
    file: DicomFile,
    frame: Frame,
    values: NDArray[np.generic],
    known: Mapping[int, Segment],
    wanted: Container[int] | None,
) -> Iterator[SegmentMask]:
    ds, number = file.header, frame.number
    place = (frame.index + 1, frame.references, frame.plane)
    if _kind(ds) == "LABELMAP":
        background = integer(ds, "PixelPaddingValue") or 0
        for label in (int(value) for value in np.unique(values)):
            if label != background and (wanted is None or label in wanted):
                segment = known.get(label, Segment(label, None))
                yield SegmentMask(segment, *place, values == label)
        return
    if number is None:
        raise ReadFailure("a frame of the segmentation does not say which segment it shows")
    segment = known.get(number, Segment(number, None))
    if _kind(ds) == "BINARY":
        yield SegmentMask(segment, *place, values != 0)
        return
    most = integer(ds, "MaximumFractionalValue") or 255
    fraction = np.clip(values.astype(np.float32) / np.float32(most), 0, 1).astype(np.float32)
    yield SegmentMask(segment, *place, fraction >= 0.5, fraction)


def _kind(ds: Dataset) -> SegmentKind:
    kind = code(ds, "SegmentationType")
    if kind == "LABELMAP" or text(ds, "SOPClassUID") == LABEL_MAP:
        return "LABELMAP"
    return "FRACTIONAL" if kind == "FRACTIONAL" else "BINARY"


def _segment_number(ds: Dataset, index: int) -> int | None:
    group = functional_group(ds, index, "SegmentIdentificationSequence")
    return integer(group, "ReferencedSegmentNumber") if group is not None else None


def _references(ds: Dataset, index: int) -> tuple[Reference, ...]:
    """Images of the Derivation Image functional group (C.7.6.16.2.6)."""
    group = functional_group(ds, index, "DerivationImageSequence")
    found: list[Reference] = []
    for source in items_of(group, "SourceImageSequence", 1 << 10):
        uid = text(source, "ReferencedSOPInstanceUID")
        if uid:
            frames = numbers(source, "ReferencedFrameNumber") or ()
            found += [Reference(uid, int(frame)) for frame in frames] or [Reference(uid)]
    return tuple(found)


def references_of(ds: Dataset) -> dict[int, frozenset[Reference]]:
    """The images that each segment of a segmentation was drawn on, by its number; pixels are not looked at.

    Empty for a segment of which a frame does not say it. A segment without a frame was found nowhere (writers
    leave empty frames out), and is left out.
    """
    declared = tuple(segments_of(ds))
    frames = len(items_of(ds, "PerFrameFunctionalGroupsSequence", _MOST_FRAMES))
    found: dict[int, set[Reference]] = {} if frames else {number: set() for number in declared}
    silent: set[int] = set()
    for index in range(frames):
        number, references = _segment_number(ds, index), _references(ds, index)
        for one in declared if number is None else (number,):
            found.setdefault(one, set()).update(references)
            if not references:
                silent.add(one)
    return {number: frozenset(() if number in silent else of) for number, of in found.items()}


def _coplanar(a: Plane, b: Plane) -> bool:
    same = abs(sum(p * q for p, q in zip(a.normal, b.normal, strict=True))) >= _SAME_DIRECTION
    apart = sum((p - q) * n for p, q, n in zip(a.position, b.position, a.normal, strict=True))
    return same and abs(apart) <= _SAME_PLACE_MM


def _fitted(mask: SegmentMask, plane: Plane | None, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """The mask on the image's own matrix; None when its place on it is not known."""
    mine = mask.plane
    if plane is None or mine is None or plane.spacing is None or mine.spacing is None:
        return mask.mask if mask.mask.shape == size else None
    if mask.mask.shape == size and _same_matrix(plane, mine):
        return mask.mask
    origin = np.subtract(plane.position, mine.position)
    down = np.multiply(plane.along_column, plane.spacing[0])
    right = np.multiply(plane.along_row, plane.spacing[1])
    rows = [float(np.dot(vector, mine.along_column)) / mine.spacing[0] for vector in (origin, down, right)]
    columns = [float(np.dot(vector, mine.along_row)) / mine.spacing[1] for vector in (origin, down, right)]
    r, c = np.ogrid[: size[0], : size[1]]
    at_row = np.rint(rows[0] + rows[1] * r + rows[2] * c).astype(np.int64)
    at_column = np.rint(columns[0] + columns[1] * r + columns[2] * c).astype(np.int64)
    height, width = mask.mask.shape
    inside = (at_row >= 0) & (at_row < height) & (at_column >= 0) & (at_column < width)
    sampled = mask.mask[np.clip(at_row, 0, height - 1), np.clip(at_column, 0, width - 1)]
    return np.asarray(sampled & inside)


def _same_matrix(a: Plane, b: Plane) -> bool:
    return bool(
        np.allclose(a.position, b.position, atol=_SAME_PLACE_MM)
        and np.allclose((*a.along_row, *a.along_column), (*b.along_row, *b.along_column), atol=1e-3)
        and np.allclose(a.spacing or (), b.spacing or (), rtol=1e-4)
    )
