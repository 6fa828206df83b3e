"""Ingest throughput against the bare forward pass of the same encoder on preloaded tensors, in one run.

    python benchmarks/throughput.py [FOLDER] [--images 1200] [--repeats 3]

The two alternate within one process with the same encoder object, threads, layout and batch. FOLDER: images
to ingest; default is the demo's synthetic cohort.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from embedstore.contracts.encoder import StagedEncoder, TunableEncoder
from embedstore.contracts.image import ImageInput
from embedstore.contracts.record import Asset
from embedstore.engine.encoders import EncoderPool
from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store
from embedstore.readers.choose import ReaderSet
from embedstore.readers.walk import Unreachable, walk


def cohort(folder: Path, images: int) -> Path:
    from embedstore.demo.cohort import build_cohort

    return build_cohort(folder / "cohort", patients=images).folder


def prepared(encoder: StagedEncoder, folder: Path, images: int) -> np.ndarray:
    readers = ReaderSet.installed()
    found = (
        asset
        for source in walk([folder])
        if not isinstance(source, Unreachable)
        for asset in readers.describe(source)
        if isinstance(asset, Asset)
    )
    tensors = []
    for asset in found:
        tensors.append(encoder.prepare_image(ImageInput(readers.read(asset, "display"))))
        if len(tensors) == images:
            break
    return np.stack(tensors)


def bare(encoder: StagedEncoder, tensors: np.ndarray) -> float:
    started = time.perf_counter()
    for first in range(0, len(tensors), encoder.batch_size):
        encoder.forward_images(tensors[first : first + encoder.batch_size])
    return len(tensors) / (time.perf_counter() - started)


def ingest(pool: EncoderPool, choice: EncoderChoice, folder: Path, scratch: Path) -> float:
    with Store.create(scratch) as store:
        store._workspace.encoders._loaded.update(pool._loaded)
        return store.ingest(IngestRequest(paths=(folder,), encoder=choice)).images_per_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--encoder", default="starter")
    parser.add_argument("--threads", type=int, default=0, help="0: chosen by measurement")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or cohort(Path(scratch), args.images)
        pool = EncoderPool()
        # A nominal thread count keeps ingest from tuning again: both sides run as tuned here.
        choice = EncoderChoice(name=args.encoder, threads=args.threads or 1)
        encoder = pool.get(choice)
        assert isinstance(encoder, StagedEncoder)
        tuned = dict(encoder.tune(5.0)) if isinstance(encoder, TunableEncoder) and not args.threads else {}
        tensors = prepared(encoder, folder, args.images)
        bare(encoder, tensors[: 4 * encoder.batch_size])
        rounds = []
        for number in range(args.repeats):
            before = bare(encoder, tensors)
            rate = ingest(pool, choice, folder, Path(scratch) / f"store-{number}")
            after = bare(encoder, tensors)
            rounds.append(
                {"forward": (before + after) / 2, "ingest": rate, "ratio": 2 * rate / (before + after)}
            )
    print(
        json.dumps(
            {
                "encoder": args.encoder,
                "cores": os.cpu_count(),
                "images": len(tensors),
                "tuned": tuned,
                "forward_images_per_s": round(statistics.median(r["forward"] for r in rounds), 2),
                "ingest_images_per_s": round(statistics.median(r["ingest"] for r in rounds), 2),
                "ratio": round(statistics.median(r["ratio"] for r in rounds), 3),
                "ratios": [round(r["ratio"], 3) for r in rounds],
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
