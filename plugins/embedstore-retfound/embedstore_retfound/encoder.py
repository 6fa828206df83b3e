"""A loaded RETFound: preprocessing by its recipe, the forward pass by torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from embedstore.contracts.encoder import EncoderSpec, LoadRequest, bind
from embedstore.contracts.image import F32, ImageInput
from embedstore.encoders.preprocess import in_batches, stack
from embedstore.errors import UsageError
from embedstore.fingerprint import file_sha256
from embedstore_retfound.checkpoint import read
from embedstore_retfound.family import Family
from embedstore_retfound.network import RetfoundNetwork


class RetfoundEncoder:
    """Implements `StagedEncoder`. Vectors are (n, width) float32, width 1024 in the official files."""

    batch_size = 4

    def __init__(self, template: EncoderSpec, family: Family, request: LoadRequest, path: Path) -> None:
        """Load the checkpoint at `path`. Raises Refused, UsageError for a device that is not there."""
        profile, pooling = family.choose(request.profile)
        self.preparation = profile.recipe.apply
        self._threads = request.threads
        checkpoint = read(path, family)
        self._width = checkpoint.geometry.width
        self._network = RetfoundNetwork(checkpoint, family, profile.size, pooling).eval()
        try:
            self._device = torch.device(request.device)
            self._network.to(self._device)
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"device '{request.device}' cannot be used here; try --device cpu") from error
        self.spec = bind(template, file_sha256(path), {"image": self._width})

    def prepare_image(self, image: ImageInput) -> F32:
        """(3, size, size) float32, by the profile's recipe."""
        return self.preparation(image)

    def forward_images(self, batch: F32) -> F32:
        """(n, 3, size, size) float32 to (n, width) float32."""
        if not len(batch):
            return np.empty((0, self._width), dtype=np.float32)
        if self._threads and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            images = torch.from_numpy(np.ascontiguousarray(batch)).to(self._device)
            return np.ascontiguousarray(self._network(images).cpu().numpy())

    def encode_images(self, images: Sequence[ImageInput]) -> F32:
        """(n, width) float32, not normalised."""
        return in_batches(
            images,
            self.batch_size,
            self._width,
            lambda chunk: self.forward_images(stack([self.prepare_image(image) for image in chunk])),
        )

    def encode_texts(self, texts: Sequence[str]) -> F32:
        """RETFound reads images only. Raises UsageError."""
        raise UsageError(f"encoder '{self.spec.name}' reads images only; texts need a bridge")
