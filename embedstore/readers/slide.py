"""The reader of whole slides: tiles of tissue at a resolution in microns, or an overview."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image as Picture

from embedstore.contracts.image import Image, Intensity
from embedstore.contracts.record import WHOLE_CUT, Asset, Cut, Header, Report, Skip, Source
from embedstore.errors import ReadFailure
from embedstore.readers import slide_formats
from embedstore.readers.slide_colour import ToSrgb
from embedstore.readers.slide_open import Opened, open_to_describe, open_to_read
from embedstore.readers.slide_pyramid import OVERVIEW_SIDE, Slide, SlideFacts, resampled, whole_picture
from embedstore.readers.slide_series import Siblings
from embedstore.readers.slide_tiles import Grid, Tile, canonical, grid_of, plausible
from embedstore.readers.sources import DEFAULT_LIMITS
from embedstore.readers.tissue import MASK_MPP, TISSUE_SHARE, TissueMask, tissue_mask
from embedstore.settings import Limits

_OVERVIEW = "image"
_MOST_MASK = 1 << 24
_DECODED_FOR_MASK = 4
_CELLS_PER_MEMBER = 64
_ANISOTROPIC = 0.01
_ASK = (
    "the slide does not say how many microns its pixels measure; pass --assume-mpp "
    "(often 0.25 for a 40x scan, 0.5 for 20x), or --unit image for its overview"
)


class SlideReader:
    """Reads SVS, NDPI, MRXS, SCN, BIF and tiled pyramidal TIFF by OpenSlide, DICOM whole slides by wsidicom.

    Parts: `tile/MPP/SIDE/COLUMN-ROW` for tiles of SIDE pixels at MPP microns per pixel, side by side from the
    left upper corner; those kept have tissue (see `tissue`) on at least a quarter of their area. `image` for
    unit "image": the overview, at most 1,024 pixels long. Columns: whole (shared by all parts), part_number,
    tile_x and tile_y, mpp (what the tile really has, within 1 % of MPP), magnification when the slide names
    its objective; extra: tissue (share of the tile), slide_format, icc, and mpp_x, mpp_y of a slide whose
    pixels are not square.

    Pixels: resampled from the next finer level (`slide_pyramid.resampled`, Lanczos); a level within 1 % of
    MPP is taken as it is. Transparent and outlying areas have the colour that the slide gives its background,
    else white. Policy of colour: "display" is sRGB by the slide's ICC profile, with the intent that the
    profile asks for, and the stored values when there is none; "raw" are the stored values.

    Each file of a DICOM slide is described by itself: the level that serves MPP best yields the tiles, other
    levels, label, overview and thumbnail are Skips. The levels are looked for in the file's own folder.
    Labels often name the patient and are never read.
    """

    name = "slide"
    reads_pieces = True

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._siblings = Siblings()
        # Tiles of one slide are read one after the other: the last slide stays open.
        self._last = _Last()
        self._lock = threading.RLock()
        weakref.finalize(self, self._last.close)

    def sniff(self, head: bytes) -> bool:
        """The magic numbers of the formats; which TIFF or JPEG is a slide is left to `claims`."""
        return slide_formats.sniff(head)

    def claims(self, source: Source) -> bool:
        """Whether a file that passed `sniff` is a slide, and not an ordinary picture of the same format."""
        return slide_formats.is_slide(source, slide_formats.head_of(source), self._limits)

    def describe(self, source: Source, cut: Cut = WHOLE_CUT) -> Iterator[Asset | Report | Skip]:
        """The tiles with tissue, or the overview; and a Skip for each further picture in the file.

        Decodes no more than one coarse level, for the mask. Raises ReadFailure.
        """
        with self._lock:
            opened = open_to_describe(source, cut, self._siblings, self._limits)
            if isinstance(opened, Skip):
                found: Iterable[Asset | Skip] = [opened]
            else:
                try:
                    found = self._described(source, opened, cut)
                finally:
                    opened.slide.close()
        yield from found

    def read(self, asset: Asset, want: Intensity = "display") -> Image:
        """Decode one tile or the overview. Raises ReadFailure, also for "hu" and "suv"."""
        if want in ("hu", "suv"):
            raise ReadFailure("a slide has neither Hounsfield units nor uptake values")
        tile = None if asset.part == _OVERVIEW else Tile.of(asset.part)
        with self._lock, self._opened(asset.source, tile) as kept:
            facts = kept.slide.facts
            if tile is None:
                size = _overview_size(facts, self._limits)
                picture = whole_picture(kept.slide, size, self._limits.max_pixels * _DECODED_FOR_MASK)
                spacing = _overview_spacing(facts, size)
            else:
                grid = self._grid(facts, tile.mpp, tile.side)
                picture = resampled(
                    kept.slide, grid.box(tile), (tile.side, tile.side), Picture.Resampling.LANCZOS
                )
                spacing = (grid.mpp / 1000, grid.mpp / 1000)
            if want == "display":
                return Image(np.array(kept.to_srgb(picture)), want, spacing)
            return Image(np.array(picture, np.float32), want, spacing)

    def _described(self, source: Source, opened: Opened, cut: Cut) -> list[Asset | Skip]:
        facts = opened.slide.facts
        found: list[Asset | Skip] = [_associated(source, name) for name in facts.associated]
        if cut.unit == "image":
            rows, columns = _overview_size(facts, self._limits)[::-1]
            spacing = _overview_spacing(facts, (columns, rows)) or (None, None)
            header = replace(
                _header(opened.header, facts),
                rows=rows,
                columns=columns,
                spacing_row_mm=spacing[0],
                spacing_col_mm=spacing[1],
            )
            return [*found, Asset(source=source, part=_OVERVIEW, reader=self.name, header=header)]
        mpp = canonical(cut.mpp)
        grid = self._grid(facts, mpp, cut.tile)
        tiles = self._tiles(opened.slide, grid)
        every = max(cut.every or 1, 1)
        kept = range(0, len(tiles), every)
        if len(kept) > self._limits.max_members:
            raise ReadFailure(
                f"{len(kept):,} tiles are more than the limit of {self._limits.max_members:,}; "
                f"pass --every {math.ceil(len(tiles) / self._limits.max_members)} or a larger --mpp"
            )
        base = replace(
            _header(opened.header, facts),
            rows=cut.tile,
            columns=cut.tile,
            spacing_row_mm=grid.mpp / 1000,
            spacing_col_mm=grid.mpp / 1000,
            mpp=round(grid.mpp, 6),
            magnification=_magnification(facts, grid.mpp),
        )
        for number in kept:
            column, row, share = tiles[number]
            tile = Tile(mpp, cut.tile, column, row, opened.assumed)
            header = _tile_header(base, grid.box(tile)[:2], facts.finer, number, share)
            found.append(Asset(source=source, part=tile.part, reader=self.name, header=header))
        if not tiles:
            found.append(Skip(source=source, reason="no tissue was found on the slide", part="tile"))
        return found

    def _grid(self, facts: SlideFacts, mpp: float, side: int) -> Grid:
        """Raises ReadFailure for a cut that makes no sense or passes the limits, and without an mpp."""
        if side < 1 or not plausible(mpp):
            raise ReadFailure("tiles must have a side of 1 or more pixels and 0.02 to 20 microns per pixel")
        if side * side > self._limits.max_pixels:
            raise ReadFailure(
                f"tiles of {side} x {side} pixels are more than the limit of {self._limits.max_pixels:,}"
            )
        if facts.mpp is None:
            raise ReadFailure(_ASK)
        return grid_of(facts, facts.mpp, mpp, side)

    def _tiles(self, slide: Slide, grid: Grid) -> list[tuple[int, int, float]]:
        """Column, row and share of tissue of the tiles to keep, row by row."""
        if grid.columns * grid.rows > self._limits.max_members * _CELLS_PER_MEMBER:
            raise ReadFailure(
                f"{grid.columns * grid.rows:,} tiles would cover the slide; pass a larger --mpp or --tile"
            )
        base = slide.facts.levels[0]
        own = slide.facts.mpp or (1.0, 1.0)
        # Eight mask pixels or more across a tile, and never more than 16 million of them.
        fine = min(MASK_MPP, grid.side * grid.mpp / 8)
        shrink = max(fine / min(own), math.sqrt(base.width * base.height / _MOST_MASK), 1.0)
        size = max(1, round(base.width / shrink)), max(1, round(base.height / shrink))
        picture = whole_picture(slide, size, self._limits.max_pixels * _DECODED_FOR_MASK)
        shares = TissueMask(tissue_mask(np.asarray(picture)), base.width, base.height).shares(*grid.edges())
        places = np.argwhere(shares >= TISSUE_SHARE)
        return [(int(column), int(row), float(shares[row, column])) for row, column in places]

    @contextmanager
    def _opened(self, source: Source, tile: Tile | None) -> Iterator[_Kept]:
        """The open slide; closed when reading fails, because OpenSlide does not recover from an error."""
        assumed = None if tile is None else tile.assumed
        key = (source.path, source.size, source.mtime_ns, assumed)
        if self._last.kept is None or self._last.kept.key != key:
            self._last.close()
            slide = open_to_read(source, assumed, self._limits)
            self._last.kept = _Kept(key, slide, ToSrgb(slide.facts.profile))
        try:
            yield self._last.kept
        except BaseException:
            self._last.close()
            raise


@dataclass(frozen=True, slots=True)
class _Kept:
    key: tuple[str, int, int, float | None]
    slide: Slide
    to_srgb: ToSrgb


class _Last:
    """The slide that is open, if one is."""

    def __init__(self) -> None:
        self.kept: _Kept | None = None

    def close(self) -> None:
        if self.kept is not None:
            self.kept.slide.close()
            self.kept = None


def _associated(source: Source, name: str) -> Skip:
    reason = "label image: may identify the patient" if "label" in name.lower() else "overview of the slide"
    return Skip(source=source, reason=reason, part=name)


def _header(header: Header, facts: SlideFacts) -> Header:
    extra = {**header.extra, **facts.extra, "icc": ToSrgb(facts.profile).state}
    if facts.mpp is not None and abs(facts.mpp[0] / facts.mpp[1] - 1) > _ANISOTROPIC:
        extra |= {"mpp_x": facts.mpp[0], "mpp_y": facts.mpp[1]}
    return replace(header, frame=None, whole=facts.key, extra=extra)


def _tile_header(
    base: Header, corner: tuple[float, float], finer: float, number: int, share: float
) -> Header:
    return replace(
        base,
        part_number=number + 1,
        tile_x=round(corner[0] * finer),
        tile_y=round(corner[1] * finer),
        extra={**base.extra, "tissue": round(share, 4)},
    )


def _magnification(facts: SlideFacts, mpp: float) -> float | None:
    """That of the objective, less what the tile is coarser than the scan."""
    if facts.power is None or facts.mpp is None:
        return None
    scanned = math.sqrt(facts.mpp[0] * facts.mpp[1]) / facts.finer
    return round(facts.power * scanned / mpp, 3)


def _overview_size(facts: SlideFacts, limits: Limits) -> tuple[int, int]:
    """Width and height with square pixels. Raises ReadFailure beyond the limits."""
    base = facts.levels[0]
    tall = base.height * (facts.mpp[1] / facts.mpp[0]) if facts.mpp is not None else base.height
    shrink = max(base.width / OVERVIEW_SIDE, tall / OVERVIEW_SIDE, 1.0)
    size = max(1, round(base.width / shrink)), max(1, round(tall / shrink))
    if size[0] * size[1] > limits.max_pixels:
        raise ReadFailure(
            f"an overview of {size[1]} x {size[0]} pixels is more than the limit of {limits.max_pixels:,}"
        )
    return size


def _overview_spacing(facts: SlideFacts, size: tuple[int, int]) -> tuple[float, float] | None:
    """(row, column) distance of the overview's pixels in mm."""
    if facts.mpp is None:
        return None
    base = facts.levels[0]
    return facts.mpp[1] * base.height / size[1] / 1000, facts.mpp[0] * base.width / size[0] / 1000
