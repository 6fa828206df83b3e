"""Creating and opening a store: the folder, the database, and that the two belong together."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import insert, select

from embedstore.errors import EmbedstoreError, StoreDamaged, UsageError
from embedstore.storage.catalog import Catalog
from embedstore.storage.database import Database, open_database, open_engine, url_without_password
from embedstore.storage.layout import StoreFolder, find_folder, prepare_folder
from embedstore.storage.lease import writer_lease
from embedstore.storage.migrate import upgrade
from embedstore.storage.segments import SEGMENT_BYTES
from embedstore.storage.tables import StoreMeta

_STORE_ID = "store_id"


def create_store(folder: Path, db: str | None = None, notes: Mapping[str, str] | None = None) -> None:
    """Make a store in a new or empty folder; it is a store only once everything is in place.

    db: SQLAlchemy URL of an empty PostgreSQL database, None for SQLite inside the folder. The URL is kept
    without its password. notes: facts about the store (`Catalog.note`). Raises UsageError (not empty, a
    store already, bad URL), NotFound (no such database), StoreBusy, StorageFull.
    """
    kept = url_without_password(db) if db else None
    found = StoreFolder(prepare_folder(folder), uuid.uuid4().hex, kept)
    with writer_lease(found.lock), open_engine(db or found.metadata) as database:
        if database.revision() is not None:
            raise UsageError(f"{database.where} belongs to another store already; give an empty database")
        upgrade(database)
        with database.write() as connection:
            connection.execute(insert(StoreMeta).values(key=_STORE_ID, value=found.store_id))
            for key, value in (notes or {}).items():
                connection.execute(insert(StoreMeta).values(key=f"note:{key}", value=value))
        found.write_marker()


def open_store(folder: Path, db: str | None = None, segment_bytes: int = SEGMENT_BYTES) -> Catalog:
    """Open a store for reading and writing.

    db: overrides the recorded database URL (say, with a password). segment_bytes: size from which on a new
    segment is begun. Raises NotFound, SchemaMismatch, StoreDamaged, UsageError.
    """
    found = find_folder(folder)
    database = open_database(db or found.metadata)
    try:
        _belong_together(database, found)
    except EmbedstoreError:
        database.close()
        raise
    return Catalog(database, found, segment_bytes)


def _belong_together(database: Database, folder: StoreFolder) -> None:
    with database.read() as connection:
        recorded = connection.execute(select(StoreMeta.value).where(StoreMeta.key == _STORE_ID)).scalar()
    if recorded != folder.store_id:
        raise StoreDamaged(
            f"{folder.path} and the database {database.where} belong to two different stores; "
            "restore both from one backup"
        )
