"""The parts of a batch are computed at the same time, and their rows come back in order."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from embedstore_torch.forward import Eager
from embedstore_torch.streams import Streams, streams_of


def numbered(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)[:, None]


@pytest.mark.parametrize("alone", [False, True])
def test_two_streams_meet(alone):
    both = threading.Barrier(2, timeout=60)

    def run(part, threads):
        both.wait()  # one stream would wait for ever
        return part * 2

    streams = Streams(run, threads=2, alone=alone)
    assert np.array_equal(streams(numbered(6)), numbered(6) * 2)


@pytest.mark.parametrize(("threads", "streams", "each"), [(1, 1, 1), (2, 2, 1), (5, 2, 2), (16, 2, 8)])
def test_threads_are_shared_out(threads, streams, each):
    seen = set()

    def run(part, of_it):
        seen.add((len(part), of_it))
        return part

    runner = Streams(run, threads)
    assert streams_of(threads) == streams
    runner(numbered(8))
    assert seen == {(8 // streams, each if streams > 1 else threads)}
    seen.clear()
    runner(numbered(1))
    assert seen == {(1, threads)}, "a single image, as a search has it, is given every thread"


def test_an_error_of_a_part_is_raised():
    def run(part, threads):
        raise MemoryError("too large")

    with pytest.raises(MemoryError, match="too large"):
        Streams(run, 2)(numbered(4))


def test_vectors_do_not_depend_on_threads():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 4, 4), torch.nn.Flatten(), torch.nn.Linear(512, 16))
    forward = Eager(module, "cpu", "fp32")
    batch = np.random.default_rng(0).standard_normal((7, 3, 32, 32)).astype(np.float32)
    found = []
    for threads in (1, 2, 3, 0):
        forward.set_threads(threads)
        found.append(forward(batch))
    alone = np.concatenate([forward(one[None]) for one in batch])
    for rows in found:
        assert np.abs(rows - alone).max() < 1e-5


def test_threads_may_be_chosen_while_a_batch_is_computed():
    """A call ends on the streams it began on, and nobody waits for it."""
    begun, chosen = threading.Barrier(3, timeout=60), threading.Event()

    class Waiting(torch.nn.Module):
        def forward(self, images):
            if not chosen.is_set():
                begun.wait()
                assert chosen.wait(60), "the choice waits for the call"
            return images.flatten(1)

    forward = Eager(Waiting(), "cpu", "fp32")
    forward.set_threads(2)
    batch = np.ones((4, 1, 2, 2), np.float32)
    found = []
    caller = threading.Thread(target=lambda: found.append(forward(batch)))
    caller.start()
    begun.wait()
    forward.set_threads(1)
    chosen.set()
    caller.join()
    assert np.array_equal(found[0], batch.reshape(4, 4))
