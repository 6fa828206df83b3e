"""The SQL side of a store: connections, transactions, and the errors of a database in plain words."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from embedstore.errors import EmbedstoreError, NotFound, SchemaMismatch, StoreBusy, StoreDamaged, UsageError
from embedstore.storage.disk import storage_full
from embedstore.storage.schema import HEAD, REVISIONS

_BUSY_MS = 30_000
_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_MS}")
_NEARLY_FULL_BYTES = 1 << 20
_PG_FULL = {"53100", "53400"}
_SECRETS = ("password", "sslpassword")
_STARS = "***"  # what the first versions wrote down in place of a password


class Database:
    """An open database. Readers see a snapshot and are never blocked; writes are one transaction each."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite (else PostgreSQL)."""
        return self.engine.dialect.name == "sqlite"

    @property
    def where(self) -> Path:
        """What a message calls the database; never with credentials."""
        return Path(self.engine.url.database or "database")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection whose every select sees the same committed state."""
        with self._plain_errors(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed durably when the body ends, rolled back when it raises."""
        with self._plain_errors(), self.engine.connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    def revision(self) -> str | None:
        """Schema revision of the database, None when it has no schema."""
        with self.read() as connection:
            if not self.engine.dialect.has_table(connection, "alembic_version"):
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()

    def close(self) -> None:
        """Close every connection; SQLite then folds its write-ahead log into the database file."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._explained(error) from error

    def _explained(self, error: DBAPIError) -> Exception:
        cause = error.orig
        code = getattr(cause, "sqlite_errorname", "") or getattr(cause, "sqlstate", "") or ""
        if code == "SQLITE_FULL" or code in _PG_FULL or (code.startswith("SQLITE_IOERR") and self._full()):
            return storage_full(self.where)
        if code in {"SQLITE_CORRUPT", "SQLITE_NOTADB"}:
            return StoreDamaged(f"{self.where} is damaged; restore it from a backup")
        if code == "SQLITE_BUSY":
            return StoreBusy(f"{self.where} is locked by another program; wait for it or stop it")
        if code in {"SQLITE_READONLY", "SQLITE_READONLY_DIRECTORY"}:
            return UsageError(
                f"{self.where} cannot be written to, which SQLite needs even for reading; "
                "check its owner and permissions"
            )
        if code.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_READONLY")):
            return NotFound(f"{self.where} cannot be opened; check that the disk is there and writable")
        if not self.is_sqlite and isinstance(error, OperationalError):
            return NotFound(_unreachable(self.engine.url))
        return error

    def _full(self) -> bool:
        try:
            return shutil.disk_usage(self.where.parent).free < _NEARLY_FULL_BYTES
        except OSError:
            return False


def _unreachable(url: URL) -> str:
    shown = _without_secrets(url).render_as_string()
    return (
        f"the database {shown} cannot be reached; check that it runs, and that PGPASSWORD "
        "or ~/.pgpass holds the password"
    )


def open_engine(where: str | Path) -> Database:
    """A database without a look at its schema: the path of an SQLite file, or a PostgreSQL URL.

    Raises UsageError for another URL, or when the driver is not installed.
    """
    if isinstance(where, Path):
        return Database(_sqlite(where))
    try:
        # Every read is one snapshot, as in SQLite.
        engine = create_engine(_postgresql_url(where), isolation_level="REPEATABLE READ", pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise UsageError("PostgreSQL needs a driver: pip install 'embedstore[postgresql]'") from error
    return Database(engine)


def url_without_password(url: str) -> str:
    """What may be written down of a database URL. Raises UsageError when it is not PostgreSQL's."""
    return _without_secrets(_postgresql_url(url)).render_as_string()


def _without_secrets(url: URL) -> URL:
    """Without the password, also where libpq would take it from the query (and that of a client key)."""
    # `URL.set(password=None)` would leave the password, and rendering would turn it into three stars.
    return url._replace(password=None).difference_update_query(_SECRETS)


def _postgresql_url(url: str) -> URL:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "postgresql" and parsed.database:
            if parsed.password == _STARS:
                parsed = parsed._replace(password=None)
            return parsed.set(drivername="postgresql+psycopg")
    except ArgumentError:
        pass
    raise UsageError("--db takes a PostgreSQL URL: postgresql://USER@HOST/DATABASE")


def _sqlite(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)))
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    assert isinstance(connection, sqlite3.Connection)
    connection.isolation_level = None  # so that BEGIN is ours: the driver's own comes too late for reads
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def open_database(where: str | Path) -> Database:
    """A database whose schema is exactly this program's.

    Raises SchemaMismatch (newer or older), StoreDamaged (no schema at all), NotFound (cannot be reached).
    """
    database = open_engine(where)
    try:
        check_revision(database.revision(), database.where)
    except EmbedstoreError:
        database.close()
        raise
    return database


def check_revision(revision: str | None, where: Path) -> None:
    """Raises SchemaMismatch or StoreDamaged unless the revision is this program's own."""
    if revision is None:
        raise StoreDamaged(f"{where} holds no embedstore schema; restore it from a backup")
    if revision not in REVISIONS:
        raise SchemaMismatch(
            f"{where} was made by a newer embedstore (schema {revision}); upgrade the program to open it"
        )
    if revision != HEAD:
        raise SchemaMismatch(f"{where} has the older schema {revision}; run: embedstore migrate")
