"""Small pictures of items, made from their sources when they are asked for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from embedstore.contracts.query import Item
from embedstore.contracts.record import Asset, Header
from embedstore.engine.stored_sources import StoredSources
from embedstore.engine.workspace import Workspace
from embedstore.errors import EmbedstoreError
from embedstore.readers.choose import ReaderSet
from embedstore.readers.sources import FileSource

Form = Literal["png", "jpeg"]
_QUALITY = 90


class Thumbnails:
    """Makes thumbnails; keeps its readers, so that many rows of one array are cheap."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._readers = ReaderSet.installed(workspace.settings.limits)
        self._sources = StoredSources(workspace.catalog, workspace.settings.limits)

    def picture(self, item_id: int, size: int, form: Form = "png") -> bytes | None:
        """A picture that fits in size x size pixels; None for a report, or when no source can be read now or
        all hold other bytes than those that were ingested.

        PNG is exact; JPEG (quality 90, colour at full resolution) is a fifth of its size on films.
        """
        item = self._workspace.catalog.item(item_id)
        if item.kind != "image":
            return None
        for path in item.paths:
            try:
                return _encoded(self._shown(item, path, size), form)
            except EmbedstoreError:
                continue
        return None

    def of_file(self, path: Path, size: int, form: Form = "png") -> bytes | None:
        """The first image of a file; None when there is none, or it cannot be read."""
        try:
            found = (one for one in self._readers.describe(FileSource.of(path)) if isinstance(one, Asset))
            asset = next(found, None)
            return None if asset is None else _encoded(self._fitted(asset, size), form)
        except (EmbedstoreError, OSError):
            return None

    def grey(self, item_id: int, side: int) -> NDArray[np.uint8] | None:
        """(side, side) grey values whatever the shape of the image; None when no source can be read now."""
        item = self._workspace.catalog.item(item_id)
        for path in item.paths:
            try:
                shown = self._shown(item, path, 4 * side)
            except EmbedstoreError:
                continue
            return np.asarray(shown.convert("L").resize((side, side), Picture.Resampling.LANCZOS))
        return None

    def _shown(self, item: Item, path: str, size: int) -> Picture.Image:
        source = self._sources.of(item, path)
        # By its part key alone: describing again would take another cut than the one it was ingested with.
        asset = Asset(source=source, part=item.part, reader=item.reader, header=Header())
        return self._fitted(asset, size)

    def _fitted(self, asset: Asset, size: int) -> Picture.Image:
        pixels = np.asarray(self._readers.read(asset, "display").pixels)
        if pixels.ndim == 4:
            pixels = pixels[len(pixels) // 2]
        picture = Picture.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        picture.thumbnail((size, size), Picture.Resampling.LANCZOS)
        return picture


def _encoded(picture: Picture.Image, form: Form) -> bytes:
    out = io.BytesIO()
    if form == "png":
        picture.save(out, "PNG", optimize=True)
    else:
        plain = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
        plain.save(out, "JPEG", quality=_QUALITY, subsampling=0)
    return out.getvalue()
