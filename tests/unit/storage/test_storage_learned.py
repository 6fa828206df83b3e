"""Votes, label models, bridges, heads and predictions are kept, superseded and refused as promised."""

from __future__ import annotations

import numpy as np
import pytest

from embedstore.contracts.labels import HeadSpec, LabelSet, Vote
from embedstore.errors import NotFound, Refused, UsageError
from embedstore.storage.catalog import Catalog
from embedstore.storage.learned import NewBridge, NewLabelModel
from embedstore.storage.records import SpaceRow
from tests.unit.storage.storagekit import batch_of

SET = LabelSet(name="finding", classes=("no", "yes"))


@pytest.fixture
def ids(catalog: Catalog, images: SpaceRow) -> list[int]:
    return sorted(catalog.commit(batch_of(range(3), images)).item_ids.values())


def vote(item: int, value: int, voter: str = "rules", version: str = "1", p: float | None = None) -> Vote:
    return Vote(
        item_id=item, label_set="finding", value=value, voter=voter, voter_version=version, probability=p
    )


def test_a_later_vote_supersedes_and_a_repeated_one_is_kept(catalog: Catalog, ids: list[int]) -> None:
    catalog.labels.ensure_label_set(SET)
    first = [vote(ids[0], 1, p=0.75), vote(ids[1], -1), vote(ids[1], 0, voter="knn")]
    assert catalog.labels.save_votes(first) == 3
    assert catalog.labels.save_votes(first) == 0
    assert catalog.labels.save_votes([vote(ids[0], 0, version="2"), vote(ids[2], 1)]) == 2
    table = catalog.labels.votes("finding")
    by_voter = {voter: table.values[:, n].tolist() for n, voter in enumerate(table.voters)}
    assert table.items.tolist() == ids
    assert by_voter == {"rules": [0, -1, 1], "knn": [-1, 0, -1]}
    assert np.isnan(table.probabilities).all()


def test_label_sets_keep_their_classes(catalog: Catalog) -> None:
    catalog.labels.ensure_label_set(SET)
    catalog.labels.ensure_label_set(SET)
    with pytest.raises(Refused, match="no, yes"):
        catalog.labels.ensure_label_set(LabelSet(name="finding", classes=("yes", "no")))
    with pytest.raises(NotFound, match="there are: finding"):
        catalog.labels.votes("other")
    with pytest.raises(NotFound, match="label model"):
        catalog.labels.label_model("finding")
    assert catalog.labels.label_sets() == [SET]


def test_fused_labels_come_back(catalog: Catalog, ids: list[int]) -> None:
    catalog.labels.ensure_label_set(SET)
    for share in (0.25, 0.5):
        model = NewLabelModel(
            label_set="finding",
            kind="majority",
            params={"a": [1]},
            items=np.array(ids[:2]),
            probabilities=np.array([[share, 1 - share]] * 2, np.float32),
            majority=np.array([1, -1]),
            labels=np.array([1, 0]),
        )
        model_id = catalog.labels.save_label_model(model)
    newest = catalog.labels.label_model("finding")
    assert (newest.id, newest.probabilities[0, 0], newest.classes) == (model_id, 0.5, SET.classes)
    older = catalog.labels.label_model("finding", model_id - 1)
    assert (older.items.tolist(), older.majority.tolist(), older.labels.tolist()) == (
        ids[:2],
        [1, -1],
        [1, 0],
    )
    assert older.probabilities[0, 0] == 0.25


def test_bridges_and_heads_come_back_with_their_arrays(
    catalog: Catalog, images: SpaceRow, ids: list[int]
) -> None:
    arrays = {"map": np.arange(6, dtype=np.float32).reshape(2, 3), "names": np.array(["ä", "b"])}
    new = NewBridge(
        name="b", image_space=images.fingerprint, text_space="t", kind="asif", spec={"k": 8}, arrays=arrays,
        anchors=np.array(ids), anchor_patients=("A", "B", "A"), quality={"r_at_10": None},
    )  # fmt: skip
    catalog.models.save_bridge(new)
    found = catalog.models.bridge("b")
    assert (found.kind, found.spec, found.anchors.tolist()) == ("asif", {"k": 8}, ids)
    assert set(found.anchor_patients) == {"A", "B"}
    for name, array in catalog.models.bridge_arrays("b").items():
        np.testing.assert_array_equal(array, arrays[name])
    with pytest.raises(UsageError, match="already"):
        catalog.models.save_bridge(new)
    with pytest.raises(NotFound, match="there are: b"):
        catalog.models.bridge("c")
    spec = HeadSpec(
        name="h", space=images.fingerprint, target="label", classes=("no", "yes"), data_sha256="0", seed=3,
        split={"by": "site"}, params={"C": 0.1},
    )  # fmt: skip
    catalog.models.save_head(spec, arrays, {"auroc": 0.9})
    assert catalog.models.head("h").spec == spec
    assert catalog.models.heads()[0].details == {"auroc": 0.9}
    np.testing.assert_array_equal(catalog.models.head_arrays("h")["map"], arrays["map"])
    for share in (0.25, 0.5):
        row = np.array([[share, 1 - share]], np.float32)
        catalog.models.save_predictions("h", np.array(ids[:1]), row)
    catalog.models.save_predictions("h", np.array(ids[1:2]), row)
    said = catalog.models.predictions("h")
    assert said.items.tolist() == ids[:2]
    np.testing.assert_array_equal(said.probabilities, [[0.5, 0.5]] * 2)


def test_object_arrays_are_never_written(catalog: Catalog, images: SpaceRow) -> None:
    spec = HeadSpec(
        name="h",
        space=images.fingerprint,
        target="t",
        classes=("a", "b"),
        data_sha256="0",
        seed=0,
        split={},
        params={},
    )
    with pytest.raises(UsageError, match="Python objects"):
        catalog.models.save_head(spec, {"x": np.array([object()], dtype=object)})
    assert catalog.models.heads() == []
