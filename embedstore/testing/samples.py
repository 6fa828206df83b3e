"""Made-up inputs for the encoder contract: images of many shapes, texts of many lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import Image, ImageInput, Intensity

SAMPLE_TEXTS = (
    "No acute cardiopulmonary abnormality.",
    "Right lower lobe consolidation with a small effusion; pneumonia is likely.",
    "Mild nonproliferative diabetic retinopathy, left eye.",
    "Heart size normal. " * 30,
    "cat",
)


def sample_images(wants: Intensity = "display") -> list[ImageInput]:
    """Six images of that intensity: grey and colour, square, tall and wide, small, noise and smooth."""
    noise = np.random.default_rng(20240229)
    ramp = np.add.outer(np.arange(60.0), np.arange(200.0)) / 258
    unit = [
        noise.random((64, 64, 1)),
        noise.random((180, 90, 1)) ** 3,
        noise.random((50, 170, 3)),
        np.repeat(ramp[..., None], 3, axis=2) * [1.0, 0.6, 0.2],
        ramp[:, ::-1, None] ** 2,
        noise.random((20, 28, 1)),
    ]
    return [ImageInput(Image(_scaled(values, wants), wants)) for values in unit]


def _scaled(unit: NDArray[np.float64], wants: Intensity) -> NDArray[Any]:
    if wants in ("display", "draft"):
        pixels: NDArray[np.uint8] = np.rint(unit * 255).astype(np.uint8)
        return pixels
    if wants == "suv":
        return (unit * 12).astype(np.float32)
    return (unit * 2000 - (1000 if wants == "hu" else 0)).astype(np.float32)
