"""From what an ingest found to committed batches and the counts a person sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from embedstore.contracts.image import F32
from embedstore.contracts.record import Asset
from embedstore.engine.entries import Entry, Surveyed
from embedstore.engine.pace import Pace
from embedstore.engine.refusals import Refusals
from embedstore.engine.requests import IngestReport, Outcome, TableNews
from embedstore.readers.walk import Unreachable
from embedstore.storage.batches import (
    Assertion,
    IngestBatch,
    ItemKind,
    NewItem,
    NewSource,
    NewVectors,
    Problem,
)
from embedstore.storage.catalog import Catalog

KNOWN = "already in the store"
_WAITING_TOGETHER = 256

Found = tuple[Surveyed, Entry]


@dataclass(slots=True)
class Tally:
    """Counts of one run, in items; a file that yields none counts once."""

    added: int = 0
    kinds: Counter[ItemKind] = field(default_factory=Counter)
    conflicts: int = 0
    moved: int = 0
    known: Counter[str] = field(default_factory=Counter)
    skips: list[Outcome] = field(default_factory=list)
    failures: list[Outcome] = field(default_factory=list)

    @property
    def reports(self) -> int:
        """Reports embedded so far."""
        return self.kinds["report"]

    @property
    def pictures(self) -> int:
        """Images and regions embedded so far."""
        return self.kinds["image"] + self.kinds["region"]

    @property
    def seen(self) -> int:
        """Items met so far."""
        return self.added + self.skipped + len(self.failures)

    @property
    def skipped(self) -> int:
        """Items passed over: not images, or known."""
        return len(self.skips) + self.known.total()

    def report(self, run: int, tables: tuple[TableNews, ...], pace: Pace) -> IngestReport:
        """The run as a shell shows it."""
        known = [
            Outcome(path=path, reason=KNOWN if n == 1 else f"{KNOWN} ({n} items)")
            for path, n in self.known.items()
        ]
        return IngestReport(
            run=run,
            seen=self.seen,
            added=self.added,
            skipped=self.skipped,
            failed=len(self.failures),
            known=self.known.total(),
            images=self.kinds["image"],
            reports=self.reports,
            regions=self.kinds["region"],
            conflicts=self.conflicts,
            moved=self.moved,
            unmatched_rows=sum(table.unmatched for table in tables),
            tables=tables,
            images_per_s=pace.per_second(self.pictures),
            skips=tuple(self.skips + known),
            failures=tuple(self.failures),
        )


class Recorder:
    """Commits what a run found. Small findings wait for company; vectors are committed as they come."""

    def __init__(self, catalog: Catalog, run: int) -> None:
        self._catalog = catalog
        self._run = run
        self._left: Counter[str] = Counter()
        self._flawed: set[str] = set()
        self._refusals = Refusals()
        self._sources: list[NewSource] = []
        self._problems: list[Problem] = []
        self._present: list[Found] = []
        self.tally = Tally()

    def meet(self, surveyed: Surveyed) -> None:
        """Take note of a source: its failure, its skips, how many items are to come."""
        path = surveyed.source.path
        self._left[path] = len(surveyed.entries)
        if surveyed.settled is not None:
            self.tally.known[path] += max(surveyed.settled, 1)
        elif isinstance(surveyed.source, Unreachable) and surveyed.source.rightly:
            self._skip(path, "", surveyed.source.reason)
        elif surveyed.problem is not None:
            self._fail((Problem(path=path, stage="describe", reason=surveyed.problem),))
            self._outside(surveyed, "failed", surveyed.problem)
        else:
            for skip in surveyed.skips:
                self._skip(path, skip.part, skip.reason)
            if not surveyed.entries:
                reason = surveyed.skips[0].reason if surveyed.skips else "holds no image and no report"
                if not surveyed.skips:
                    self.tally.skips.append(Outcome(path=path, reason=reason))
                self._outside(surveyed, "skipped", reason)
        self._settle_waiting()

    def present(self, found: Found) -> None:
        """An item that has its vector already; its source and metadata are still recorded."""
        self._present.append(found)
        path = found[0].source.path
        self.tally.known[path] += 1
        self._fail(self._refusals.gave(path))
        self._settle_waiting()

    def refuse(self, found: Found, stage: str, reason: str) -> None:
        """An item that could not be read or encoded; a file that gave no item at all fails once."""
        surveyed, entry = found
        path = surveyed.source.path
        self._left[path] -= 1
        self._flawed.add(path)
        self._fail(self._refusals.add(Problem(path=path, part=entry.found.part, stage=stage, reason=reason)))
        if self._left[path] == 0:
            self._fail(self._refusals.all_met(path))
            self._outside(surveyed, "failed", reason)

    def pass_over(self, found: Found, reason: str) -> None:
        """A region that has no pixel of its image."""
        path = found[0].source.path
        self._left[path] -= 1
        self._skip(path, found[1].found.part, reason)

    def embedded(self, space_id: int, found: Sequence[Found], vectors: F32) -> None:
        """Items with their new vectors; returns when they are acknowledged."""
        for surveyed, _ in found:
            self._fail(self._refusals.gave(surveyed.source.path))
        self._commit(
            found, NewVectors(space_id=space_id, keys=tuple(e.key for _, e in found), vectors=vectors)
        )
        self.tally.kinds.update(entry.kind for _, entry in found)
        self.tally.added += len(found)

    def finish(self) -> None:
        """Commit everything that still waits; no further item is to come."""
        self._fail(self._refusals.rest())
        self._flush()

    def _flush(self) -> None:
        present, self._present = self._present, []
        if present or self._sources or self._problems:
            self._commit(present, None)

    def _settle_waiting(self) -> None:
        if len(self._present) + len(self._sources) + len(self._problems) >= _WAITING_TOGETHER:
            self._flush()

    def _fail(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            self.tally.failures.append(Outcome(path=problem.path, reason=problem.reason, part=problem.part))
        self._problems.extend(problems)

    def _skip(self, path: str, part: str, reason: str) -> None:
        self.tally.skips.append(Outcome(path=path, reason=reason, part=part))
        self._problems.append(Problem(path=path, part=part, stage="describe", reason=reason, kind="skip"))

    def _outside(self, surveyed: Surveyed, outcome: str, reason: str) -> None:
        if isinstance(surveyed.source, Unreachable):
            return
        self._sources.append(_source(surveyed, outcome=outcome, reason=reason))

    def _commit(self, found: Sequence[Found], vectors: NewVectors | None) -> None:
        sources: dict[str, NewSource] = {}
        for surveyed, entry in found:
            path = surveyed.source.path
            self._left[path] -= 1
            whole = self._left[path] <= 0 and path not in self._flawed
            reader = entry.found.reader if isinstance(entry.found, Asset) else "report"
            sources[path] = _source(surveyed, reader=reader, complete=whole)
        waiting, self._sources = self._sources, []
        problems, self._problems = self._problems, []
        committed = self._catalog.commit(
            IngestBatch(
                sources=(*(s for s in waiting if s.path not in sources), *sources.values()),
                items=tuple(_item(surveyed, entry) for surveyed, entry in found),
                vectors=(vectors,) if vectors is not None else (),
                problems=tuple(problems),
                assertions=tuple(_assertions(found)),
                run_id=self._run,
            )
        )
        self.tally.conflicts += committed.conflicts
        self.tally.moved += committed.moved


def _source(
    surveyed: Surveyed, outcome: str = "items", reason: str = "", reader: str = "", complete: bool = True
) -> NewSource:
    source = surveyed.source
    assert not isinstance(source, Unreachable)
    return NewSource(
        path=source.path,
        size=source.size,
        mtime_ns=source.mtime_ns,
        sha256=surveyed.sha256,
        outcome=outcome,  # type: ignore[arg-type]
        reason=reason,
        reader=reader,
        complete=complete,
    )


def _item(surveyed: Surveyed, entry: Entry) -> NewItem:
    found = entry.found
    return NewItem(
        source=surveyed.source.path,
        sha256=entry.key[0],
        part=entry.key[1],
        kind=entry.kind,
        reader=found.reader if isinstance(found, Asset) else "report",
        header=found.header,
        text=None if isinstance(found, Asset) else found.text,
        about_path=None if isinstance(found, Asset) else found.about_path,
    )


def _assertions(found: Sequence[Found]) -> list[Assertion]:
    """What a table said against a file's own header."""
    return [
        Assertion(
            key=entry.key, source=surveyed.source.path, field=c.field, kept=str(c.kept), other=str(c.other)
        )
        for surveyed, entry in found
        for c in entry.conflicts
    ]
