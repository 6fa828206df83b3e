"""Snapshots that appear whole or not at all, and are known to be damaged when they are.

A snapshot is a folder with `index.json` and one data file named by its content. The data file is written
first (temporary name, fsync, rename), then `index.json` replaces the old one, then the folder is synced and
the old data file goes. `index.json` carries the data file's sha256 and a digest of itself.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from embedstore.contracts.index import SNAPSHOT, IndexSpec
from embedstore.errors import StorageFull, StoreDamaged
from embedstore.fingerprint import digest

FORMAT = 1
_REMEDY = "the index is a cache: 'embedstore reindex' rebuilds it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a verified snapshot holds: (path) the file its bytes came from, for messages."""

    applied_seq: int
    count: int
    layout: str
    path: Path
    data: bytes


def save(
    folder: Path, spec: IndexSpec, applied_seq: int, count: int, layout: str, parts: Sequence[NDArray[Any]]
) -> None:
    """Write a snapshot; parts: C-contiguous arrays that follow one another in the data file.

    Raises StorageFull; the snapshot that was there before is then untouched.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _one_writer(folder):
            _clear(folder, "*.tmp")
            name, size, sha256 = _write_data(folder, spec.name, parts)
            described = {
                "format": FORMAT,
                "spec": asdict(spec),
                "applied_seq": applied_seq,
                "count": count,
                "layout": layout,
                "file": name,
                "bytes": size,
                "sha256": sha256,
            }
            described["checksum"] = digest(described)
            with _appearing(folder / SNAPSHOT) as stream:
                stream.write(json.dumps(described, indent=1).encode())
            _sync_folder(folder)
            _clear(folder, "*.vectors", keep=name)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"no space left to write the index in {folder}; free some and repeat"
            ) from error
        raise


def load(folder: Path, spec: IndexSpec) -> Snapshot:
    """Read and verify the snapshot of an index of that spec. Raises StoreDamaged naming the file."""
    for _ in range(20):  # writers may replace the snapshot between our two reads
        described = _sidecar(folder / SNAPSHOT, spec)
        path = folder / str(described["file"])
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreDamaged(f"{path}: cannot be read ({error.strerror}); {_REMEDY}") from error
        if len(data) != described["bytes"]:
            raise StoreDamaged(f"{path}: {len(data)} bytes, {described['bytes']} were written; {_REMEDY}")
        if hashlib.sha256(data).hexdigest() != described["sha256"]:
            raise StoreDamaged(f"{path}: the checksum does not match; {_REMEDY}")
        return Snapshot(
            applied_seq=described["applied_seq"],
            count=described["count"],
            layout=described["layout"],
            path=path,
            data=data,
        )
    raise StoreDamaged(f"{path}: missing; {_REMEDY}")


def damaged(snapshot: Snapshot, why: str) -> StoreDamaged:
    """The error for a snapshot whose checksum holds but whose content makes no sense."""
    return StoreDamaged(f"{snapshot.path}: {why}; {_REMEDY}")


def _sidecar(path: Path, spec: IndexSpec) -> dict[str, Any]:
    try:
        described = json.loads(path.read_bytes())
        checksum = described.pop("checksum")
    except FileNotFoundError:
        raise StoreDamaged(f"{path}: there is no snapshot here; {_REMEDY}") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise StoreDamaged(f"{path}: cannot be read; {_REMEDY}") from error
    if digest(described) != checksum:
        raise StoreDamaged(f"{path}: the checksum does not match; {_REMEDY}")
    if described["format"] != FORMAT:
        raise StoreDamaged(f"{path}: snapshot format {described['format']} is not {FORMAT}; {_REMEDY}")
    if described["spec"] != asdict(spec):
        wrong = next(key for key, value in asdict(spec).items() if described["spec"].get(key) != value)
        raise StoreDamaged(f"{path}: a snapshot of another {_NOUN[wrong]}; {_REMEDY}")
    found: dict[str, Any] = described
    return found


_NOUN = {"name": "index type", "dim": "dimension", "metric": "metric", "space": "vector space"}


@contextmanager
def _one_writer(folder: Path) -> Iterator[None]:
    """Let one process at a time write here, so that none clears away what another is about to name."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a network file system may not lock folders; one writer is then the rule
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _clear(folder: Path, pattern: str, keep: str = "") -> None:
    for path in folder.glob(pattern):
        if path.name != keep:
            path.unlink(missing_ok=True)


def _write_data(folder: Path, name: str, parts: Sequence[NDArray[Any]]) -> tuple[str, int, str]:
    """Write and sync the data file under a name from its content; returns name, size and sha256."""
    found, size = hashlib.sha256(), 0
    for part in parts:
        found.update(_bytes(part))
        size += part.nbytes
    sha256 = found.hexdigest()
    final = f"{name}-{sha256[:16]}.vectors"
    with _appearing(folder / final) as stream:
        for part in parts:
            stream.write(_bytes(part))
    return final, size, sha256


def _bytes(part: NDArray[Any]) -> memoryview:
    return part.reshape(-1).view(np.uint8).data


@contextmanager
def _appearing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its name only when all of it is on disk."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
