"""Wholes: pooled as numpy pools, never behind their parts, found with their best part."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embedstore.contracts.query import Query
from embedstore.engine import wholes as engine_wholes
from embedstore.engine.pooling import Pooling
from embedstore.engine.store import Store
from embedstore.errors import FilterError, UsageError
from embedstore.storage.wholes import BEHIND, derived_note

STACKS, SLICES = 5, 4
WEIGHTS = np.array([[(3 * s + n) % 5 * 0.25 for n in range(SLICES)] for s in range(STACKS)])


@pytest.fixture(scope="module")
def stacks(tmp_path_factory, draw) -> Path:
    """Five stacks of four slices of four patients, and a film that is part of none; with a table."""
    folder = tmp_path_factory.mktemp("stacks")
    rows = []
    for n in range(STACKS * SLICES):
        stack, number = divmod(n, SLICES)
        (folder / f"s{stack}").mkdir(exist_ok=True)
        draw(folder / f"s{stack}" / f"{number}.png", n, bright=stack % 2 == 1)
        part = {"whole": f"stack {stack}", "number": number + 1, "share": WEIGHTS[stack, number]}
        rows.append({"path": f"s{stack}/{number}.png", "patient_id": f"P{stack % 4}", **part})
    (folder / "film").mkdir()
    draw(folder / "film" / "film.png", 99)
    rows.append({"path": "film/film.png", "patient_id": "P9"})
    with (folder / "table.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture
def put(stacks, ask):
    """Ingest some of the folders with the table."""

    def call(store: Store, *folders: str, **more):
        mapping = {"number": "part_number", "whole": "whole"}
        paths = [stacks / name for name in folders] or [stacks]
        return store.ingest(ask(*paths, metadata=(stacks / "table.csv",), mapping=mapping, **more))

    return call


def parts_by_whole(store: Store) -> dict[str, tuple[list[int], np.ndarray]]:
    """Item ids and vectors of each whole's parts, in the order of their numbers."""
    space = store._workspace.space("image", "reference")
    found = {}
    for stack in range(STACKS):
        items = sorted(store.items(f"whole = 'stack {stack}'"), key=lambda one: one.columns["part_number"])
        if items:
            ids = np.array([item.id for item in items])
            found[f"stack {stack}"] = (ids.tolist(), store._workspace.catalog.item_vectors(space.id, ids)[1])
    return found


def derived(store: Store, pool: str) -> dict[str, np.ndarray]:
    workspace = store._workspace
    space = engine_wholes.derived_space(workspace, workspace.space("image", "reference"), pool)
    rows = workspace.catalog.wholes.rows(space.id)
    vectors = workspace.catalog.vectors(space.id, np.array([row.vector_id for row in rows]))
    return {row.whole: vector for row, vector in zip(rows, vectors, strict=True)}


def check(store: Store) -> None:
    """Every whole of every pooling is what numpy says of the parts that the store holds."""
    for number, (whole, (_, vectors)) in enumerate(parts_by_whole(store).items()):
        wide = vectors.astype(np.float64)
        weights = WEIGHTS[int(whole.split()[1])][: len(wide)]
        assert np.allclose(derived(store, "mean")[whole], wide.mean(axis=0), atol=1e-6), number
        assert np.array_equal(derived(store, "max")[whole], vectors.max(axis=0))
        expected = np.average(wide, axis=0, weights=weights)
        assert np.allclose(derived(store, "mean:attr.share")[whole], expected, atol=1e-6)


ALL = ("mean", "max", "mean:attr.share")


def test_wholes_are_pooled_as_numpy_pools(store, put):
    report = put(store, pool=ALL)
    assert [(one.pooling, one.wholes, one.made) for one in report.wholes] == [
        (p, STACKS, STACKS) for p in ALL
    ]
    check(store)
    spaces = {space["pooling"]: space for space in store.status().spaces}
    assert len({spaces[p]["fingerprint"] for p in (None, *ALL)}) == 4
    assert store.verify() == ()


def test_a_second_run_makes_nothing_and_later_poolings_encode_nothing(store, put):
    assert put(store).wholes == ()
    added = put(store, pool=("mean",))
    assert (added.added, added.wholes[0].made) == (0, STACKS)
    again = put(store, pool=("mean",))
    assert (again.added, again.wholes[0].made) == (0, 0)


