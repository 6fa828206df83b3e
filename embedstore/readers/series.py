"""Volumes of slices that came one by one: put in order along their normal, checked, and stacked.

Slices are told to belong together by the `whole` that their reader gave them. What is odd about a stack is
said in its flags; `read_stack` makes no volume of a stack whose flags forbid it. Nothing is resampled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import Image
from embedstore.contracts.record import Asset, Header
from embedstore.errors import ReadFailure
from embedstore.readers.sources import DEFAULT_LIMITS
from embedstore.settings import Limits

Flag = Literal[
    "gap",
    "uneven steps",
    "duplicate position",
    "repeated",
    "no position",
    "mixed orientation",
    "mixed spacing",
    "not parallel",
]
#: What each flag says. The first ones forbid a volume; the last three are for information.
FLAGS: dict[Flag, str] = {
    "gap": "a slice or more is missing: a step is over 1.5 times the median",
    "uneven steps": "the steps between slices differ by over 2 %",
    "duplicate position": "two slices lie at one place, and not at all places alike",
    "no position": "the slices say nothing of where they lie; they are in the order of their numbers",
    "not parallel": "the slices are not parallel",
    "repeated": "all places were taken as often as each other; one stack per turn, by time, then number",
    "mixed orientation": "the series has slices of other orientations; they are stacks of their own",
    "mixed spacing": "the series has slices of other size or pixel spacing; they are stacks of their own",
}
_FORBIDDING: tuple[Flag, ...] = ("gap", "uneven steps", "duplicate position", "no position", "not parallel")
_SAME_PLACE_MM = 0.01
_GAP = 1.5
_EVEN = 0.02
_PARALLEL = 1e-4  # 1 - cosine: 0.8 degrees
_SAME_DIRECTION = 3e-3  # of unit vectors; readers group slices by directions to three decimals
_Key = tuple[object, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """The slices of one volume in order along their normal; part_number counts them from 1.

    whole: their common key, with the turn behind it when positions were repeated. flags: what is odd, see
    FLAGS. step_mm: median distance of neighbours along the normal, None for a single slice.
    """

    whole: str
    assets: tuple[Asset, ...]
    flags: tuple[Flag, ...] = ()
    step_mm: float | None = None


def order_series(assets: Iterable[Asset]) -> tuple[Stack, ...]:
    """The stacks among `assets`, which may come in any order; the answer does not depend on it.

    Slices with one `whole` are a stack; without one, slices of one series with a position, by orientation,
    size and spacing. Assets with neither (films, frames without place) are in no stack. Stacks come by
    series, whole and time.
    """
    groups: dict[_Key, list[Asset]] = defaultdict(list)
    for asset in assets:
        if (key := _key(asset.header)) is not None:
            groups[key].append(asset)
    stacks = [stack for key, group in groups.items() for stack in _stacks(_name(key), group)]
    return tuple(sorted(_with_series_flags(stacks), key=_place_of_stack))


def read_stack(
    stack: Stack,
    read: Callable[[Asset], Image],
    *,
    tolerate: Collection[Flag] = (),
    limits: Limits = DEFAULT_LIMITS,
) -> Image:
    """(D, H, W, C) of a stack, slices along the normal, with its affine. read: decodes one asset.

    The affine has the true step from slice to slice, so that a tilted gantry's shear is in it. A stack with
    a tolerated flag that makes its slices uneven has neither spacing nor affine. Raises ReadFailure for a
    flag that forbids a volume and is not in `tolerate`, for slices of different form, for slices whose
    decoded geometry is not that of one volume, and beyond `limits.max_pixels`.
    """
    for flag in _FORBIDDING:
        if flag in stack.flags and flag not in tolerate:
            raise ReadFailure(f"the slices make no volume: {FLAGS[flag]}; read them slice by slice")
    first = stack.assets[0].header
    voxels = len(stack.assets) * (first.rows or 0) * (first.columns or 0)
    if voxels > limits.max_pixels:
        raise ReadFailure(
            f"{len(stack.assets)} slices of {first.rows} x {first.columns} pixels are together more than "
            f"the limit of {limits.max_pixels:,}; read them slice by slice"
        )
    images = [read(asset) for asset in stack.assets]
    forms = {(image.pixels.shape, image.pixels.dtype, image.intensity) for image in images}
    if len(forms) > 1 or images[0].pixels.ndim != 3:
        raise ReadFailure("the slices make no volume: they differ in size, channels or units")
    affine = None
    spacing: tuple[float, ...] | None = None
    if not set(_FORBIDDING) & set(stack.flags):
        affine = _affine(images)
        spacing = _spacing(stack, images[0], affine)
    return Image(
        pixels=np.stack([image.pixels for image in images]),
        intensity=images[0].intensity,
        spacing_mm=spacing,
        affine=affine,
    )


def _key(header: Header) -> _Key | None:
    if header.whole is not None:
        return ("", header.whole)
    if header.series_uid is None or header.position_mm is None:
        return None
    return ("series", header.series_uid, _orientation(header), *_form(header))


def _name(key: _Key) -> str:
    return str(key[1]) if key[0] == "" else "/".join(map(str, key[1:]))


def _form(header: Header) -> _Key:
    sides = (header.spacing_row_mm, header.spacing_col_mm)
    return (header.rows, header.columns, *(None if side is None else round(side, 4) for side in sides))


def _orientation(header: Header) -> tuple[float, ...] | None:
    """Direction cosines of rows and columns (Image Orientation (Patient)), as coarse as slices differ."""
    text = header.extra.get("ImageOrientationPatient")
    try:
        found = tuple(round(float(word), 3) + 0.0 for word in str(text).split("\\"))
    except ValueError:
        return None
    return found if len(found) == 6 else None


def _stacks(name: str, group: list[Asset]) -> list[Stack]:
    ordered = sorted(group, key=_order)
    positions = [asset.header.position_mm for asset in ordered]
    known = [position for position in positions if position is not None]
    if len(known) < len(positions):
        lone: tuple[Flag, ...] = ("no position",) if len(ordered) > 1 else ()
        ordered = sorted(group, key=_order_without_position)
        return [_stack(name, ordered, lone, None)]
    places = _places(known)
    turns = {len(place) for place in places}
    if len(places) > 1 and len(turns) == 1 and turns != {1}:
        count = turns.pop()
        return [
            _checked(f"{name}/{turn + 1}", [ordered[place[turn]] for place in places], ("repeated",))
            for turn in range(count)
        ]
    return [_checked(name, ordered, ("duplicate position",) if turns != {1} else ())]


def _order(asset: Asset) -> _Key:
    """By place to a hundredth of a millimetre, then time, acquisition and number."""
    header = asset.header
    position = header.position_mm if header.position_mm is not None else 0.0
    return (round(position / _SAME_PLACE_MM), *_turn(asset))


def _order_without_position(asset: Asset) -> _Key:
    number = asset.header.part_number
    return (number is None, number or 0, *_turn(asset))


def _turn(asset: Asset) -> _Key:
    header = asset.header
    acquisition = header.extra.get("AcquisitionNumber", 0)
    return (
        header.time_s or 0.0,
        float(acquisition) if isinstance(acquisition, int | float) else 0.0,
        header.instance_number or 0,
        header.frame or 0,
        header.sop_uid or "",
        asset.source.path,
        asset.part,
    )


def _places(positions: Sequence[float]) -> list[list[int]]:
    """Indexes of the sorted positions, those within a hundredth of a millimetre together."""
    places: list[list[int]] = []
    for index, position in enumerate(positions):
        if places and position - positions[places[-1][0]] <= _SAME_PLACE_MM:
            places[-1].append(index)
        else:
            places.append([index])
    return places


def _checked(name: str, ordered: list[Asset], flags: tuple[Flag, ...]) -> Stack:
    positions = np.array([asset.header.position_mm for asset in ordered], np.float64)
    found = list(flags)
    steps = np.diff(positions)
    steps = steps[steps > _SAME_PLACE_MM]
    step = float(np.median(steps)) if steps.size else None
    if step is not None:
        if (steps > _GAP * step).any():
            found.append("gap")
        near = steps[steps <= _GAP * step]
        if (np.abs(near - step) > max(_EVEN * step, 2 * _SAME_PLACE_MM)).any():
            found.append("uneven steps")
    if not _are_parallel(ordered):
        found.append("not parallel")
    return _stack(name, ordered, tuple(found), step)


def _are_parallel(ordered: list[Asset]) -> bool:
    orientations = {_orientation(asset.header) for asset in ordered} - {None}
    normals = [np.cross(one[:3], one[3:]) for one in orientations if one is not None]
    units = [normal / (np.linalg.norm(normal) or 1.0) for normal in normals]
    return all(float(units[0] @ unit) >= 1 - _PARALLEL for unit in units[1:])


def _stack(name: str, ordered: list[Asset], flags: tuple[Flag, ...], step: float | None) -> Stack:
    numbered = tuple(
        replace(asset, header=replace(asset.header, part_number=number))
        for number, asset in enumerate(ordered, start=1)
    )
    return Stack(name, numbered, flags, step)


def _with_series_flags(stacks: list[Stack]) -> list[Stack]:
    """Said of each stack of a series that has others of another orientation or form."""
    orientations: dict[str, set[object]] = defaultdict(set)
    forms: dict[str, set[object]] = defaultdict(set)
    for stack in stacks:
        for header in (asset.header for asset in stack.assets):
            if header.series_uid is not None:
                orientations[header.series_uid].add(_orientation(header))
                forms[header.series_uid].add(_form(header))
    flagged = []
    for stack in stacks:
        series = stack.assets[0].header.series_uid
        more: tuple[Flag, ...] = ()
        if series is not None and len(orientations[series]) > 1:
            more += ("mixed orientation",)
        if series is not None and len(forms[series]) > 1:
            more += ("mixed spacing",)
        flagged.append(replace(stack, flags=stack.flags + more))
    return flagged


def _place_of_stack(stack: Stack) -> _Key:
    header = stack.assets[0].header
    return (header.series_uid or "", header.time_s or 0.0, header.instance_number or 0, stack.whole)


def _affine(images: list[Image]) -> NDArray[np.float64] | None:
    """Of the stack, from those of its slices; None when a slice has none. Raises ReadFailure."""
    found = [image.affine for image in images if image.affine is not None]
    if len(found) < len(images):
        return None
    first, affine = found[0], found[0].copy()
    slack = _SAME_DIRECTION * float(np.abs(first[:3, 1:3]).max())
    if any(not np.allclose(one[:3, 1:3], first[:3, 1:3], rtol=0, atol=slack) for one in found):
        raise ReadFailure(f"the slices make no volume: {FLAGS['not parallel']}; read them slice by slice")
    if len(found) == 1:
        return affine
    step = (found[-1][:3, 3] - first[:3, 3]) / (len(found) - 1)
    length = float(np.linalg.norm(step))
    for number, one in enumerate(found):
        if np.linalg.norm(one[:3, 3] - first[:3, 3] - number * step) > max(_EVEN * length, 0.05):
            raise ReadFailure(f"the slices make no volume: {FLAGS['uneven steps']}; read them slice by slice")
    affine[:3, 0] = step
    return affine


def _spacing(
    stack: Stack, image: Image, affine: NDArray[np.float64] | None
) -> tuple[float, float, float] | None:
    if image.spacing_mm is None or len(image.spacing_mm) != 2:
        return None
    between = stack.step_mm
    if affine is not None and len(stack.assets) > 1:
        normal = np.cross(affine[:3, 2], affine[:3, 1])
        between = abs(float(affine[:3, 0] @ normal / np.linalg.norm(normal)))
    if between is None:
        between = stack.assets[0].header.slice_thickness_mm
    return None if between is None else (between, image.spacing_mm[0], image.spacing_mm[1])
