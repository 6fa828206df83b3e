"""Letting several processes that load one checkpoint keep one copy of it in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor, nn

from embedstore.encoders.weights import MappedFile
from embedstore.errors import EmbedstoreError
from embedstore_torch.tensors import read_tensors

_LEAST_BYTES = 1 << 16
_COMPARED_FIRST = 64
_Key = tuple[torch.Size, torch.dtype, bytes]


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a module's tensors came from. read: maps the tensors of a file into memory."""

    files: Sequence[Path]
    read: Callable[[Path], Mapping[str, Tensor]] = read_tensors


def lie_in(module: nn.Module, kept: Kept) -> tuple[MappedFile, ...]:
    """Lay every large tensor of a module that a file holds bit for bit into the file's own pages.

    Names do not matter, so that it works for networks that name or order them otherwise; a tensor that was
    computed from the file's, or is of another type, stays the process's own. The files that are in use
    afterwards; one that cannot be mapped is left alone.
    """
    used = []
    for path in kept.files:
        try:
            file = MappedFile.of(path)
            held = {_key(one): one for one in _large(kept.read(path).values())}
        except (OSError, EmbedstoreError):
            continue
        laid = 0
        for own in _large(chain(module.parameters(), module.buffers())):
            twin = held.get(_key(own))
            if twin is not None and torch.equal(own, twin):
                own.data = twin
                laid += 1
        used += [file] if laid else []
    return tuple(used)


def _large(tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """Those worth sharing; of another layout than a network's own they would be computed with otherwise."""
    for one in tensors:
        plain = one.layout == torch.strided and one.device.type == "cpu" and one.is_contiguous()
        if plain and one.nbytes >= _LEAST_BYTES:
            yield one


def _key(tensor: Tensor) -> _Key:
    """What equal tensors have in common and few others do."""
    first = tensor.detach().reshape(-1)[:_COMPARED_FIRST].contiguous()
    return tensor.shape, tensor.dtype, first.view(torch.uint8).numpy().tobytes()
