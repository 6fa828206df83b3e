"""How a multi-frame DICOM object is cut into items: which frames, in which order, of which whole.

| object (SOP classes of PS3.4 B.5)                                | default unit                           |
|------------------------------------------------------------------|----------------------------------------|
| one frame, of any class                                          | the image                              |
| MR mosaic (Siemens) that says how many slices it holds           | slices                                 |
| ultrasound multi-frame, XA, XRF (also enhanced), video           | cine: 16 frames spread evenly, or all  |
|                                                                  | when there are no more                 |
| enhanced CT, MR, PET (also legacy converted), X-ray 3D, breast   | slices, sorted along their normal, a   |
| tomosynthesis, OCT, enhanced ultrasound volume                   | whole per stack and further dimension  |
| nuclear medicine with a Slice Vector                             | slices                                 |
| whole slide (VL microscopy)                                      | tiles: every frame                     |
| all others (multi-frame secondary capture, photographs, nuclear  | slices when frames have positions,     |
| medicine, RT image, private)                                     | cine when they have times, else every  |
|                                                                  | frame                                  |

`Cut.unit` "frame" and "slice" take every frame; "volume" makes one item per whole of a stack; "image" makes
the object one item; a unit that an object does not have is ignored. `Cut.every` N takes the first of each N
frames in the order of their whole. The part key is the number of the frame in the file whatever was chosen,
so that an item stays the same item when the sampling changes; `part_number` counts all frames of the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydicom.dataset import Dataset

from embedstore.contracts.record import Cut
from embedstore.readers.dicom_stack import whole_key
from embedstore.readers.dicom_stacks import is_stack, nuclear_slices, stack_places
from embedstore.readers.dicom_time import frame_times
from embedstore.readers.dicom_values import text

Kind = Literal["cine", "stack", "tiles", "pages"]
DEFAULT_CINE_FRAMES = 16

_SOP = "1.2.840.10008.5.1.4.1.1."
_NUCLEAR = _SOP + "20"
_STACKS = (
    *("2.1", "2.2", "4.1", "4.3", "4.4", "128.1", "130", "13.1.1", "13.1.2", "13.1.3", "6.2", "6.3"),
    *("77.1.5.4", "14.1", "14.2"),
)
_CINES = ("3", "3.1", "12.1", "12.1.1", "12.2", "12.2.1", "12.3", "77.1.1.1", "77.1.2.1", "77.1.4.1")
_TILES = ("77.1.6",)
KIND_OF_CLASS: Mapping[str, Kind] = {
    **{_SOP + number: "stack" for number in _STACKS},
    **{_SOP + number: "cine" for number in _CINES},
    **{_SOP + number: "tiles" for number in _TILES},
}


@dataclass(frozen=True, slots=True)
class Part:
    """One frame of a multi-frame object. index: from 0 in the file; number: from 1 in its whole."""

    index: int
    number: int
    whole: str
    position_mm: float | None = None
    time_s: float | None = None


def kind_of(ds: Dataset) -> Kind:
    """What the frames of a multi-frame object are to each other, by the table above."""
    sop_class = text(ds, "SOPClassUID") or ""
    known = KIND_OF_CLASS.get(sop_class)
    if known is not None:
        return known
    if sop_class == _NUCLEAR and nuclear_slices(ds) is not None:
        return "stack"
    if is_stack(ds):
        return "stack"
    return "cine" if frame_times(ds, 2) is not None else "pages"


def parts_of(ds: Dataset, frames: int, key: str) -> list[list[Part]]:
    """All frames of the object, grouped into wholes and sorted. key: what identifies the object."""
    kind = kind_of(ds)
    if kind == "stack":
        return _slices(ds, frames, key)
    times = frame_times(ds, frames) if kind == "cine" else None
    whole = whole_key("frames", key)
    return [
        [
            Part(index, index + 1, whole, time_s=times[index] if times is not None else None)
            for index in range(frames)
        ]
    ]


def chosen(ds: Dataset, wholes: Sequence[Sequence[Part]], cut: Cut) -> list[Part]:
    """The frames that are items of their own under a cut."""
    sampled = kind_of(ds) == "cine" and cut.unit not in ("frame", "slice") and cut.every is None
    found: list[Part] = []
    for whole in wholes:
        if sampled and len(whole) > DEFAULT_CINE_FRAMES:
            found += [whole[place] for place in spread(len(whole), DEFAULT_CINE_FRAMES)]
        else:
            found += whole[:: max(cut.every or 1, 1)]
    return found


def spread(count: int, take: int) -> list[int]:
    """The middles of `take` equal stretches of `count` frames, from 0."""
    return [(2 * place + 1) * count // (2 * take) for place in range(take)]


def _slices(ds: Dataset, frames: int, key: str) -> list[list[Part]]:
    return [
        [
            Part(place.index, number, whole_key("stack", key, group), place.position_mm, place.time_s)
            for number, place in enumerate(members, 1)
        ]
        for group, members in enumerate(stack_places(ds, frames), 1)
    ]
