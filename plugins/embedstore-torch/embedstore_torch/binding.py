"""Binding encoders that are named after a file: the same file at another place is the same space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embedstore.contracts.encoder import EncoderSpec, bind
from embedstore.encoders.preprocess import Recipe
from embedstore.fingerprint import digest, file_sha256


def bind_file(
    template: EncoderSpec,
    path: Path,
    recipe: Recipe,
    dim: int,
    precision: str,
    beside: Sequence[Path] = (),
) -> EncoderSpec:
    """Bind an encoder of images to a file, and to the files `beside` that it keeps its tensors in."""
    (image,) = template.towers
    tower = replace(image, preprocess=recipe.to_json(), wants=recipe.wants)
    files = {str(n): file_sha256(one) for n, one in enumerate((path, *beside))}
    plugin = replace(template, name=template.name.partition(":")[0], towers=(tower,))
    return replace(bind(plugin, digest(files), {"image": dim}, precision), name=template.name)
