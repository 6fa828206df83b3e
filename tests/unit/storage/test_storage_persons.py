"""One person under several patient names is on one side of a split."""

from __future__ import annotations

import pytest

from embedstore.storage.batches import IngestBatch
from embedstore.storage.catalog import Catalog
from embedstore.storage.records import SpaceRow
from tests.unit.storage.storagekit import batch_of, item, source


def test_patients_that_one_image_ties_together_are_split_together(catalog: Catalog, images: SpaceRow) -> None:
    catalog.commit(batch_of([1, 2], images, patient_id="A"))
    catalog.commit(batch_of([3], images, patient_id="B"))
    catalog.commit(batch_of([4], images, patient_id="C"))
    ids = catalog.select_items()
    assert len(set(catalog.patient_groups(ids))) == 3
    catalog.commit(
        IngestBatch(sources=(source(1, path="/b/1.png"),), items=(item(1, path="/b/1.png", patient_id="B"),))
    )
    groups = catalog.patient_groups(ids)
    assert groups[0] == groups[1] == groups[2] != groups[3]


@pytest.mark.parametrize(
    ("one", "other", "persons"),
    [
        ({"patient_id": "A", "study_uid": "1.2"}, {"study_uid": "1.2"}, 1),
        ({"patient_id": "A", "study_uid": "1.2"}, {"study_uid": "1.3"}, 2),
        ({"patient_id": "A", "study_uid": "1.2"}, {"patient_id": "B", "study_uid": "1.2"}, 2),
        ({"patient_id": "A"}, {"patient_id": "A", "site": "North"}, 1),
        ({"patient_id": "A"}, {"patient_id": "A", "patient_issuer": "HOSP"}, 1),
        ({"patient_id": "A", "site": "South"}, {"patient_id": "A", "site": "North"}, 2),
        ({"patient_id": "A"}, {"patient_id": "A", "patient_group": "G"}, 1),
        ({"patient_id": "A"}, {"patient_id": "a", "site": "North"}, 2),
    ],
)
def test_names_that_may_mean_one_person_are_split_together(
    catalog: Catalog, images: SpaceRow, one: dict[str, str], other: dict[str, str], persons: int
) -> None:
    catalog.commit(batch_of([1], images, **one))
    catalog.commit(batch_of([2, 3], images, **other))
    ids = catalog.select_items()
    names = [row["patient"] for row in catalog.columns(ids, ["patient"])]
    assert len({*catalog.patient_groups(ids)}) == persons
    left = catalog.vector_ids(images.id, exclude_patients=names[:1])
    assert len(left) == (0 if persons == 1 else 2)
