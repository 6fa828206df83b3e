"""Small pictures of items, made from their sources when they are asked for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw

from embedstore.contracts.query import Item
from embedstore.contracts.record import Asset, Header
from embedstore.contracts.region import Box, Region, image_part
from embedstore.engine.query_image import asked_of
from embedstore.engine.stored_sources import StoredSources
from embedstore.engine.workspace import Workspace
from embedstore.errors import EmbedstoreError
from embedstore.readers.choose import ReaderSet
from embedstore.readers.regions import extent_of
from embedstore.readers.sources import FileSource

Form = Literal["png", "jpeg"]
_QUALITY = 90
_OUTLINE = "#ffb000"  # seen on black, white and tissue, and by the colour-blind


class Thumbnails:
    """Makes thumbnails; keeps its readers, so that many rows of one array are cheap."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._readers = ReaderSet.installed(workspace.settings.limits)
        self._sources = StoredSources(workspace.catalog, workspace.settings.limits)

    def picture(self, item_id: int, size: int, form: Form = "png") -> bytes | None:
        """A picture that fits in size x size pixels; None for a report, or when no source can be read now or
        all hold other bytes than those that were ingested. Of a region its image, with a box around it.

        PNG is exact; JPEG (quality 90, colour at full resolution) is a fifth of its size on films.
        """
        item = self._workspace.catalog.item(item_id)
        if item.kind == "report":
            return None
        for path in item.paths:
            try:
                return _encoded(self._shown(item, path, size), form)
            except EmbedstoreError:
                continue
        return None

    def of_file(
        self, path: Path, size: int, form: Form = "png", region: Region | None = None
    ) -> bytes | None:
        """The image of a file that asks, with a box around the region; None when there is none, or it cannot
        be read."""
        try:
            found = [one for one in self._readers.describe(FileSource.of(path)) if isinstance(one, Asset)]
            if not found:
                return None
            asset, image, mask = asked_of(self._readers, found, "display", region)
            box = None if mask is None else extent_of(mask, image.offset).box
            return _encoded(self._fitted(asset, size, box), form)
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
        part = image_part(item.part) if item.kind == "region" else item.part
        asset = Asset(source=source, part=part, reader=item.reader, header=Header())
        return self._fitted(asset, size, _box(item))

    def _fitted(self, asset: Asset, size: int, box: Box | None = None) -> Picture.Image:
        image = self._readers.read(asset, "display")
        pixels = np.asarray(image.pixels)
        if pixels.ndim == 4:
            pixels = pixels[len(pixels) // 2]
        picture = Picture.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        width = picture.width
        picture.thumbnail((size, size), Picture.Resampling.LANCZOS)
        return picture if box is None else _outlined(picture, box, image.offset, picture.width / width)


def _box(item: Item) -> Box | None:
    if item.kind != "region":
        return None
    return Box(*(int(item.extra[f"region_{name}"]) for name in ("x0", "y0", "x1", "y1")))


def _outlined(picture: Picture.Image, box: Box, offset: tuple[int, int], scale: float) -> Picture.Image:
    """With a frame just around the box. offset: (row, column) of the picture in the frame as stored."""
    top, left = offset
    corners = (box.left - left, box.top - top, box.right - left, box.bottom - top)
    x0, y0, x1, y1 = (round(corner * scale) for corner in corners)
    coloured = picture.convert("RGB")
    ImageDraw.Draw(coloured).rectangle((x0 - 2, y0 - 2, x1 + 1, y1 + 1), outline=_OUTLINE, width=2)
    return coloured


def _encoded(picture: Picture.Image, form: Form) -> bytes:
    out = io.BytesIO()
    if form == "png":
        picture.save(out, "PNG", optimize=True)
    else:
        plain = picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
        plain.save(out, "JPEG", quality=_QUALITY, subsampling=0)
    return out.getvalue()
