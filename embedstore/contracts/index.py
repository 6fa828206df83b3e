"""Nearest-neighbour indexes: caches over the vectors of one space that follow the store's change log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from embedstore.contracts.image import F32, I64

Metric = Literal["cosine", "dot"]
PAD_ID = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSpec:
    """name: plugin name. metric "cosine" compares directions, "dot" raw products; larger is better.

    space: fingerprint of the space whose vectors are held ("" when nobody said); a snapshot of one space
    is never loaded for another.
    """

    name: str
    dim: int
    metric: Metric = "cosine"
    space: str = ""


SNAPSHOT = "index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexTraits:
    """exact: answers are those of a full scan. threadsafe: `search` may run in several threads at once.

    oversample: candidates worth fetching for each row wanted, when they are re-ranked on stored vectors
    afterwards; 1 for an index whose own scores are those of a full scan. Scores of an index that is not exact
    may be estimates, and it may answer fewer than k rows. outgrown: the index was shaped for far fewer
    vectors than it holds now; it still answers, but a rebuild from the log would make it faster.
    """

    exact: bool
    threadsafe: bool = True
    oversample: int = 1
    outgrown: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """ids: (q, k) int64, padded with -1. scores: (q, k) float32, descending, padded with -inf."""

    ids: I64
    scores: F32


@runtime_checkable
class VectorIndex(Protocol):
    """An index over vector ids. It refuses duplicate ids, wrong dimensions, NaN, infinities and zero vectors
    (UsageError) before anything is changed. `traits` may change as the index grows."""

    spec: IndexSpec

    @property
    def traits(self) -> IndexTraits:
        """What may be expected of the index as it is now."""

    @property
    def applied_seq(self) -> int:
        """The last change-log entry that is in the index."""

    def __len__(self) -> int:
        """Number of live vectors."""

    def ids(self) -> I64:
        """The live vector ids in ascending order."""

    def add(self, ids: I64, vectors: F32, seq: int) -> None:
        """Add n vectors; `applied_seq` becomes `seq`."""

    def remove(self, ids: I64, seq: int) -> None:
        """Remove vectors; ids that are not there are ignored; `applied_seq` becomes `seq`."""

    def search(self, queries: F32, k: int, allow: I64 | None = None, effort: int = 1) -> Neighbours:
        """The k best of (q, dim) queries; only ids in `allow` (sorted, None for all).

        effort 1, 2, 3, ... looks harder each time; an exact index ignores it.
        """

    def snapshot(self, folder: Path) -> None:
        """Write the index with checksums so that it appears whole or not at all.

        File `SNAPSHOT` comes last: a folder without it, as a killed writer leaves it, holds no snapshot.
        """


class IndexFactory(Protocol):
    """The entry point of an index plugin."""

    def create(self, dim: int, metric: Metric = "cosine", space: str = "") -> VectorIndex:
        """An empty index with applied_seq 0."""

    def restore(self, folder: Path, dim: int, metric: Metric = "cosine", space: str = "") -> VectorIndex:
        """Load a snapshot. Raises StoreDamaged when it is missing, of another spec, or fails its checksum."""
