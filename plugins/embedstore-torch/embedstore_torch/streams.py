"""A batch in parts that are computed side by side."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np

from embedstore.contracts.image import F32

BATCH = 8
"""Images that one stream is given at a time."""
_MOST = 2


def streams_of(threads: int) -> int:
    """How many streams share so many threads."""
    return max(1, min(threads, _MOST))


class Streams:
    """Runs the parts of a batch at the same time, each on its share of the threads.

    Two streams of one thread do more than one stream of two, which wait for each other in every layer; and a
    process that decodes files beside them holds up one of them only. Its threads end when the last who uses
    it lets it go: somebody may be in a call while another number of threads is chosen.
    """

    def __init__(self, run: Callable[[F32, int], F32], threads: int, alone: bool = False) -> None:
        """run: (n, c, h, w) and a number of threads to (n, dim); it is called in several threads.

        alone: an image is a part, and a thread a stream.
        """
        self._run = run
        self._alone = alone
        self._threads = threads
        self._streams = threads if alone else streams_of(threads)
        self.threads_each = 1 if alone else max(1, threads // self._streams)
        self._pool = ThreadPoolExecutor(self._streams, thread_name_prefix="embedstore-forward")

    def __call__(self, batch: F32) -> F32:
        """(n, c, h, w) to (n, dim) in order. A single image is run with all threads."""
        count = len(batch) if self._alone else min(self._streams, len(batch))
        if count == 1:
            return self._run(batch, self._threads)
        parts = np.array_split(batch, count)
        return np.concatenate(list(self._pool.map(self._run, parts, repeat(self.threads_each))))