def test_parts_that_come_later_renew_their_whole_and_no_other(store, put, tmp_path):
    put(store, "s0", "s1/0.png", "s1/1.png", pool=ALL)
    assert {len(vectors) for _, vectors in parts_by_whole(store).values()} == {4, 2}
    before = derived(store, "mean")
    report = put(store)  # nobody asks for a pooling: what is there is kept up
    assert [(one.wholes, one.made) for one in report.wholes] == [(STACKS, STACKS - 1)] * 3
    after = derived(store, "mean")
    assert np.array_equal(before["stack 0"], after["stack 0"])
    assert not np.array_equal(before["stack 1"], after["stack 1"])
    check(store)
    assert store.verify() == ()
    for hit in store.search(Query(like=1, within="wholes", k=STACKS)).hits:
        assert hit.parts == SLICES


def test_a_search_finds_nearest_wholes_and_names_their_best_parts(store, put):
    put(store, pool=("mean", "max"))
    parts = parts_by_whole(store)
    for index in ("exact", "faiss"):
        for pool in ("mean", "max"):
            rows = derived(store, pool)
            unit = {whole: row / np.linalg.norm(row.astype(np.float64)) for whole, row in rows.items()}
            query = unit["stack 2"]
            like = parts["stack 2"][0][1]
            answer = store.search(Query(like=like, within="wholes", k=3, pool=pool, index=index))
            scores = {whole: float(row @ query) for whole, row in unit.items()}
            expected = sorted(scores, key=lambda whole: -scores[whole])[:3]
            assert [hit.item.columns["whole"] for hit in answer.hits] == expected
            assert answer.matched == STACKS
            for hit in answer.hits:
                ids, vectors = parts[hit.item.columns["whole"]]
                each = vectors @ query / np.linalg.norm(vectors, axis=1)
                assert hit.item.id == ids[int(each.argmax())]
                assert hit.part_score == pytest.approx(each.max(), abs=1e-6)
                assert hit.score == pytest.approx(scores[hit.item.columns["whole"]], abs=1e-6)


def test_filters_ask_for_a_part_and_patients_have_one_place(store, put):
    put(store, pool=("mean",))
    third = store.search(Query(like=1, within="wholes", k=9, where="part_number = 3"))
    assert len(third.hits) == third.matched == STACKS
    assert {hit.item.columns["part_number"] for hit in third.hits} == {3}
    one = store.search(Query(like=1, within="wholes", k=9, where="whole = 'stack 3'"))
    assert [hit.item.columns["whole"] for hit in one.hits] == ["stack 3"]
    none = store.search(Query(like=1, within="wholes", k=9, where="whole is null"))
    assert none.hits == ()
    people = store.search(Query(like=1, within="wholes", k=9, per="patient"))
    assert sorted(hit.item.patient for hit in people.hits) == ["P0", "P1", "P2", "P3"]
    without = store.search(Query(like=1, within="wholes", k=9, exclude_patient="P0"))
    assert {hit.item.columns["whole"] for hit in without.hits} == {"stack 1", "stack 2", "stack 3"}


def test_parts_are_searched_as_before(store, put):
    put(store, pool=("mean",))
    answer = store.search(Query(like=1, k=50))
    assert len(answer.hits) == answer.matched == STACKS * SLICES + 1
    assert store.status().images == STACKS * SLICES + 1


def test_a_file_and_a_text_may_ask(store, put, stacks):
    put(store, pool=("mean",))
    film = store.search(Query(image=str(stacks / "s3" / "1.png"), within="wholes", k=1))
    assert len(film.hits) == 1
    words = store.search(Query(text="bright film", within="wholes", k=2))
    assert len(words.hits) == 2


def test_what_was_never_pooled_and_what_is_no_pooling(store, put):
    put(store)
    with pytest.raises(UsageError, match="ingest PATH --encoder reference --pool mean"):
        store.search(Query(like=1, within="wholes"))
    with pytest.raises(UsageError, match="--in wholes"):
        store.search(Query(like=1, pool="mean"))
    for wrong in ("median", "mean:", "max:attr.share"):
        with pytest.raises(UsageError, match="is no pooling"):
            put(store, pool=(wrong,))
    with pytest.raises(FilterError):
        put(store, pool=("mean:nonsense",))


