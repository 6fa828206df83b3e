"""A dual encoder around any network with an image and a text side. torch is imported by the networks only."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from embedstore.contracts.encoder import EncoderSpec, TowerSpec, bind
from embedstore.contracts.image import F32, Image, ImageInput
from embedstore.encoders.preprocess import Recipe, check_texts, fastest, in_batches, stack
from embedstore_clip.windows import LONGER, pack


class Network(Protocol):
    """What a library's model is reduced to. Vectors are as the model gives them, not normalised."""

    logit_scale: float | None
    logit_bias: float | None
    context: int

    def images(self, batch: F32) -> F32:
        """(n, 3, h, w) prepared images to (n, dim)."""

    def texts(self, texts: Sequence[str]) -> F32:
        """n texts, cut off at the context, to (n, dim)."""

    def fits(self, text: str) -> bool:
        """Whether the text is not longer than the context."""

    def set_threads(self, threads: int) -> None:
        """Intra-op threads from now on; 0 leaves torch's own choice."""


@dataclass(frozen=True, slots=True)
class _Setting:
    threads: int
    batch: int


class DualEncoder:
    """Implements `StagedEncoder`, `TunableEncoder` and `ScaledEncoder`."""

    def __init__(self, spec: EncoderSpec, network: Network, recipe: Recipe, dim: int, threads: int) -> None:
        self.spec = spec
        self.batch_size = 8
        self.logit_scale = network.logit_scale
        self.logit_bias = network.logit_bias
        self._network = network
        self.preparation = recipe.apply
        self._dim = dim
        self._threads = threads
        network.set_threads(threads)

    def prepare_image(self, image: ImageInput) -> F32:
        """(3, h, w) float32, as the model's own preprocessing gives it."""
        return self.preparation(image)

    def forward_images(self, batch: F32) -> F32:
        """(n, 3, h, w) prepared inputs to (n, dim), not normalised."""
        if not len(batch):
            return np.empty((0, self._dim), dtype=np.float32)
        return self._network.images(batch)

    def encode_images(self, images: Sequence[ImageInput]) -> F32:
        """(n, dim) float32, not normalised."""
        return in_batches(
            images,
            self.batch_size,
            self._dim,
            lambda chunk: self.forward_images(stack([self.prepare_image(image) for image in chunk])),
        )

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

    def tune(self, seconds: float) -> Mapping[str, str | int | float | bool]:
        """Measure threads and batch sizes of the image side for about `seconds`; adopt the best."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        threads = {self._threads} if self._threads else {1, max(1, cores // 2), cores}
        blank = ImageInput(_grey())
        largest = np.repeat(self.prepare_image(blank)[None], 8, axis=0)

        def run(setting: _Setting) -> int:
            self._network.set_threads(setting.threads)
            return len(self.forward_images(largest[: setting.batch]))

        settings = [_Setting(count, batch) for batch in (4, 8, 1) for count in sorted(threads)]
        best = fastest(settings, run, seconds)[0]
        self._network.set_threads(best.setting.threads)
        self.batch_size = best.setting.batch
        return {
            "threads": best.setting.threads,
            "batch": best.setting.batch,
            "images_per_s": round(best.per_s, 2),
        }


def _grey() -> Image:
    return Image(np.full((256, 256, 1), 128, dtype=np.uint8), "display")


def _merged(rows: F32, windows: Sequence[str]) -> F32:
    if len(rows) == 1:
        only: F32 = rows[0]
        return only
    weights = np.array([[len(window.split())] for window in windows], dtype=np.float32)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    mean: F32 = (units * weights).sum(axis=0) / weights.sum()
    return mean


def text_tower(dim: int | None, context: int | None, tokenizer: str) -> TowerSpec:
    """The text half of a dual encoder's spec."""
    recipe: dict[str, Any] = {"tokenizer": tokenizer, "longer": LONGER}
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
