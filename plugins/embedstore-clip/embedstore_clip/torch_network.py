"""What the networks of both libraries share: precision, device, threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embedstore.contracts.image import F32
from embedstore.errors import UsageError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchNetwork:
    """A torch model on a device, in one precision."""

    def __init__(self, model: nn.Module, device: str, precision: str) -> None:
        """Raises UsageError for a device that is not here."""
        self._threads = 0
        self._dtype = _DTYPES[precision]
        try:
            self._device = torch.device(device)
            self._model: Any = model.eval().to(device=self._device, dtype=self._dtype)
        except (RuntimeError, AssertionError) as error:
            raise UsageError(f"device '{device}' cannot be used here; try --device cpu") from error

    def set_threads(self, threads: int) -> None:
        """Intra-op threads from now on; 0 leaves torch's own choice."""
        self._threads = threads

    def _ready(self, array: F32) -> Tensor:
        self._claim_threads()
        return torch.from_numpy(np.ascontiguousarray(array)).to(device=self._device, dtype=self._dtype)

    def _claim_threads(self) -> None:
        if self._threads and torch.get_num_threads() != self._threads:  # OpenMP keeps it per thread
            torch.set_num_threads(self._threads)


def rows(vectors: Tensor) -> F32:
    """A tensor on any device, of any precision, as C-contiguous float32."""
    found: F32 = np.ascontiguousarray(vectors.float().cpu().numpy())
    return found
