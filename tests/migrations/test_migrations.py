"""Migrations arrive at the models, come with the package, and bring a frozen first store up to date."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from embedstore.storage import tables_learned
from embedstore.storage.database import open_engine
from embedstore.storage.migrate import alembic_config, scripts_folder, upgrade, upgrade_store
from embedstore.storage.schema import HEAD, REVISIONS
from embedstore.storage.store import create_store, open_store
from embedstore.storage.tables import Base
from embedstore.storage.verify import verify
from tests.migrations.freeze import expectations

FROZEN = Path(__file__).parent / "frozen"
assert tables_learned, "its tables belong to the metadata"


def test_the_revisions_the_program_knows_are_those_of_the_scripts() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == REVISIONS
    assert scripts.get_heads() == [HEAD]


def test_the_migrated_schema_is_the_models(tmp_path: Path) -> None:
    with open_engine(tmp_path / "c.db") as database:
        done = upgrade(database)
        assert (done.old, done.new) == (None, HEAD)
        with database.read() as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "target_metadata": Base.metadata}
            )
            assert compare_metadata(context, Base.metadata) == []
            found = schema(connection)
        with open_engine(tmp_path / "d.db") as modelled:
            with modelled.write() as connection:
                Base.metadata.create_all(connection)
            with modelled.read() as connection:
                # Alembic's comparison is blind to AUTOINCREMENT and CHECK; SQLite's own words are not.
                assert schema(connection) == found


def schema(connection) -> dict[str, list[str]]:
    """The words of every statement, without regard to the order of constraints."""
    rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
    ours = (row for row in rows if row[0] not in {"alembic_version", "sqlite_sequence"})
    return {name: sorted(re.split(r"[\s,()]+", sql)) for name, sql in ours}


def test_upgrading_what_is_up_to_date_changes_nothing(tmp_path: Path) -> None:
    create_store(tmp_path / "s")
    done = upgrade_store(tmp_path / "s")
    assert (done.old, done.new) == (HEAD, HEAD)


def test_every_earlier_revision_has_a_frozen_store() -> None:
    assert {path.name for path in FROZEN.iterdir()} == set(REVISIONS)


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_frozen_store_is_upgraded_with_everything_in_it(revision: str, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    thaw(FROZEN / revision, folder)
    done = upgrade_store(folder)
    assert (done.old, done.new) == (revision, HEAD)
    with open_store(folder) as catalog:
        assert verify(catalog) == []
        assert expectations(catalog) == json.loads((FROZEN / revision / "expected.json").read_text())


def thaw(frozen: Path, folder: Path) -> None:
    """Undo `freeze.py`: the database is kept as SQL text, the rest as it was."""
    import sqlite3

    shutil.copytree(frozen / "store", folder)
    for name in ("indexes", "arrays", "segments"):
        (folder / name).mkdir(exist_ok=True)
    connection = sqlite3.connect(folder / "catalog.db")
    connection.executescript(gzip.decompress((frozen / "catalog.sql.gz").read_bytes()).decode())
    connection.close()


def test_the_scripts_are_found() -> None:
    assert (scripts_folder() / "env.py").is_file()
    assert list((scripts_folder() / "versions").glob("0001_*.py"))
