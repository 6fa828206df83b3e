"""Which regions of interest lie on which images of an ingest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from embedstore.contracts.executor import Done, Executor
from embedstore.contracts.record import Asset, Scalar, Source
from embedstore.contracts.region import Box, Extent, MaskFile, Region, region_part
from embedstore.engine.entries import Entry
from embedstore.engine.reading import Look
from embedstore.errors import EmbedstoreError, ReadFailure
from embedstore.fingerprint import bytes_sha256, file_sha256, stream_sha256
from embedstore.readers.region_table import read_region_table
from embedstore.readers.regions_dicom import Drawn, drawn_in
from embedstore.readers.walk import Unreachable, walk
from embedstore.settings import Limits

_NO_MASK = (
    "neither a DICOM segmentation nor a structure set; name a mask that is a picture or volume in a table "
    "beside its image, and give that with --regions"
)
_KEPT = 32  # hexadecimal digits of a sha256 in the keys of regions
_FRAME_OF_REFERENCE = "FrameOfReferenceUID"
Sealed = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Mark:
    """A region that may lie on an image. mask_sha256: of the file it comes from, None for a box.

    label: what it is called there; extra: what else a table says of it.
    """

    region: Region
    mask_sha256: str | None = None
    label: str | None = None
    extra: Mapping[str, Scalar] = field(default_factory=dict)

    def entry(self, image: Entry, sealed: Sealed | None) -> Entry:
        """The region as an item beside its image's. sealed: makes the digests of a de-identified store, where
        labels and columns that people typed are left out."""
        assert isinstance(image.found, Asset)
        part = region_part(image.found.part, self.key(sealed))
        header = replace(image.found.header, label=None)
        if sealed is None:
            header = replace(header, label=self.label, extra={**header.extra, **self.extra})
        return replace(
            image,
            found=replace(image.found, part=part, header=header),
            key=(image.key[0], part),
            conflicts=tuple(one for one in image.conflicts if one.field != "label"),
            read=image.read or image.found,
            region=self.region,
        )

    def key(self, sealed: Sealed | None = None) -> str:
        """What tells it from the other regions of its image."""
        if isinstance(self.region, Box):
            return f"box/{self.region}"
        assert self.mask_sha256 is not None
        key, segment = f"mask/{_digest(self.mask_sha256, sealed)}", self.region.segment
        if segment is None:
            return key
        if segment.isdecimal():
            return f"{key}/{segment}"
        return f"{key}/called/{_digest(bytes_sha256(segment.encode()), sealed)}"


def _digest(sha256: str, sealed: Sealed | None) -> str:
    return (sha256 if sealed is None else sealed(sha256))[:_KEPT]


def measured(entry: Entry, extent: Extent | None) -> Entry:
    """A region's entry with what it was found to be among its attributes; another's as it is."""
    if extent is None or not isinstance(entry.found, Asset):
        return entry
    box, header = extent.box, entry.found.header
    words = {
        "region_x0": box.left,
        "region_y0": box.top,
        "region_x1": box.right,
        "region_y1": box.bottom,
        "region_pixels": extent.pixels,
    }
    segment = entry.region.segment if isinstance(entry.region, MaskFile) else None
    if segment is not None and segment.isdecimal():  # a label may name a person
        words["region_segment"] = int(segment)
    return replace(entry, found=replace(entry.found, header=replace(header, extra={**header.extra, **words})))


@dataclass(frozen=True, slots=True)
class MaskSeen:
    """What a mask file holds, or the problem with it. drawn: () for what is none."""

    sha256: str = ""
    drawn: tuple[Drawn, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class MaskWork:
    """From mask files to what was drawn in them, in the process that reads files."""

    def start(self) -> MaskWork:
        """Nothing is to be built."""
        return self

    def prepare(self, look: Look) -> MaskSeen:
        """Headers alone; pixels are decoded when a region is encoded."""
        (source,) = look.sources
        try:
            with source.open() as stream:
                sha256 = stream_sha256(stream)
            return MaskSeen(sha256, drawn_in(source))
        except ReadFailure as failure:
            return MaskSeen(problem=failure.reason)
        except EmbedstoreError:
            raise
        except Exception as error:  # a parser's own message may quote the file: only its kind is kept
            return MaskSeen(problem=f"damaged: the mask cannot be read ({type(error).__name__})")

    def complete(self, prepared: MaskSeen) -> MaskSeen:
        """As it is."""
        return prepared


class Markings:
    """Regions by the images they lie on: drawn in mask files, or listed in tables."""

    def __init__(
        self,
        masks: Iterable[Path],
        tables: Iterable[Path],
        mapping: Mapping[str, str],
        limits: Limits,
        reading: Executor,
    ) -> None:
        """Raises NotFound (a path), BadInputFile (a table, or a mask that it names)."""
        self.problems: list[Unreachable] = []  # a mask is no source of items, whatever it may be besides
        self._limits = limits
        self._drawn: list[tuple[Mark, Drawn]] = []
        self._by_object: dict[str, list[int]] = {}
        self._by_space: dict[str, list[int]] = {}
        self._met: set[int] = set()
        self._tables = tuple(read_region_table(path, mapping, limits) for path in tables)
        self._sha256: dict[str, str] = {}
        self._read_masks(tuple(masks), reading)

    def on(self, asset: Asset) -> Iterator[Mark]:
        """The regions that may have pixels on an image, as far as headers tell; each comes once."""
        yield from {mark.key(): mark for mark in reversed([*self._given(asset)])}.values()

    def _given(self, asset: Asset) -> Iterator[Mark]:
        header = asset.header
        for number in self._by_object.get(header.sop_uid or "", ()):
            mark, drawn = self._drawn[number]
            if drawn.is_on(header.sop_uid, header.frame):
                self._met.add(number)
                yield mark
        for number in self._by_space.get(str(header.extra.get(_FRAME_OF_REFERENCE)), ()):
            self._met.add(number)
            yield self._drawn[number][0]
        for table in self._tables:
            for row in table.on(asset):
                yield Mark(row.region, self._hash_of(row.region), row.label, row.extra)

    def notes(self) -> tuple[str, ...]:
        """What was given and lies on nothing, once all images have been met."""
        notes = []
        lost = len(self._drawn) - len(self._met)
        if lost:
            notes.append(f"regions drawn on none of the images met: {lost} of {len(self._drawn)}")
        rows = sum(table.unmet() for table in self._tables)
        if rows:
            notes.append(f"rows of --regions about none of the images met: {rows}")
        renaming = sum(len(table.renaming) for table in self._tables)
        if renaming:
            notes.append(
                f"rows of --regions that call a region otherwise than a row before, which counts: {renaming}"
            )
        return tuple(notes)

    def _hash_of(self, region: Region) -> str | None:
        if isinstance(region, Box):
            return None
        if region.path not in self._sha256:
            self._sha256[region.path] = file_sha256(Path(region.path))
        return self._sha256[region.path]

    def _read_masks(self, masks: tuple[Path, ...], reading: Executor) -> None:
        asked = {str(path.absolute()) for path in masks}
        for outcome in reading.run(MaskWork(), self._looks(masks)) if masks else ():
            (source,) = outcome.task.sources
            if not isinstance(outcome, Done):
                self.problems.append(Unreachable(source.path, f"the mask cannot be read: {outcome.reason}"))
            elif outcome.result.problem is not None:
                self.problems.append(Unreachable(source.path, outcome.result.problem))
            elif outcome.result.drawn:
                self._add(source, outcome.result)
            elif source.path in asked:  # in a folder of masks there may lie other files
                self.problems.append(Unreachable(source.path, _NO_MASK))

    def _looks(self, masks: tuple[Path, ...]) -> Iterator[Look]:
        for number, found in enumerate(walk(masks, self._limits)):
            if isinstance(found, Unreachable):
                self.problems.append(found)
            else:
                yield Look(number, (found,), (None,))

    def _add(self, source: Source, seen: MaskSeen) -> None:
        for drawn in seen.drawn:
            number = len(self._drawn)
            region = MaskFile(source.path, str(drawn.number))
            self._drawn.append((Mark(region, seen.sha256, drawn.label), drawn))
            for uid in drawn.objects:
                self._by_object.setdefault(uid, []).append(number)
            if not drawn.references and drawn.space is not None:
                self._by_space.setdefault(drawn.space, []).append(number)
