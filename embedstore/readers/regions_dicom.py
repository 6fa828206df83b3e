"""Regions from DICOM segmentations and structure sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from embedstore.contracts.image import Image
from embedstore.contracts.record import Source
from embedstore.errors import ReadFailure
from embedstore.readers.choose import HEAD_BYTES
from embedstore.readers.dicom_file import parse, plausible
from embedstore.readers.dicom_geometry import Plane, Vector
from embedstore.readers.dicom_rtstruct import STRUCTURE_SET, Structure, contour_mask, read_structures
from embedstore.readers.dicom_seg import (
    LABEL_MAP,
    SEGMENTATION,
    Frame,
    Reference,
    SegmentationFile,
    references_of,
    region_of,
    segments_of,
)
from embedstore.readers.dicom_values import text
from embedstore.readers.quiet import quiet_pydicom
from embedstore.readers.regions import ELSEWHERE, NOTHING, Mask, Misfit, OpenMask, Place, Unmarked, other_size
from embedstore.readers.sources import DEFAULT_LIMITS

_SPACE = "FrameOfReferenceUID"
_ELSEWHERE = f"{ELSEWHERE}, or to other slices"


class DicomMasks(Protocol):
    """A mask file that was read, with all its segments."""

    def region(self, segment: str | None) -> OpenMask:
        """One of them, by number or label; None where there is one only. Raises ReadFailure, Misfit."""


def open_masks(source: Source) -> DicomMasks | None:
    """The masks in a SEG or RTSTRUCT; None for any other object. Raises ReadFailure."""
    with source.open() as stream:
        header = parse(stream, source.size, DEFAULT_LIMITS).header
    with quiet_pydicom():
        kind = text(header, "SOPClassUID")
    if kind in (SEGMENTATION, LABEL_MAP):
        return Segments(SegmentationFile(source))
    if kind == STRUCTURE_SET:
        return Structures({one.number: one for one in read_structures(source)})
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """Implements `DicomMasks`."""

    file: SegmentationFile

    def region(self, segment: str | None) -> OpenMask:
        """See `DicomMasks`."""
        labels = {number: one.label for number, one in self.file.segments.items()}
        return SegmentedRegion(self.file, frozenset([choose(labels, segment)]) if labels else None)


@dataclass(frozen=True, slots=True, eq=False)
class Structures:
    """Implements `DicomMasks`."""

    structures: Mapping[int, Structure]

    def region(self, segment: str | None) -> OpenMask:
        """See `DicomMasks`."""
        labels = {number: one.name for number, one in self.structures.items()}
        return ContouredRegion(self.structures[choose(labels, segment)])


@dataclass(frozen=True, slots=True)
class Drawn:
    """One segment of a mask file. references: the images it was drawn on, as far as the file tells.

    space: UID of the frame of reference it lies in.
    """

    number: int
    label: str | None
    references: frozenset[Reference]
    space: str | None

    @property
    def objects(self) -> frozenset[str]:
        """SOP Instance UIDs of the references."""
        return frozenset(one.sop_uid for one in self.references)

    def is_on(self, sop_uid: str | None, frame: int | None) -> bool:
        """Whether it was drawn on an image; a reference without a frame is to all of them."""
        return not self.references.isdisjoint((Reference(sop_uid or "", frame), Reference(sop_uid or "")))


def drawn_in(source: Source) -> tuple[Drawn, ...]:
    """The segments of a SEG or RTSTRUCT, from its header; () for any other file. Raises ReadFailure."""
    with source.open() as stream:
        if not plausible(stream.read(HEAD_BYTES)):
            return ()
        stream.seek(0)
        header = parse(stream, source.size, DEFAULT_LIMITS).header
    with quiet_pydicom():
        kind, space = text(header, "SOPClassUID"), text(header, _SPACE)
        if kind in (SEGMENTATION, LABEL_MAP):
            labels = {number: one.label for number, one in segments_of(header).items()}
            return tuple(
                Drawn(number, labels.get(number), references, space)
                for number, references in sorted(references_of(header).items())
            )
    if kind != STRUCTURE_SET:
        return ()
    return tuple(
        Drawn(one.number, one.name, _told(one), one.space) for one in read_structures(source) if one.contours
    )


def _told(structure: Structure) -> frozenset[Reference]:
    """Images of a structure; none when a contour does not name its own."""
    references = [contour.references for contour in structure.contours]
    return frozenset().union(*references) if all(references) else frozenset()


def choose(labels: Mapping[int, str | None], wanted: str | None) -> int:
    """The number of the segment that is meant, by its number or label. Raises ReadFailure, Misfit."""
    if not labels:
        raise ReadFailure("the mask file holds no segment")
    there = ", ".join(f"{number} '{label or ''}'" for number, label in sorted(labels.items()))
    numbers = ", ".join(map(str, sorted(labels)))
    if wanted is None:
        if len(labels) > 1:
            several = "the mask file holds several segments, choose one with --segment:"
            raise Misfit(f"{several} {there}", f"{several} {numbers}")
        return next(iter(labels))
    named = [number for number, label in labels.items() if label == wanted]
    named = named or [n for n, label in labels.items() if (label or "").casefold() == wanted.casefold()]
    if wanted.isdecimal() and int(wanted) in labels:
        return int(wanted)
    if len(named) != 1:
        how = "several segments are" if named else "no segment is"
        raise Misfit(
            f"{how} called '{wanted}'; the mask file holds {there}",
            f"{how} called so; the mask file holds {numbers}",
        )
    return named[0]


def frame_plane(image: Image) -> Plane | None:
    """The plane of the frame as stored, of which `image` may show a part."""
    if image.affine is None:
        return None
    down, right = image.affine[:3, 1], image.affine[:3, 2]
    corner = image.affine[:3, 3] - image.offset[0] * down - image.offset[1] * right
    spacing = float(np.linalg.norm(down)), float(np.linalg.norm(right))
    return Plane(_vector(corner), _vector(right / spacing[1]), _vector(down / spacing[0]), spacing)


@dataclass(frozen=True, slots=True, eq=False)
class SegmentedRegion:
    """All frames of one segment, decoded where they are asked for. segments: None for whatever there is."""

    file: SegmentationFile
    segments: frozenset[int] | None

    def on(self, place: Place) -> Mask:
        """See `OpenMask`."""
        frames, image, plane = self.file.of(self.segments), _reference(place), frame_plane(place.image)
        if _elsewhere(self.file.space, place):
            near = [frame for frame in frames if image in frame.references]
        else:
            near = [frame for frame in frames if frame.lies_on(image, plane)]
        masks = tuple(self.file.masks(near, self.segments))
        found = region_of(masks, image, plane, place.size)
        if (found is None or not found.any()) and self._empty(frames):
            raise ReadFailure("the mask is empty: no pixel is marked in it")
        if found is not None:
            return found
        mine = [mask for mask in masks if image in mask.references]
        if mine:
            raise other_size(mine[0].mask, place.size)
        referred = {one.sop_uid for frame in frames for one in frame.references}
        raise Unmarked(NOTHING if image.sop_uid in referred else _ELSEWHERE)

    def _empty(self, frames: Sequence[Frame]) -> bool:
        return not any(mask.mask.any() for mask in self.file.masks(frames, self.segments))


@dataclass(frozen=True, slots=True, eq=False)
class ContouredRegion:
    """The contours of one structure."""

    structure: Structure

    def on(self, place: Place) -> Mask:
        """See `OpenMask`."""
        contours = self.structure.contours
        if not contours:
            raise ReadFailure("the structure has no closed planar contour, so it marks no pixel")
        plane = frame_plane(place.image)
        if plane is None:
            raise Unmarked("nothing says where in the patient it lies, so contours have no place on it")
        if _elsewhere(self.structure.space, place):
            contours = tuple(one for one in contours if _reference(place) in one.references)
        found = contour_mask(contours, _reference(place), plane, place.size)
        if found is None:
            raise Unmarked(_ELSEWHERE)
        return found


def _elsewhere(space: str | None, place: Place) -> bool:
    """Whether equal coordinates are places in two patients, or in two scans of one (PS3.3 C.7.4.1.1.1)."""
    own = place.asset.header.extra.get(_SPACE)
    return space is not None and own is not None and own != space


def _reference(place: Place) -> Reference:
    header = place.asset.header
    return Reference(header.sop_uid or "", header.frame)


def _vector(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])
