"""Schema migrations from inside the program; Alembic is imported only when one runs."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from embedstore.errors import StoreDamaged
from embedstore.storage.database import Database, check_revision, open_engine
from embedstore.storage.layout import find_folder
from embedstore.storage.lease import writer_lease
from embedstore.storage.schema import HEAD, REVISIONS

if TYPE_CHECKING:
    from alembic.config import Config


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Schema revision before (None for an empty database) and after."""

    old: str | None
    new: str


def scripts_folder() -> Path:
    """Where the migrations are: `embedstore.migrations` when installed, `migrations/` in a source tree."""
    found = importlib.util.find_spec("embedstore.migrations")
    if found is not None and found.submodule_search_locations:
        return Path(next(iter(found.submodule_search_locations)))
    return Path(__file__).resolve().parents[2] / "migrations"


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without an ini file; `env.py` uses the connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(scripts_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def current_revision(database: Database) -> str:
    """Schema revision of an open store's database."""
    return database.revision() or ""


def upgrade(database: Database) -> Upgrade:
    """Bring a database to this program's schema in one transaction. Raises SchemaMismatch: it is newer."""
    from alembic import command

    old = database.revision()
    if old is not None and old not in REVISIONS:
        check_revision(old, database.where)
    with database.write() as connection:
        command.upgrade(alembic_config(connection), "head")
    return Upgrade(old, HEAD)


def upgrade_store(folder: Path, db: str | None = None) -> Upgrade:
    """Migrate the store in a folder, as its only writer.

    Raises NotFound, StoreBusy, SchemaMismatch (newer than this program), StorageFull.
    """
    found = find_folder(folder)
    with writer_lease(found.lock), open_engine(db or found.metadata) as database:
        if database.revision() is None:
            raise StoreDamaged(f"{database.where} holds no embedstore schema; restore it from a backup")
        return upgrade(database)
