"""The slices of a multi-frame stack: which volumes they form, and their order (PS3.3 C.7.6.16, C.8.4.8)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from pydicom.dataset import Dataset

from embedstore.readers.dicom_geometry import Plane, plane_of
from embedstore.readers.dicom_time import frame_moment
from embedstore.readers.dicom_transforms import functional_group
from embedstore.readers.dicom_values import integer, item_at, items_of, number, numbers, text

_PER_FRAME, _SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
_SAME_PLACE_MM = 1e-3
# What makes a volume of its own besides stack and orientation: (functional group, attribute).
_DIMENSIONS = (
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("TemporalPositionSequence", "TemporalPositionTimeOffset"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRModifierSequence", "InversionTimes"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("MRDiffusionSequence", "DiffusionDirectionality"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"),
    ("RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"),
    ("CTImageFrameTypeSequence", "FrameType"),
    ("MRImageFrameTypeSequence", "FrameType"),
    ("PETFrameTypeSequence", "FrameType"),
    ("XRay3DFrameTypeSequence", "FrameType"),
)
_WORDS = frozenset(("FrameType", "DiffusionDirectionality"))
_POSITION_POINTERS = frozenset((0x00209057, 0x00200032, 0x00209056, 0x00209113, 0x00201041, 0x00209153))
# Vectors by which frames of nuclear medicine differ besides the slice (C.8.4.8).
_NUCLEAR_VECTORS = (
    *("EnergyWindowVector", "DetectorVector", "PhaseVector", "RotationVector", "RRIntervalVector"),
    *("TimeSlotVector", "AngularViewVector", "TimeSliceVector"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """A frame in its stack. index: from 0 in the file; order: what it is sorted by."""

    index: int
    order: float
    position_mm: float | None = None
    time_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Frame:
    index: int
    plane: Plane | None
    stack: str | None
    number: int | None
    dimensions: tuple[object, ...]
    indexes: tuple[float, ...]


def is_stack(ds: Dataset) -> bool:
    """Whether the frames of an object have positions of their own."""
    return functional_group(ds, 0, "PlanePositionSequence") is not None


def nuclear_slices(ds: Dataset) -> tuple[float, ...] | None:
    """Slice Vector when Frame Increment Pointer names it (reconstructed tomography), else None."""
    named = "".join(part for part in text(ds, "FrameIncrementPointer") or "" if part.isalnum()).upper()
    return numbers(ds, "SliceVector") if "00540080" in named else None


def stack_places(ds: Dataset, frames: int) -> list[list[Place]]:
    """The volumes of a stack, each sorted along its normal, in the order of their first frames in the file.

    Frames of one volume have one stack, orientation, spacing, and one value of each further dimension (time,
    echo, b-value and direction, phase, frame type). If two of them still lie at one place, the object's own
    dimension indexes part them, else the order in which they come. Frames without a position keep the order
    of In-Stack Position Number, else of the file.
    """
    vector = nuclear_slices(ds)
    if vector is not None and len(vector) >= frames:
        return _nuclear_places(ds, frames, vector)
    found = _frames(ds, frames)
    groups = _grouped(found, lambda frame: (frame.stack, _view_of(frame), frame.dimensions))
    if frames > 1 and len(groups) == frames:  # radial scans: every slice has its own orientation
        groups = _grouped(found, lambda frame: (frame.stack, frame.dimensions))
        if len(groups) == frames:
            groups = [found]
    parted = [part for group in groups for part in _without_doubles(group)]
    return _timed(ds, [_sorted(group) for group in parted])


def step_between(planes: list[Plane]) -> tuple[tuple[float, float, float], bool] | None:
    """The vector from slice to slice, and whether all steps are equal to 1 %; None for fewer than two."""
    if len(planes) < 2:
        return None
    first, last, count = planes[0].position, planes[-1].position, len(planes) - 1
    step = tuple((b - a) / count for a, b in zip(first, last, strict=True))
    length = sum(part * part for part in step) ** 0.5
    even = length > _SAME_PLACE_MM and all(
        sum((c - f - s * place) ** 2 for c, f, s in zip(plane.position, first, step, strict=True)) ** 0.5
        <= 0.01 * length + _SAME_PLACE_MM
        for place, plane in enumerate(planes)
    )
    return (step[0], step[1], step[2]), even


def _frames(ds: Dataset, frames: int) -> list[_Frame]:
    present = _macros(ds, frames)
    dimensions = tuple(pair for pair in _DIMENSIONS if pair[0] in present)
    kept = _kept_indexes(ds)
    return [_frame(ds, index, dimensions, kept) for index in range(frames)]


def _macros(ds: Dataset, frames: int) -> set[str]:
    """Keywords of the functional groups of the first and the last frame and the shared ones."""
    places = (
        item_at(ds, _SHARED, 0),
        item_at(ds, _PER_FRAME, 0),
        item_at(ds, _PER_FRAME, frames - 1),
    )
    return {name for name, _ in _DIMENSIONS for place in places if place is not None and name in place}


def _frame(ds: Dataset, index: int, dimensions: tuple[tuple[str, str], ...], kept: tuple[int, ...]) -> _Frame:
    content = functional_group(ds, index, "FrameContentSequence")
    stack = text(content, "StackID") if content is not None else None
    rank = integer(content, "InStackPositionNumber") if content is not None else None
    values = (numbers(content, "DimensionIndexValues") or ()) if content is not None else ()
    groups = {name: functional_group(ds, index, name) for name in {name for name, _ in dimensions}}
    found = [_value(groups[name], keyword) for name, keyword in dimensions]
    if groups.get("MRDiffusionSequence") is not None:
        gradient = item_at(groups["MRDiffusionSequence"], "DiffusionGradientDirectionSequence", 0)
        found.append(_value(gradient, "DiffusionGradientOrientation"))
    indexes = tuple(values[place] for place in kept if place < len(values))
    return _Frame(index, plane_of(ds, index), stack, rank, tuple(found), indexes)


def _value(group: Dataset | None, keyword: str) -> object:
    if group is None:
        return None
    return (
        text(group, keyword)
        if keyword in ("FrameType", "DiffusionDirectionality")
        else numbers(group, keyword)
    )


def _kept_indexes(ds: Dataset) -> tuple[int, ...]:
    """Which dimension indexes do not stand for the place of a slice."""
    pointers = [text(item, "DimensionIndexPointer") for item in items_of(ds, "DimensionIndexSequence", 32)]
    tags = ["".join(part for part in pointer or "" if part.isalnum()) for pointer in pointers]
    return tuple(at for at, tag in enumerate(tags) if tag and int(tag, 16) not in _POSITION_POINTERS)


def _view_of(frame: _Frame) -> object:
    plane = frame.plane
    return (plane.orientation, plane.spacing) if plane is not None else None


def _grouped(frames: Iterable[_Frame], key: Callable[[_Frame], object]) -> list[list[_Frame]]:
    groups: dict[object, list[_Frame]] = defaultdict(list)
    for frame in frames:
        groups[key(frame)].append(frame)
    return list(groups.values())


def _without_doubles(group: list[_Frame]) -> list[list[_Frame]]:
    if not _doubles(group):
        return [group]
    by_index = _grouped(group, lambda frame: frame.indexes)
    if len(by_index) < len(group) and not any(_doubles(part) for part in by_index):
        return by_index
    seen: dict[int | None, int] = defaultdict(int)
    turns: dict[int, list[_Frame]] = defaultdict(list)
    for frame in group:
        place = _rounded(frame)
        turns[seen[place]].append(frame)
        seen[place] += 1
    return list(turns.values())


def _doubles(group: list[_Frame]) -> bool:
    places = [_rounded(frame) for frame in group]
    return None not in places and len(set(places)) < len(places) and not _radial(group)


def _radial(group: list[_Frame]) -> bool:
    return len({_view_of(frame) for frame in group}) > 1


def _rounded(frame: _Frame) -> int | None:
    return round(frame.plane.distance / _SAME_PLACE_MM / 10) if frame.plane is not None else None


def _sorted(group: list[_Frame]) -> list[Place]:
    planes = [frame.plane for frame in group]
    if not _radial(group) and all(plane is not None for plane in planes):
        places = [
            Place(frame.index, plane.distance, round(plane.distance, 4))
            for frame, plane in zip(group, planes, strict=True)
            if plane is not None
        ]
    elif all(frame.number is not None for frame in group):
        places = [Place(frame.index, float(frame.number or 0)) for frame in group]
    else:
        places = [Place(frame.index, float(frame.index)) for frame in group]
    return sorted(places, key=lambda place: (place.order, place.index))


def _timed(ds: Dataset, groups: list[list[Place]]) -> list[list[Place]]:
    """Times of the volumes: offset of the temporal position, trigger delay, or moments of the frames."""
    times = [_offset(ds, group[0].index) for group in groups]
    if len(groups) > 1 and all(time is None for time in times):
        moments = [_first_moment(ds, group) for group in groups]
        known = [moment for moment in moments if moment is not None]
        if len(known) == len(groups) and len(set(known)) > 1:
            times = [round((moment - min(known)).total_seconds(), 6) for moment in known]
    return [
        [replace(place, time_s=time) for place in group] for group, time in zip(groups, times, strict=True)
    ]


def _offset(ds: Dataset, index: int) -> float | None:
    group = functional_group(ds, index, "TemporalPositionSequence")
    found = number(group, "TemporalPositionTimeOffset") if group is not None else None
    if found is not None:
        return found
    group = functional_group(ds, index, "CardiacSynchronizationSequence")
    found = number(group, "NominalCardiacTriggerDelayTime") if group is not None else None
    return round(found / 1000, 6) if found is not None else None


def _first_moment(ds: Dataset, group: list[Place]) -> datetime | None:
    moments = [frame_moment(ds, place.index) for place in group]
    known = [moment for moment in moments if moment is not None]
    return min(known) if known else None


def _nuclear_places(ds: Dataset, frames: int, vector: tuple[float, ...]) -> list[list[Place]]:
    """Slices by Slice Vector; their position from the first slice's and Spacing Between Slices (C.8.4.15)."""
    others = [numbers(ds, keyword) for keyword in _NUCLEAR_VECTORS]
    known = [other for other in others if other is not None and len(other) >= frames]
    detector = item_at(ds, "DetectorInformationSequence", 0)
    plane = plane_of(detector, 0) if detector is not None else None
    step = number(ds, "SpacingBetweenSlices")
    groups: dict[object, list[Place]] = defaultdict(list)
    for index in range(frames):
        position = None
        if plane is not None and step is not None:
            position = round(plane.distance + (vector[index] - 1) * step, 4)
        groups[tuple(other[index] for other in known)].append(Place(index, vector[index], position))
    return [sorted(group, key=lambda place: (place.order, place.index)) for group in groups.values()]
