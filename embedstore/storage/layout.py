"""A store's folder: what lies where, and the small file that says it is a store."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedstore.errors import NotFound, SchemaMismatch, StoreDamaged, UsageError
from embedstore.storage.disk import full_means_storage_full, sync_folder

FORMAT = 1
_MARKER = "store.json"
_FOLDERS = ("segments", "indexes", "arrays")


@dataclass(frozen=True, slots=True)
class StoreFolder:
    """The folder of a store.

    path: absolute. store_id: ties the folder to its database. database: SQLAlchemy URL without a password,
    None for `catalog.db` inside the folder (which may then be moved as a whole).
    """

    path: Path
    store_id: str
    database: str | None = None

    @property
    def segments(self) -> Path:
        """Vector segments: truth."""
        return self.path / "segments"

    @property
    def indexes(self) -> Path:
        """Index snapshots: a cache."""
        return self.path / "indexes"

    @property
    def arrays(self) -> Path:
        """Arrays of bridges and heads: truth."""
        return self.path / "arrays"

    @property
    def lock(self) -> Path:
        """The writer's lock file."""
        return self.path / "writer.lock"

    @property
    def catalog(self) -> Path:
        """The SQLite database, when the store has its own."""
        return self.path / "catalog.db"

    @property
    def metadata(self) -> str | Path:
        """Where the metadata are: a database URL, or the path of the SQLite file."""
        return self.database or self.catalog

    def write_marker(self) -> None:
        """Write `store.json`, durably and last of all: from here on the folder is a store."""
        record = {"format": FORMAT, "store_id": self.store_id, "database": self.database}
        temporary = self.path / f"{_MARKER}.tmp"
        with full_means_storage_full(self.path), temporary.open("w", encoding="utf-8") as stream:
            json.dump(record, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self.path / _MARKER)
        sync_folder(self.path)


def prepare_folder(path: Path) -> Path:
    """Make the empty folders of a new store; what an interrupted `init` left is cleared away.

    Raises UsageError when the folder is a store already, holds anything else, or cannot be made.
    """
    path = path.absolute()
    if (path / _MARKER).exists():
        raise UsageError(f"{path} is a store already; use it, or name another folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        strangers = sorted(entry.name for entry in path.iterdir() if not _left_by_init(entry))
        if strangers:
            raise UsageError(f"{path} is not empty (it holds '{strangers[0]}'); name a new or empty folder")
        for leftover in path.glob("catalog.db*"):
            leftover.unlink()
        with full_means_storage_full(path):
            for name in _FOLDERS:
                (path / name).mkdir(exist_ok=True)
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise UsageError(f"cannot make a store in {path}: {error.strerror}; choose another folder") from error
    return path


def _left_by_init(entry: Path) -> bool:
    if entry.name in _FOLDERS:
        return entry.is_dir() and not any(entry.iterdir())
    return entry.name in {"catalog.db", "catalog.db-wal", "catalog.db-shm", "writer.lock", f"{_MARKER}.tmp"}


def find_folder(path: Path) -> StoreFolder:
    """The store in a folder.

    Raises NotFound (no store there), StoreDamaged (store.json unreadable), SchemaMismatch (newer format).
    """
    path = path.absolute()
    record = _read_marker(path)
    if int(record["format"]) > FORMAT:
        raise SchemaMismatch(f"{path} was made by a newer embedstore; upgrade the program to open it")
    folder = StoreFolder(path, str(record["store_id"]), record.get("database"))
    if folder.database is None and not folder.catalog.is_file():
        raise StoreDamaged(f"{folder.catalog} is missing; restore it from a backup")
    for needed in (folder.segments, folder.indexes, folder.arrays):
        needed.mkdir(exist_ok=True)
    return folder


def _read_marker(path: Path) -> Mapping[str, Any]:
    try:
        record = json.loads((path / _MARKER).read_text(encoding="utf-8"))
        int(record["format"]), str(record["store_id"])
    except (FileNotFoundError, NotADirectoryError):
        if (path / "catalog.db").exists():
            raise NotFound(
                f"{path} is half made (its creation was interrupted); run 'embedstore init' on it again"
            ) from None
        raise NotFound(
            f"no store in {path}; create one with 'embedstore init' or name it by --store"
        ) from None
    except PermissionError as error:
        raise NotFound(f"the store in {path} cannot be opened: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise StoreDamaged(f"{path / _MARKER} cannot be read; restore it from a backup") from error
    return dict(record)
