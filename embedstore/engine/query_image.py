"""The vector of an image file that asks: it need not be in the store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from embedstore.contracts.image import F32, Image, ImageInput, Intensity
from embedstore.contracts.record import Asset
from embedstore.contracts.region import Region
from embedstore.engine.encoders import check_takes_regions, tower_of
from embedstore.engine.ranges import range_in_file
from embedstore.engine.workspace import Workspace
from embedstore.errors import NotFound, ReadFailure, UsageError
from embedstore.readers.choose import ReaderSet
from embedstore.readers.regions import Mask, Misfit, Regions, Unmarked
from embedstore.readers.sources import FileSource
from embedstore.storage.records import SpaceRow


def embed_file(workspace: Workspace, space: SpaceRow, path: Path, region: Region | None = None) -> F32:
    """The vector of an image file that need not be in the store, or of a region on it.

    Of several images the first, or the first on which the region lies.
    """
    readers = ReaderSet.installed(workspace.settings.limits)
    if not path.exists():
        raise NotFound(f"{path}: no such file")
    encoder = workspace.encoder_of(space, "image")
    tower = tower_of(encoder, "image")
    if region is not None:
        check_takes_regions(space.encoder, tower)
    try:
        found = [one for one in readers.describe(FileSource.of(path)) if isinstance(one, Asset)]
        if not found:
            raise UsageError(f"{path}: holds no image; use --text for words")
        asset, image, roi = asked_of(readers, found, tower.wants, region)
        scale = range_in_file(readers, tower.preprocess, asset, found)
    except Misfit as misfit:
        raise UsageError(f"the region does not fit {path}: {misfit.reason}") from None
    except ReadFailure as failure:
        raise ReadFailure(f"{path}: {failure.reason}") from None
    vector: F32 = encoder.encode_images([ImageInput(image, roi, parent_range=scale)])[0]
    return vector


def asked_of(
    readers: ReaderSet, assets: Sequence[Asset], wants: Intensity, region: Region | None
) -> tuple[Asset, Image, Mask | None]:
    """Which of a file's images asks, and the region's pixels on it. Raises ReadFailure."""
    if region is None:
        return assets[0], readers.read(assets[0], wants), None
    regions, reason = Regions(readers), ""
    for asset in assets:
        image = readers.read(asset, wants)
        try:
            return asset, image, regions.mask(region, asset, image)
        except Unmarked as unmarked:
            reason = reason or str(unmarked)
    raise Misfit(reason)
