"""Tiles per second of slides: embedstore beside OpenSlide's own read and beside the bare JPEG codec.

    OMP_NUM_THREADS=1 python benchmarks/slide_tiles.py SLIDE [SLIDE ...] [--mpp 0.5] [--repeats 3]

SLIDE: SVS or pyramid TIFF of JPEG tiles without a colour profile, whose finest level serves MPP. All tiles of
224 pixels with tissue are read, the slide opened anew in each repeat, so that OpenSlide's cache is empty.
codec: the JPEG tiles under them, each decoded once by libjpeg-turbo. Before the clock, both ways to the
pixels are compared. On one thread; the best of the repeats. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import openslide
import tifffile

from embedstore.contracts.record import Asset, Cut
from embedstore.readers.choose import ReaderSet
from embedstore.readers.slide import SlideReader
from embedstore.readers.sources import FileSource

SIDE = 224


def tiles_of(path: Path, mpp: float) -> list[Asset]:
    found = ReaderSet.installed().describe(FileSource.of(path), Cut(unit="tile", tile=SIDE, mpp=mpp))
    return [one for one in found if isinstance(one, Asset)]


def by_embedstore(assets: list[Asset]) -> list[np.ndarray]:
    readers = ReaderSet({"slide": SlideReader()})
    return [readers.read(asset).pixels for asset in assets]


def by_openslide(path: Path, assets: list[Asset]) -> list[np.ndarray]:
    with openslide.OpenSlide(path) as opened:
        own = float(opened.properties["openslide.mpp-x"])
        level = opened.get_best_level_for_downsample(assets[0].header.mpp / own * 1.01)
        return [
            np.asarray(
                opened.read_region((a.header.tile_x, a.header.tile_y), level, (SIDE, SIDE)).convert("RGB")
            )
            for a in assets
        ]


def by_codec(path: Path, assets: list[Asset]) -> int:
    """Decodes each JPEG tile of the finest level that a tile of the slide touches."""
    with tifffile.TiffFile(path) as opened:
        page = opened.pages[0]
        across = -(-page.imagewidth // page.tilewidth)
        needed = {
            row * across + column
            for asset in assets
            for row in _touched(asset.header.tile_y, page.tilelength, page.imagelength)
            for column in _touched(asset.header.tile_x, page.tilewidth, page.imagewidth)
        }
        for number in sorted(needed):
            opened.filehandle.seek(page.dataoffsets[number])
            data = opened.filehandle.read(page.databytecounts[number])
            imagecodecs.jpeg8_decode(data, tables=page.jpegtables)
    return len(assets)


def _touched(start: int, step: int, end: int) -> range:
    return range(start // step, (min(start + SIDE, end) - 1) // step + 1)


def rate(work: Callable[[], int], repeats: int) -> float:
    best = 0.0
    for _ in range(repeats):
        started = time.perf_counter()
        count = work()
        best = max(best, count / (time.perf_counter() - started))
    return round(best, 1)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("slides", nargs="+", type=Path)
    arguments.add_argument("--mpp", type=float, default=0.5)
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    rows = []
    for path in options.slides:
        assets = tiles_of(path, options.mpp)
        pairs = zip(by_embedstore(assets), by_openslide(path, assets), strict=True)
        apart = max(float(np.abs(ours.astype(int) - theirs).max()) for ours, theirs in pairs)
        rows.append(
            {
                "slide": path.name,
                "tiles": len(assets),
                "mpp": assets[0].header.mpp,
                "levels_apart": apart,
                "tiles_per_s": {
                    "embedstore": rate(lambda a=assets: len(by_embedstore(a)), options.repeats),
                    "openslide": rate(lambda p=path, a=assets: len(by_openslide(p, a)), options.repeats),
                    "codec": rate(lambda p=path, a=assets: by_codec(p, a), options.repeats),
                },
            }
        )
    print(json.dumps({"side": SIDE, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
