"""An encoder of images around a `Forward`; dual encoders add their text side to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from embedstore.contracts.encoder import EncoderSpec
from embedstore.contracts.image import F32, ImageInput
from embedstore.encoders.preprocess import Recipe, fastest, in_batches, stack
from embedstore.errors import UsageError
from embedstore_torch.loading import cores, grey
from embedstore_torch.streams import BATCH, streams_of


class Forward(Protocol):
    """Prepared images (n, c, h, w) float32 to vectors (n, dim) float32."""

    def __call__(self, batch: F32) -> F32:
        """The vectors, in the precision that was asked for."""

    def exact(self, batch: F32) -> F32:
        """The same network's vectors in fp32, by torch."""

    def set_threads(self, threads: int) -> None:
        """Threads from now on; 0 leaves the library's own choice."""


@dataclass(frozen=True, slots=True)
class _Setting:
    threads: int
    batch: int


class ImageEncoder:
    """Implements `PortableEncoder`, `TunableEncoder` and `ApproximateEncoder`."""

    def __init__(self, spec: EncoderSpec, forward: Forward, recipe: Recipe, threads: int) -> None:
        """spec: bound. threads: as asked for, 0 leaves the choice to `tune`."""
        tower = spec.tower("image")
        assert tower is not None
        assert tower.dim is not None
        self.spec = spec
        self.batch_size = BATCH * streams_of(threads or cores())
        self.preparation = recipe.apply
        self._forward = forward
        self._dim = tower.dim
        self._wants = tower.wants
        self._threads = threads

    def prepare_image(self, image: ImageInput) -> F32:
        """(3, h, w) float32, as the model's own preprocessing gives it."""
        return self.preparation(image)

    def forward_images(self, batch: F32) -> F32:
        """(n, 3, h, w) prepared inputs to (n, dim), not normalised."""
        if not len(batch):
            return np.empty((0, self._dim), dtype=np.float32)
        return self._forward(batch)

    def exact_images(self, batch: F32) -> F32:
        """(n, 3, h, w) prepared inputs to the (n, dim) that fp32 gives."""
        return self._forward.exact(batch)

    def encode_images(self, images: Sequence[ImageInput]) -> F32:
        """(n, dim) float32, not normalised."""
        return in_batches(
            images,
            self.batch_size,
            self._dim,
            lambda chunk: self.forward_images(stack([self.prepare_image(image) for image in chunk])),
        )

    def encode_texts(self, texts: Sequence[str]) -> F32:
        """There is no text side. Raises UsageError."""
        raise UsageError(f"encoder '{self.spec.name}' reads images only; texts need a bridge")

    def set_threads(self, threads: int) -> None:
        """Threads from now on; 0 leaves the library's own choice."""
        self._forward.set_threads(threads)

    def tune(self, seconds: float) -> Mapping[str, str | int | float | bool]:
        """Measure threads, and images that each stream is given, for about `seconds`; adopt the best."""
        threads = {self._threads} if self._threads else {1, max(1, cores() // 2), cores()}
        settings = [
            _Setting(count, streams_of(count) * each) for each in (4, BATCH, 1) for count in sorted(threads)
        ]
        most = max(setting.batch for setting in settings)
        largest = np.repeat(self.prepare_image(grey(self._wants, 256))[None], most, axis=0)

        def run(setting: _Setting) -> int:
            self.set_threads(setting.threads)
            return len(self.forward_images(largest[: setting.batch]))

        best = fastest(settings, run, seconds)[0]
        self.set_threads(best.setting.threads)
        self.batch_size = best.setting.batch
        return {
            "threads": best.setting.threads,
            "batch": best.setting.batch,
            "images_per_s": round(best.per_s, 2),
        }
