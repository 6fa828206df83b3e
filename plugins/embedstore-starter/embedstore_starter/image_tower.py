"""EfficientNet-Lite0 at work: how it is laid out in memory, how many threads, how large a batch."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from embedstore.contracts.image import F32
from embedstore.encoders.preprocess import Rate, fastest
from embedstore.errors import Refused, UsageError
from embedstore_starter.efficientnet import FEATURES, EfficientNetLite0

Layout = Literal["channels_last", "contiguous"]
_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
_SIDE = 224


@dataclass(frozen=True, slots=True)
class Setting:
    """threads: 0 leaves torch's own choice."""

    layout: Layout = "channels_last"
    threads: int = 0
    batch: int = 4


class ImageTower:
    """The network on a device, under one setting at a time."""

    def __init__(self, checkpoint: bytes, device: str, threads: int) -> None:
        """Raises Refused when the checkpoint is no EfficientNet-Lite0, UsageError for an unknown device."""
        try:
            tensors = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise Refused("the starter's image weights are not a PyTorch checkpoint of tensors") from error
        self._network = EfficientNetLite0(list(tensors.values())).eval()
        try:
            self._device = torch.device(device)
            self._network.to(self._device)
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"device '{device}' cannot be used here; try --device cpu") from error
        self._adopt(Setting(threads=threads))

    def _adopt(self, setting: Setting) -> None:
        self._setting = setting
        self._network.to(memory_format=_FORMATS[setting.layout])

    def _ready(self, batch: F32) -> Tensor:
        wanted = self._setting.threads
        if wanted and torch.get_num_threads() != wanted:  # kept per thread by OpenMP, so asked for each time
            torch.set_num_threads(wanted)
        tensor = torch.from_numpy(np.ascontiguousarray(batch)).to(self._device)
        return tensor.contiguous(memory_format=_FORMATS[self._setting.layout])

    def forward(self, batch: F32) -> F32:
        """(n, 3, 224, 224) float32 to (n, 1280) float32."""
        if not len(batch):
            return np.empty((0, FEATURES), dtype=np.float32)
        with torch.inference_mode():
            return np.ascontiguousarray(self._network(self._ready(batch)).cpu().numpy())

    def logits(self, batch: F32) -> F32:
        """(n, 3, 224, 224) float32 to (n, 1000): ImageNet logits, by which the network can be checked."""
        with torch.inference_mode():
            return self._network.logits(self._network(self._ready(batch))).cpu().numpy()

    def tune(self, seconds: float, threads: int) -> Rate[Setting]:
        """Measure settings for about `seconds`, adopt the fastest; `threads` above 0 is kept as it is."""
        largest = np.random.default_rng(0).uniform(-1, 1, (16, 3, _SIDE, _SIDE)).astype(np.float32)

        def run(setting: Setting) -> int:
            if setting != self._setting:
                self._adopt(setting)
            return len(self.forward(largest[: setting.batch]))

        best = fastest(list(_settings(threads)), run, seconds)[0]
        self._adopt(best.setting)
        return best


def _settings(threads: int) -> Iterator[Setting]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    choices = {threads} if threads else {1, max(1, cores // 2), cores}
    for layout in ("channels_last", "contiguous"):  # likely ones first: time may be up before the last
        for batch in (4, 1, 8, 16):
            for count in sorted(choices):
                yield Setting(layout, count, batch)
