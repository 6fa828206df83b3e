"""Ingest: from paths to acknowledged vectors. One bad file is one recorded failure, never a stopped run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from itertools import chain, islice

import numpy as np

from embedstore.contracts.encoder import TunableEncoder
from embedstore.contracts.executor import Done, Failed
from embedstore.contracts.image import F32
from embedstore.contracts.record import Asset
from embedstore.engine.admission import keeper_for, provenance_of
from embedstore.engine.ahead import ahead
from embedstore.engine.deidentified import STAGE
from embedstore.engine.embedding import Embedded, EmbedWork, Forward, embed_beside
from embedstore.engine.encoders import check_takes_regions
from embedstore.engine.entries import Entry, Surveyed
from embedstore.engine.executors import executor, reading_executor
from embedstore.engine.grouping import in_groups, in_growing_groups
from embedstore.engine.hopeless import Hopeless
from embedstore.engine.marking import measured
from embedstore.engine.pace import Pace, SourceCount
from embedstore.engine.precision import APPROXIMATE, IMAGES, PrecisionCheck
from embedstore.engine.reading import REGION, Subject, Task
from embedstore.engine.recording import Found, Recorder
from embedstore.engine.requests import IngestReport, IngestRequest, Progress, silent
from embedstore.engine.survey import Survey
from embedstore.engine.targets import SpaceMoved, Targets
from embedstore.engine.volumes import Volumes, asset_of, image_tower
from embedstore.engine.wholes import check_pools, derive, derived_spaces, expect_parts
from embedstore.engine.workspace import Workspace
from embedstore.storage.batches import ItemKey

_POOL_TASK_IMAGES = 32
_FEWEST_TASK_IMAGES = 8
_COMMITTED_TOGETHER = 64
_COMMITTED_EVERY_S = 2.0
_REPORTS_TOGETHER = 64
_LOOKED_UP_FIRST = 8  # the forward pass waits for these
_LOOKED_UP_TOGETHER = 512
_SURVEYED_AHEAD = 256
# Threads and layout are chosen by a measurement once an ingest has shown that it is worth one.
_TUNE_AFTER_IMAGES = 512
_TUNE_SECONDS = 2.0


def ingest(workspace: Workspace, request: IngestRequest, progress: Progress) -> IngestReport:
    """Embed what is new under the request's paths, and record what could not be.

    Safe to interrupt and run again. Raises NotFound, BadInputFile, UsageError, StoreBusy, StorageFull.
    """
    with workspace.catalog.writing():
        try:
            return _Ingest(workspace, request, progress, trust=True).run()
        except SpaceMoved as moved:
            report = _Ingest(workspace, request, progress, trust=False).run()
            return replace(report, notes=(f"{moved}: its vectors go to a space of their own", *report.notes))


class _Ingest:
    """One run: survey, embed, record."""

    def __init__(self, workspace: Workspace, request: IngestRequest, progress: Progress, trust: bool) -> None:
        self._workspace = workspace
        self._catalog = workspace.catalog
        self._request = request
        self._progress = progress
        check_pools(request.pool)
        self._keeper = keeper_for(workspace.catalog, request)
        # Its processes start while encoders are loaded.
        self._reading = reading_executor(workspace.settings, request.cut)
        self._targets = Targets(workspace, request, trust)
        self._reports: list[Found] = []
        self._deferred: list[Found] = []
        self._claimed: set[ItemKey] = set()
        self._under_way: dict[int, list[Found]] = {}
        self._tasks = 0
        self._suspects: list[Found] = []
        self._hopeless = Hopeless()
        self._uncommitted: list[Found] = []
        self._vectors: list[F32] = []
        self._committed = time.monotonic()
        self._check: PrecisionCheck | None = None
        self._pace = Pace()

    def run(self) -> IngestReport:
        """Everything, in order."""
        count = None
        if self._progress is not silent:
            count = SourceCount(self._request.paths, self._workspace.settings.limits)
        self._pace = Pace(count)
        try:
            return self._run()
        finally:
            if count is not None:
                count.stop()

    def _run(self) -> IngestReport:
        settings = self._workspace.settings
        survey = Survey(self._catalog, self._request, settings.limits, self._reading, self._keeper)
        space = self._targets.space("image")
        if self._request.marked:
            check_takes_regions(space.encoder, image_tower(space))
        self._volumes = Volumes(self._catalog, space, self._request, self._reading, settings.limits)
        sources = survey.sources(space.id, self._targets.space("text").id)
        expect_parts(self._workspace, space)
        run = self._catalog.begin_run("ingest", self._arguments())
        self._recorder = Recorder(self._catalog, run)
        met = self._met(ahead(sources, _SURVEYED_AHEAD))
        self._embed(self._lacking(self._volumes.together(met)))
        while self._deferred:  # the same bytes met twice in this run, once the first of them is committed
            again, self._deferred, self._claimed = self._deferred, [], set()
            self._embed(self._lacking(again))
        self._embed(self._lacking(self._met(survey.table_reports())))
        self._embed_reports()
        self._recorder.finish()
        self._catalog.link_reports()
        wholes = derive(self._workspace, space, self._request.pool)
        self._save_indexes()
        report = self._recorder.tally.report(run, survey.table_news(), self._pace)
        report = replace(report, wholes=wholes, notes=(*self._targets.notes, *survey.notes()))
        counts = {
            "seen": report.seen,
            "added": report.added,
            "skipped": report.skipped,
            "failed": report.failed,
        }
        self._catalog.end_run(run, counts)
        return report

    def _arguments(self) -> dict[str, object]:
        request = self._request
        return {
            **self._targets.provenance(),
            **provenance_of(self._keeper, request),
            "cut": asdict(request.cut),
            "workers": request.workers,
            "pool": list(request.pool),
        }

    # From sources to what still lacks a vector.

    def _met(self, sources: Iterable[Surveyed]) -> Iterator[Found]:
        for surveyed in sources:
            self._recorder.meet(surveyed)
            self._pace.meet(len(surveyed.entries))
            if not self._tasks:
                self._progress("reading", self._recorder.tally.seen, self._pace.total())
            for entry in surveyed.entries:
                if entry.withheld is None:
                    yield surveyed, entry
                else:
                    self._recorder.refuse((surveyed, entry), STAGE, entry.withheld)

    def _lacking(self, found: Iterable[Found]) -> Iterator[Found]:
        for group in in_growing_groups(found, _LOOKED_UP_FIRST, _LOOKED_UP_TOGETHER):
            missing = self._without_vector([entry for _, entry in group])
            for one in group:
                key = one[1].key
                if key not in missing:
                    self._recorder.present(one)
                elif key in self._claimed:
                    self._deferred.append(one)
                else:
                    self._claimed.add(key)
                    yield one

    def _without_vector(self, entries: list[Entry]) -> set[ItemKey]:
        images = [entry.key for entry in entries if isinstance(entry.found, Asset)]
        texts = [entry.key for entry in entries if not isinstance(entry.found, Asset)]
        missing: set[ItemKey] = set()
        if images:
            missing |= self._catalog.missing(images, self._targets.space("image").id).vectors
        if texts:
            missing |= self._catalog.missing(texts, self._targets.space("text").id).vectors
        return missing

    # From there to vectors.

    def _embed(self, found: Iterator[Found]) -> None:
        images = self._images(found)
        first = next(images, None)
        if first is None:
            return
        self._pace.begin()
        self._check = self._check_due()
        self._run_tasks(chain([first], images), self._task_size())
        self._pass_check()
        self._commit()
        if self._suspects:  # each by itself, so that only what kills or holds up its process is refused
            suspects, self._suspects = self._suspects, []
            self._run_tasks(suspects, 1)
            self._commit()

    def _check_due(self) -> PrecisionCheck | None:
        choice = self._targets.choice("image")
        if choice.precision not in APPROXIMATE or self._workspace.check_of(self._targets.space("image")):
            return None
        return PrecisionCheck(self._targets.encoder("image"))

    def _pass_check(self) -> None:
        """Nothing is committed before this; a check that is not passed is raised."""
        if self._check is not None:
            self._workspace.set_check(self._targets.space("image"), self._check.judge())
            self._check = None

    def _worth_trying(self, images: Iterable[Found]) -> Iterator[Found]:
        for one in images:
            reason = self._hopeless.reason(asset_of(one))
            if reason is None:
                yield one
            else:
                self._recorder.refuse(one, "read", reason)

    def _task_size(self) -> int:
        if self._request.workers > 1:
            return _POOL_TASK_IMAGES
        return max(_FEWEST_TASK_IMAGES, getattr(self._targets.encoder("image"), "batch_size", 1))

    def _run_tasks(self, images: Iterable[Found], size: int) -> None:
        tasks = (self._task(group) for group in in_groups(self._worth_trying(images), size))
        for outcome in self._outcomes(tasks):
            group = self._under_way.pop(outcome.task.number)
            assets = [asset_of(one) for one in group]
            if isinstance(outcome, Done):
                self._hopeless.went_well(assets)
                self._record(group, outcome.result)
            else:
                self._hopeless.broke(assets, outcome.reason)
                self._set_aside(group, outcome.reason)
            self._tell()

    def _set_aside(self, group: list[Found], reason: str) -> None:
        if len(group) > 1:
            self._suspects.extend(group)
        else:
            self._recorder.refuse(group[0], "read", reason)

    def _tell(self) -> None:
        tally, under_way = self._recorder.tally, len(self._uncommitted)
        remark = self._pace.remark(tally.pictures + under_way)
        self._progress(f"embedding: {remark}", tally.seen + under_way, self._pace.total())

    def _outcomes(self, tasks: Iterable[Task]) -> Iterator[Done[Task, Embedded] | Failed[Task]]:
        limits, workers = self._workspace.settings.limits, self._request.workers
        choice = self._targets.choice("image")
        if workers > 1 and self._check is not None:
            first = islice(tasks, -(-IMAGES // _POOL_TASK_IMAGES))
            encoder = self._targets.encoder("image")
            forward = Forward(encoder, self._check, self._pace)
            yield from embed_beside(forward, limits, self._reading, first)
        if workers <= 1:
            encoder = self._targets.encoder("image")
            untuned = not choice.threads
            forward = Forward(encoder, self._check, self._pace)
            for outcome in embed_beside(forward, limits, self._reading, tasks):
                yield outcome
                if untuned and self._recorder.tally.pictures >= _TUNE_AFTER_IMAGES:
                    untuned = False
                    self._tune(encoder)
        else:
            if not choice.threads:  # cores are shared out, not fought over
                choice = replace(choice, threads=max(1, (os.cpu_count() or 1) // workers))
            yield from executor("pool", workers).run(EmbedWork(choice, limits), tasks)

    def _task(self, group: list[Found]) -> Task:
        number = self._tasks = self._tasks + 1
        self._under_way[number] = group
        return Task(number, tuple(map(self._subject, group)))

    def _subject(self, found: Found) -> Subject:
        asset = asset_of(found)
        entry = found[1]
        return Subject(asset, entry.sight, entry.region, self._volumes.range_of(asset))

    def _tune(self, encoder: object) -> None:
        if isinstance(encoder, TunableEncoder):
            self._progress("choosing threads and layout", 0, None)
            encoder.tune(_TUNE_SECONDS)

    def _images(self, found: Iterator[Found]) -> Iterator[Found]:
        """The images; reports are embedded on the way, a handful at a time."""
        for one in found:
            if isinstance(one[1].found, Asset):
                yield one
                continue
            self._reports.append(one)
            if len(self._reports) >= _REPORTS_TOGETHER and self._check is None:
                self._embed_reports()

    def _embed_reports(self) -> None:
        found, self._reports = self._reports, []
        if not found:
            return
        texts = [entry.found.text for _, entry in found if not isinstance(entry.found, Asset)]
        with self._pace.aside():
            vectors = self._targets.encoder("text").encode_texts(texts)
        self._recorder.embedded(self._targets.space("text").id, found, vectors)
        self._progress("reading reports", self._recorder.tally.reports, None)

    def _record(self, group: list[Found], result: Embedded) -> None:
        for refusal in result.refusals:
            found, reason = group[refusal.position], refusal.reason
            if self._keeper is not None:
                reason = refusal.plain or reason
            if refusal.stage == REGION:
                self._recorder.pass_over(found, reason)
            else:
                self._recorder.refuse(found, refusal.stage, reason)
        if result.positions:
            for position, extent in zip(result.positions, result.extents, strict=True):
                surveyed, entry = group[position]
                self._uncommitted.append((surveyed, measured(entry, extent)))
            self._vectors.append(result.vectors)
        if self._check is not None:
            if not self._check.full:
                return
            self._pass_check()
        late = time.monotonic() - self._committed > _COMMITTED_EVERY_S
        if len(self._uncommitted) >= _COMMITTED_TOGETHER or late:
            self._commit()

    def _commit(self) -> None:
        """Each commit waits for the disk, so a few tasks share one."""
        self._committed = time.monotonic()
        if self._uncommitted:
            found, vectors = self._uncommitted, self._vectors
            self._uncommitted, self._vectors = [], []
            self._recorder.embedded(self._targets.space("image").id, found, np.concatenate(vectors))
            self._pace.reach()

    def _save_indexes(self) -> None:
        images, texts = self._targets.space("image"), self._targets.space("text")
        for space in (images, texts, *derived_spaces(self._workspace, images)):
            if self._catalog.last_seq(space.id):
                self._progress("indexing", 0, None)
                self._workspace.indexes.save(space)
