"""Vectors without a store: files are read as an ingest reads them, and nothing is kept."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from embedstore.contracts.encoder import Encoder
from embedstore.contracts.executor import Done, Executor
from embedstore.contracts.image import F32
from embedstore.contracts.record import WHOLE_CUT, Asset, Cut, Report, Skip, Source
from embedstore.contracts.region import Extent, MaskFile, Region
from embedstore.engine.embedding import Forward, embed_beside
from embedstore.engine.encoders import check_takes_regions, load_encoder, space_of, tower_of
from embedstore.engine.executors import reading_executor
from embedstore.engine.grouping import in_groups
from embedstore.engine.pooling import Pooling, weights_of
from embedstore.engine.precision import APPROXIMATE
from embedstore.engine.ranges import VolumeRanges, recipe_for_volumes, volume_of
from embedstore.engine.reading import MASK, REGION, DescribeWork, Look, Refusal, Seen, Subject, Task
from embedstore.engine.requests import EncoderChoice, Outcome, Progress, silent
from embedstore.errors import BadInputFile, UsageError
from embedstore.readers.sources import source_at
from embedstore.readers.walk import Unreachable, walk
from embedstore.settings import Limits, Settings
from embedstore.storage.disk import write_durably

_FEWEST_TASK_IMAGES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest:
    """paths: files, folders, archives, DICOMDIRs. region: what the vectors are of, None for whole images.

    pool: how the parts of a volume, loop or slide become one vector, None to leave them; `mean:region` counts
    each part by the pixels that the region has in it.
    """

    paths: tuple[Path, ...]
    encoder: EncoderChoice = field(default_factory=EncoderChoice)
    cut: Cut = WHOLE_CUT
    region: Region | None = None
    pool: Pooling | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What a vector is of: a file and its part; of a whole the file of its first part, and their number."""

    path: str
    part: str
    parts: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    asset: Asset
    vector: F32
    extent: Extent | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """Vectors of one space: row i of `vectors` (n, dim) is of `rows[i]`, in the order of the paths."""

    space: str
    encoder: str
    rows: tuple[Row, ...]
    vectors: F32
    skips: tuple[Outcome, ...]
    failures: tuple[Outcome, ...]

    def write(self, path: Path) -> None:
        """An .npz, whole or not at all: vectors (n, dim) float32, paths and parts (n,) text, space.

        Raises StorageFull.
        """
        out = io.BytesIO()
        np.savez(
            out,
            vectors=self.vectors,
            paths=np.array([row.path for row in self.rows], dtype=np.str_),
            parts=np.array([row.part for row in self.rows], dtype=np.str_),
            space=np.array(self.space),
        )
        write_durably(path, out.getvalue())


def embed(request: EmbedRequest, settings: Settings, progress: Progress = silent) -> Embedding:
    """Vectors of every image under the request's paths; one bad file is one failure.

    Raises NotFound (a path, the mask), UsageError (an encoder that reads no images or no regions, a box that
    fits no image), BadInputFile (a mask that fits no image), and what loading an encoder raises.
    """
    if isinstance(request.region, MaskFile):
        source_at(request.region.path, settings.limits)
    if request.encoder.precision in APPROXIMATE:
        raise UsageError(
            f"{request.encoder.precision} is checked on the images of a store when they are ingested; "
            "embed takes fp32, bf16 or fp16"
        )
    reading = reading_executor(settings, request.cut)  # its processes start while the encoder is loaded
    encoder = load_encoder(request.encoder)
    if request.pool is not None and request.pool.weight == "region" and request.region is None:
        raise UsageError("mean:region counts parts by their share of a region; give one with --box or --mask")
    if request.region is not None:
        check_takes_regions(encoder.spec.name, tower_of(encoder, "image"))
    return _Embed(request, settings.limits, encoder, reading, progress).run()


