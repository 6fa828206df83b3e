"""A linear head on PneumoniaMNIST: fitted on its training images, judged on its validation images.

python benchmarks/pneumonia.py PATH/pneumoniamnist_trainval.npz [--workers 2]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from embedstore.engine.head_requests import HeadRequest
from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("npz", type=Path)
    parser.add_argument("--encoder", default="starter")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, Store.create(Path(scratch) / "store") as store:
        choice = EncoderChoice(name=args.encoder)
        taken = store.ingest(IngestRequest(paths=(args.npz,), encoder=choice, workers=args.workers))
        started = time.perf_counter()
        card = store.fit_head(HeadRequest(target="label", test_where="split = 'val'", name="pneumonia"))
        fitted = time.perf_counter() - started
        report = store.evaluate_head("pneumonia")
    print(
        json.dumps(
            {
                "images": taken.added,
                "images_per_s": taken.images_per_s,
                "workers": args.workers,
                "fit_seconds": round(fitted, 1),
                "C": card.fit["C"],
                "counts": dict(report.counts),
                "metrics": dict(report.metrics),
                "shuffled_auroc": report.shuffled,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
