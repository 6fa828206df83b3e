"""Does each stored image find itself, and do the exact and the FAISS index agree on the whole store?

    python benchmarks/self_search.py STORE [-k 64]

An image counts as found when it is within the ties at rank 1 and scores within 1e-6 of 1 (k is large
enough for one slice in fifteen transfer syntaxes).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from embedstore.contracts.query import Query
from embedstore.engine.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("-k", type=int, default=64)
    args = parser.parse_args()
    found = agreed = 0
    seconds: dict[str, list[float]] = {"exact": [], "faiss": []}
    with Store.open(args.store) as store:
        images = [item.id for item in store.items("kind = 'image'")]
        for number in images:
            answers = {}
            for index, spent in seconds.items():
                started = time.perf_counter()
                answers[index] = store.search(Query(like=number, k=args.k, index=index)).hits
                spent.append(time.perf_counter() - started)
            best = answers["faiss"][0].score
            ties = [hit.item.id for hit in answers["faiss"] if hit.score >= best - 1e-6]
            found += number in ties and abs(best - 1) <= 1e-6
            told = [[(hit.item.id, round(hit.score, 6)) for hit in hits] for hits in answers.values()]
            agreed += told[0] == told[1]
    print(
        json.dumps(
            {
                "images": len(images),
                "found_themselves": found,
                "exact_and_faiss_agree": agreed,
                "p50_ms": {
                    index: round(1000 * statistics.median(spent), 1) for index, spent in seconds.items()
                },
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
