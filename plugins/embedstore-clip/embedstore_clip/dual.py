"""A dual encoder around any network with an image and a text side. torch is imported by the networks only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from embedstore_torch.encoder import Forward, ImageEncoder

from embedstore.contracts.encoder import EncoderSpec, TowerSpec, bind
from embedstore.contracts.image import F32
from embedstore.encoders.preprocess import Recipe, check_texts, in_batches
from embedstore_clip.windows import LONGER, pack


class Network(Protocol):
    """What a library's text side is reduced to. Vectors are as the model gives them, not normalised."""

    logit_scale: float | None
    logit_bias: float | None
    context: int

    def texts(self, texts: Sequence[str]) -> F32:
        """n texts, cut off at the context, to (n, dim)."""

    def fits(self, text: str) -> bool:
        """Whether the text is not longer than the context."""

    def set_threads(self, threads: int) -> None:
        """Intra-op threads from now on; 0 leaves torch's own choice."""


class DualEncoder(ImageEncoder):
    """Implements `ScaledEncoder` beside what `ImageEncoder` does."""

    def __init__(
        self, spec: EncoderSpec, network: Network, forward: Forward, recipe: Recipe, threads: int
    ) -> None:
        super().__init__(spec, forward, recipe, threads)
        self.logit_scale = network.logit_scale
        self.logit_bias = network.logit_bias
        self._network = network
        network.set_threads(threads)

    def set_threads(self, threads: int) -> None:
        """Of both sides, from now on; 0 leaves the library's own choice."""
        super().set_threads(threads)
        self._network.set_threads(threads)

    def encode_texts(self, texts: Sequence[str]) -> F32:
        """(n, dim) float32. A text within the model's context gives the model's own vector, not normalised.

        A longer one is split at sentence ends; its vector is the mean of the windows' unit vectors.
        """
        packed = [pack(text, self._network.fits) for text in check_texts(texts)]
        windows = [window for group in packed for window in group]
        rows = in_batches(windows, self.batch_size, self._dim, self._network.texts)
        found = np.empty((len(packed), self._dim), dtype=np.float32)
        start = 0
        for row, group in enumerate(packed):
            found[row] = _merged(rows[start : start + len(group)], group)
            start += len(group)
        return found


def _merged(rows: F32, windows: Sequence[str]) -> F32:
    if len(rows) == 1:
        only: F32 = rows[0]
        return only
    weights = np.array([[len(window.split())] for window in windows], dtype=np.float32)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    mean: F32 = (units * weights).sum(axis=0) / weights.sum()
    return mean


def text_tower(
    dim: int | None, context: int | None, tokenizer: str, reading: Mapping[str, str] | None = None
) -> TowerSpec:
    """The text half of a dual encoder's spec. reading: what else decides the tokens a text becomes."""
    recipe: dict[str, Any] = {"tokenizer": tokenizer, "longer": LONGER, **(reading or {})}
    if context is not None:
        recipe["context"] = context
    return TowerSpec(kind="text", dim=dim, preprocess=recipe, pooling="the model's own projection")


def image_tower(dim: int | None, recipe: Recipe | None) -> TowerSpec:
    """The image half; the recipe is empty while the model's settings are not known."""
    preprocess = {} if recipe is None else recipe.to_json()
    return TowerSpec(kind="image", dim=dim, preprocess=preprocess, pooling="the model's own projection")


def bind_dual(
    template: EncoderSpec, towers: tuple[TowerSpec, TowerSpec], sha256: str, dim: int, precision: str
) -> EncoderSpec:
    """Bind to loaded weights. The space is named after the plugin, not after what the user typed: the same
    files under another folder or tag are the same space."""
    plugin = template.name.partition(":")[0]
    bound = bind(
        replace(template, name=plugin, towers=towers), sha256, {"image": dim, "text": dim}, precision
    )
    return replace(bound, name=template.name)
