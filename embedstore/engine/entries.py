"""What an ingest found at a source: the records that pass from the survey to the recorder."""

from __future__ import annotations

from dataclasses import dataclass

from embedstore.contracts.record import Asset, Report, Skip, Source
from embedstore.contracts.region import Region
from embedstore.engine.deidentified import Sight
from embedstore.readers.tables import Conflict
from embedstore.readers.walk import Unreachable
from embedstore.storage.batches import ItemKey, ItemKind


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One item of a source. conflicts: where a table's row disagrees with the file (the file wins).
    tabled: names of the attributes that only tables gave.

    Of a de-identified ingest `found` is what is recorded; read: the image itself, sight: how it may be
    seen, withheld: why it may not be. Of a region `read` is the image it lies on.
    """

    found: Asset | Report
    key: ItemKey
    conflicts: tuple[Conflict, ...] = ()
    tabled: frozenset[str] = frozenset()
    read: Asset | None = None
    sight: Sight | None = None
    withheld: str | None = None
    region: Region | None = None

    @property
    def kind(self) -> ItemKind:
        """What it becomes in the store."""
        if self.region is not None:
            return "region"
        return "image" if isinstance(self.found, Asset) else "report"


@dataclass(frozen=True, slots=True, eq=False)
class Surveyed:
    """One source with its items. sha256 is of its bytes, None when they could not be read.

    settled: unchanged since everything in it was embedded. problem: why it cannot be read.
    """

    source: Source | Unreachable
    sha256: str | None = None
    entries: tuple[Entry, ...] = ()
    skips: tuple[Skip, ...] = ()
    problem: str | None = None
    settled: int | None = None