def test_wholes_without_a_part_that_counts_have_no_row(store, put):
    report = put(store, pool=("mean:attr.absent",))
    assert (report.wholes[0].wholes, report.wholes[0].empty) == (0, STACKS)
    assert store.search(Query(like=1, within="wholes")).hits == ()
    assert store.verify() == ()


# Interrupted


@pytest.mark.parametrize("step", ["append_vectors", "_vector_ids", "_remove"])
def test_a_run_that_breaks_off_leaves_wholes_as_they_were(store, put, monkeypatch, step):
    put(store, "s0", "s1/0.png", pool=("mean",))
    before = derived(store, "mean")

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(f"embedstore.storage.wholes.{step}", broken)
        with pytest.raises(RuntimeError, match="power"):
            put(store)
    for whole, vector in before.items():
        assert np.array_equal(derived(store, "mean")[whole], vector)
    assert store.verify() == ()  # behind, and known to be
    hits = store.search(Query(like=1, within="wholes", k=9)).hits  # which brings them up
    assert {hit.parts for hit in hits} == {SLICES}
    assert len(hits) == STACKS
    assert put(store).wholes[0].made == 0


@pytest.mark.slow
def test_kills_leave_wholes_of_acknowledged_parts_or_known_to_be_behind(tmp_path):
    command = [sys.executable, "-m", "tests.engine.kill_wholes_driver", str(tmp_path / "store"), "10", "7"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=Path(__file__).parents[2], env=environment
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["batches"] > report["kills"] == 10
    assert report["behind_after_a_kill"] > 0, "some were killed between parts and wholes"


def test_while_another_process_writes_an_answer_says_that_wholes_are_behind(store, put):
    put(store, "s0", pool=("mean",))
    space = store.status().spaces[-1]["fingerprint"]
    store._workspace.catalog.set_note(derived_note(space), BEHIND)
    with Store.open(store.path) as other, other._workspace.catalog.writing():
        answer = store.search(Query(like=1, within="wholes"))
    assert "another process is adding" in answer.note
    assert store.search(Query(like=1, within="wholes")).note == ""


def test_verify_notices_a_row_that_is_not_of_its_parts(store, put):
    put(store, pool=("mean",))
    catalog = store._workspace.catalog
    space = store._workspace.space("image", "reference")
    derived_row = catalog.space(store.status().spaces[-1]["fingerprint"])
    parts = catalog.wholes.parts(space.id)[0]
    half = type(parts)(parts.whole, parts.vectors[:2], parts.items[:2])
    catalog.wholes.replace(derived_row.id, [half], np.ones((1, space.dim), np.float32))
    (finding,) = store.verify()
    assert (finding.what, finding.remedy) == ("wholes", "run: embedstore reindex")
    store.reindex()
    assert store.verify() == ()
    vectors = parts_by_whole(store)["stack 0"][1]
    assert np.allclose(derived(store, "mean")["stack 0"], vectors.mean(axis=0), atol=1e-6)


def test_indexes_come_back_the_same(store, put):
    put(store, "s0", "s1", pool=("mean",))
    put(store)
    before = store.search(Query(like=1, within="wholes", k=9))
    for folder in store._workspace.catalog.folder.indexes.iterdir():
        for file in folder.iterdir():
            file.unlink()
    with Store.open(store.path) as again:
        after = again.search(Query(like=1, within="wholes", k=9))
    assert [(h.item.id, h.score) for h in after.hits] == [(h.item.id, h.score) for h in before.hits]


def test_rows_in_pieces_are_pooled_as_rows_at_once():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 7)).astype(np.float32)
    weights = rng.random(50)
    pieces = [rows[:13], rows[13:14], rows[14:]]
    for text, given in (("mean", None), ("max", None), ("mean:attr.w", weights)):
        rule = Pooling.of(text)
        assert rule.text == text
        assert np.array_equal(rule.pool([rows], given), rule.pool(pieces, given)) or np.allclose(
            rule.pool([rows], given), rule.pool(pieces, given), atol=1e-7
        )
    assert Pooling("mean").pool([np.array([[1.0], [-1.0]], np.float32)]) is None
    assert Pooling("mean", "w").pool([rows], np.zeros(50)) is None
