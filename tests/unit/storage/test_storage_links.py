"""Which report speaks about which image, and what follows: texts, pairs, what a filter selects."""

from __future__ import annotations

import numpy as np
import pytest

from embedstore.storage.batches import IngestBatch, NewItem, NewVectors
from embedstore.storage.catalog import Catalog
from embedstore.storage.filters import parse_where
from embedstore.storage.records import SpaceRow
from tests.unit.storage.storagekit import item, key, path_of, source, vectors_of


def report(n: int, **header: object) -> NewItem:
    return item(n, kind="report", text=f"text {n}", **header)


def put(catalog: Catalog, *items: NewItem) -> dict[int, int]:
    """Commit items made with number n; n to item id."""
    numbers = {i.key: int(i.source.removeprefix("/images/").removesuffix(".png")) for i in items}
    done = catalog.commit(IngestBatch(sources=tuple(source(n) for n in numbers.values()), items=items))
    return {numbers[k]: item_id for k, item_id in done.item_ids.items()}


def linked(catalog: Catalog, ids: dict[int, int]) -> dict[int, list[int]]:
    """Image number to report numbers."""
    number = {item_id: n for n, item_id in ids.items()}
    found = catalog.reports_of(list(ids.values()))
    return {number[image]: [number[r] for r in reports] for image, reports in found.items()}


STUDY = {"patient_id": "P", "study_uid": "1.2"}


@pytest.mark.parametrize(
    ("images", "reports", "expected"),
    [
        ([item(1)], [report(8, about_path=path_of(1))], {1: [8]}),
        ([item(1, **STUDY), item(2, **STUDY)], [report(8, **STUDY)], {1: [8], 2: [8]}),
        ([item(1, **STUDY), item(2, **STUDY)], [report(8, about_path=path_of(2), **STUDY)], {2: [8]}),
        ([item(1, sop_uid="7", **STUDY), item(2, **STUDY)], [report(8, sop_uid="7", **STUDY)], {1: [8]}),
        ([item(1, **STUDY)], [report(8, patient_id="P")], {1: [8]}),
        ([item(1, patient_id="P"), item(2, patient_id="P")], [report(8, patient_id="P")], {1: [8], 2: [8]}),
        ([item(1, **STUDY), item(2, patient_id="P", study_uid="1.3")], [report(8, patient_id="P")], {}),
        ([item(1, **STUDY)], [report(8, patient_id="Q", study_uid="1.2")], {}),
        ([item(1, site="A", **STUDY)], [report(8, **STUDY)], {1: [8]}),
        ([item(1, study_uid="1.2")], [report(8, **STUDY)], {1: [8]}),
        ([item(1)], [report(8)], {}),
        ([item(1, **STUDY)], [report(8, **STUDY), report(9, **STUDY)], {1: [8, 9]}),
        ([item(1, **STUDY)], [report(8, about_path="/not/in/the/store.png", **STUDY)], {}),
    ],
)
def test_a_report_is_linked_by_the_most_certain_tie(
    catalog: Catalog, images: list[NewItem], reports: list[NewItem], expected: dict[int, list[int]]
) -> None:
    ids = put(catalog, *images, *reports)
    assert catalog.link_reports() == sum(map(len, expected.values()))
    assert catalog.link_reports() == 0
    assert linked(catalog, ids) == expected


def test_a_later_image_of_the_study_is_linked_later_and_a_surer_tie_replaces(catalog: Catalog) -> None:
    ids = put(catalog, item(1, **STUDY), report(8, **STUDY))
    assert catalog.link_reports() == 1
    ids |= put(catalog, item(2, **STUDY))
    assert catalog.link_reports() == 1
    assert linked(catalog, ids) == {1: [8], 2: [8]}
    put(catalog, report(8, about_path=path_of(2), **STUDY))
    catalog.link_reports()
    assert linked(catalog, ids) == {2: [8]}


def test_texts_and_items_show_the_linked_reports(catalog: Catalog) -> None:
    ids = put(catalog, item(1, **STUDY), item(2), report(8, **STUDY), report(9, **STUDY))
    catalog.link_reports()
    assert catalog.texts([ids[2], ids[9], ids[1]]) == ["", "text 9", "text 8\n\ntext 9"]
    assert catalog.item(ids[1]).report == "text 8\n\ntext 9"
    assert catalog.item(ids[8]).report == "text 8"
    assert catalog.item(ids[2]).report is None


