"""Voters that are programs or heads: what runs, what is refused, what is recorded of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml

from embedstore import discovery
from embedstore.contracts.labels import LabelBatch, LabelSet
from embedstore.engine.head_requests import HeadRequest
from embedstore.engine.requests import VoteRequest, ZeroShotRequest
from embedstore.engine.voter_kinds import EXAMPLE, FILE_KEYS, VOTER_KINDS
from embedstore.engine.voters import load_voters
from embedstore.errors import BadInputFile, NotFound, Refused, UsageError
from embedstore.learning.judging import FunctionVoter, ask

MINE = """
import numpy as np

def vote(batch):
    return np.array([1 if "opacity." in text and "No" not in text else 0 for text in batch.texts])

def softly(batch):
    return np.array([[0.2, 0.8] if row["site"] == "B" else [0, 0] for row in batch.columns])

def broken(batch):
    raise ValueError(batch.texts[0])
"""
SET = LabelSet(name="lit", classes=("absent", "present"))


@pytest.fixture
def store(filled):
    return filled


def voters(folder, told: str, code: str = MINE):
    (folder / "mine.py").write_text(code)
    (folder / "voters.yaml").write_text(f"label_set: lit\nvoters:\n  mine: {{kind: python, {told}}}\n")
    return folder / "voters.yaml", hashlib.sha256(code.encode()).hexdigest()


def votes_of(store):
    return store._workspace.catalog.labels.votes("lit")


def test_a_program_runs_only_when_its_hash_is_vouched_for(store, tmp_path):
    path, sha256 = voters(tmp_path, "file: mine.py")
    with pytest.raises(Refused, match=f"--trust-code {sha256}"):
        store.run_votes(VoteRequest(voters=path))
    with pytest.raises(Refused):
        store.run_votes(VoteRequest(voters=path, trust_code=("0" * 64,)))
    card = store.run_votes(VoteRequest(voters=path, trust_code=(sha256,)))
    assert card.voters[0].version == sha256[:12]
    assert (votes_of(store).values == 1).sum() == 20
    run = store._workspace.catalog.runs(1)[0]
    assert run.arguments["code_sha256"] == {"mine": sha256}
    (tmp_path / "mine.py").write_text(MINE + "# changed\n")
    with pytest.raises(Refused):
        store.run_votes(VoteRequest(voters=path, trust_code=(sha256,)))


def test_soft_votes_keep_their_probability_and_zeros_abstain(store, tmp_path):
    path, sha256 = voters(tmp_path, "file: mine.py, function: softly, needs: [metadata]")
    store.run_votes(VoteRequest(voters=path, trust_code=(sha256,)))
    table = votes_of(store)
    assert table.looked.all()
    assert set(table.values[:, 0].tolist()) == {-1, 1}
    assert np.nanmax(table.probabilities) == pytest.approx(0.8)
    assert np.isnan(table.probabilities[table.values < 0]).all()


def test_a_function_that_fails_says_where_and_repeats_no_report(store, tmp_path):
    path, sha256 = voters(tmp_path, "file: mine.py, function: broken")
    with pytest.raises(UsageError, match="ValueError in line 11") as caught:
        store.run_votes(VoteRequest(voters=path, trust_code=(sha256,)))
    assert "opacity" not in str(caught.value)
    path, sha256 = voters(tmp_path, "file: mine.py, function: ghost")
    with pytest.raises(BadInputFile, match="no function 'ghost'"):
        store.run_votes(VoteRequest(voters=path, trust_code=(sha256,)))
    path, sha256 = voters(tmp_path, "file: mine.py", "raise ValueError\n")
    with pytest.raises(BadInputFile, match="does not run: ValueError"):
        store.run_votes(VoteRequest(voters=path, trust_code=(sha256,)))


def test_what_is_no_vote_is_refused():
    batch = LabelBatch(item_ids=np.arange(2), texts=["", ""], columns=[{}, {}])
    for answer, words in (
        ([0], "2 class indices"),
        ([0.5, 1], "2 class indices"),
        ([0, 2], "-1 to 1, not 0 to 2"),
        ([[0.5, 0.5, 0], [0, 0, 0]], "2 x 2 probabilities"),
        ([[-1, 2], [0, 1]], "0 or more"),
    ):
        voter = FunctionVoter(
            label_set=SET, function=lambda _, told=answer: np.array(told), code_sha256="ab" * 32
        )
        with pytest.raises(UsageError, match="voter 'me'") as caught:
            ask(voter, batch, "me")
        assert words in str(caught.value)


def test_a_head_votes_but_not_on_its_own_patients(store, tmp_path):
    path = tmp_path / "voters.yaml"
    path.write_text(
        "label_set: lit\nclasses: ['0', '1']\nvoters:\n  head: {kind: head, head: h, threshold: 0.6}\n"
    )
    store.fit_head(HeadRequest(target="bright", name="h", test_where="site = 'B'"))
    with pytest.raises(BadInputFile, match="embedstore head apply h"):
        store.run_votes(VoteRequest(voters=path))
    store.apply_head("h")
    store.run_votes(VoteRequest(voters=path))
    table = votes_of(store)
    sites = store._workspace.catalog.column(table.items, "site")
    spoke = table.values[:, 0] >= 0
    assert spoke.any()
    assert {site for site, said in zip(sites, spoke, strict=True) if said} == {"B"}
    assert np.nanmin(table.probabilities) >= 0.6


def test_an_installed_function_votes(store, tmp_path, monkeypatch):
    function = FunctionVoter(
        label_set=SET, function=lambda batch: np.ones(len(batch.item_ids), int), code_sha256="cd" * 32
    )
    plugin = type("Plugin", (), {"load": lambda self: function})()
    asked = []
    monkeypatch.setattr(discovery, "find_plugin", lambda group, name: asked.append((group, name)) or plugin)
    path = tmp_path / "voters.yaml"
    path.write_text("label_set: lit\nvoters:\n  other: {kind: plugin, plugin: theirs}\n")
    store.run_votes(VoteRequest(voters=path))
    assert asked == [("embedstore.labeling", "theirs")]
    assert (votes_of(store).values == 1).all()


@pytest.mark.parametrize("classes", ["[no, yes]", "[off, on]", "[False, True]", "[n, y]", "[007, 12:30]"])
def test_a_class_is_called_as_it_is_written(store, tmp_path, classes):
    first, second = classes.strip("[]").split(", ")
    path = tmp_path / "voters.yaml"
    path.write_text(
        f"label_set: written\nclasses: {classes}\nvoters:\n"
        f"  table: {{kind: metadata, column: label, lookup: {{bright: {second}, normal: {first}}}}}\n"
    )
    card = store.run_votes(VoteRequest(voters=path))
    assert card.classes == (first, second)
    assert (store._workspace.catalog.labels.votes("written").values == 1).sum() == 20


def test_values_of_a_lookup_and_findings_may_be_called_yes_and_no(filled, tmp_path):
    path = tmp_path / "voters.yaml"
    path.write_text(
        "label_set: lit\nvoters:\n"
        "  table: {kind: metadata, column: attr.seen, lookup: {yes: present, No: absent}}\n"
        "  near: {kind: neighbours, column: attr.bright, k: 3, balanced: on}\n"
    )
    _, (table, near) = load_voters(filled._workspace, path, None, None)
    batch = LabelBatch(
        item_ids=np.arange(3), texts=[""] * 3, columns=[{"seen": one} for one in ("Yes", "no", "")]
    )
    assert table.function(batch).tolist() == [1, 0, -1]
    assert near.function.balanced
    path.write_text(
        "label_set: lit\nvoters:\n  near: {kind: neighbours, column: attr.bright, balanced: maybe}\n"
    )
    with pytest.raises(BadInputFile, match="voter 'near': 'balanced': expected true or false, not 'maybe'"):
        load_voters(filled._workspace, path, None, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("classes: [a, null]", "'classes': None is no name; put quotes around it"),
        ("classes: [a, a]", "'classes': 'a' stands there twice"),
        ("classes: [a]", "'classes': expected a list of at least two names"),
        ("voters: {x: {kind: zero-shot}}", "not 'zero-shot'; did you mean 'zeroshot'\\?"),
        (
            "voters: {x: {kind: zeroshot, prompts: chset}}",
            "voter 'x': .*chset.*did you mean 'chest'\\? there are: chest",
        ),
        ("voters: {x: {kind: zeroshot, prompts: chest}}", "no finding 'lit'; it has: effusion"),
        (
            "voters: {x: {kind: zeroshot, finding: efusion}}",
            "no finding 'efusion'; did you mean 'effusion'\\?",
        ),
        (
            "voters: {x: {kind: neighbours, column: label}}",
            r"values, but none that is a class \(absent, present\)",
        ),
        ("voters: {x: {kind: neighbours, column: view}}", "'view' has no value among the 60 images"),
        ("voters: {x: {kind: rules, lexicon: chset}}", "no lexicon of embedstore is called 'chset'"),
        ("voters: {x: {kind: rules, lexicon: chest}}", "the lexicon has no finding 'lit'"),
    ],
)
def test_what_is_named_wrongly_is_answered_with_what_there_is(store, tmp_path, text, says):
    path = tmp_path / "voters.yaml"
    path.write_text(f"label_set: lit\n{text}\n")
    with pytest.raises((BadInputFile, NotFound), match=says):
        store.run_votes(VoteRequest(voters=path))


def test_a_shipped_prompt_set_goes_by_its_name_and_a_file_of_that_name_goes_first(store, tmp_path):
    path = tmp_path / "voters.yaml"
    path.write_text(
        "label_set: effusion\nvoters:\n  a: {kind: zeroshot, prompts: chest}\n"
        "  b: {kind: zeroshot}\n  c: {kind: zeroshot, prompts: chest.yaml}\n"
    )
    _, voters = load_voters(store._workspace, path, None, None)
    assert len({voter.function.version for voter in voters}) == 1
    (tmp_path / "chest.yaml").write_text("findings: [effusion]\n")
    _, voters = load_voters(store._workspace, path, None, None)
    assert len({voter.function.version for voter in voters}) == 2
    named = store.zeroshot(ZeroShotRequest(classes=Path("chest")))
    assert named.classes == ("effusion", "pneumothorax", "nodule", "cardiomegaly")
    with pytest.raises(NotFound, match=r"did you mean 'chest'\? there are: chest"):
        store.zeroshot(ZeroShotRequest(classes=Path("chset")))


def test_the_documented_example_has_each_kind_with_keys_of_its_own(store, tmp_path):
    example = yaml.safe_load(EXAMPLE)
    assert set(example) == set(FILE_KEYS)
    assert [one["kind"] for one in example["voters"].values()] == list(VOTER_KINDS)
    assert all(
        set(one) - {"kind"} <= set(VOTER_KINDS[one["kind"]].keys) for one in example["voters"].values()
    )
    path = tmp_path / "voters.yaml"
    for kind, documented in VOTER_KINDS.items():  # whoever reads the file knows the same keys
        path.write_text(f"label_set: lit\nvoters: {{x: {{kind: {kind}, other: 1}}}}\n")
        with pytest.raises(
            BadInputFile, match="unknown key 'other'; known: kind, " + ", ".join(documented.keys)
        ):
            load_voters(store._workspace, path, None, None)


def test_a_zero_shot_voter_that_is_not_shown_to_know_anything_is_told(store, tmp_path):
    (tmp_path / "prompts.yaml").write_text(
        "findings:\n  bright: {present: [There is an opacity.], absent: [No opacity. Normal.]}\n"
        "  other: {present: [Lit.], absent: [Unlit.]}\n"
    )
    path = tmp_path / "voters.yaml"
    path.write_text(
        "label_set: bright\nvoters:\n  weak: {kind: zeroshot, prompts: prompts.yaml, "
        "calibrate_where: \"site = 'A'\"}\n"
    )
    few, wrong, untold = store.run_votes(VoteRequest(voters=path)).warnings
    assert few.startswith("voter 'weak': bright: calibrated on 36 examples")
    assert "do not trust" in wrong
    assert "not shown to tell the examples apart, AUROC 0.000" in untold
