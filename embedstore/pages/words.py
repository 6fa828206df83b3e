"""Sentences that more than one page needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
