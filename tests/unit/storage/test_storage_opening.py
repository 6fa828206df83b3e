"""Creating, opening, locking and filling up a store: every refusal is one line with a remedy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from embedstore.errors import (
    EmbedstoreError,
    NotFound,
    SchemaMismatch,
    StorageFull,
    StoreBusy,
    StoreDamaged,
    UsageError,
)
from embedstore.storage.database import open_engine
from embedstore.storage.migrate import upgrade_store
from embedstore.storage.store import create_store, open_store
from embedstore.storage.verify import verify
from tests.unit.storage.storagekit import batch_of, bound_spec, contents, expected


def one_line(error: EmbedstoreError, *words: str) -> bool:
    message = str(error)
    return "\n" not in message and all(word in message for word in words)


def test_no_store_no_folder(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotFound) as raised:
            open_store(path)
        assert one_line(raised.value, str(path), "embedstore init")


def test_a_folder_with_other_things_in_it_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError) as raised:
        create_store(tmp_path)
    assert one_line(raised.value, "not empty", "thesis.tex")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_store_is_not_made_twice(folder: Path) -> None:
    with pytest.raises(UsageError, match="already"):
        create_store(folder)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(UsageError, match="cannot make a store"):
        create_store(tmp_path / "f" / "store")


def test_an_interrupted_init_is_half_made_and_can_be_repeated(folder: Path) -> None:
    (folder / "store.json").unlink()
    with pytest.raises(NotFound, match="half made"):
        open_store(folder)
    create_store(folder)
    with open_store(folder) as catalog:
        assert verify(catalog) == []


def test_a_moved_store_opens(folder: Path, tmp_path: Path) -> None:
    moved = folder.rename(tmp_path / "a folder with späces & %41 signs?")
    with open_store(moved) as catalog:
        assert catalog.counts().items == 0


@pytest.mark.parametrize("content", ["", "[]", "{", '{"format": "x", "store_id": "y"}', '{"format": 1}'])
def test_an_unreadable_marker_is_damage(folder: Path, content: str) -> None:
    (folder / "store.json").write_text(content)
    with pytest.raises(StoreDamaged, match=r"store\.json"):
        open_store(folder)


def test_a_newer_format_is_refused(folder: Path) -> None:
    record = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps({**record, "format": 2}))
    with pytest.raises(SchemaMismatch, match="newer embedstore; upgrade"):
        open_store(folder)


def test_a_newer_schema_is_refused_by_open_and_by_migrate(folder: Path) -> None:
    set_revision(folder, "9999")
    for attempt in (open_store, upgrade_store):
        with pytest.raises(SchemaMismatch) as raised:
            attempt(folder)
        assert one_line(raised.value, "newer embedstore", "9999", "upgrade the program")


def test_an_older_schema_says_migrate(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedstore.storage.database.REVISIONS", ("0000", "0001"))
    set_revision(folder, "0000")
    with pytest.raises(SchemaMismatch) as raised:
        open_store(folder)
    assert one_line(raised.value, "0000", "embedstore migrate")


def set_revision(folder: Path, revision: str) -> None:
    with open_engine(folder / "catalog.db") as database, database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})


def test_a_missing_foreign_or_garbled_database_is_damage(folder: Path, tmp_path: Path) -> None:
    database = folder / "catalog.db"
    whole = database.read_bytes()
    database.write_bytes(b"This is no database. " * 400)
    with pytest.raises(StoreDamaged, match=r"catalog\.db is damaged"):
        open_store(folder)
    database.write_bytes(b"")
    with pytest.raises(StoreDamaged, match="holds no embedstore schema"):
        open_store(folder)
    database.unlink()
    with pytest.raises(StoreDamaged, match=r"catalog\.db is missing"):
        open_store(folder)
    database.write_bytes(whole)
    other = tmp_path / "other"
    create_store(other)
    (other / "catalog.db").replace(database)
    with pytest.raises(StoreDamaged, match="two different stores"):
        open_store(folder)


@pytest.mark.parametrize("url", ["mysql://u@h/d", "sqlite://", "nonsense", "oracle://x", "postgresql://h"])
def test_other_databases_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(UsageError, match="PostgreSQL URL"):
        create_store(tmp_path / "s", url)


def test_a_database_that_is_not_there_is_one_line_without_the_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(NotFound) as raised:
        create_store(tmp_path / "s", "postgresql://me:hunter2@127.0.0.1:1/db")
    assert one_line(raised.value, "cannot be reached", "PGPASSWORD")
    assert "hunter2" not in str(raised.value)
    assert "hunter2" not in "".join(p.read_text() for p in (tmp_path / "s").glob("*.json"))


HOLD = """
import sys, pathlib
from embedstore.storage.store import open_store
with open_store(pathlib.Path(sys.argv[1])) as catalog, catalog.writing():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_who_writes_and_readers_are_not_blocked(folder: Path) -> None:
    with open_store(folder) as catalog:
        space = catalog.ensure_space(bound_spec(), "image")
        catalog.commit(batch_of([1], space))
        command = [sys.executable, "-c", HOLD, str(folder)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with pytest.raises(StoreBusy) as raised:
                catalog.commit(batch_of([2], space))
            assert one_line(raised.value, f"pid {other.pid}", "since", "wait for it or stop it")
            with pytest.raises(StoreBusy):
                upgrade_store(folder)
            assert contents(catalog, space) == expected([1])
            other.kill()
            other.wait()
        catalog.commit(batch_of([2], space))
        assert contents(catalog, space) == expected([1, 2])


def test_two_openings_in_one_process_are_two_writers(folder: Path) -> None:
    with open_store(folder) as one, open_store(folder) as two:
        space = one.ensure_space(bound_spec(), "image")
        with one.writing(), one.writing():
            one.commit(batch_of([1], space))
            with pytest.raises(StoreBusy):
                two.commit(batch_of([2], space))
        two.commit(batch_of([2], space))
        assert contents(one, space) == expected([1, 2])


def test_a_database_that_may_not_grow_is_storage_full_and_intact(folder: Path) -> None:
    with open_store(folder) as catalog:
        space = catalog.ensure_space(bound_spec(), "image")
        catalog.commit(batch_of(range(3), space))
        with catalog.database.read() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        with pytest.raises(StorageFull) as raised:
            catalog.commit(batch_of(range(3, 600), space))
        assert one_line(raised.value, "no space left", "intact", "free some space")
        assert contents(catalog, space) == expected(range(3))
        assert verify(catalog) == []
    with open_store(folder) as catalog:
        catalog.commit(batch_of(range(3, 600), space))
        assert contents(catalog, space) == expected(range(600))


FILL = """
import sys, pathlib
from embedstore.errors import StorageFull
from embedstore.storage.store import create_store, open_store
from tests.unit.storage.storagekit import batch_of, bound_spec
folder = pathlib.Path(sys.argv[1])
create_store(folder)
done = 0
with open_store(folder) as catalog:
    space = catalog.ensure_space(bound_spec(dim=int(sys.argv[2])), "image")
    try:
        while True:
            catalog.commit(batch_of(range(done, done + 16), space))
            done += 16
    except StorageFull as error:
        print(done, space.id, error)
"""


@pytest.mark.parametrize("dim", [4, 4096], ids=["database fills first", "segment fills first"])
def test_a_disk_that_is_really_full(tmp_path: Path, dim: int, small_disk: Callable[[], Path]) -> None:
    disk = small_disk()
    command = [sys.executable, "-c", FILL, str(disk / "store"), str(dim)]
    repository = Path(__file__).parents[3]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository)
    done, _, message = found.stdout.partition(" ")
    assert found.returncode == 0, found.stderr
    assert "no space left" in message
    (disk / "ballast").unlink()
    with open_store(disk / "store") as catalog:
        space = catalog.spaces()[0]
        assert len(contents(catalog, space)) == int(done) > 0
        assert verify(catalog) == []
        catalog.commit(batch_of(range(10_000, 10_016), space))
        assert len(contents(catalog, space)) == int(done) + 16


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[], Path]:
    """A file system of 3 MB of its own, with half a MB of ballast to throw off; needs the right to mount."""

    def make() -> Path:
        disk = tmp_path / "disk"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
        if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system needs root")
        request.addfinalizer(lambda: subprocess.run(["umount", "-l", str(disk)], check=False))
        (disk / "ballast").write_bytes(bytes(1 << 19))
        return disk

    return make


def test_on_postgresql_a_writer_elsewhere_is_noticed_too(
    empty_store_in_postgresql: tuple[Path, str], tmp_path: Path
) -> None:
    folder, url = empty_store_in_postgresql
    elsewhere = shutil.copytree(folder, tmp_path / "another machine's mount")
    with open_store(folder) as one, open_store(elsewhere, url) as two:
        with one.writing(), pytest.raises(StoreBusy, match="another embedstore"):
            two.begin_run("ingest", {})
        with two.writing():
            pass
    with pytest.raises(UsageError, match="another store already"):
        create_store(tmp_path / "second", url)
    assert upgrade_store(folder).old == upgrade_store(folder).new
