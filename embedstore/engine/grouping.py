"""Taking a stream a handful at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def in_groups(stream: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` consecutive elements, the last one shorter; lazy (itertools.batched of Python 3.12)."""
    iterator = iter(stream)
    while group := list(islice(iterator, size)):
        yield group


def in_growing_groups(stream: Iterable[T], first: int, largest: int) -> Iterator[list[T]]:
    """Lists of `first` elements, then twice as many each time up to `largest`: the first comes soon."""
    iterator, size = iter(stream), first
    while group := list(islice(iterator, size)):
        yield group
        size = min(2 * size, largest)
