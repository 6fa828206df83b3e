"""ONNX Runtime behind the `Forward` protocol."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from embedstore.contracts.image import F32
from embedstore_torch.encoder import Forward
from embedstore_torch.loading import cores
from embedstore_torch.streams import Streams

_ERRORS_ONLY = 3


class OnnxForward:
    """Implements `Forward` with an exported graph.

    alone: give the graph one image at a time, on as many threads as are allowed. Dynamic quantisation scales
    a layer's input by the extremes of the whole batch: in company a row would depend on its neighbours.
    """

    def __init__(self, file: Path, exact: Forward | None = None, alone: bool = False) -> None:
        self._alone = alone
        self._file = file
        self._exact = exact
        self._threads = -1
        self._streams: Streams | None = None

    def __call__(self, batch: F32) -> F32:
        """(n, c, h, w) to (n, dim)."""
        if self._streams is None:
            self.set_threads(0)
        assert self._streams is not None
        return self._streams(np.ascontiguousarray(batch))

    def exact(self, batch: F32) -> F32:
        """In fp32, by torch; of a graph that was not exported here, by itself."""
        return self(batch) if self._exact is None else self._exact(batch)

    def set_threads(self, threads: int) -> None:
        """Threads from now on; 0 is one for each core. Another count opens the graph again."""
        threads = threads or cores()
        if self._exact is not None:
            self._exact.set_threads(threads)
        if threads == self._threads:
            return
        self._threads = threads
        self._streams = Streams(self._run, threads, self._alone)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = self._streams.threads_each
        self._session = onnxruntime.InferenceSession(
            self._file, sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    def _run(self, images: F32, threads: int) -> F32:
        """threads: those the session was opened with."""
        vectors: F32 = self._session.run(None, {self._input: images})[0]
        return vectors
