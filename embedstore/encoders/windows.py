"""Preprocessing steps that window values by name: one window, or several as the channels of one image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import ImageInput
from embedstore.contracts.windows import CT_WINDOWS, CtWindow
from embedstore.encoders.intensity import Window
from embedstore.errors import UsageError

Pixels = NDArray[Any]


def ct_window(name: CtWindow) -> Window:
    """The step for one named window of HU (`contracts.windows`). Raises UsageError for another name."""
    center, width = _of(name)
    return Window(center=center, width=width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Several windows of one grey image, in the units of the image, as channels in [0, 1].

    centers, widths: one per channel, three for a network that takes RGB. The numbers and not the names are
    kept, so that they are in the recipe. The function is that of `Window`.
    """

    name: ClassVar[str] = "windows"
    centers: tuple[float, ...]
    widths: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.centers) != len(self.widths) or not self.centers or min(self.widths) <= 0:
            raise UsageError("windows: one centre and one width above 0 per channel")

    @classmethod
    def named(cls, *names: CtWindow) -> Windows:
        """Windows of HU by their names, e.g. `Windows.named("lung", "mediastinum", "bone")`."""
        pairs = [_of(name) for name in names]
        return cls(centers=tuple(pair[0] for pair in pairs), widths=tuple(pair[1] for pair in pairs))

    def apply(self, pixels: Pixels, context: ImageInput) -> Pixels:
        """(H, W, 1) numbers to (H, W, windows) float32. Raises UsageError for an image of colour."""
        if pixels.shape[2] != 1:
            raise UsageError(f"windows are of grey images; this one has {pixels.shape[2]} channels")
        values = pixels.astype(np.float32)
        lows = np.array([c - w / 2 for c, w in zip(self.centers, self.widths, strict=True)], np.float32)
        scaled: Pixels = np.clip((values - lows) / np.array(self.widths, np.float32), 0, 1)
        return scaled

    def describe(self) -> str:
        """In words."""
        names = {pair: name.replace("_", " ") for name, pair in CT_WINDOWS.items()}
        pairs = zip(self.centers, self.widths, strict=True)
        parts = [f"{c:g}/{w:g}{f' ({names[c, w]})' if (c, w) in names else ''}" for c, w in pairs]
        return f"a channel in [0, 1] per window (level/width): {', '.join(parts)}"


def _of(name: str) -> tuple[float, float]:
    for known, pair in CT_WINDOWS.items():
        if known == name:
            return pair
    raise UsageError(f"CT windows are {', '.join(CT_WINDOWS)}, not {name!r}")
