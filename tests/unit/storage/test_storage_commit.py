"""What a commit writes, keeps, refuses, and says about disagreements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from embedstore.contracts.record import HEADER_COLUMNS
from embedstore.errors import FilterError, NotFound, SpaceMismatch, UsageError
from embedstore.storage import commit as commit_module
from embedstore.storage.batches import Assertion, IngestBatch, NewVectors, Problem
from embedstore.storage.catalog import Catalog
from embedstore.storage.filters import parse_where
from embedstore.storage.merge import patient_columns
from embedstore.storage.records import SpaceRow
from embedstore.storage.store import open_store
from embedstore.storage.tables import Item
from embedstore.storage.verify import verify
from tests.unit.storage.storagekit import (
    batch_of,
    bound_spec,
    contents,
    expected,
    item,
    key,
    path_of,
    sha,
    source,
    vectors_of,
)


def test_the_item_table_has_every_header_column_with_a_fitting_type() -> None:
    columns = Item.__table__.c
    assert [name for name in HEADER_COLUMNS if name not in columns] == []


def test_a_committed_batch_is_read_back_also_after_reopening(folder: Path) -> None:
    with open_store(folder) as catalog:
        space = catalog.ensure_space(bound_spec(), "image")
        done = catalog.commit(batch_of(range(5), space, modality="CR", patient_id="7", extra={"dose": 1.5}))
        assert (done.items, done.reused, done.vectors, done.seq) == (5, 0, 5, 5)
    with open_store(folder) as catalog:
        assert contents(catalog, space) == expected(range(5))
        found = catalog.item(done.item_ids[key(3)])
        assert (found.path, found.paths, found.kind, found.part) == (
            path_of(3),
            (path_of(3),),
            "image",
            "image",
        )
        assert (found.columns["modality"], found.extra, found.patient) == ("CR", {"dose": 1.5}, "7")
        assert found.patient_known
        assert verify(catalog) == []


def test_vectors_come_in_the_order_asked_across_segments_and_spaces(folder: Path) -> None:
    with open_store(folder, segment_bytes=200) as catalog:
        space = catalog.ensure_space(bound_spec(), "image")
        other = catalog.ensure_space(bound_spec(dim=3, name="other"), "image")
        for first in range(0, 20, 4):
            catalog.commit(batch_of(range(first, first + 4), space))
            keys = tuple(key(n) for n in range(first, first + 4))
            again = NewVectors(space_id=other.id, keys=keys, vectors=vectors_of(keys, 3))
            catalog.commit(IngestBatch(vectors=(again,)))
        assert len(list(catalog.folder.segments.iterdir())) > 3
        ids = np.random.default_rng(0).permutation(catalog.vector_ids(space.id))
        keys = [(i.sha256, i.part) for i in catalog.items(catalog.vector_items(space.id, ids).items.tolist())]
        np.testing.assert_array_equal(catalog.vectors(space.id, ids), vectors_of(keys))
        items = np.array([catalog.find_items([key(n)])[key(n)] for n in (9, 2, 9)] + [10_000])
        found, rows = catalog.item_vectors(other.id, items)
        np.testing.assert_array_equal(found, items[:3])
        np.testing.assert_array_equal(rows, vectors_of([key(9), key(2), key(9)], 3))
        with pytest.raises(NotFound, match="holds no vector"):
            catalog.vectors(other.id, ids[:1])


def test_a_reader_sees_later_commits_of_another_opening(folder: Path) -> None:
    with open_store(folder) as writer, open_store(folder) as reader:
        space = writer.ensure_space(bound_spec(), "image")
        writer.commit(batch_of(range(3), space))
        assert contents(reader, space) == expected(range(3))
        writer.commit(batch_of(range(3, 9), space))
        assert contents(reader, space) == expected(range(9))


def test_the_same_bytes_at_two_paths_are_one_item_with_both_paths(catalog: Catalog, images: SpaceRow) -> None:
    catalog.commit(batch_of([1], images, label="normal", patient_id="A"))
    twin = item(1, path="/copy/1.png", label="tumour", patient_id="B", age=40.0)
    again = IngestBatch(sources=(source(1, path="/copy/1.png"),), items=(twin,))
    done = catalog.commit(again)
    assert (done.items, done.reused, done.vectors, done.conflicts) == (0, 1, 0, 2)
    found = catalog.item(done.item_ids[key(1)])
    assert found.paths == (path_of(1), "/copy/1.png")
    assert (found.columns["label"], found.patient, found.columns["age"]) == ("normal", "A", 40.0)
    told = {(c.field, c.kept, c.other, c.other_path) for c in catalog.conflicts()}
    assert told == {("label", "normal", "tumour", "/copy/1.png"), ("patient", "A", "B", "/copy/1.png")}
    assert catalog.commit(again).conflicts == 0
    for where in (f"path = '{path_of(1)}'", "path = '/copy/1.png'"):
        assert catalog.select_items(parse_where(where)).tolist() == [found.id]
    for patient in ("A", "B"):
        assert len(catalog.vector_ids(images.id, exclude_patients=[patient])) == 0
    assert len(catalog.vector_ids(images.id, exclude_patients=["C"])) == 1


def test_twins_in_one_batch_are_one_item_too(catalog: Catalog, images: SpaceRow) -> None:
    done = catalog.commit(
        IngestBatch(
            sources=(source(1), source(1, path="/copy/1.png")),
            items=(item(1, label="a"), item(1, path="/copy/1.png", label="b")),
        )
    )
    assert (done.items, done.conflicts) == (1, 1)
    assert catalog.item(done.item_ids[key(1)]).paths == (path_of(1), "/copy/1.png")


def test_a_source_met_again_keeps_what_it_no_longer_says_and_takes_what_it_now_says(
    catalog: Catalog, images: SpaceRow
) -> None:
    catalog.commit(batch_of([1], images, label="normal", site="A"))
    done = catalog.commit(IngestBatch(sources=(source(1),), items=(item(1, label="tumour"),)))
    found = catalog.item(done.item_ids[key(1)])
    assert (found.columns["label"], found.columns["site"], done.conflicts) == ("tumour", "A", 0)


def test_a_table_overruled_by_the_file_is_a_conflict_once(catalog: Catalog, images: SpaceRow) -> None:
    said = Assertion(key=key(1), source=path_of(1), field="patient_id", kept="A", other="B")
    batch = IngestBatch(sources=(source(1),), items=(item(1, patient_id="A"),), assertions=(said,))
    assert [catalog.commit(batch).conflicts for _ in range(2)] == [1, 0]
    assert [(c.field, c.kept, c.other) for c in catalog.conflicts()] == [("patient", "A", "B")]


def test_one_sop_uid_on_other_bytes_is_a_second_item_and_a_conflict(
    catalog: Catalog, images: SpaceRow
) -> None:
    catalog.commit(batch_of([1], images, sop_uid="1.2.3"))
    done = catalog.commit(batch_of([2], images, sop_uid="1.2.3"))
    assert (done.items, done.conflicts) == (1, 1)
    told = [(c.field, c.path, c.kept, c.other_path, c.other) for c in catalog.conflicts()]
    assert told == [("sop_uid_bytes", path_of(2), sha(2), path_of(1), sha(1))]


def test_a_file_that_changed_keeps_its_old_item_with_a_note(catalog: Catalog, images: SpaceRow) -> None:
    catalog.commit(batch_of([1], images))
    catalog.commit(
        IngestBatch(problems=(Problem(path=path_of(1), part="frame/9", stage="read", reason="x"),))
    )
    run = catalog.begin_run("ingest", {})
    catalog.commit(
        IngestBatch(sources=(source(2, path=path_of(1)),), items=(item(2, path=path_of(1)),), run_id=run)
    )
    assert [(c.field, c.kept, c.other) for c in catalog.conflicts()] == [("bytes", sha(1), sha(2))]
    assert catalog.counts().items == 2
    assert catalog.failures() == []


@pytest.mark.parametrize(
    ("header", "patient", "known"),
    [
        ({"patient_id": "1"}, "1", True),
        ({"patient_id": "1", "site": "A"}, "A/1", True),
        ({"patient_id": "1", "site": "A", "patient_issuer": "H"}, "H/1", True),
        ({"patient_id": "1", "site": "A", "patient_group": "g"}, "g", True),
        ({"study_uid": "1.2"}, "unknown/1.2", False),
        ({}, f"unknown/{sha(1)}", False),
    ],
)
def test_who_the_patient_is(
    catalog: Catalog, images: SpaceRow, header: dict[str, str], patient: str, known: bool
) -> None:
    done = catalog.commit(batch_of([1], images, **header))
    found = catalog.item(done.item_ids[key(1)])
    assert (found.patient, found.patient_known) == (patient, known)


@pytest.mark.parametrize(
    ("parts", "persons"),
    [
        (("slice/k/0", "slice/k/9"), 1),
        (("t/2/slice/k/0", "volume", "image"), 1),
        (("tile/0.5/224/3-7", "tile/1/224/0-0"), 1),
        (("page/1", "page/2"), 1),
        (("frame/1", "frame/2"), 1),
        (("data/abc/slice/k/0", "data/abc/slice/k/1"), 1),
        (("data/abc/slice/k/0", "data/def/slice/k/0"), 2),
        (("train/1", "train/2"), 2),
        (("report/a", "report/b"), 2),
    ],
)
def test_a_file_is_one_person_however_it_is_cut(parts: tuple[str, ...], persons: int) -> None:
    said = [patient_columns(key(1, part), {}) for part in parts]
    assert len({one["patient"] for one in said}) == persons
    assert len({one["patient_code"] for one in said}) == persons
    assert len({one["study_code"] for one in said}) == persons


def test_codes_group_as_patients_and_studies_do(catalog: Catalog, images: SpaceRow) -> None:
    parts = [("frame/1", {}), ("frame/2", {}), ("train/1", {}), ("train/2", {})]
    items = [item(1, part=part, **header) for part, header in parts]
    items += [item(2, patient_id="A", study_uid="s"), item(3, patient_id="A", study_uid="t")]
    items += [item(4, patient_id="B", study_uid="s")]
    keys = tuple(i.key for i in items)
    catalog.commit(
        IngestBatch(
            sources=tuple(source(n) for n in range(1, 5)),
            items=tuple(items),
            vectors=(NewVectors(space_id=images.id, keys=keys, vectors=vectors_of(keys)),),
        )
    )
    codes = catalog.vector_items(images.id, catalog.vector_ids(images.id))
    order = [keys.index((i.sha256, i.part)) for i in catalog.items(codes.items.tolist())]
    patients = codes.patients[np.argsort(order)].tolist()
    studies = codes.studies[np.argsort(order)].tolist()
    assert patients[0] == patients[1]
    assert len({patients[1], patients[2], patients[3], patients[4], patients[6]}) == 5
    assert patients[4] == patients[5]
    assert studies[0] == studies[1]
    assert len(set(studies[1:])) == 6
    assert min(patients + studies) >= 0


def test_problems_are_the_latest_word_on_a_path_and_part(catalog: Catalog, images: SpaceRow) -> None:
    bad = Problem(path=path_of(1), stage="describe", reason="truncated")
    catalog.commit(IngestBatch(sources=(source(1, outcome="failed"),), problems=(bad,)))
    catalog.commit(IngestBatch(problems=(Problem(path=path_of(1), stage="read", reason="no codec"),)))
    skip = Problem(path="/notes.txt", stage="describe", reason="not an image (plain text)", kind="skip")
    catalog.commit(IngestBatch(problems=(skip,)))
    assert [(p.path, p.stage, p.reason) for p in catalog.failures(kind="failure")] == [
        (path_of(1), "read", "no codec")
    ]
    assert (catalog.counts().failures, catalog.counts().skips) == (1, 1)
    catalog.commit(batch_of([1], images))
    assert [p.kind for p in catalog.failures()] == ["skip"]


def test_what_is_known_of_sources(catalog: Catalog, images: SpaceRow, texts: SpaceRow) -> None:
    report = item(9, kind="report", text="No effusion.")
    catalog.commit(batch_of([1], images))
    catalog.commit(IngestBatch(sources=(source(2, complete=False), source(9)), items=(item(2), report)))
    failed = IngestBatch(sources=(source(3, outcome="failed", reason="truncated"),))
    catalog.commit(failed)
    paths = [path_of(n) for n in (1, 2, 3, 9, 77)]
    known = catalog.known_sources(paths, image_space=images.id, text_space=texts.id)
    assert {path: (row.items, row.pending) for path, row in known.items()} == {
        path_of(1): (1, 0),
        path_of(2): (1, 1),
        path_of(3): (0, 0),
        path_of(9): (1, 1),
    }
    assert known[path_of(1)].settled(10, 5)
    assert not known[path_of(1)].settled(11, 5)
    assert not known[path_of(1)].settled(10, 6)
    assert not known[path_of(3)].settled(10, 5)
    assert catalog.known_sources(paths, image_space=images.id)[path_of(9)].pending == 0
    assert catalog.known_sources(paths)[path_of(2)].pending == 0
    missing = catalog.missing([key(1), key(2), key(77)], images.id)
    assert missing.items == {key(77)}
    assert missing.vectors == {key(2), key(77)}


@pytest.mark.parametrize(
    ("vectors", "error"),
    [
        (np.full((1, 8), np.nan, np.float32), UsageError),
        (np.zeros((1, 8), np.float32), UsageError),
        (np.ones((2, 8), np.float32), UsageError),
        (np.ones((1, 8), np.float64), UsageError),
        (np.ones((1, 7), np.float32), SpaceMismatch),
    ],
)
def test_a_bad_vector_refuses_the_whole_batch(
    catalog: Catalog, images: SpaceRow, vectors: np.ndarray, error: type[Exception]
) -> None:
    good = batch_of([1], images)
    bad = IngestBatch(
        sources=good.sources,
        items=good.items,
        vectors=(NewVectors(space_id=images.id, keys=(key(1),), vectors=vectors),),
    )
    with pytest.raises(error):
        catalog.commit(bad)
    assert catalog.counts().items == catalog.counts().sources == 0
    assert catalog.commit(good).vectors == 1


def test_an_item_without_its_source_refuses_the_batch(catalog: Catalog, images: SpaceRow) -> None:
    with pytest.raises(UsageError, match="not in the batch"):
        catalog.commit(IngestBatch(items=(item(1),)))
    lost = NewVectors(space_id=images.id, keys=(key(5),), vectors=vectors_of([key(5)]))
    with pytest.raises(UsageError, match="neither in the batch"):
        catalog.commit(IngestBatch(vectors=(lost,)))
    assert catalog.counts().items == 0


def test_a_vector_that_is_there_already_is_left_alone(catalog: Catalog, images: SpaceRow) -> None:
    catalog.commit(batch_of([1], images))
    other = NewVectors(space_id=images.id, keys=(key(1),), vectors=np.ones((1, 8), np.float32))
    assert catalog.commit(IngestBatch(vectors=(other,))).vectors == 0
    assert contents(catalog, images) == expected([1])
    assert catalog.last_seq(images.id) == 1


def test_when_sql_fails_after_the_segment_was_written_nothing_is_there(
    catalog: Catalog, images: SpaceRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.commit(batch_of(range(3), images))
    with monkeypatch.context() as patch:
        patch.setattr(commit_module, "_log_added", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            catalog.commit(batch_of(range(3, 6), images))
    segment = next(catalog.folder.segments.iterdir())
    assert segment.stat().st_size == 128 + 6 * 8 * 4, "the rows are in the file, behind the committed ones"
    assert contents(catalog, images) == expected(range(3))
    assert verify(catalog) == []
    catalog.commit(batch_of([7], images))
    assert segment.stat().st_size == 128 + 4 * 8 * 4
    assert contents(catalog, images) == expected([0, 1, 2, 7])


def test_ids_are_never_used_twice(catalog: Catalog, images: SpaceRow) -> None:
    first = catalog.commit(batch_of([1, 2], images)).item_ids
    highest = max(first.values())
    with catalog.database.write() as connection:  # as a later verb that removes items would do it
        for statement in (
            "INSERT INTO change (op, vector_id, space_id) SELECT 'remove', id, space_id FROM vector",
            "DELETE FROM vector",
            "DELETE FROM item_source",
            "DELETE FROM item",
        ):
            connection.execute(text(statement))
    old = catalog.changes(images.id).added
    assert len(old) == 0
    second = catalog.commit(batch_of([3], images)).item_ids
    assert min(second.values()) > highest
    assert catalog.vector_ids(images.id).tolist() == [3]
    assert contents(catalog, images) == expected([3])
    assert catalog.changes(images.id, 2).removed.tolist() == [1, 2]
    assert catalog.changes(images.id, 2).added.tolist() == [3]
    assert verify(catalog) == []


def test_hostile_text_is_stored_as_text(catalog: Catalog, images: SpaceRow) -> None:
    path = b"/im\xe4ges/\xff'; DROP TABLE item; --.png".decode("utf-8", "surrogateescape")
    private = "/\uef80\ud7ffä/x.png"
    header = {
        "label": "a\0b\ud800",
        "extra": {"n": float("nan"), "big": 10**30, 'q"uote': "x\0"},
        "age": float("inf"),
    }
    done = catalog.commit(
        IngestBatch(
            sources=(source(1, path=path), source(2, path=private)),
            items=(item(1, path=path, **header), item(2, path=private)),
            problems=(Problem(path=path, part="x", stage="read", reason="r"),),
        )
    )
    found = catalog.item(done.item_ids[key(1)])
    assert found.path == path
    assert catalog.item(done.item_ids[key(2)]).path == private
    assert found.columns["label"] == "ab?"
    assert found.columns["age"] is None
    assert found.extra == {"big": str(10**30), 'q"uote': "x"}
    assert set(catalog.known_sources([path, private])) == {path, private}
    assert [p.path for p in catalog.failures()] == [path]
    again = IngestBatch(problems=(Problem(path=path, part="x", stage="read", reason="later"),))
    catalog.commit(again)
    assert [p.reason for p in catalog.failures()] == ["later"]


def test_columns_come_by_name_and_in_the_order_asked(catalog: Catalog, images: SpaceRow) -> None:
    for n in range(4):
        catalog.commit(batch_of([n], images, age=float(n), extra={"score": n}))
    ids = catalog.select_items()[::-1]
    assert catalog.column(ids, "age") == [3.0, 2.0, 1.0, 0.0]
    assert catalog.column(ids, "attr.score") == [3, 2, 1, 0]
    assert catalog.column(ids[:1], "attr.absent") == [None]
    assert catalog.columns(ids[:1], ["path", "id"]) == [{"path": path_of(3), "id": ids[0]}]
    with pytest.raises(UsageError, match="no column 'agee'"):
        catalog.column(ids, "agee")
    with pytest.raises(NotFound, match="no item 99"):
        catalog.column([99], "age")
    with pytest.raises(NotFound, match="no item 99"):
        catalog.items([1, 99])


def test_vectors_know_nothing_of_text_that_is_no_item(catalog: Catalog, images: SpaceRow) -> None:
    assert catalog.vector_ids(images.id).tolist() == []
    assert catalog.vectors(images.id, np.empty(0, np.int64)).shape == (0, 8)
    assert catalog.item_vectors(images.id, np.array([4]))[1].shape == (0, 8)
    with pytest.raises(NotFound):
        catalog.space("nowhere")
    with pytest.raises(UsageError):
        catalog.ensure_space(bound_spec("image"), "text")


def test_runs_and_provenance_are_kept(catalog: Catalog) -> None:
    run = catalog.begin_run("ingest", {"site": "A"})
    assert catalog.runs()[0].ended is None
    catalog.end_run(run, {"seen": 3})
    found = catalog.runs()[0]
    assert (found.verb, found.arguments, found.counts) == ("ingest", {"site": "A"}, {"seen": 3})
    assert catalog.provenance("f") == {}
    catalog.set_provenance("f", {"weights": "/w"})
    catalog.set_provenance("f", {"weights": None})
    assert catalog.provenance("f") == {"weights": None}


def test_a_dual_encoder_has_one_space_of_both_kinds(catalog: Catalog) -> None:
    from dataclasses import replace

    from embedstore.contracts.encoder import bind

    image, words = bound_spec("image").towers[0], bound_spec("text").towers[0]
    template = replace(bound_spec(), towers=(image, words), shared_space=True)
    spec = bind(template, "cd" * 32, {"image": 8, "text": 8})
    first, second = catalog.ensure_space(spec, "image"), catalog.ensure_space(spec, "text")
    assert first.id == second.id
    assert (first.kinds, second.kinds) == (("image",), ("image", "text"))


def test_an_attribute_no_item_has_is_named_with_the_nearest(catalog: Catalog, images: SpaceRow) -> None:
    catalog.commit(batch_of([1], images, extra={"effusion": 1}))
    assert catalog.select_items(parse_where("attr.effusion = true")).tolist() == [1]
    for ask in (catalog.select_items, lambda where: catalog.vector_ids(images.id, where)):
        with pytest.raises(
            FilterError, match=r"no item of the store has attr\.efusion; did you mean attr\.effusion"
        ):
            ask(parse_where("attr.efusion = 1"))
