"""What one item is, in words: the unit a part key names, and the rule it was chosen by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedstore.contracts.record import Cut

# The first of these words in a part key is its unit: `time/3/slice/k/17` is a slice.
_UNITS = ("slice", "slab", "tile", "volume", "frame", "time")
_EMPTY: Mapping[str, Any] = {}
_RULES = {
    "image": "one picture is one item",
    "frame": "an object of several frames is taken frame by frame",
    "slice": "a stack is taken slice by slice, in the order of their positions",
    "slab": "a stack is taken slab by slab",
    "volume": "the whole stack is one item",
    "tile": "a slide is taken tile by tile where there is tissue",
    "time": "a series in time is taken time point by time point",
    "row": "each row of an array is an item",
}


def unit_of(part: str, columns: Mapping[str, Any] = _EMPTY) -> str:
    """The unit that a part key such as "frame/3" names.

    columns: of the item. A frame or file that has a position in a stack is a slice, one with a place on a
    slide a tile.
    """
    if part in ("image", "") or part.startswith("frame/"):
        if columns.get("tile_x") is not None:
            return "tile"
        if columns.get("whole") is not None and columns.get("position_mm") is not None:
            return "slice"
    if part in ("image", ""):
        return "image"
    words = part.split("/")
    return next((unit for unit in _UNITS if unit in words), "row" if len(words) == 2 else words[0])


def why(unit: str, cut: Cut) -> str:
    """The rule in words."""
    rule = _RULES.get(unit, "as its reader cuts it")
    if unit == "tile":
        rule += f", {cut.tile} pixels at {cut.mpp:g} microns per pixel"
    if cut.every:
        rule += f", one in {cut.every} of them"
    if cut.unit == "auto":
        return f"{rule} (the default for this kind of object)"
    if cut.unit == unit:
        return f"{rule} (asked for)"
    return f"{rule} (there is no '{cut.unit}' of this kind of object to ask for)"
