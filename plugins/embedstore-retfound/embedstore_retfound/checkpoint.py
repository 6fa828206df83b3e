"""Reads an official RETFound checkpoint strictly: every tensor is used or known to be of no use."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from embedstore.encoders.weights import check_sizes, read_checkpoint, some
from embedstore.errors import Refused
from embedstore_retfound.family import Family

HEAD_WIDTH = 64
_BLOCK = re.compile(r"blocks\.(\d+)\.")
_CHUNKED = re.compile(r"blocks\.\d+\.\d+\.")


@dataclass(frozen=True, slots=True)
class Geometry:
    """Of a vision transformer, read from its tensors. grid: patches per side in the position table."""

    width: int
    depth: int
    mlp_width: int
    grid: int

    @property
    def heads(self) -> int:
        """Attention heads; in every published RETFound they are 64 wide."""
        return self.width // HEAD_WIDTH


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """tensors: the encoder's own, by timm's names."""

    path: Path
    geometry: Geometry
    tensors: dict[str, Tensor]


def read(path: Path, family: Family) -> Checkpoint:
    """Read and examine. Raises Refused with what was expected and what was found; WeightsMissing."""
    content = _load(path, family)
    state = content.get(family.weights_under) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        found = some(content) if isinstance(content, Mapping) else type(content).__name__
        raise _refused(path, family, f"expected tensors under '{family.weights_under}', found {found}")
    check_sizes(path, state.values(), lambda why: _refused(path, family, why))
    if any(_CHUNKED.match(key.removeprefix(family.prefix)) for key in state):
        raise _refused(path, family, "its blocks are chunked (blocks.0.3...) as DINOv2 does in training")
    missing = [key for key in family.required if key not in state]
    if missing:
        raise _refused(path, family, f"expected {some(missing)}, found {some(state)}")
    tensors = {
        key.removeprefix(family.prefix): value.float()
        for key, value in state.items()
        if key.startswith(family.prefix) and not key.startswith(family.dropped)
    }
    strange = [key for key in state if not key.startswith((family.prefix, *family.dropped))]
    if strange:
        raise _refused(path, family, f"it has tensors that no {family.title} file has: {some(strange)}")
    geometry = _geometry(path, family, tensors)
    _check_shapes(path, family, tensors, expected_shapes(geometry, family))
    return Checkpoint(path, geometry, tensors)


def _load(path: Path, family: Family) -> Any:
    def load(mmap: bool) -> Any:
        # The training arguments are in the file as an argparse.Namespace, which is a plain record.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)

    return read_checkpoint(path, load, lambda why: _refused(path, family, why))


def _geometry(path: Path, family: Family, tensors: Mapping[str, Tensor]) -> Geometry:
    try:
        width = tensors["cls_token"].shape[-1]
        mlp_width = tensors["blocks.0.mlp.fc1.weight"].shape[0]
        patches = tensors["pos_embed"].shape[1] - 1
    except (KeyError, IndexError) as error:
        raise _refused(path, family, f"expected a vision transformer, found {some(tensors)}") from error
    blocks = {int(match[1]) for key in tensors if (match := _BLOCK.match(key))}
    grid = round(patches**0.5)
    if width % HEAD_WIDTH or grid * grid != patches or blocks != set(range(len(blocks))):
        raise _refused(
            path,
            family,
            f"expected a width in steps of {HEAD_WIDTH}, a square position table and blocks without gaps, "
            f"found width {width}, {patches} positions, blocks {sorted(blocks)}",
        )
    return Geometry(width, len(blocks), mlp_width, grid)


def expected_shapes(geometry: Geometry, family: Family) -> dict[str, tuple[int, ...]]:
    """Every tensor of the encoder and its shape."""
    width, wide = geometry.width, geometry.mlp_width
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + geometry.grid**2, width),
        "patch_embed.proj.weight": (width, 3, family.patch, family.patch),
        "patch_embed.proj.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    block: dict[str, tuple[int, ...]] = {
        "norm1.weight": (width,),
        "norm1.bias": (width,),
        "attn.qkv.weight": (3 * width, width),
        "attn.qkv.bias": (3 * width,),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "norm2.weight": (width,),
        "norm2.bias": (width,),
        "mlp.fc1.weight": (wide, width),
        "mlp.fc1.bias": (wide,),
        "mlp.fc2.weight": (width, wide),
        "mlp.fc2.bias": (width,),
    }
    if family.layer_scale:
        block |= {"ls1.gamma": (width,), "ls2.gamma": (width,)}
    for number in range(geometry.depth):
        shapes |= {f"blocks.{number}.{key}": shape for key, shape in block.items()}
    return shapes


def _check_shapes(
    path: Path, family: Family, tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]
) -> None:
    missing = [key for key in expected if key not in tensors]
    strange = [key for key in tensors if key not in expected]
    if missing or strange:
        parts = [f"lacks {some(missing)}" if missing else "", f"has {some(strange)}" if strange else ""]
        raise _refused(path, family, "beyond its kind it " + " and ".join(part for part in parts if part))
    for key, shape in expected.items():
        if tuple(tensors[key].shape) != shape:
            raise _refused(path, family, f"expected {key} of {shape}, found {tuple(tensors[key].shape)}")


def _refused(path: Path, family: Family, why: str) -> Refused:
    official = family.variants[0].files[0]
    return Refused(f"{path} is not a {family.title} checkpoint such as {official}: {why}")
