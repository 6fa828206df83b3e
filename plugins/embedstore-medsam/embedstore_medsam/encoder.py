"""A loaded MedSAM or MedSAM2: its recipe, the forward pass by torch, then a mean over cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from embedstore.contracts.encoder import EncoderSpec, LoadRequest, bind
from embedstore.contracts.image import F32, ImageInput
from embedstore.encoders.preprocess import in_batches, stack
from embedstore.encoders.weights import MappedFile
from embedstore.errors import UsageError
from embedstore.fingerprint import file_sha256
from embedstore_medsam.checkpoint import Checkpoint, read
from embedstore_medsam.model import CHANNELS, MEDSAM, Model
from embedstore_medsam.regions import Preparation


class MedsamEncoder:
    """Implements `StagedEncoder`. Vectors are (n, 256) float32.

    A prepared input has a fourth channel, which carries the region of interest to the forward pass: 1 in the
    pixels of every cell that counts, 0 elsewhere.
    """

    def __init__(self, template: EncoderSpec, model: Model, request: LoadRequest, path: Path) -> None:
        """Load the checkpoint at `path`. Raises Refused, UsageError for a device that is not there."""
        self.batch_size = 1 if model.name == MEDSAM.name else 4  # one MedSAM image needs 3 GB on its way
        recipe, pooling = model.choose(request.profile)
        self.preparation = Preparation(recipe, model.size, model.grid)
        self._threads = request.threads
        shared = request.shared and request.device == "cpu"
        self._mapped = MappedFile.of(path) if shared else None
        self._network = _Pooled(read(path, model, shared), pooling).eval()
        try:
            self._device = torch.device(request.device)
            self._network.to(self._device)
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"device '{request.device}' cannot be used here; try --device cpu") from error
        self.spec = bind(template, file_sha256(path), {"image": CHANNELS})

    def prepare_image(self, image: ImageInput) -> F32:
        """(4, size, size) float32: three channels by the profile's recipe, and the region's cells.

        Raises UsageError for a region that is empty or of another shape than the image.
        """
        return self.preparation(image)

    def forward_images(self, batch: F32) -> F32:
        """(n, 4, size, size) float32 to (n, 256) float32."""
        if not len(batch):
            return np.empty((0, CHANNELS), dtype=np.float32)
        if self._mapped is not None:
            self._mapped.check()
        if self._threads and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.inference_mode():
            inputs = torch.from_numpy(np.ascontiguousarray(batch)).to(self._device)
            rows = [self._network(part) for part in torch.split(inputs, self.batch_size)]
            return np.ascontiguousarray(torch.cat(rows).cpu().numpy())

    def encode_images(self, images: Sequence[ImageInput]) -> F32:
        """(n, 256) float32, not normalised."""
        return in_batches(
            images,
            self.batch_size,
            CHANNELS,
            lambda chunk: self.forward_images(stack([self.prepare_image(image) for image in chunk])),
        )

    def encode_texts(self, texts: Sequence[str]) -> F32:
        """MedSAM reads images only. Raises UsageError."""
        raise UsageError(f"encoder '{self.spec.name}' reads images only; texts need a bridge")


class _Pooled(nn.Module):
    """(n, 4, size, size) prepared inputs to (n, 256): the map's mean over the cells that count."""

    def __init__(self, checkpoint: Checkpoint, pooling: str) -> None:
        super().__init__()
        self._step = checkpoint.model.size // checkpoint.model.grid
        self.map: nn.Module
        if checkpoint.model.name == MEDSAM.name:
            from embedstore_medsam.sam import SamMap

            self.map = SamMap(checkpoint)
            shift = torch.zeros(CHANNELS)
        else:
            from embedstore_medsam.sam2 import Sam2Map

            self.map = Sam2Map(checkpoint)
            shift = checkpoint.take("no_mem_embed").reshape(CHANNELS).clone()
        self._latest: tuple[Tensor, Tensor] | None = None
        self.shift = nn.Parameter(shift if pooling == "nomem" else torch.zeros_like(shift), False)

    def forward(self, inputs: Tensor) -> Tensor:
        features = self._features(inputs[:, :3])
        cells = inputs[:, 3:, :: self._step, :: self._step]
        # What is added to every cell of the map is added to its mean.
        vectors: Tensor = (features * cells).sum(dim=(2, 3)) / cells.sum(dim=(2, 3)) + self.shift
        return vectors

    def _features(self, pictures: Tensor) -> Tensor:
        """(n, 3, size, size) to (n, 256, grid, grid). An image is followed by its regions, which are other
        means over the same map: that is computed once."""
        known, before = self._latest, pictures.roll(1, 0)
        if known is not None:
            before = torch.cat([known[0][None], pictures[:-1]])
        fresh = [not torch.equal(one, other) for one, other in zip(pictures, before, strict=True)]
        fresh[0] = fresh[0] or known is None
        maps = [self.map(pictures[fresh])] if any(fresh) else []
        if not fresh[0]:
            assert known is not None
            maps.insert(0, known[1][None])
        made = torch.cat(maps)
        features = made[np.cumsum(fresh) - fresh[0]]
        self._latest = pictures[-1].clone(), features[-1].clone()
        return features
