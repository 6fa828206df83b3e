"""What an ingest is given: sources walked, recognised, described and joined with the user's tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count

from embedstore.contracts.executor import Done, Executor, Failed
from embedstore.contracts.record import Asset, Report, Skip, Source
from embedstore.engine.deidentified import Examined, Gatekeeper
from embedstore.engine.entries import Entry, Surveyed
from embedstore.engine.grouping import in_groups
from embedstore.engine.marking import Markings
from embedstore.engine.reading import DescribeWork, Look, Seen
from embedstore.engine.requests import IngestRequest, TableNews
from embedstore.engine.table_news import table_news
from embedstore.fingerprint import bytes_sha256
from embedstore.readers.table_set import read_tables
from embedstore.readers.tables import Conflict, merge
from embedstore.readers.walk import Unreachable, walk
from embedstore.settings import Limits
from embedstore.storage.catalog import Catalog
from embedstore.storage.records import SourceRow

_LOOKED_UP_TOGETHER = 256
_LOOKED_AT_TOGETHER = 16


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Sources met together: what is known of some without looking, and those to be looked at."""

    ready: tuple[Surveyed, ...]
    look: Look


class Survey:
    """Walks the request's paths lazily, one `Surveyed` per source, each source once.

    reading: where sources are described. keeper: seals what was found, in a de-identified ingest.

    Making one reads the tables and looks for the paths: raises NotFound, BadInputFile.
    """

    def __init__(
        self,
        catalog: Catalog,
        request: IngestRequest,
        limits: Limits,
        reading: Executor,
        keeper: Gatekeeper | None = None,
    ) -> None:
        self._catalog = catalog
        self._keeper = keeper
        self._request = request
        self._limits = limits
        self._reading = reading
        self._walked = walk(request.paths, limits)
        self._held: list[tuple[Surveyed, Examined | None]] = []
        self._elsewhere = 0
        self._sited: dict[str, bool] = {}
        self.tables = read_tables(request.metadata, request.reports, request.mapping, limits, request.regions)
        self._markings: Markings | None = None
        if request.marked:
            self._markings = Markings(request.masks, request.regions, request.mapping, limits, reading)

    def sources(self, image_space: int, text_space: int) -> Iterator[Surveyed]:
        """Every source under the request's paths; settled are those with vectors in both spaces.

        In a de-identified ingest files of reports come last, when all is known of their patients.
        """
        for mask in self._markings.problems if self._markings is not None else ():
            yield self._sealed(Surveyed(mask, problem=mask.reason))
        groups = self._groups(image_space, text_space)
        for group in groups:
            if group.look.sources:  # where there is nothing to look at, no process is started
                profile = self._keeper.gate.profile if self._keeper is not None else None
                work = DescribeWork(self._limits, self._request.cut, profile)
                yield from self._described(work, chain([group], groups))
            else:
                yield from group.ready
        held, self._held = self._held, []
        yield from (self._sealed(*one) for one in held)

    def table_reports(self) -> Iterator[Surveyed]:
        """Reports that stand in the tables' own rows; call after `sources`, which tells what rows matched."""
        for table in self.tables:
            reports = tuple(table.reports())
            if reports:
                entries = tuple(
                    Entry(
                        self._placed(report),
                        (bytes_sha256(report.text.encode()), report.part),
                        tabled=frozenset(report.header.extra),
                    )
                    for report in reports
                )
                yield self._sealed(Surveyed(reports[0].source, entries=entries))

    def notes(self) -> tuple[str, ...]:
        """What was asked for and had no effect, once everything has been met."""
        notes = () if self._markings is None else self._markings.notes()
        if not self._elsewhere:
            return notes
        return (
            f"known items that keep another site: {self._elsewhere} (--site is for items of none; "
            "a table with a column 'site' moves them)",
            *notes,
        )

    def table_news(self) -> tuple[TableNews, ...]:
        """What came of each table, once everything has been met."""
        return tuple(table_news(table, private=self._keeper is not None) for table in self.tables)

    def _groups(self, image_space: int, text_space: int) -> Iterator[_Group]:
        numbers = count()
        for walked in in_groups(self._walked, _LOOKED_UP_TOGETHER):
            paths = [self._recorded(found).path for found in walked if not isinstance(found, Unreachable)]
            known = self._catalog.known_sources(
                paths, image_space=image_space, text_space=text_space, site=self._site()
            )
            for start in range(0, len(walked), _LOOKED_AT_TOGETHER):
                yield self._group(next(numbers), walked[start : start + _LOOKED_AT_TOGETHER], known)

    def _group(
        self, number: int, walked: Sequence[Source | Unreachable], known: Mapping[str, SourceRow]
    ) -> _Group:
        ready: list[Surveyed] = []
        asked: list[Source] = []
        hashes: list[str | None] = []
        for found in walked:
            if isinstance(found, Unreachable):
                ready.append(self._sealed(Surveyed(found, problem=found.reason)))
                continue
            recorded = self._recorded(found)
            row = known.get(recorded.path)
            if row is not None and self._settled(row, recorded):
                ready.append(Surveyed(recorded, row.sha256, settled=row.items))
                self._elsewhere += row.elsewhere
                continue
            stamp = (recorded.size, recorded.mtime_ns)
            unchanged = row is not None and (row.size, row.mtime_ns) == stamp
            if row is not None and unchanged and row.items and not row.siteless:
                self._sited[found.path] = row.elsewhere > 0
            asked.append(found)
            hashes.append(row.sha256 if row is not None and unchanged and self._keeper is None else None)
        return _Group(tuple(ready), Look(number, tuple(asked), tuple(hashes)))

    def _settled(self, row: SourceRow, recorded: Source) -> bool:
        """Whether a source needs no look: no table, mask or --site has anything to say of it."""
        unplaced = self._request.site is not None and row.siteless > 0
        asked = self.tables or self._markings is not None or unplaced
        return row.settled(recorded.size, recorded.mtime_ns) and not asked

    def _site(self) -> str | None:
        """The site as the catalog knows it."""
        site = self._request.site
        return site if self._keeper is None or site is None else self._keeper.gate.site(site)

    def _described(self, work: DescribeWork, groups: Iterable[_Group]) -> Iterator[Surveyed]:
        waiting: dict[int, tuple[Surveyed, ...]] = {}

        def looks() -> Iterator[Look]:
            for group in groups:
                waiting[group.look.number] = group.ready
                yield group.look

        for outcome in self._reading.run(work, looks()):
            yield from waiting.pop(outcome.task.number)
            if isinstance(outcome, Done):
                for source, seen in zip(outcome.task.sources, outcome.result, strict=True):
                    yield from self._surveyed(source, seen)
            else:
                yield from self._alone(work, outcome)

    def _alone(self, work: DescribeWork, failed: Failed[Look]) -> Iterator[Surveyed]:
        """Each source by itself, when one of several has hung or killed the process that looked at it."""
        look = failed.task
        if len(look.sources) == 1:
            problem = f"its header cannot be read: {failed.reason}"
            yield self._sealed(Surveyed(look.sources[0], problem=problem))
            return
        singles = (
            Look(number, (source,), (known,))
            for number, (source, known) in enumerate(zip(look.sources, look.sha256, strict=True))
        )
        for outcome in self._reading.run(work, singles):
            if isinstance(outcome, Done):
                yield from self._surveyed(outcome.task.sources[0], outcome.result[0])
            else:
                yield from self._alone(work, outcome)

    def _surveyed(self, source: Source, seen: Seen) -> Iterator[Surveyed]:
        if seen.problem is not None or seen.sha256 is None:
            yield self._sealed(Surveyed(source, problem=seen.problem))
            return
        skips = tuple(found for found in seen.found if isinstance(found, Skip))
        sha256 = seen.sha256
        entries = tuple(self._joined(found, sha256) for found in seen.found if not isinstance(found, Skip))
        surveyed = Surveyed(source, sha256, entries, skips)
        if self._keeper is not None and any(isinstance(entry.found, Report) for entry in entries):
            self._keeper.learn(surveyed, seen.examined)
            self._held.append((surveyed, seen.examined))
        else:
            yield self._sealed(surveyed, seen.examined)

    def _recorded(self, source: Source) -> Source:
        """The source as the catalog knows it."""
        return source if self._keeper is None else self._keeper.gate.seal(source)

    def _sealed(self, surveyed: Surveyed, examined: Examined | None = None) -> Surveyed:
        if self._keeper is not None:
            surveyed = self._keeper.seal(surveyed, examined)
        if self._markings is None:
            return surveyed
        entries = chain.from_iterable(self._marked(entry, self._markings) for entry in surveyed.entries)
        return replace(surveyed, entries=tuple(entries))

    def _marked(self, entry: Entry, markings: Markings) -> Iterator[Entry]:
        """An entry, then the regions that lie on it."""
        yield entry
        image = entry.read or entry.found
        if isinstance(image, Asset):
            sealed = None if self._keeper is None else self._keeper.gate.sha256
            yield from (mark.entry(entry, sealed) for mark in markings.on(image))

    def _joined(self, found: Asset | Report, sha256: str) -> Entry:
        header, conflicts = found.header, list[Conflict]()
        for table in self.tables:
            row = table.match(found.source.path, found.header)
            if row is not None:
                header, more = merge(header, row)
                conflicts.extend(more)
        tabled = frozenset(header.extra.keys() - found.header.extra.keys())
        joined = replace(found, header=header)
        elsewhere = self._sited.get(found.source.path)
        if elsewhere is None:
            joined = self._placed(joined)
        elif elsewhere and header.site is None:  # what a table said of it before stands
            self._elsewhere += 1
        return Entry(joined, (sha256, found.part), tuple(conflicts), tabled)

    def _placed(self, found: Asset | Report) -> Asset | Report:
        if found.header.site is None and self._request.site is not None:
            return replace(found, header=replace(found.header, site=self._request.site))
        return found
