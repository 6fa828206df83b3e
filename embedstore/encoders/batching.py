"""What every encoder does around its forward pass: stacking, batches, choosing the fastest setting.

Only numpy is imported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import numpy as np

from embedstore.contracts.image import F32
from embedstore.errors import UsageError

T = TypeVar("T")
_HOPELESS = 0.1
_STILL_IN = 0.8  # a setting below this share of the best rate is not measured again


def stack(prepared: Sequence[F32]) -> F32:
    """Equal-shaped arrays to one C-contiguous float32 batch (n, ...); UsageError when shapes differ."""
    shapes = {array.shape for array in prepared}
    if len(shapes) != 1:
        raise UsageError("a batch needs at least one input, and all of one shape")
    return np.stack(prepared).astype(np.float32, copy=False)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive lists of at most `size` items; nothing is lost and none is empty."""
    if size < 1:
        raise UsageError(f"a batch of {size} makes no sense; 1 is the smallest")
    source = iter(items)
    while chunk := list(islice(source, size)):
        yield chunk


def in_batches(items: Sequence[T], size: int, dim: int, forward: Callable[[list[T]], F32]) -> F32:
    """(n, dim) rows of `forward` over batches of `items`, in their order; no items give (0, dim)."""
    rows = [forward(chunk) for chunk in batched(items, size)]
    if not rows:
        return np.empty((0, dim), dtype=np.float32)
    return np.ascontiguousarray(np.concatenate(rows), dtype=np.float32)


def check_texts(texts: Sequence[str]) -> Sequence[str]:
    """The texts, once each is known to be a string with something in it.

    Raises UsageError: a lone string where a sequence is meant, or an empty text.
    """
    if isinstance(texts, str):
        raise UsageError("encode_texts takes a sequence of texts, not one text")
    for number, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f"text {number} is empty; there is nothing to embed")
    return texts


@dataclass(slots=True)
class Rate(Generic[T]):
    """What one setting reached: `items` encoded in `seconds`."""

    setting: T
    items: int = 0
    seconds: float = 0.0

    @property
    def per_s(self) -> float:
        """Items a second; 0 before the first measurement."""
        return self.items / self.seconds if self.seconds else 0.0


def fastest(
    settings: Sequence[T],
    run: Callable[[T], int],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Rate[T]]:
    """Measure settings for about `seconds` and rank them, the fastest first, those never reached last.

    run: does a batch under a setting and returns how many items that were. Settings are taken in the order
    given, so put the likely ones first; each is run once unmeasured (allocation, kernel choice; one that is
    ten times slower than another already then stays at that) and once measured. When time is left, rounds go
    on over those within a fifth of the best, interleaved, so that a neighbour's load falls on all alike.
    The first setting is measured whatever `seconds` says, and a setting that has begun is finished: the
    time taken can pass `seconds` by two batches.
    """
    if not settings:
        raise UsageError("there is no setting to measure")
    deadline = clock() + seconds
    rates = [Rate(setting) for setting in settings]
    for number, rate in enumerate(rates):
        if number and clock() >= deadline:
            break
        _measure(rate, run, clock)
        if number and rate.per_s < _HOPELESS * max(other.per_s for other in rates[:number]):
            continue
        rate.items, rate.seconds = 0, 0.0
        _measure(rate, run, clock)
    running = [rate for rate in rates if rate.items]
    while clock() < deadline and len(running) > 1:
        best = max(rate.per_s for rate in running)
        running = [rate for rate in running if rate.per_s >= _STILL_IN * best]
        for rate in running:
            if clock() < deadline:
                _measure(rate, run, clock)
    return sorted(rates, key=lambda rate: (rate not in running, -rate.per_s))


def _measure(rate: Rate[T], run: Callable[[T], int], clock: Callable[[], float]) -> None:
    start = clock()
    rate.items += run(rate.setting)
    rate.seconds += clock() - start
