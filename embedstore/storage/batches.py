"""What one commit carries into the store, and what it answers. Frozen; no SQL is needed to build one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from embedstore.contracts.image import F32
from embedstore.contracts.record import Header

ItemKey = tuple[str, str]
"""(sha256 of the source's bytes, part): the identity of an item."""

ItemKind = Literal["image", "report", "region"]
KINDS: tuple[ItemKind, ...] = get_args(ItemKind)
Outcome = Literal["items", "skipped", "failed"]
ProblemKind = Literal["failure", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSource:
    """A file (or archive member) and what became of it.

    sha256: of its bytes, None when they could not be read. complete: False while further parts of the same
    file are still to come in later batches; an incomplete source is looked at again by the next run.
    """

    path: str
    size: int
    mtime_ns: int
    sha256: str | None
    outcome: Outcome
    reason: str = ""
    reader: str = ""
    complete: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """One part of a source. When (sha256, part) is in the store already, that item gains a source.

    source: path of a source in this batch or in the store. text: the report's text, for a report.
    about_path: path of the one image the report describes, when it came with one.
    """

    source: str
    sha256: str
    part: str
    kind: ItemKind
    reader: str
    header: Header
    text: str | None = None
    about_path: str | None = None

    @property
    def key(self) -> ItemKey:
        """The item's identity."""
        return (self.sha256, self.part)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NewVectors:
    """Vectors of one space: row i of `vectors` (n, dim) belongs to the item `keys[i]`.

    Keys are items of this batch or of the store. A key that has a vector in the space is left as it is.
    """

    space_id: int
    keys: tuple[ItemKey, ...]
    vectors: F32


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A path or part of it that yielded no item. One per (path, part): the latest counts.

    stage: what was being done ("walk", "describe", "read", "encode"). reason: one line without patient data.
    """

    path: str
    stage: str
    reason: str
    part: str = ""
    kind: ProblemKind = "failure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """A table's word on an item that its file's own header overruled; recorded as a conflict.

    key: an item of the batch. source: path the item was met at. kept, other: both words, as text.
    """

    key: ItemKey
    source: str
    field: str
    kept: str
    other: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestBatch:
    """Everything one commit writes: all of it, or after a crash none of it."""

    sources: tuple[NewSource, ...] = ()
    items: tuple[NewItem, ...] = ()
    vectors: tuple[NewVectors, ...] = ()
    problems: tuple[Problem, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    run_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """The acknowledgement of a batch.

    items: new ones. reused: items of the batch that were in the store already; moved: those of them that are
    another patient's now. vectors, conflicts, problems: rows written. seq: last entry of the change log.
    item_ids: id of every item of the batch.
    """

    items: int = 0
    reused: int = 0
    moved: int = 0
    vectors: int = 0
    conflicts: int = 0
    problems: int = 0
    seq: int = 0
    item_ids: Mapping[ItemKey, int] = field(default_factory=dict)
