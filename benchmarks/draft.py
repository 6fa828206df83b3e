"""JPEG pictures decoded as drafts beside their full decode: time, grey levels and cosine of the vectors.

    OMP_NUM_THREADS=1 python benchmarks/draft.py FOLDER [--pictures 100]

FOLDER: JPEG pictures, of which those count that a draft decodes coarser (two times `DRAFT_SIDE` along their
shorter side or more). Reading and preprocessing of the starter encoder's profiles "default" and "draft"
alternate picture by picture in one process; levels are those of the network's input, of 255. A picture whose
size the scale does not divide is rounded up to a whole pixel, so that its edge may move by one. Prints a JSON
document.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from embedstore.contracts.encoder import LoadRequest
from embedstore.contracts.image import DRAFT_SIDE, ImageInput
from embedstore.discovery import ENCODERS, find_plugin
from embedstore.readers.choose import ReaderSet
from embedstore.readers.sources import FileSource


def pictures(folder: Path, most: int) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg"):
            try:
                with Pillow.open(path) as picture:
                    if min(picture.size) >= 2 * DRAFT_SIDE:
                        found.append(path)
            except OSError:  # damaged on purpose
                continue
    return found[:most]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--pictures", type=int, default=100)
    options = arguments.parse_args()
    factory = find_plugin(ENCODERS, "starter").load()
    encoders = {
        name: factory.load("starter", LoadRequest(profile=name, threads=1)) for name in ("default", "draft")
    }
    wants = {"default": "display", "draft": "draft"}
    readers = ReaderSet.installed()
    seconds, inputs = dict.fromkeys(encoders, 0.0), {name: list[np.ndarray]() for name in encoders}
    paths = pictures(options.folder, options.pictures)
    for path in paths:
        (asset,) = readers.describe(FileSource.of(path))
        for name, encoder in encoders.items():
            started = time.perf_counter()
            image = readers.read(asset, wants[name])
            inputs[name].append(encoder.prepare_image(ImageInput(image)))
            seconds[name] += time.perf_counter() - started
    away = [np.abs(a - b) * 127.5 for a, b in zip(inputs["default"], inputs["draft"], strict=True)]
    vectors = [encoders["default"].forward_images(np.stack(inputs[name])) for name in encoders]
    vectors = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in vectors]
    cosines = (vectors[0] * vectors[1]).sum(1)
    report = {
        "pictures": len(paths),
        "pictures_per_s": {name: round(len(paths) / took, 1) for name, took in seconds.items()},
        "times_faster": round(seconds["default"] / seconds["draft"], 2),
        "levels": {
            "mean": round(float(np.mean([one.mean() for one in away])), 3),
            "percentile_99.9": round(float(np.percentile(np.stack(away), 99.9)), 1),
            "largest": round(float(max(one.max() for one in away)), 1),
        },
        "cosine_of_vectors": {
            "least": round(float(cosines.min()), 4),
            "median": round(float(np.median(cosines)), 5),
        },
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
