"""`verify` names what is damaged, and nothing when all is sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from embedstore.contracts.labels import HeadSpec
from embedstore.errors import StoreDamaged
from embedstore.storage.store import open_store
from embedstore.storage.verify import verify
from tests.unit.storage.storagekit import batch_of, bound_spec, flip, segment_files


@pytest.fixture
def filled(folder: Path) -> Path:
    with open_store(folder, segment_bytes=300) as catalog:
        space = catalog.ensure_space(bound_spec(), "image")
        for first in range(0, 24, 4):
            catalog.commit(batch_of(range(first, first + 4), space))
        head = HeadSpec(
            name="h", space=space.fingerprint, target="label", classes=("a", "b"), data_sha256="0" * 64,
            seed=0, split={}, params={},
        )  # fmt: skip
        catalog.models.save_head(head, {"weights": np.arange(8.0)})
        assert verify(catalog) == []
    return folder


@pytest.mark.parametrize("offset", [0, 9, 127, 128, 200, -1])
def test_a_flipped_byte_in_any_segment_is_named(filled: Path, offset: int) -> None:
    for path in segment_files(filled):
        flip(path, offset)
        with open_store(filled) as catalog:
            assert [(f.what, f.file) for f in verify(catalog)] == [("segment", str(path))]
            space = catalog.spaces()[0]
            with pytest.raises(StoreDamaged, match=path.name):
                catalog.vectors(space.id, catalog.vector_ids(space.id))
        flip(path, offset)


def test_a_missing_or_strange_file_is_named(filled: Path) -> None:
    first, *_ = segment_files(filled)
    first.rename(first.with_name("spare.f32"))
    with open_store(filled) as catalog:
        found = {(f.what, Path(f.file).name) for f in verify(catalog)}
    assert found == {("segment", first.name), ("orphan", "spare.f32")}


def test_a_begun_segment_of_a_killed_writer_is_no_finding(filled: Path) -> None:
    names = segment_files(filled)
    number = len(names) + 1
    names[0].with_name(f"space0001-{number:06d}.f32").write_bytes(b"EMBSEG half a header")
    with open_store(filled, segment_bytes=300) as catalog:
        assert verify(catalog) == []
        space = catalog.spaces()[0]
        for first in range(100, 112, 4):
            catalog.commit(batch_of(range(first, first + 4), space))
        assert len(segment_files(filled)) > number
        assert verify(catalog) == []


def test_damaged_arrays_are_named_and_never_loaded(filled: Path) -> None:
    (path,) = (filled / "arrays").iterdir()
    flip(path, 60)
    with open_store(filled) as catalog:
        assert [(f.what, f.file) for f in verify(catalog)] == [("arrays", str(path))]
        with pytest.raises(StoreDamaged, match=path.name):
            catalog.models.head_arrays("h")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM change WHERE seq = 3", "not in the change log"),
        ("DELETE FROM vector WHERE id = 3", "gone without a removal"),
        ("UPDATE vector SET row = 999 WHERE id = 3", "outside the committed rows"),
        ("DELETE FROM item_source WHERE item_id = 3", "no source"),
        ("UPDATE segment SET rows = rows - 1 WHERE id = 1", "its record says"),
        ("DELETE FROM block WHERE segment_id = 1 AND first_row = 0", "gap or overlap"),
    ],
)
def test_a_database_that_contradicts_itself_is_told(filled: Path, statement: str, words: str) -> None:
    with open_store(filled) as catalog:
        with catalog.database.write() as connection:
            connection.execute(text(statement))
        assert words in " ".join(f.detail for f in verify(catalog))


def test_a_flipped_byte_in_the_database_is_named(filled: Path) -> None:
    path = filled / "catalog.db"
    pages = path.stat().st_size // 4096
    named = 0
    for page in range(1, pages):  # the header of each page decides how the rest is read
        flip(path, page * 4096)
        try:
            with open_store(filled) as catalog:
                named += any(f.what == "database" and f.file == str(path) for f in verify(catalog))
        except StoreDamaged as error:
            named += str(path) in str(error)
        flip(path, page * 4096)
    assert named == pages - 1
