"""Kill ingest at random moments and check that the store kept its word.

    python benchmarks/kill.py [--kills 100] [--images 300]

A child process ingests a folder of synthetic images with the `reference` encoder and prints each acknowledged
commit; it is killed with SIGKILL after a random time. After every kill each acknowledged row is there with
the right vector, `verify` finds nothing, nothing is half visible. At the end a last run completes, and the
store holds the same (sha256, part) -> vector as one that was never disturbed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store

CHILD = """
import sys
from pathlib import Path
from embedstore.engine.store import Store
from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.storage.catalog import Catalog
plain = Catalog.commit
def commit(self, batch):
    done = plain(self, batch)
    for sha256, part in done.item_ids:
        print(sha256, part, flush=True)
    return done
Catalog.commit = commit
choice = EncoderChoice(name="reference")
with Store.open(Path(sys.argv[1])) as store:
    store.ingest(IngestRequest(paths=(Path(sys.argv[2]),), encoder=choice, text_encoder=choice))
    print("finished", flush=True)
"""
REFERENCE = EncoderChoice(name="reference")


def draw_images(folder: Path, number: int) -> None:
    rng = np.random.default_rng(7)
    for n in range(number):
        place = folder / f"{n % 10}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (48, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{n}.png")


def contents(store: Store) -> dict[tuple[str, str], str]:
    """(sha256, part) to a digest of the stored vector."""
    catalog = store._workspace.catalog
    found = {}
    for space in catalog.spaces():
        ids = catalog.vector_ids(space.id)
        items = catalog.items(catalog.vector_items(space.id, ids).items.tolist())
        for item, vector in zip(items, catalog.vectors(space.id, ids), strict=True):
            found[(item.sha256, item.part)] = hashlib.sha256(vector.tobytes()).hexdigest()
    return found


def run_and_kill(path: Path, images: Path, after: float) -> tuple[set[tuple[str, str]], bool]:
    """Acknowledged keys, and whether the child finished before it was killed."""
    said = path.with_suffix(".said")
    with said.open("w") as out:
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path), str(images)], stdout=out)
        try:
            child.wait(after)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
    lines = [line.split() for line in said.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return {(line[0], line[1]) for line in lines if len(line) == 2}, ["finished"] in lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    lost = wrong = kills = stores = acknowledged_total = 0
    unsound: list[list[str]] = []
    with tempfile.TemporaryDirectory() as scratch:
        images = Path(scratch) / "images"
        draw_images(images, args.images)
        undisturbed = Path(scratch) / "undisturbed"
        Store.create(undisturbed).close()
        started = time.monotonic()
        run_and_kill(undisturbed, images, 3600)
        whole = time.monotonic() - started
        with Store.open(undisturbed) as store:
            truth = contents(store)
        path, acknowledged = None, set()
        completed_equal = True
        while kills < args.kills:
            if path is None:
                path = Path(scratch) / f"store-{stores}"
                Store.create(path).close()
                stores, acknowledged = stores + 1, set()
            said, finished = run_and_kill(path, images, rng.uniform(0.3 * whole, 0.8 * whole))
            kills += 1
            acknowledged |= said
            with Store.open(path) as store:
                there = contents(store)
                lost += len(acknowledged - set(there))
                wrong += sum(truth[key] != value for key, value in there.items())
                if found := store.verify():
                    unsound.append([f"{one.what}: {one.detail}" for one in found])
                acknowledged_total += len(said)
                if finished or kills == args.kills:
                    store.ingest(IngestRequest(paths=(images,), encoder=REFERENCE, text_encoder=REFERENCE))
                    completed_equal &= contents(store) == truth
                    path = None
    print(
        json.dumps(
            {
                "kills": kills,
                "stores": stores,
                "images": args.images,
                "acknowledged_rows": acknowledged_total,
                "lost_rows": lost,
                "wrong_vectors": wrong,
                "unsound_after_kill": len(unsound),
                "findings": unsound,
                "completed_to_the_same_store": completed_equal,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
