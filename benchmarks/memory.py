"""Memory while many images are ingested: that of the ingest and of the processes it starts, over time.

    python benchmarks/memory.py [--images 20000] [--side 96] [--encoder reference] [--weights FILE]
        [--workers 1]

Small JPEGs with noise are drawn first. A thread then samples the proportional set size (shared pages are
counted once) every second until the last vector is committed. Prints JSON: MB after each tenth of the images,
the slope over the second half in MB per 10,000 images, and what the images would take in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store

EVERY_S = 0.5


def draw(folder: Path, images: int, side: int) -> None:
    rng = np.random.default_rng(11)
    for number in range(images):
        place = folder / f"{number // 1000:03d}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(
            place / f"{number}.jpg", quality=70
        )


def family() -> list[int]:
    """This process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found, left = [], [os.getpid()]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


def megabytes() -> float:
    total = 0
    for process in family():
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


class Sampler(threading.Thread):
    """(images embedded, MB) over time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.images = 0
        self.samples: list[tuple[int, float]] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(EVERY_S):
            self.samples.append((self.images, megabytes()))

    def progress(self, stage: str, done: int, total: int | None) -> None:
        if stage.startswith("embedding"):
            self.images = done


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--encoder", default="reference")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        draw(Path(place) / "images", args.images, args.side)
        before = megabytes()
        sampler = Sampler()
        choice = EncoderChoice(name=args.encoder, weights=args.weights, threads=1)
        started = time.perf_counter()
        with Store.create(Path(place) / "store") as store:
            sampler.start()
            paths = (Path(place) / "images",)
            request = IngestRequest(paths=paths, encoder=choice, workers=args.workers)
            report = store.ingest(request, sampler.progress)
            sampler.over.set()
            sampler.join()
        seconds = time.perf_counter() - started
    at = np.array([images for images, _ in sampler.samples], dtype=float)
    used = np.array([used for _, used in sampler.samples])
    late = (at >= args.images / 2) & (at < args.images)  # afterwards the process that reads has ended
    slope = float(np.polyfit(at[late], used[late], 1)[0]) * 10_000 if late.sum() > 2 else None
    tenths = {
        int(edge): round(float(used[np.searchsorted(at, edge).clip(max=len(at) - 1)]), 1)
        for edge in np.linspace(args.images / 10, args.images, 10)
    }
    print(
        json.dumps(
            {
                "encoder": args.encoder,
                "workers": args.workers,
                "images": report.images,
                "failed": report.failed,
                "seconds": round(seconds, 1),
                "mb_before": round(before, 1),
                "mb_after_images": tenths,
                "mb_highest": round(float(used.max()), 1),
                "slope_mb_per_10000": None if slope is None else round(slope, 2),
                "mb_of_all_pixels": round(args.images * args.side**2 * 3 / 2**20, 1),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
