"""What a recipe wants to know of a whole volume before it takes a slice of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from embedstore.contracts.executor import Done, Executor
from embedstore.contracts.record import Asset, Cut
from embedstore.encoders.parent import Range, Statistic
from embedstore.encoders.preprocess import Recipe
from embedstore.engine.grouping import in_groups
from embedstore.engine.reading import DescribeWork, Look, seconds_for
from embedstore.engine.units import unit_of
from embedstore.errors import EmbedstoreError
from embedstore.readers.choose import ReaderSet
from embedstore.settings import Limits

_READ_TOGETHER = 8


def recipe_for_volumes(preprocess: Mapping[str, Any]) -> Recipe | None:
    """The recipe, when it scales the slices of a volume alike; None for all others."""
    if "steps" not in preprocess:
        return None  # an encoder may describe its preprocessing in words of its own
    recipe = Recipe.from_json(preprocess)
    return recipe if recipe.parent_statistic() is not None else None


def volume_of(asset: Asset) -> str | None:
    """The volume that an asset is a slice of; None for anything else."""
    header = asset.header
    columns = {"whole": header.whole, "position_mm": header.position_mm, "tile_x": header.tile_x}
    return header.whole if unit_of(asset.part, columns) == "slice" else None


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """Some slices of one volume, counted together."""

    number: int
    assets: tuple[Asset, ...]

    @property
    def allowance_s(self) -> float:
        """As every `LongTask` has."""
        return seconds_for(asset.source for asset in self.assets)


@dataclass(frozen=True)
class RangeWork:
    """From slices to their part of the statistic."""

    limits: Limits
    recipe: Recipe

    def start(self) -> _Counter:
        """Build the readers of this process."""
        return _Counter(ReaderSet.installed(self.limits), self.recipe)


class _Counter:
    """Reads slices; one that cannot be read does not count, and is refused when its turn comes."""

    def __init__(self, readers: ReaderSet, recipe: Recipe) -> None:
        self._readers = readers
        self._recipe = recipe

    def prepare(self, slices: Slices) -> Statistic | None:
        """See `count`."""
        return count(self._readers, self._recipe, slices.assets)

    def complete(self, counted: Statistic | None) -> Statistic | None:
        """As it is."""
        return counted


def count(readers: ReaderSet, recipe: Recipe, assets: Iterable[Asset]) -> Statistic | None:
    """The statistic of these slices; None for a recipe that wants none."""
    statistic = recipe.parent_statistic()
    if statistic is None:
        return None
    for asset in assets:
        try:
            recipe.add_to(statistic, readers.read(asset, recipe.wants))
        except (EmbedstoreError, MemoryError):
            continue
        except Exception:  # noqa: S112 - a decoder's error is told when the slice itself is to be embedded
            continue
    return statistic


def range_in_file(
    readers: ReaderSet, preprocess: Mapping[str, Any], asset: Asset, others: Iterable[Asset]
) -> Range | None:
    """`ImageInput.parent_range` of a slice by what its own file holds of the volume; read in this process."""
    recipe, volume = recipe_for_volumes(preprocess), volume_of(asset)
    if recipe is None or volume is None:
        return None
    statistic = count(readers, recipe, (other for other in others if volume_of(other) == volume))
    return statistic.range() if statistic is not None else None


class VolumeRanges:
    """Statistics of volumes, gathered where files are read."""

    def __init__(self, recipe: Recipe, reading: Executor, limits: Limits, cut: Cut) -> None:
        self._recipe = recipe
        self._reading = reading
        self._limits = limits
        self._cut = cut

    def of(self, volumes: Sequence[Sequence[Asset]]) -> Iterator[Range | None]:
        """`ImageInput.parent_range` of each volume in turn, of all its slices, also those `every` passes
        over; None when no slice could be read."""
        complete = self._unsampled(volumes)
        work = RangeWork(self._limits, self._recipe)
        statistics: dict[int, Statistic] = {}
        left: dict[int, int] = {}
        owners: dict[int, int] = {}

        def tasks() -> Iterator[Slices]:
            for volume, assets in enumerate(volumes):
                whole = complete.get(volume_of(assets[0]) or "", assets)
                groups = list(in_groups(whole, _READ_TOGETHER))
                statistic = self._recipe.parent_statistic()
                assert statistic is not None
                statistics[volume], left[volume] = statistic, len(groups)
                for group in groups:
                    owners[len(owners)] = volume
                    yield Slices(len(owners) - 1, tuple(group))

        volume = 0
        for outcome in self._reading.run(work, tasks()):
            owner = owners[outcome.task.number]
            counted = [outcome.result] if isinstance(outcome, Done) else self._alone(work, outcome.task)
            for statistic in counted:
                if statistic is not None:
                    statistics[owner].merge(statistic)
            left[owner] -= 1
            while left.get(volume) == 0:
                yield statistics.pop(volume).range()
                volume += 1

    def _alone(self, work: RangeWork, slices: Slices) -> list[Statistic | None]:
        """Each slice by itself, when one of several has hung or killed the process that read it."""
        if len(slices.assets) == 1:
            return []
        singles = (Slices(0, (asset,)) for asset in slices.assets)
        return [one.result for one in self._reading.run(work, singles) if isinstance(one, Done)]

    def _unsampled(self, volumes: Sequence[Sequence[Asset]]) -> dict[str, list[Asset]]:
        """All slices of volumes of which a file holds several, where the cut samples."""
        if (self._cut.every or 1) == 1:
            return {}
        sources = {
            asset.source.path: asset.source for assets in volumes for asset in assets if asset.part != "image"
        }
        work = DescribeWork(self._limits, replace(self._cut, every=1))
        looks = (Look(number, (source,), ("",)) for number, source in enumerate(sources.values()))
        found: dict[str, list[Asset]] = defaultdict(list)
        for outcome in self._reading.run(work, looks):
            for seen in outcome.result if isinstance(outcome, Done) else ():
                for asset in seen.found:
                    if isinstance(asset, Asset) and (whole := volume_of(asset)) is not None:
                        found[whole].append(asset)
        return found
