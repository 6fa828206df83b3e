"""What an ingest is given: sources walked, recognised, described and joined with the user's tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from embedstore.contracts.record import Asset, Report, Skip, Source
from embedstore.engine.grouping import in_groups
from embedstore.engine.requests import IngestRequest
from embedstore.errors import EmbedstoreError, ReadFailure
from embedstore.fingerprint import bytes_sha256, stream_sha256
from embedstore.readers.choose import ReaderSet
from embedstore.readers.tables import Conflict, Table, merge, read_table
from embedstore.readers.walk import Unreachable, walk
from embedstore.settings import Limits
from embedstore.storage.batches import ItemKey
from embedstore.storage.catalog import Catalog
from embedstore.storage.records import SourceRow

_LOOKED_UP_TOGETHER = 256


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One item of a source. conflicts: where a table's row disagrees with the file (the file wins)."""

    found: Asset | Report
    key: ItemKey
    conflicts: tuple[Conflict, ...] = ()


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


class Survey:
    """Walks the request's paths lazily, one `Surveyed` per source, each source once.

    Making one reads the tables and looks for the paths: raises NotFound, BadInputFile.
    """

    def __init__(self, catalog: Catalog, request: IngestRequest, limits: Limits) -> None:
        self._catalog = catalog
        self._request = request
        self._readers = ReaderSet.installed(limits)
        self._walked = walk(request.paths, limits)
        self.tables: tuple[Table, ...] = tuple(
            read_table(path, request.mapping, limits)
            for path in dict.fromkeys(request.metadata + request.reports)
        )

    def sources(self, image_space: int, text_space: int) -> Iterator[Surveyed]:
        """Every source under the request's paths; settled are those with vectors in both spaces."""
        for group in in_groups(self._walked, _LOOKED_UP_TOGETHER):
            known = self._catalog.known_sources(
                [found.path for found in group if not isinstance(found, Unreachable)],
                image_space=image_space,
                text_space=text_space,
            )
            for found in group:
                if isinstance(found, Unreachable):
                    yield Surveyed(found, problem=found.reason)
                else:
                    yield self._examine(found, known.get(found.path))

    def table_reports(self) -> Iterator[Surveyed]:
        """Reports that stand in the tables' own rows; call after `sources`, which tells what rows matched."""
        for table in self.tables:
            reports = tuple(table.reports())
            if reports:
                entries = tuple(
                    Entry(self._placed(r), (bytes_sha256(r.text.encode()), r.part)) for r in reports
                )
                yield Surveyed(reports[0].source, entries=entries)

    @property
    def unmatched_rows(self) -> int:
        """Rows of the tables that joined nothing."""
        return sum(len(table.unmatched()) for table in self.tables)

    def _examine(self, source: Source, known: SourceRow | None) -> Surveyed:
        unchanged = known is not None and known.size == source.size and known.mtime_ns == source.mtime_ns
        settled = known is not None and known.settled(source.size, source.mtime_ns)
        if known is not None and settled and not self.tables:
            return Surveyed(source, known.sha256, settled=known.items)
        try:
            sha256 = known.sha256 if known is not None and unchanged else None
            if sha256 is None:
                with source.open() as stream:
                    sha256 = stream_sha256(stream)
            return self._described(source, sha256)
        except ReadFailure as failure:
            return Surveyed(source, problem=failure.reason)
        except OSError as error:
            return Surveyed(source, problem=f"cannot be read: {error.strerror or type(error).__name__}")
        except MemoryError:
            return Surveyed(source, problem="too large for this machine's memory")
        except EmbedstoreError:
            raise
        except Exception as error:  # a parser's own message may quote the file: only its kind is kept
            return Surveyed(source, problem=f"damaged: its header cannot be read ({type(error).__name__})")

    def _described(self, source: Source, sha256: str) -> Surveyed:
        entries: list[Entry] = []
        skips: list[Skip] = []
        for found in self._readers.describe(source, self._request.cut):
            if isinstance(found, Skip):
                skips.append(found)
            else:
                entries.append(self._joined(found, sha256))
        return Surveyed(source, sha256, tuple(entries), tuple(skips))

    def _joined(self, found: Asset | Report, sha256: str) -> Entry:
        header, conflicts = found.header, list[Conflict]()
        for table in self.tables:
            row = table.match(found.source.path, found.header)
            if row is not None:
                header, more = merge(header, row)
                conflicts.extend(more)
        return Entry(self._placed(replace(found, header=header)), (sha256, found.part), tuple(conflicts))

    def _placed(self, found: Asset | Report) -> Asset | Report:
        if found.header.site is None and self._request.site is not None:
            return replace(found, header=replace(found.header, site=self._request.site))
        return found
