"""Tensors from a checkpoint file, without running code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from embedstore.encoders.weights import not_downloaded, read_checkpoint, some
from embedstore.errors import Refused

_WRAPPERS = ("state_dict", "model", "model_ema", "teacher")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name to tensor of a safetensors file or a PyTorch checkpoint, on the CPU.

    A checkpoint may hold its tensors under "state_dict", "model", "model_ema" or "teacher". Raises Refused
    for a file that is neither, is truncated or would run code; WeightsMissing when it cannot be read.
    """
    wrong = not_downloaded(path)
    if wrong:
        raise Refused(wrong)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, ValueError) as error:
            raise Refused(f"{path} is truncated, or no safetensors file; download it again") from error

    def load(mmap: bool) -> Any:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)

    content = read_checkpoint(path, load, lambda why: Refused(f"{path} cannot be used: {why}"))
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise Refused(f"{path} holds a {type(content).__name__} where tensors by name were expected")
    strange = [key for key, value in content.items() if not isinstance(value, Tensor)]
    if strange:
        raise Refused(f"{path} holds more than tensors by name: {some(strange)}")
    return {str(key): value for key, value in content.items()}


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Name to shape of the tensors that `read_tensors` would give; of safetensors the header is read."""
    if path.suffix != ".safetensors":
        return {key: tuple(value.shape) for key, value in read_tensors(path).items()}
    try:
        with safe_open(path, framework="pt") as stream:
            return {key: tuple(stream.get_slice(key).get_shape()) for key in stream.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise Refused(f"{path} is truncated, or no safetensors file; download it again") from error
