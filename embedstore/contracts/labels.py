"""Votes, label models and heads: who says what of which item, and how sure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32

ABSTAIN = -1
Votes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSet:
    """name: what is labelled ("pneumothorax"); classes: mutually exclusive outcomes, index = vote value."""

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelBatch:
    """What a labelling function may look at; each sequence has n entries.

    texts: the item's report, "" when there is none. columns: metadata by column name.
    vectors: (n, dim) stored vectors, or None unless the function `needs` them.
    """

    item_ids: NDArray[np.int64]
    texts: Sequence[str]
    columns: Sequence[Mapping[str, Any]]
    vectors: F32 | None = None


@runtime_checkable
class LabelingFunction(Protocol):
    """needs: subset of {"report", "metadata", "vectors"}. version changes whenever its votes could."""

    @property
    def name(self) -> str:
        """Under which its votes are kept, unless a voters file names it otherwise."""

    @property
    def version(self) -> str:
        """Of everything that decides a vote."""

    @property
    def label_set(self) -> LabelSet:
        """What it votes on."""

    @property
    def needs(self) -> frozenset[str]:
        """What it looks at."""

    def __call__(self, batch: LabelBatch) -> NDArray[Any]:
        """(n,) int64: index of a class, or -1 to abstain. It may also answer softly, with (n, classes)
        probabilities; a row of zeros or NaN abstains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One voter's word on one item. value: class index, -1 abstains. input_sha256: what it looked at."""

    item_id: int
    label_set: str
    value: int
    voter: str
    voter_version: str
    probability: float | None = None
    input_sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadSpec:
    """A fitted head's identity. split: how training and test patients were told apart, with their counts."""

    name: str
    space: str
    target: str
    classes: tuple[str, ...]
    data_sha256: str
    seed: int
    split: Mapping[str, Any]
    params: Mapping[str, Any]


@runtime_checkable
class Head(Protocol):
    """A function on the vectors of one space."""

    spec: HeadSpec

    def predict(self, vectors: F32) -> F32:
        """(n, dim) vectors to (n, classes) probabilities."""
