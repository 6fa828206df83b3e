"""What the catalog answers: frozen records without a trace of SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedstore.contracts.image import I64
from embedstore.storage.batches import ItemKey, Outcome, ProblemKind


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceRow:
    """A vector space. kinds: towers that answer in it. vectors: how many it holds."""

    id: int
    fingerprint: str
    encoder: str
    kinds: tuple[str, ...]
    dim: int
    metric: str
    spec: Mapping[str, Any]
    created: str
    vectors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """A known source. items: items met at it. pending: those without a vector in the space of their kind.

    siteless: those of no site. elsewhere: those of another site than was asked for.
    """

    id: int
    path: str
    size: int
    mtime_ns: int
    sha256: str | None
    outcome: Outcome
    reason: str
    reader: str
    complete: bool
    items: int
    pending: int
    siteless: int = 0
    elsewhere: int = 0

    def settled(self, size: int, mtime_ns: int) -> bool:
        """Whether a file of this size and time is unchanged, fully stored and needs no second look."""
        unchanged = (self.size, self.mtime_ns) == (size, mtime_ns)
        return unchanged and self.complete and self.outcome != "failed" and self.pending == 0


@dataclass(frozen=True, slots=True)
class Missing:
    """items: keys that are no item yet. vectors: keys without a vector in the space (unknown ones too)."""

    items: frozenset[ItemKey]
    vectors: frozenset[ItemKey]


@dataclass(frozen=True, slots=True, eq=False)
class VectorItems:
    """Item ids of n vectors and codes of their patients and studies, each (n,); equal means the same."""

    items: I64
    patients: I64
    studies: I64


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What happened to a space after a point of the log, net: ids that came and went are in neither.

    seq: the last log entry that is accounted for. added, removed: sorted vector ids.
    """

    seq: int
    added: I64
    removed: I64


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """n pairs of an image and a report linked to it, both with vectors; patients as splits must see them."""

    images: I64
    reports: I64
    patients: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the store holds. vectors: by space fingerprint. patients: distinct known ones."""

    items: int
    images: int
    reports: int
    regions: int
    sources: int
    vectors: Mapping[str, int]
    patients: int
    unknown_patients: int
    failures: int
    skips: int
    conflicts: int
    links: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemRow:
    """A recorded failure or skip."""

    path: str
    part: str
    stage: str
    reason: str
    kind: ProblemKind
    recorded: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictRow:
    """A disagreement: the item, first met at `path`, says `kept`; `other_path` says `other`.

    field: a header column, "attr.NAME", or one of "patient" (the patient key), "sop_uid_bytes" (the same SOP
    Instance UID on other bytes: `kept` and `other` are sha256) and "bytes" (the file now holds other bytes).
    """

    item_id: int
    path: str
    field: str
    kept: str
    other: str
    other_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A verb that wrote to the store; `ended` is None when it is running or was interrupted."""

    id: int
    verb: str
    arguments: Mapping[str, Any]
    started: str
    ended: str | None
    counts: Mapping[str, Any] | None
