"""Recall and speed of the vector search on clustered vectors, against FAISS's flat scan. Prints JSON.

    python benchmarks/index_recall.py                           100,000 x 512 and x 384, two shapes
    python benchmarks/index_recall.py --rows 200000 --dims 512 --shapes diffuse

Shapes: "clustered": 600 clusters of unequal size in 12 kinds, as images of a few modalities fall; "diffuse":
the same with a spread inside clusters that is wider than the distance between them, so that the inverted
lists cut through neighbourhoods. Filters: random shares; "own kind" allows the query's kind only; "other
kinds" allows 5 kinds that the query is not in, so nothing near it may be answered; "other kinds, 1 in 4"
thins that out. Truth is faiss.IndexFlatIP over the normalised vectors that may be answered.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np

from embedstore.indexes import exact, faiss_backend
from embedstore.indexes.search import search_groups, search_vectors

K = 10
KINDS, CLUSTERS = 12, 600
SPREAD = {"clustered": 6.0, "diffuse": 30.0}
FILTERS = ["none", "10%", "1%", "0.1%", "0.01%", "own kind", "other kinds", "other kinds, 1 in 4"]


def make(rows: int, dim: int, shape: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(rows, dim) vectors and the kind of each; inside a cluster the spectrum falls as 1/sqrt(rank)."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, KINDS, CLUSTERS)
    centres = rng.standard_normal((KINDS, dim))[kind] + 0.7 * rng.standard_normal((CLUSTERS, dim))
    sizes = np.arange(1, CLUSTERS + 1) ** -0.7
    cluster = rng.choice(CLUSTERS, rows, p=sizes / sizes.sum())
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0] * SPREAD[shape]
    basis /= np.sqrt(np.arange(1, dim + 1))[:, None]
    vectors = np.empty((rows, dim), np.float32)
    for first in range(0, rows, 10_000):
        block = slice(first, min(rows, first + 10_000))
        vectors[block] = centres[cluster[block]] + rng.standard_normal((block.stop - first, dim)) @ basis
    return vectors, kind[cluster]


def allowed(name: str, kinds: np.ndarray, own: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) bool."""
    if name == "own kind":
        return kinds == own
    if name.startswith("other kinds"):
        keep = np.isin(kinds, rng.choice(np.setdiff1d(np.arange(KINDS), [own]), 5, replace=False))
        return keep & (rng.random(len(kinds)) < 0.25) if name.endswith("4") else keep
    return rng.random(len(kinds)) < float(name.rstrip("%")) / 100


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    found = call()
    return found, time.perf_counter() - start


def milliseconds(times: list[float]) -> dict[str, float]:
    return {
        "p50": round(float(np.median(times)) * 1e3, 2),
        "p95": round(float(np.quantile(times, 0.95)) * 1e3, 2),
    }


def read_rate(vectors: np.ndarray) -> float:
    """Bytes per second of one thread that only reads the vectors: the least time a full scan can take."""
    words = vectors.view(np.int64).reshape(-1)
    return vectors.nbytes / min(timed(words.max)[1] for _ in range(5))


