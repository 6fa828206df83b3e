"""Segmentations (SEG) as masks of the images they were made on (PS3.3 A.51, C.8.20)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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


def read_segments(
    source: Source, segments: Iterable[int] | None = None, limits: Limits = DEFAULT_LIMITS
) -> Iterator[SegmentMask]:
    """The masks of a segmentation, frame by frame, with one frame in memory at a time.

    segments: numbers of those wanted, None for all. Raises ReadFailure, before the first mask for what is no
    segmentation.
    """
    with source.open() as stream:
        file = parse(stream, source.size, limits)
        ds = file.header
        if (text(ds, "SOPClassUID") or "") not in (SEGMENTATION, LABEL_MAP):
            raise ReadFailure("not a DICOM segmentation (SEG)")
        shape = shape_of(file, limits)
        refuse_unsupported(file)
        with quiet_pydicom():
            known = segments_of(ds)
        wanted = None if segments is None else frozenset(segments)
        for index in range(shape.frames):
            number = _segment_number(ds, index)
            if number is not None and wanted is not None and number not in wanted:
                continue
            values = decode_frame(file, shape, stream, index).values
            with quiet_pydicom():
                yield from _masks(file, index, number, values, known, wanted)


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
    index: int,
    number: int | None,
    values: NDArray[np.generic],
    known: dict[int, Segment],
    wanted: frozenset[int] | None,
) -> Iterator[SegmentMask]:
    ds = file.header
    references, plane = _references(ds, index), plane_of(ds, index)
    if _kind(ds) == "LABELMAP":
        background = integer(ds, "PixelPaddingValue") or 0
        for label in (int(value) for value in np.unique(values)):
            if label != background and (wanted is None or label in wanted):
                segment = known.get(label, Segment(label, None))
                yield SegmentMask(segment, index + 1, references, plane, values == label)
        return
    if number is None:
        raise ReadFailure("a frame of the segmentation does not say which segment it shows")
    segment = known.get(number, Segment(number, None))
    if _kind(ds) == "BINARY":
        yield SegmentMask(segment, index + 1, references, plane, values != 0)
        return
    most = integer(ds, "MaximumFractionalValue") or 255
    fraction = np.clip(values.astype(np.float32) / np.float32(most), 0, 1).astype(np.float32)
    yield SegmentMask(segment, index + 1, references, plane, fraction >= 0.5, fraction)


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