def test_pairs_are_links_whose_both_ends_have_vectors(
    catalog: Catalog, images: SpaceRow, texts: SpaceRow
) -> None:
    about = {n: {"patient_id": f"P{n}", "study_uid": f"1.{n}"} for n in range(1, 5)}
    ids = put(catalog, *(item(n, **about[n]) for n in about), *(report(n + 10, **about[n]) for n in about))
    catalog.link_reports()
    for space, numbers in ((images, (1, 2, 3)), (texts, (12, 13, 14))):
        keys = tuple(key(n) for n in numbers)
        catalog.commit(
            IngestBatch(vectors=(NewVectors(space_id=space.id, keys=keys, vectors=vectors_of(keys)),))
        )
    found = catalog.pairs(images.id, texts.id)
    assert found.images.tolist() == [ids[2], ids[3]]
    assert found.reports.tolist() == [ids[12], ids[13]]
    assert found.patients == ("P2", "P3")
    assert catalog.pairs(images.id, texts.id, parse_where("patient_id = 'P3'")).images.tolist() == [ids[3]]
    assert len(catalog.pairs(texts.id, images.id).images) == 0
    assert catalog.vector_ids(texts.id, kind="image").tolist() == []
    assert len(catalog.vector_ids(texts.id, kind="report")) == 3


FILTERS = [
    "modality = 'CR'", "modality != 'CR'", "modality <> 'CR' or modality is null", "not modality = 'CR'",
    "age >= 60", "age < 60.5", "age between 20 and 60", "age not between 20 and 60", "age is null",
    "not (age > 50 and modality = 'CT')", "age > 50 or modality = 'CT'", "modality in ('CT', 'MR')",
    "modality not in ('CT', 'MR')", "label like '%ä%'", "label like 'A_c%'", "label like 'a\\_c%'",
    "label not like '%c%'", "label > 'b'", "label >= 'ä'", "label = 'it''s'",
    "label = '\"; DROP TABLE item; --'",
    "path like '%/3%'", "path = '/images/3.png'", "not path like '%/3%'", "path is not null",
    "kind = 'image'",
    "patient_known = true", "patient_known = false", "id >= 5 and id < 9", "rows > 512.5", "rows = 512",
    "attr.n > 3", "attr.n = 3", "attr.n != 3", "attr.n in (1, 2)", "attr.n not in (1, 2)", "attr.t = 'x'",
    "attr.t like 'X%'", "attr.t is null", "attr.n is not null", "attr.m = 3", "attr.m = '3'", "attr.m > 2",
    "attr.\"a b\" = 'q'", "attr.n = 'x' or attr.t = 'x'", "attr.t between 'a' and 'y'",
    "not attr.n > 3", "sha256 like '%a%' and part = 'image'", "attr.n <= 2.5 and not (age > 10)",
]  # fmt: skip


def test_sql_and_python_agree_on_each_database(catalog: Catalog) -> None:
    chance = np.random.default_rng(5)

    def one(*values: object) -> object:
        return values[chance.integers(len(values))]

    items = []
    for n in range(60):
        extra = {
            "n": one(None, 1, 2.5, 3, 7.25), "t": one(None, "x", "X9", "", "yes", "ä"),
            "m": one(None, "3", 3, "3.0", "three", 2), "a b": one(None, "q"),
        }  # fmt: skip
        header = {
            "modality": one(None, "CR", "CT", "MR"), "age": one(None, 5.0, 20.0, 60.0, 77.5),
            "label": one(None, "", "abc", "A_c", "ä", "it's", "b", "Z", '"; DROP TABLE item; --'),
            "rows": one(None, 512, 513), "patient_id": one(None, "1", "2"),
        }  # fmt: skip
        known = {name: value for name, value in extra.items() if value is not None}
        items.append(item(n, extra=known, **header))
    put(catalog, *items)
    ids = catalog.select_items()
    rows = []
    for found in catalog.items(ids):
        about = {"id": found.id, "kind": found.kind, "part": found.part, "sha256": found.sha256}
        about |= {"paths": found.paths, "extra": found.extra, "patient_known": found.patient_known}
        rows.append({**found.columns, **about})
    passed = set()
    for text in FILTERS:
        where = parse_where(text)
        expected = [row["id"] for row in rows if where.matches(row)]
        assert catalog.select_items(where).tolist() == expected, text
        passed.add(len(expected))
    assert len(passed) > 15, "the filters tell the items apart"
