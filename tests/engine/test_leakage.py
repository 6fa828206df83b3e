"""Near-duplicates across a split, through a store whose files differ in every byte."""

from __future__ import annotations

import numpy as np
import pytest

from embedstore.engine.leakage import find_crossings, refuse_crossings
from embedstore.engine.store import Store
from embedstore.errors import LeakageRefused
from tests.unit.test_evaluation_duplicates import COPIES, drawing


@pytest.fixture
def split(tmp_path, ask):
    """Ten training pictures; four test pictures of which three are copies."""
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    for seed in range(10):
        drawing(seed).save(tmp_path / "train" / f"{seed}.png")
    drawing(3).save(tmp_path / "test" / "exact.tif")
    COPIES["jpeg"](drawing(4)).save(tmp_path / "test" / "jpeg.png")
    COPIES["cropped"](drawing(5)).save(tmp_path / "test" / "cropped.png")
    drawing(99).save(tmp_path / "test" / "own.png")
    with Store.create(tmp_path / "store") as store:
        for side in ("train", "test"):
            assert store.ingest(ask(tmp_path / side, site=side)).failed == 0
        yield store, tmp_path


def sides(store):
    return [np.array([item.id for item in store.items(f"site = '{side}'")]) for side in ("train", "test")]


def names(store, pair):
    return tuple(store.item(id_).path.rsplit("/", 1)[1] for id_ in (pair.first, pair.second))


def found_in(store):
    workspace = store._workspace
    return find_crossings(workspace, workspace.space("image"), *sides(store))


def test_copies_are_found_and_the_split_refused(split):
    store, _ = split
    found = found_in(store)
    assert {names(store, pair) for pair in found.pairs} == {
        ("3.png", "exact.tif"), ("4.png", "jpeg.png"), ("5.png", "cropped.png"),
    }  # fmt: skip
    assert [pair.same_pixels for pair in found.pairs if names(store, pair)[1] == "exact.tif"] == [True]
    assert found.looked_at > 0
    assert found.not_looked_at == 0
    with pytest.raises(LeakageRefused, match="one picture stands on both sides of the head: items"):
        refuse_crossings(found, what="the head")


def test_what_was_compared_once_needs_no_source_again(split):
    store, folder = split
    before = found_in(store)
    for path in (folder / "train").iterdir():
        path.unlink()
    assert found_in(store) == before
    with Store.open(folder / "store") as anew:
        assert found_in(anew).not_looked_at > 0


def test_what_cannot_be_read_again_is_counted_and_equal_vectors_still_tell(split):
    store, folder = split
    for path in (folder / "train").iterdir():
        path.unlink()
    found = found_in(store)
    assert {names(store, pair)[1] for pair in found.pairs} == {"exact.tif"}
    assert found.looked_at == 0
    assert found.not_looked_at > 0


def test_sides_without_copies_pass(split):
    store, _ = split
    workspace = store._workspace
    train, test = sides(store)
    own = np.array([id_ for id_ in test if store.item(int(id_)).path.endswith("own.png")])
    found = find_crossings(workspace, workspace.space("image"), train, own)
    assert found.pairs == ()
    refuse_crossings(found)
    assert find_crossings(workspace, workspace.space("image"), train[:0], own).pairs == ()
