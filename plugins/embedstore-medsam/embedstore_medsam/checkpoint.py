"""Reads official checkpoints strictly: every tensor is used, or known to be of no use for a vector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from embedstore.encoders.weights import check_sizes, read_checkpoint, some
from embedstore.errors import Refused
from embedstore_medsam.model import Model


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """The tensors of a file by their official names. mapped: a network may lie in the file's own pages."""

    path: Path
    model: Model
    tensors: Mapping[str, Tensor]
    mapped: bool = False

    def take(self, key: str) -> Tensor:
        """One tensor in float32. Raises Refused."""
        if key not in self.tensors:
            raise self.refused(f"expected {key}, found {some(self.tensors)}")
        return self.tensors[key].float()

    def refused(self, why: str) -> Refused:
        """The error that says why this is not the model's checkpoint."""
        return _refused(self.path, self.model, why)

    def check_names(self, needed: Iterable[str], prefixes: tuple[str, ...]) -> None:
        """Every name begins with one of `prefixes`, and each of `needed` begins some name. Raises Refused."""
        missing = [start for start in needed if not any(key.startswith(start) for key in self.tensors)]
        if missing:
            raise self.refused(f"expected {some(missing)}, found {some(self.tensors)}")
        strange = [key for key in self.tensors if not key.startswith(prefixes)]
        if strange:
            raise self.refused(f"it has tensors that no {self.model.title} file has: {some(strange)}")

    def fill(self, network: nn.Module, prefix: str, names: tuple[tuple[str, str], ...]) -> None:
        """Put the tensors under `prefix` into a network built on the meta device: as they are when `mapped`.

        names: see `official_name`. Raises Refused when a tensor is missing, left over or of another shape.
        """
        own_tensors = network.state_dict()
        expected = {official_name(key, names): key for key in own_tensors}
        given = {key.removeprefix(prefix): key for key in self.tensors if key.startswith(prefix)}
        missing = [prefix + key for key in expected if key not in given]
        strange = [prefix + key for key in given if key not in expected]
        if missing or strange:
            parts = [f"lacks {some(missing)}" if missing else "", f"has {some(strange)}" if strange else ""]
            raise self.refused("it " + " and ".join(part for part in parts if part))
        for key, own in expected.items():
            want, found = tuple(own_tensors[own].shape), tuple(self.tensors[given[key]].shape)
            if want != found:
                raise self.refused(f"expected {given[key]} of {want}, found {found}")
        state = {own: self.tensors[given[key]].float() for key, own in expected.items()}
        if not self.mapped:  # cloned, so that nothing depends on the memory-mapped file any more
            state = {own: tensor.clone() for own, tensor in state.items()}
        network.load_state_dict(state, strict=True, assign=True)


def read(path: Path, model: Model, mapped: bool = False) -> Checkpoint:
    """Read the tensors of a file; no code in it is run. Raises Refused, WeightsMissing."""
    content = _load(path, model)
    state = content
    if model.weights_under and isinstance(content, Mapping):
        state = content.get(model.weights_under)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        where = f"tensors under '{model.weights_under}'" if model.weights_under else "tensors by name"
        found = some(content) if isinstance(content, Mapping) else type(content).__name__
        raise _refused(path, model, f"expected {where}, found {found}")
    check_sizes(path, state.values(), lambda why: _refused(path, model, why))
    return Checkpoint(path, model, state, mapped)


def _load(path: Path, model: Model) -> Any:
    def load(mmap: bool) -> Any:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)

    return read_checkpoint(path, load, lambda why: _refused(path, model, why))


def official_name(key: str, names: tuple[tuple[str, str], ...]) -> str:
    """A network's own name of a tensor to the official one.

    names: pairs of parts of names, official and own, replaced one after the other.
    """
    for official, own in names:
        key = key.replace(own, official)
    return key


def _refused(path: Path, model: Model, why: str) -> Refused:
    official = next(iter(model.variants.values()))
    return Refused(f"{path} is not a {model.title} checkpoint such as {official}: {why}")
