"""Paired comparisons of heads and encoders: "better" only where the interval of the difference excludes 0."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embedstore.cli.output import plain
from embedstore.engine.comparison_records import EncoderComparisonRequest
from embedstore.engine.head_requests import HeadRequest
from embedstore.errors import LeakageRefused, UsageError
from embedstore.storage.batches import IngestBatch, NewVectors
from tests.metric_schema import unbacked
from tests.unit.storage.storagekit import bound_spec

TO_B = "site = 'B'"


@pytest.fixture
def own(filled):
    """The cohort with two more spaces: "twin", the reference's vectors a little shaken, and "blind" noise."""
    catalog = filled._workspace.catalog
    space = filled._workspace.space("image", "reference")
    items, vectors = catalog.item_vectors(space.id, catalog.select_items(None, "image"))
    keys = tuple((item.sha256, item.part) for item in catalog.items(items.tolist()))
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, vectors.shape).astype(np.float32)
    for name, made in (("twin", vectors + 0.01 * vectors.std() * noise), ("blind", noise)):
        spec = bound_spec(dim=space.dim, name=name)
        row = catalog.ensure_space(spec, "image")
        catalog.commit(IngestBatch(vectors=(NewVectors(space_id=row.id, keys=keys, vectors=made),)))
    return filled


def compared(store, *encoders, **more):
    request = {"target": "bright", "test_where": TO_B, "k": 5, **more}
    found = store.compare_encoders(EncoderComparisonRequest(encoders=encoders, **request))
    assert list(unbacked(json.loads(json.dumps(plain(found.to_json()), allow_nan=False)))) == []
    return found


def test_an_encoder_that_sees_is_better_than_one_that_does_not(own):
    found = compared(own, "blind", "reference")
    assert [row.encoder for row in found.rows] == ["reference", "blind"]
    assert found.verdict == "'reference' is better than blind"
    assert (found.train["images"], found.test["images"], found.test["patients"]) == (36, 24, 12)
    best, worst = found.rows
    assert best.probe.against_first is None
    for measure in (worst.precision_at_k, worst.neighbours, worst.probe):
        assert measure.against_first.verdict == "worse"
        assert measure.against_first.difference.high < 0
    assert best.precision_at_k.estimate.value > 0.9
    assert best.seconds_per_image > 0
    assert (best.bytes_per_image, best.licence) == (4 * best.dim, "Apache-2.0")
    assert worst.seconds_per_image is None
    assert any("no cost of 'blind'" in note for note in found.notes)


def test_a_twin_is_not_told_apart_and_more_rivals_ask_for_more(own):
    found = compared(own, "reference", "twin", timed=0)
    assert found.rows[1].probe.against_first.verdict == "not told apart"
    assert "is not told apart from" in found.verdict
    assert found.rows[1].probe.against_first.difference.level == 0.95
    everything = compared(own, timed=0)
    assert {row.encoder for row in everything.rows} == {"reference", "twin", "blind"}
    assert everything.rows[1].probe.against_first.difference.level == pytest.approx(0.975)
    assert everything.unsealed["times"] == 2


def test_a_comparison_is_a_look_at_what_heads_hold_out(own):
    own.fit_head(HeadRequest(target="bright", name="h", test_where=TO_B, encoder="reference"))
    assert own.evaluate_head("h").unsealed["times"] == 1
    assert compared(own, "reference", "twin", timed=0).unsealed["heads"] == ["comparison of 2 encoders", "h"]
    assert own.evaluate_head("h").unsealed["times"] == 3


def test_what_cannot_be_compared_is_refused(own):
    with pytest.raises(UsageError, match="embedded by two encoders"):
        compared(own, "reference")
    with pytest.raises(UsageError, match="no images in this store were embedded by 'nobody'"):
        compared(own, "reference", "nobody")
    with pytest.raises(LeakageRefused):
        compared(own, "reference", "twin", test_where="id <= 21")


def fitted(store, tmp_path, name, encoder="reference", wrong=0, **more):
    """A head on the cohort's labels, of which the first `wrong` of site A are turned round."""
    items = [item for item in store.items() if item.kind == "image"]
    table = tmp_path / f"{name}.csv"
    lines = [f"{item.id},{int(item.extra['bright']) ^ (number < wrong)}" for number, item in enumerate(items)]
    table.write_text("\n".join(["id,label", *lines]) + "\n")
    asked = {"target": "mine", "labels": table, "encoder": encoder, "test_where": TO_B, **more}
    return store.fit_head(HeadRequest(name=name, **asked))


def test_a_head_is_better_only_where_the_paired_interval_says_so(own, tmp_path):
    for name, encoder in (("sees", "reference"), ("twin", "twin"), ("blind", "blind")):
        fitted(own, tmp_path, name, encoder)
    found = own.compare_heads("sees", "blind")
    json.dumps(plain(found.to_json()), allow_nan=False)
    auroc, *losses = found.metrics
    assert auroc.comparison.verdict == "better"
    assert auroc.comparison.difference.low > 0
    assert [one.comparison.verdict for one in losses] == ["better", "better"]
    assert losses[0].first.value < losses[0].second.value
    assert own.compare_heads("blind", "sees").metrics[0].comparison.verdict == "worse"
    alike = own.compare_heads("sees", "twin")
    assert (
        alike.metrics[0].comparison.verdict == "not told apart"
    )  # losses are: of two fits one is a little surer
    assert (alike.counts["images"], alike.counts["patients"]) == (24, 12)
    assert alike.unsealed["times"] == 3


def test_heads_of_other_labels_or_patients_are_not_compared(own, tmp_path):
    fitted(own, tmp_path, "right")
    fitted(own, tmp_path, "turned", wrong=60)
    fitted(own, tmp_path, "other side", test_where="site = 'A'")
    own.fit_head(HeadRequest(target="label", name="words", test_where=TO_B, encoder="reference"))
    with pytest.raises(UsageError, match="24 test images have other labels"):
        own.compare_heads("right", "turned")
    with pytest.raises(UsageError, match="no image in common"):
        own.compare_heads("right", "other side")
    with pytest.raises(UsageError, match="cannot be compared"):
        own.compare_heads("right", "words")
    with pytest.raises(LeakageRefused):
        own.compare_heads("right", "words", "site = 'A'")


def test_heads_of_different_splits_meet_on_what_both_hold_out(own, tmp_path):
    fitted(own, tmp_path, "by site")
    drawn = fitted(own, tmp_path, "drawn", test_where=None, test_fraction=0.5)
    found = own.compare_heads("by site", "drawn")
    assert 0 < found.counts["images"] < min(24, drawn.split["n_test"])