class _Embed:
    """One run."""

    def __init__(
        self,
        request: EmbedRequest,
        limits: Limits,
        encoder: Encoder,
        reading: Executor,
        progress: Progress,
    ) -> None:
        self._request = request
        self._limits = limits
        self._encoder = encoder
        self._tower = tower_of(encoder, "image")
        self._progress = progress
        self._reading = reading
        self._skips: list[Outcome] = []
        self._failures: list[Outcome] = []
        self._misplaced: dict[str, str] = {}
        self._found: dict[int, _Part] = {}

    def run(self) -> Embedding:
        subjects = self._subjects(self._assets())
        size = max(_FEWEST_TASK_IMAGES, getattr(self._encoder, "batch_size", 1))
        again = self._encode(subjects, in_groups(range(len(subjects)), size))
        self._encode(subjects, ([number] for number in again))
        if not self._found and self._misplaced:
            raise self._no_region_fits()
        parts = [self._found[number] for number in sorted(self._found)]
        space, pool = space_of(self._tower), self._request.pool
        if pool is None:
            rows = [(Row(part.asset.source.path, part.asset.part), part.vector) for part in parts]
        else:
            space, rows = pool.space(space), list(self._wholes(parts, pool))
        empty = np.empty((0, self._tower.dim or 0), np.float32)
        return Embedding(
            space=space,
            encoder=self._encoder.spec.name,
            rows=tuple(row for row, _ in rows),
            vectors=np.stack([vector for _, vector in rows]) if rows else empty,
            skips=tuple(self._skips),
            failures=tuple(self._failures),
        )

    def _wholes(self, parts: list[_Part], pool: Pooling) -> Iterator[tuple[Row, F32]]:
        """One row for each whole, by their first parts; an image that is part of none is its own."""
        wholes: dict[object, list[_Part]] = {}
        for part in parts:
            wholes.setdefault(part.asset.header.whole or part, []).append(part)
        for key, mine in wholes.items():
            first, weights = mine[0].asset, None
            if pool.weight == "region":
                weights = np.array([float(part.extent.pixels if part.extent else 0) for part in mine])
            elif pool.weight is not None and isinstance(key, str):
                weights = weights_of([part.asset for part in mine], pool.weight)
            vector = pool.pool((part.vector[None] for part in mine), weights)
            if vector is None:
                self._skip(first.source, "whole", f"no part of it counts by {pool.text}")
            else:
                yield (
                    Row(first.source.path, "whole" if isinstance(key, str) else first.part, len(mine)),
                    vector,
                )

    def _assets(self) -> list[Asset]:
        """Every image under the paths; what is none, or cannot be read, is recorded."""
        assets: list[Asset] = []
        work = DescribeWork(self._limits, self._request.cut)
        for outcome in self._reading.run(work, self._looks()):
            source = outcome.task.sources[0]
            if isinstance(outcome, Done):
                assets += self._seen(source, outcome.result[0])
            else:
                reason = f"its header cannot be read: {outcome.reason}"
                self._failures.append(Outcome(path=source.path, reason=reason))
            self._progress("reading", len(assets), None)
        return assets

    def _looks(self) -> Iterator[Look]:
        for number, source in enumerate(walk(self._request.paths, self._limits)):
            if isinstance(source, Unreachable):
                told = Outcome(path=source.path, reason=source.reason)
                (self._skips if source.rightly else self._failures).append(told)
            else:
                yield Look(number, (source,), ("",))

    def _seen(self, source: Source, seen: Seen) -> list[Asset]:
        if seen.problem is not None:
            self._failures.append(Outcome(path=source.path, reason=seen.problem))
            return []
        assets = [found for found in seen.found if isinstance(found, Asset)]
        for found in seen.found:
            if isinstance(found, Report):
                self._skip(source, found.part, "a report; this reads images")
            elif isinstance(found, Skip):
                self._skip(source, found.part, found.reason)
        if not seen.found:
            self._skip(source, "", "holds no image")
        return assets

    def _skip(self, source: Source, part: str, reason: str) -> None:
        self._skips.append(Outcome(path=source.path, part=part, reason=reason))

    def _subjects(self, assets: list[Asset]) -> list[Subject]:
        """With the range of its volume for each slice, when the recipe wants it."""
        recipe = recipe_for_volumes(self._tower.preprocess)
        ranges = {}
        if recipe is not None:
            volumes: dict[str, list[Asset]] = {}
            for asset in assets:
                if (volume := volume_of(asset)) is not None:
                    volumes.setdefault(volume, []).append(asset)
            known = VolumeRanges(recipe, self._reading, self._limits, self._request.cut)
            ranges = dict(zip(volumes, known.of(list(volumes.values())), strict=True))
        region = self._request.region
        return [
            Subject(asset, region=region, parent_range=ranges.get(volume_of(asset) or "")) for asset in assets
        ]

    def _encode(self, subjects: list[Subject], groups: Iterable[list[int]]) -> list[int]:
        """Encode subjects by number; those to be tried alone, since one of a group broke its process."""
        again: list[int] = []
        under_way: dict[int, list[int]] = {}

        def tasks() -> Iterator[Task]:
            for group in groups:
                under_way[group[0]] = group
                yield Task(group[0], tuple(subjects[number] for number in group))

        forward = Forward(self._encoder)
        for outcome in embed_beside(forward, self._limits, self._reading, tasks()):
            group = under_way.pop(outcome.task.number)
            if isinstance(outcome, Done):
                done = outcome.result
                for position, *answer in zip(done.positions, done.vectors, done.extents, strict=True):
                    self._found[group[position]] = _Part(subjects[group[position]].asset, *answer)
                for refusal in outcome.result.refusals:
                    self._refuse(subjects[group[refusal.position]].asset, refusal)
            elif len(group) > 1:
                again += group
            else:
                self._refuse(subjects[group[0]].asset, Refusal(0, "read", outcome.reason))
            known = len(self._found)
            self._progress(f"embedding: {forward.pace.remark(known)}", known, len(subjects))
        return again

    def _refuse(self, asset: Asset, refusal: Refusal) -> None:
        """A part that the region has no pixel of is passed over: most slices of a volume have no tumour."""
        if refusal.stage in (MASK, REGION):
            self._misplaced.setdefault(refusal.stage, refusal.reason)
        outcome = Outcome(path=asset.source.path, part=asset.part, reason=refusal.reason)
        (self._skips if refusal.stage == REGION else self._failures).append(outcome)

    def _no_region_fits(self) -> UsageError:
        reason = self._misplaced.get(MASK) or self._misplaced[REGION]
        region = self._request.region
        return (
            BadInputFile(f"{region.path}: {reason}") if isinstance(region, MaskFile) else UsageError(reason)
        )
