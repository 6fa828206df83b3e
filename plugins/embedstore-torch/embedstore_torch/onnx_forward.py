"""ONNX Runtime behind the `Forward` protocol."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime

from embedstore.contracts.image import F32
from embedstore_torch.encoder import Forward
from embedstore_torch.loading import cores

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
        self._pool = ThreadPoolExecutor(1)  # starts no thread before it has work

    def __call__(self, batch: F32) -> F32:
        """(n, c, h, w) to (n, dim)."""
        images = np.ascontiguousarray(batch)
        if not self._alone:
            return self._run(images)
        return np.concatenate(list(self._pool.map(self._run, np.split(images, len(images)))))

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
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = 1 if self._alone else threads
        self._session = onnxruntime.InferenceSession(
            self._file, sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._pool.shutdown()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="embedstore-int8")

    def _run(self, images: F32) -> F32:
        vectors: F32 = self._session.run(None, {self._input: images})[0]
        return vectors
