"""Search against brute force over the stored vectors."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embedstore.contracts.query import Query
from embedstore.engine.store import Store
from embedstore.errors import FilterError, NotFound, UsageError
from embedstore.pages.contact_sheet import contact_sheet


@pytest.mark.parametrize("index", ["exact", "faiss"])
def test_every_image_finds_itself(filled, index):
    for item in filled.items("kind = 'image'"):
        answer = filled.search(Query(like=item.id, k=3, index=index))
        best = [hit for hit in answer.hits if hit.score >= answer.hits[0].score - 1e-6]
        assert item.id in [hit.item.id for hit in best]
        assert answer.hits[0].score == pytest.approx(1, abs=1e-6)


def test_a_file_and_its_stored_image_are_the_same_query(filled):
    item = filled.items("kind = 'image'")[7]
    by_file = filled.search(Query(image=item.path, k=5))
    by_id = filled.search(Query(like=item.id, k=5))
    assert [hit.item.id for hit in by_file.hits] == [hit.item.id for hit in by_id.hits]


def brute_force(filled, item_id: int, where: str) -> list[int]:
    catalog = filled._workspace.catalog
    (space,) = catalog.spaces()
    items = np.array([item.id for item in filled.items(f"kind = 'image' and ({where})")], np.int64)
    found, vectors = catalog.item_vectors(space.id, items)
    query = catalog.item_vectors(space.id, np.array([item_id]))[1][0].astype(np.float64)
    rows = vectors.astype(np.float64)
    scores = rows @ query / np.linalg.norm(rows, axis=1) / np.linalg.norm(query)
    return [int(found[n]) for n in np.argsort(-scores, kind="stable")]


@pytest.mark.parametrize("where", ["site = 'B'", "age < 35 or label = 'bright'", "attr.bright = 1", "id < 3"])
def test_filtered_answers_are_those_of_a_full_scan(filled, where):
    expected = brute_force(filled, 1, where)
    answer = filled.search(Query(like=1, k=10, where=where))
    assert [hit.item.id for hit in answer.hits] == expected[:10]
    assert answer.matched == len(expected)
    assert answer.exact


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("sex = 'female'", "'sex' is one of 'M', 'F', 'O'; no item has 'female'"),
        ("laterality in ('L', 'right')", "'laterality' is one of 'L', 'R', 'B', 'U'; no item has 'right'"),
        ("kind != 'images'", "'kind' is one of 'image', 'report', 'region'; no item has 'images'"),
    ],
)
def test_a_value_that_no_item_can_have_is_an_error(filled, where, says):
    with pytest.raises(FilterError, match=re.escape(says)):
        filled.search(Query(like=1, where=where))


def test_patients_are_not_crowded_out_by_their_own_images(filled):
    answer = filled.search(Query(like=1, k=12, per="patient"))
    patients = [hit.item.patient for hit in answer.hits]
    assert len(set(patients)) == len(patients) == 12
    without = filled.search(Query(like=1, k=60, exclude_patient="P0"))
    assert len(without.hits) == 58
    assert without.warnings == ()


@pytest.mark.parametrize("name", ["P00", "", "%"])
def test_leaving_out_a_patient_who_is_not_there_is_told(filled, name):
    answer = filled.search(Query(like=1, k=3, exclude_patient=name))
    assert len(answer.hits) == 3
    assert "--exclude-patient names nobody in this store" in answer.warnings[0]
    assert not name or name not in answer.warnings[0]


def test_a_contact_sheet_shows_enough_to_see_by_and_stays_small(store, ask, tmp_path):
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(700), np.arange(800)) / 6
    for n in range(50):
        noisy = (ramp + rng.normal(0, 12, ramp.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(tmp_path / f"{n}.png")
    store.ingest(ask(*sorted(tmp_path.glob("*.png"))))
    answer = store.search(Query(like=1, k=50))
    sizes = []

    def shown(item_id):
        picture = store.thumbnail(item_id, 320, "jpeg")
        sizes.append(Image.open(io.BytesIO(picture)).size)
        return picture

    page = contact_sheet(answer, shown)
    assert set(sizes) == {(320, 280)}
    assert page.count("data:image/jpeg;base64,") == 51  # the query as well
    assert len(page) < 4_000_000
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_reports_are_searched_by_words(filled):
    answer = filled.search(Query(text="There is an opacity.", within="reports", k=5))
    assert all("There is an opacity" in (hit.item.report or "") for hit in answer.hits)


def test_images_carry_their_report(filled):
    item = filled.search(Query(like=1, k=1)).hits[0].item
    assert item.report is not None
    assert item.report.startswith("Film")


@pytest.mark.parametrize(
    ("query", "error", "says"),
    [
        (Query(), UsageError, "exactly one"),
        (Query(text=" "), UsageError, "empty"),
        (Query(like=1, k=0), UsageError, "at least 1"),
        (Query(like=10**6), NotFound, "1000000"),
        (Query(image="/nowhere.png"), NotFound, "no such file"),
        (Query(image=__file__), UsageError, "holds no image"),
        (Query(like=1, where="colour = 'red'"), FilterError, "no column is called 'colour'"),
        (Query(like=1, encoder="starter"), UsageError, "there are: reference"),
    ],
)
def test_wrong_queries_say_what_to_do(filled, query, error, says):
    with pytest.raises(error, match=says):
        filled.search(query)


def test_the_index_comes_back_from_the_log(filled):
    before = filled.search(Query(like=4, k=60))
    folder = next(Path(filled.path / "indexes").iterdir())
    for file in folder.iterdir():
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(bytes(data))
    assert any(finding.what == "index" for finding in filled.verify())
    with type(filled).open(filled.path) as again:
        after = again.search(Query(like=4, k=60))
        assert [(hit.item.id, hit.score) for hit in after.hits] == [
            (hit.item.id, hit.score) for hit in before.hits
        ]
        again.reindex()
        assert again.verify() == ()
    (folder / "index.json").unlink()  # as a writer leaves it that was killed on its first snapshot
    with type(filled).open(filled.path) as again:
        assert again.verify() == ()
        assert len(again.search(Query(like=4, k=60)).hits) == len(before.hits)


def test_an_index_of_a_log_that_went_another_way_is_not_believed(tmp_path, ask):
    """A backup of catalog and segments is put back, the index stays; other images come under the same ids."""

    def pictures(name, count):
        (tmp_path / name).mkdir()
        for seed in range(count):
            cells = np.random.default_rng([*map(ord, name), seed]).integers(0, 255, (5, 5))
            Image.fromarray(np.kron(cells, np.ones((8, 8))).astype(np.uint8)).save(
                tmp_path / name / f"{seed}.png"
            )
        return tmp_path / name

    with Store.create(tmp_path / "store") as store:
        store.ingest(ask(pictures("before", 20)))
    shutil.copytree(tmp_path / "store", tmp_path / "backup")
    with Store.open(tmp_path / "store") as store:
        store.ingest(ask(pictures("lost", 40)))
    for name in ("catalog.db", "segments/space0001-000001.f32"):
        shutil.copy2(tmp_path / "backup" / name, tmp_path / "store" / name)
    shutil.copytree(tmp_path / "store" / "indexes", tmp_path / "stale")
    with Store.open(tmp_path / "store") as store:
        store.ingest(ask(pictures("after", 60)))
        shutil.copytree(tmp_path / "stale", tmp_path / "store" / "indexes", dirs_exist_ok=True)
        assert [finding.what for finding in store.verify()] == ["index"]
    with Store.open(tmp_path / "store") as store:
        for item in store.items():
            assert store.search(Query(like=item.id, k=1)).hits[0].score == pytest.approx(1, abs=1e-6)
        store.reindex()
        assert store.verify() == ()
