"""The forward pass of an image network: by torch, or by ONNX Runtime from the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from embedstore.contracts.encoder import EncoderSpec, LoadRequest
from embedstore.contracts.image import F32
from embedstore.encoders.weights import MappedFile
from embedstore.errors import UsageError
from embedstore_torch.encoder import Forward
from embedstore_torch.loading import by_onnx
from embedstore_torch.sharing import Kept, lie_in
from embedstore_torch.streams import Streams

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "int8": torch.float32}


class OnDevice:
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
        return torch.from_numpy(np.ascontiguousarray(array)).to(device=self._device, dtype=self._dtype)

    def _claim_threads(self) -> None:
        self._claim(self._threads)

    def _claim(self, threads: int) -> None:
        if threads and torch.get_num_threads() != threads:  # OpenMP keeps it per thread
            torch.set_num_threads(threads)


class Eager(OnDevice):
    """Implements `Forward` by calling the module, which maps (n, c, h, w) to (n, dim)."""

    def __init__(
        self, model: nn.Module, device: str, precision: str, mapped: Sequence[MappedFile] = ()
    ) -> None:
        """mapped: files whose pages the model's tensors lie in."""
        super().__init__(model, device, precision)
        self._mapped = mapped
        self._streams: Streams | None = None

    def __call__(self, batch: F32) -> F32:
        """(n, c, h, w) to (n, dim)."""
        for file in self._mapped:
            file.check()
        if self._streams is None:
            self.set_threads(0)
        assert self._streams is not None
        return self._streams(batch)

    def exact(self, batch: F32) -> F32:
        """The same as the call: only a forward pass in int8 has an exact one beside it."""
        return self(batch)

    def set_threads(self, threads: int) -> None:
        """Of all streams together; 0 is torch's own choice. On other devices there is one stream."""
        wanted = (threads or torch.get_num_threads()) if self._device.type == "cpu" else 1
        self._streams = Streams(self._run, wanted)
        super().set_threads(wanted)

    def _run(self, batch: F32, threads: int) -> F32:
        self._claim(threads)
        with torch.inference_mode():
            return rows(self._model(self._ready(batch)))


def forward_of(
    module: nn.Module, spec: EncoderSpec, request: LoadRequest, shape: Sequence[int], kept: Kept | None = None
) -> Forward:
    """The forward pass that `request` asks for (see `check_request`), threads set.

    module: maps (n, *shape) to (n, dim). spec: bound to the weights the module has. kept: the files these
    came from.
    Raises Refused when the exported network does not answer as the module does, UsageError for int8 of a
    network without a layer that it would speed up.
    """
    mapped: Sequence[MappedFile] = ()
    if kept is not None and request.shared and request.precision == "fp32" and request.device == "cpu":
        mapped = lie_in(module, kept)
    forward: Forward = Eager(module, request.device, request.precision, mapped)
    if by_onnx(request):
        from embedstore_torch.onnx_forward import OnnxForward
        from embedstore_torch.onnx_graph import graph_of

        file = graph_of(module, spec, request, shape)
        forward = OnnxForward(file, forward, alone=request.precision == "int8")
    forward.set_threads(request.threads)
    return forward


def rows(vectors: Tensor) -> F32:
    """A tensor on any device, of any precision, as C-contiguous float32."""
    found: F32 = np.ascontiguousarray(vectors.float().cpu().numpy())
    return found
