"""Records of what was learned: what goes in, and what the catalog answers. No trace of SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.image import F32, I64
from embedstore.contracts.labels import HeadSpec

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True, eq=False)
class VoteTable:
    """Active votes of one label set on n items by m voters.

    items: (n,) sorted. values: (n, m) class indices, -1 where the voter abstained or did not look.
    probabilities: (n, m), NaN where the voter gave none. looked: (n, m), whether there is any word of it.
    """

    items: I64
    voters: tuple[str, ...]
    versions: tuple[str, ...]
    values: I64
    probabilities: F32
    looked: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteEvent:
    """One vote that was ever cast. superseded: whether the voter has spoken again since.

    code_sha256: hash of the code behind the voter at that time, "" where none was recorded.
    """

    item_id: int
    value: int
    voter: str
    voter_version: str
    probability: float | None
    input_sha256: str
    code_sha256: str
    created: str
    superseded: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewLabelModel:
    """Fused labels of n items: probabilities (n, classes), majority and labels (n,) class indices or -1."""

    label_set: str
    kind: str
    params: Mapping[str, Any]
    items: I64
    probabilities: F32
    majority: I64
    labels: I64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelModelRow:
    """A stored label model with what it says of each item."""

    id: int
    label_set: str
    classes: tuple[str, ...]
    kind: str
    params: Mapping[str, Any]
    items: I64
    probabilities: F32
    majority: I64
    labels: I64
    created: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewBridge:
    """A fitted bridge. anchors: items it was learned from, (n,). anchor_patients: whose they are, (n,)."""

    name: str
    image_space: str
    text_space: str
    kind: str
    spec: Mapping[str, Any]
    arrays: Arrays
    anchors: I64
    anchor_patients: tuple[str, ...]
    quality: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BridgeRow:
    """A stored bridge. anchor_patients: distinct, sorted."""

    id: int
    name: str
    image_space: str
    text_space: str
    kind: str
    spec: Mapping[str, Any]
    quality: Mapping[str, Any]
    anchors_sha256: str
    anchors: I64
    anchor_patients: tuple[str, ...]
    created: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredHead:
    """A stored head: its identity, and what else was recorded of it."""

    id: int
    spec: HeadSpec
    details: Mapping[str, Any]
    created: str


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """(n,) items and their (n, classes) probabilities."""

    items: I64
    probabilities: F32
