"""Which precisions and runtimes can be asked for, known before anything is loaded."""

from __future__ import annotations

import os
from importlib.util import find_spec

import numpy as np

from embedstore.contracts.encoder import LoadRequest
from embedstore.contracts.image import Image, ImageInput, Intensity
from embedstore.encoders.preprocess import Recipe
from embedstore.errors import UsageError

EAGER_PRECISIONS = ("fp32", "bf16", "fp16")
PRECISIONS = (*EAGER_PRECISIONS, "int8")
RUNTIMES = ("torch", "onnx")
_NEEDED = ("onnx", "onnxruntime", "onnxscript")


def check_request(name: str, request: LoadRequest) -> None:
    """Raises UsageError for a precision or runtime that this encoder, device or installation has not."""
    if request.precision not in PRECISIONS:
        raise UsageError(
            f"encoder '{name}' has no precision '{request.precision}'; it has {', '.join(PRECISIONS)}"
        )
    if request.runtime not in RUNTIMES:
        raise UsageError(f"no runtime is called '{request.runtime}'; there are {' and '.join(RUNTIMES)}")
    if not by_onnx(request):
        return
    if request.precision not in ("fp32", "int8"):
        raise UsageError(f"ONNX Runtime computes in fp32 and int8 here, not in {request.precision}")
    if request.device != "cpu":
        raise UsageError(f"ONNX Runtime and int8 run on the CPU here, not on '{request.device}'")
    absent = [module for module in _NEEDED if find_spec(module) is None]
    if absent:
        raise UsageError(
            f"{'int8' if request.precision == 'int8' else 'the runtime onnx'} needs {', '.join(absent)}; "
            "'pip install embedstore-torch[onnx]'"
        )


def by_onnx(request: LoadRequest) -> bool:
    """Whether the image side runs in ONNX Runtime; int8 always does."""
    return request.runtime == "onnx" or request.precision == "int8"


def input_shape(recipe: Recipe) -> tuple[int, ...]:
    """(channels, height, width) of what a recipe gives."""
    return recipe.apply(grey(recipe.wants, 32)).shape


def grey(intensity: Intensity, side: int) -> ImageInput:
    """A plain image of that intensity, (side, side, 1)."""
    kind = np.uint8 if intensity == "display" else np.float32
    return ImageInput(Image(np.full((side, side, 1), 128, dtype=kind), intensity))


def cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
