"""What every encoder does around its forward pass: stacking, batches, empty input. Only numpy is imported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import numpy as np

from embedstore.contracts.image import F32
from embedstore.errors import UsageError

T = TypeVar("T")


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
