"""Sentences that more than one page needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedstore.contracts.query import Item
from embedstore.contracts.region import image_part
from embedstore.engine.units import unit_of

_REGION = ("x0", "y0", "x1", "y1", "pixels")


def place_words(item: Item) -> str:
    """Which part of a volume, loop or slide an item is, and where; of a region also where it lies on that.

    "" for a picture that is no part. Of the columns part_number, position_mm, time_s, tile_x, tile_y and mpp
    are used where known.
    """
    columns = item.columns
    part = image_part(item.part) if item.kind == "region" else item.part
    known = {name: value for name, value in columns.items() if value is not None}
    unit = unit_of(part, columns)
    numbered = (
        f"{'part' if unit == 'image' else unit} {known['part_number']}" if "part_number" in known else ""
    )
    words = [numbered or (part if part not in ("", "image") else "" if unit == "image" else unit)]
    if "tile_x" in known and "tile_y" in known:
        words.append(f"at {known['tile_x']}, {known['tile_y']} px")
    if "mpp" in known:
        words.append(f"{known['mpp']:g} µm/px")
    if "position_mm" in known:
        words.append(f"at {known['position_mm']:.1f} mm")
    if "time_s" in known:
        words.append(f"at {known['time_s']:.2f} s")
    if item.kind == "region":
        x0, y0, x1, y1, pixels = (item.extra.get(f"region_{name}", "?") for name in _REGION)
        words.append(f"region {x0},{y0} to {x1},{y1} ({pixels} px)")
    return ", ".join(word for word in words if word)


def bridge_words(bridge: Mapping[str, Any]) -> str:
    """Which bridge joined text and images, and how good it is on patients it was not learned from.

    bridge: as `Answer.bridge` carries it, with name, kind, anchors and quality; parts may be missing.
    """
    name, kind, anchors = (bridge.get(key, "?") for key in ("name", "kind", "anchors"))
    words = f"bridge {name} ({kind}), learned from {anchors} pairs"
    quality = bridge.get("quality")
    if not isinstance(quality, Mapping) or not isinstance(quality.get("r_at_10"), int | float):
        return words
    low, high = quality.get("interval") or (None, None)
    interval = f" [{low:.3f}, {high:.3f}]" if isinstance(low, float) and isinstance(high, float) else ""
    words += f"; R@10 {quality['r_at_10']:.3f}{interval} on patients not seen"
    others = [
        f"{what} {quality[key]:.3f}"
        for key, what in (("chance", "chance"), ("shuffled_control", "shuffled pairs"))
        if isinstance(quality.get(key), int | float)
    ]
    return f"{words} ({', '.join(others)})" if others else words
