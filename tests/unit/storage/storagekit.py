"""Small true stores for the storage tests: keys, vectors and batches made from plain numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedstore.contracts.encoder import EncoderSpec, TowerSpec, bind
from embedstore.contracts.record import Header
from embedstore.storage.batches import IngestBatch, ItemKey, NewItem, NewSource, NewVectors
from embedstore.storage.catalog import Catalog
from embedstore.storage.records import SpaceRow

DIM = 8


def bound_spec(kind: str = "image", dim: int = DIM, name: str = "tiny") -> EncoderSpec:
    tower = TowerSpec(kind=kind, dim=dim, preprocess={"size": 8}, pooling="mean")
    spec = EncoderSpec(name=name, version="1", towers=(tower,), licence="Apache-2.0", source="tests")
    return bind(spec, "ab" * 32, {kind: dim})


def sha(n: int | str) -> str:
    return hashlib.sha256(str(n).encode()).hexdigest()


def key(n: int | str, part: str = "image") -> ItemKey:
    return (sha(n), part)


def vector_of(a_key: ItemKey, dim: int = DIM) -> np.ndarray:
    seed = int(hashlib.sha256("/".join(a_key).encode()).hexdigest()[:8], 16)
    return np.random.default_rng(seed).normal(size=dim).astype(np.float32)


def vectors_of(keys: Sequence[ItemKey], dim: int = DIM) -> np.ndarray:
    return np.array([vector_of(k, dim) for k in keys], np.float32).reshape(len(keys), dim)


def path_of(n: int | str) -> str:
    return f"/images/{n}.png"


def source(n: int | str, path: str | None = None, **more: Any) -> NewSource:
    values = {"size": 10, "mtime_ns": 5, "sha256": sha(n), "outcome": "items", **more}
    return NewSource(path=path or path_of(n), **values)


def item(n: int | str, path: str | None = None, part: str = "image", **header: Any) -> NewItem:
    more = {name: header.pop(name) for name in ("kind", "text", "about_path") if name in header}
    return NewItem(
        **{"kind": "image", **more},
        source=path or path_of(n),
        sha256=sha(n),
        part=part,
        reader="raster",
        header=Header(**header),
    )


def batch_of(numbers: Iterable[int], space: SpaceRow, **header: Any) -> IngestBatch:
    """Images with their sources and vectors."""
    numbers = list(numbers)
    keys = tuple(key(n) for n in numbers)
    return IngestBatch(
        sources=tuple(source(n) for n in numbers),
        items=tuple(item(n, **header) for n in numbers),
        vectors=(NewVectors(space_id=space.id, keys=keys, vectors=vectors_of(keys, space.dim)),),
    )


def contents(catalog: Catalog, space: SpaceRow) -> dict[ItemKey, bytes]:
    """Every item with the bytes of its vector: what two equal stores agree on."""
    ids = catalog.vector_ids(space.id)
    found = catalog.items(catalog.vector_items(space.id, ids).items.tolist())
    rows = catalog.vectors(space.id, ids)
    return {(i.sha256, i.part): row.tobytes() for i, row in zip(found, rows, strict=True)}


def expected(numbers: Iterable[int]) -> dict[ItemKey, bytes]:
    return {key(n): vector_of(key(n)).tobytes() for n in numbers}


def segment_files(folder: Path) -> list[Path]:
    return sorted((folder / "segments").iterdir())


def flip(path: Path, offset: int) -> None:
    """One bit of one byte."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(data)