class World:
    """Vectors in a memory-mapped file, as the store keeps them, with the indexes over them."""

    def __init__(self, rows: int, dim: int, shape: str, queries: int, folder: Path) -> None:
        vectors, kinds = make(rows + queries, dim, shape)
        self.kinds, self.own = kinds[:rows], kinds[rows:]
        self.queries = vectors[rows:].copy()
        vectors[:rows].tofile(folder / "vectors")
        self.stored = np.memmap(folder / "vectors", np.float32, "r", shape=(rows, dim))
        self.ids = np.arange(rows, dtype=np.int64) * 2 + 1
        self.unit = vectors[:rows] / np.linalg.norm(vectors[:rows], axis=1, keepdims=True)
        self.flat = faiss.IndexFlatIP(dim)
        self.flat.add(self.unit)
        self.report: dict[str, Any] = {"shape": shape, "rows": rows, "dim": dim}

    def gather(self, ids: np.ndarray) -> np.ndarray:
        return self.stored[(ids - 1) // 2]

    def build(self, folder: Path) -> faiss_backend.FaissIndex:
        """From the vectors to a restored snapshot."""
        index = faiss_backend.factory.create(self.stored.shape[1])
        rows = np.asarray(self.stored)

        def fill() -> None:
            for first in range(0, len(rows), 8192):
                index.add(self.ids[first : first + 8192], rows[first : first + 8192], first + 1)
            index.search(self.queries[:1], 1)

        build = timed(fill)[1]
        save = timed(lambda: index.snapshot(folder))[1]
        before = _resident()
        restored, load = timed(lambda: faiss_backend.factory.restore(folder, self.stored.shape[1]))
        self.report["index"] = {
            "exact": restored.traits.exact,
            "build_s": round(build, 2),
            "snapshot_s": round(save, 3),
            "restore_s": round(load, 3),
            "snapshot_MB": round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6, 1),
            "vectors_MB": round(self.stored.nbytes / 1e6, 1),
            "resident_MB": None if before is None else round((_resident() or 0) - before, 1),
        }
        return restored

    def exact_scans(self) -> None:
        """What the exact ways take, and how far they are from only reading the vectors."""
        oracle = exact.factory.create(self.stored.shape[1])
        oracle.add(self.ids, np.asarray(self.stored), 1)
        some = self.queries[:30]
        rate = read_rate(self.unit)
        ours = [timed(lambda q=q: oracle.search(q[None], K))[1] for q in some]
        theirs = [timed(lambda q=q: self.flat.search(q[None], K))[1] for q in some]
        agree = all(
            np.array_equal(oracle.search(q[None], K).ids[0], self.ids[self.flat.search(_unit(q), K)[1][0]])
            for q in some
        )
        self.report["exact"] = {
            "only_reading_ms": round(self.unit.nbytes / rate * 1e3, 2),
            "read_GB_per_s": round(rate / 1e9, 1),
            "numpy_ms": milliseconds(ours),
            "faiss_flat_ms": milliseconds(theirs),
            "same_ids_as_faiss_flat": agree,
        }

    def search(self, index: faiss_backend.FaissIndex, name: str) -> dict[str, Any]:
        """Recall, rows and time under one filter."""
        times, flat_times, met, asked, filled, matching, was_exact = [], [], 0, 0, 0, 0, 0
        for number, query in enumerate(self.queries):
            rng = np.random.default_rng(number)
            keep = None if name == "none" else allowed(name, self.kinds, int(self.own[number]), rng)
            allow = None if keep is None else self.ids[keep]
            best, took = timed(lambda q=query, a=keep: self._truth(q, a))
            flat_times.append(took)
            found, took = timed(lambda q=query, a=allow: search_vectors(index, self.gather, q, K, a))
            times.append(took)
            got = found.neighbours.ids[0]
            met, asked = met + len(np.intersect1d(got, best)), asked + len(best)
            filled, was_exact = filled + int((got >= 0).sum()), was_exact + found.exact
            matching += len(self.ids) if allow is None else len(allow)
        return {
            "filter": name,
            "allowed": round(matching / len(self.queries)),
            "recall_at_10": round(met / asked, 4),
            "rows_of_rows_that_match": f"{filled}/{asked}",
            "answered_exactly": round(was_exact / len(self.queries), 3),
            "ms": milliseconds(times),
            "faiss_flat_ms": milliseconds(flat_times),
        }

    def per_group(self, index: faiss_backend.FaissIndex, size: int) -> dict[str, Any]:
        """One hit per group of `size` consecutive vectors, recall by groups' best scores."""
        times, met = [], 0
        for query in self.queries:
            found, took = timed(
                lambda q=query: search_groups(index, self.gather, q, K, None, lambda ids: ids // (2 * size))
            )
            times.append(took)
            scores = self.unit @ _unit(query)[0]
            tops = np.maximum.reduceat(scores, np.arange(0, len(scores), size))
            met += int((found.neighbours.scores[0] >= np.sort(tops)[-K] - 1e-5).sum())
        return {
            "group_size": size,
            "recall_at_10": round(met / K / len(self.queries), 4),
            "ms": milliseconds(times),
        }

    def _truth(self, query: np.ndarray, keep: np.ndarray | None) -> np.ndarray:
        params = None
        if keep is not None:
            params = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(np.packbits(keep, bitorder="little")))
        rows = self.flat.search(_unit(query), K, params=params)[1][0]
        return self.ids[rows[rows >= 0]]


def _unit(query: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(query[None] / np.linalg.norm(query))


def _resident() -> float | None:
    """Resident memory of this process in MB, where the system tells."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6 if statm.exists() else None


def runs(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for dim in options.dims:
        for shape in options.shapes:
            with TemporaryDirectory() as name:
                (folder := Path(name) / "index").mkdir()
                world = World(options.rows, dim, shape, options.queries, Path(name))
                index = world.build(folder)
                world.exact_scans()
                world.report["filters"] = [world.search(index, name) for name in FILTERS]
                world.report["per_group"] = [world.per_group(index, size) for size in (4, 40)]
                yield world.report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dims", type=int, nargs="+", default=[512, 384])
    parser.add_argument("--shapes", nargs="+", choices=list(SPREAD), default=list(SPREAD))
    parser.add_argument("--queries", type=int, default=300)
    options = parser.parse_args()
    document = {
        "k": K,
        "queries": options.queries,
        "faiss": faiss.__version__,
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "runs": list(runs(options)),
    }
    json.dump(document, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
