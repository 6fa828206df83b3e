"""Slices of an ingest brought together by volume, for encoders that scale the slices of a volume alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from embedstore.contracts.encoder import TowerSpec
from embedstore.contracts.executor import Executor
from embedstore.contracts.record import Asset, Header
from embedstore.encoders.parent import Range
from embedstore.engine.ranges import VolumeRanges, recipe_for_volumes, volume_of
from embedstore.engine.recording import Found
from embedstore.engine.requests import IngestRequest
from embedstore.engine.stored_sources import StoredSources
from embedstore.errors import EmbedstoreError
from embedstore.settings import Limits
from embedstore.storage.catalog import Catalog
from embedstore.storage.filters import parse_where
from embedstore.storage.records import SpaceRow


class Volumes:
    """Knows the range of every volume that an ingest has met, when its encoder wants it.

    Slices in files of their own may come in any order and from any folder, so they wait until all files have
    been looked at; so do slices that are embedded already, since they count as well, and those that an
    earlier run has put into the store, as long as their files are there.
    """

    def __init__(
        self, catalog: Catalog, space: SpaceRow, request: IngestRequest, reading: Executor, limits: Limits
    ) -> None:
        self._catalog = catalog
        self._space_id = space.id
        self._sources = StoredSources(catalog, limits)
        recipe = recipe_for_volumes(image_tower(space).preprocess)
        self._ranges = VolumeRanges(recipe, reading, limits, request.cut) if recipe is not None else None
        self._known: dict[str, Range | None] = {}

    def range_of(self, asset: Asset) -> Range | None:
        """`ImageInput.parent_range` of a slice that came through `together`."""
        return self._known.get(volume_of(asset) or "")

    def together(self, found: Iterable[Found]) -> Iterator[Found]:
        """All of `found`; slices come last, volume by volume, once the range of theirs is known."""
        if self._ranges is None:
            yield from found
            return
        volumes: dict[str, list[Found]] = {}
        for one in found:
            volume = volume_of(asset_of(one)) if isinstance(one[1].found, Asset) else None
            if volume is None:
                yield one
            else:
                volumes.setdefault(volume, []).append(one)
        wanted = {volume: slices for volume, slices in volumes.items() if self._lacking(slices)}
        for volume in volumes.keys() - wanted.keys():
            yield from volumes[volume]
        ranges = self._ranges.of([self._with_stored(volume, slices) for volume, slices in wanted.items()])
        for (volume, slices), scale in zip(wanted.items(), ranges, strict=True):
            self._known[volume] = scale
            yield from slices

    def _lacking(self, slices: list[Found]) -> bool:
        keys = [entry.key for _, entry in slices]
        return bool(self._catalog.missing(keys, self._space_id).vectors)

    def _with_stored(self, volume: str, slices: list[Found]) -> list[Asset]:
        # A slice comes once, however many regions lie on it: each counts alike in percentiles.
        assets = list({(a.source.path, a.part): a for a in map(asset_of, slices)}.values())
        if assets[0].part != "image":  # its file holds the whole volume
            return assets
        met = {asset.source.path for asset in assets}
        quoted = volume.replace("'", "''")
        for item in self._catalog.items(
            self._catalog.select_items(parse_where(f"whole = '{quoted}'"), "image").tolist()
        ):
            if item.path not in met:
                try:
                    source = self._sources.of(item, item.path)
                except EmbedstoreError:
                    continue
                header = Header(whole=volume, position_mm=item.columns["position_mm"])
                assets.append(Asset(source=source, part=item.part, reader=item.reader, header=header))
        return assets


def asset_of(found: Found) -> Asset:
    """The image itself, of a de-identified ingest as it was before it was sealed."""
    entry = found[1]
    asset = entry.read or entry.found
    assert isinstance(asset, Asset)
    return asset


def image_tower(space: SpaceRow) -> TowerSpec:
    """The image tower of a space, as it was recorded."""
    (found,) = (tower for tower in space.spec["towers"] if tower["kind"] == "image")
    return TowerSpec(**found)
