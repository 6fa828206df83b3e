"""Heads outside: the same answers from safetensors, ONNX Runtime and scikit-learn; no file holds code."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
import skops.io

from embedstore.errors import BadInputFile, StoreDamaged, UsageError
from embedstore.learning.heads.files import load_head, save_head
from embedstore.learning.heads.fit import fit_kind
from embedstore.learning.heads.kinds import KINDS
from embedstore.learning.heads.onnx import EXPORTED, save_onnx
from embedstore.learning.heads.rows import FitOptions, Identity
from embedstore.learning.heads.sklearn import to_sklearn

GRIDS = {"logistic": (0.5,), "ridge": (10.0,), "tip-adapter": ((30.0, 1.0, 5.5),), "lp++": (30,)}


def fitted(kind, task=None, n_classes=3, **options):
    """A head of a kind on made vectors; nothing chosen, to be quick."""
    rng = np.random.default_rng(0)
    task = task or KINDS[kind].tasks[0]
    y = np.arange(120) % n_classes
    centres = rng.normal(size=(n_classes, 9))
    vectors = (centres[y] + rng.normal(size=(120, 9)) + 3).astype(np.float32)
    outputs = {"classes": n_classes, "findings": n_classes, "value": 1, "anomaly": 1}[task]
    if task == "findings":
        y = (rng.random((120, n_classes)) < 0.5).astype(int)
    if task == "value":
        y = vectors.sum(axis=1)
    who = Identity(name="h", space="s" * 64, target="t", classes=tuple("abcdef"[:outputs]))
    texts = centres.astype(np.float32) if KINDS[kind].needs_texts else None
    asked = FitOptions(**{"scaling": "unit", "grid": GRIDS.get(kind), "members": 3, **options})
    people = np.arange(120) // 2
    bags = people if KINDS[kind].on_bags else None
    y = np.repeat(y[::2], 2, axis=0) if KINDS[kind].on_bags else y
    return fit_kind(kind, vectors, y, people, who, task=task, texts=texts, bags=bags, options=asked)


ASKED = np.random.default_rng(1).normal(size=(50, 9)).astype(np.float32) + 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_comes_back_from_its_two_files(kind, tmp_path):
    head = fitted(kind)
    save_head(head, tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"head.json", "head.safetensors"}
    back = load_head(tmp_path / "out")
    np.testing.assert_array_equal(back.predict(ASKED), head.predict(ASKED))
    assert back.spec == head.spec


def test_files_that_are_no_head_are_refused(tmp_path):
    with pytest.raises(BadInputFile, match=r"head\.json"):
        load_head(tmp_path)
    save_head(fitted("ridge"), tmp_path)
    (tmp_path / "head.safetensors").write_bytes(b"\x80\x04.")
    with pytest.raises(StoreDamaged, match="cannot be read as a head"):
        load_head(tmp_path)
    save_head(fitted("ridge"), tmp_path)
    card = json.loads((tmp_path / "head.json").read_text())
    (tmp_path / "head.json").write_text(json.dumps({**card, "format": "other"}))
    with pytest.raises(BadInputFile, match="not the card of a head"):
        load_head(tmp_path)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("logistic", {"n_classes": 2}),
        ("logistic", {"scaling": "standardise", "long_tail": "adjusted"}),
        ("logistic", {"task": "findings"}),
        ("logistic", {"uncertainty": "laplace"}),
        ("logistic", {"uncertainty": "laplace", "n_classes": 2}),
        ("logistic", {"uncertainty": "ensemble", "n_classes": 2}),
        ("logistic", {"uncertainty": "ensemble", "task": "findings"}),
        ("ridge", {"scaling": "standardise"}),
        ("ridge", {"uncertainty": "ensemble"}),
        ("tip-adapter", {}),
        ("lp++", {}),
        ("mahalanobis", {}),
    ],
)
def test_onnx_runtime_gives_the_same_numbers(kind, more, tmp_path):
    assert kind in EXPORTED
    head = fitted(kind, **more)
    save_onnx(head, tmp_path / "head.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "head.onnx", providers=["CPUExecutionProvider"])
    (told,) = session.run(["answers"], {"vectors": ASKED})
    np.testing.assert_allclose(told, head.predict(ASKED), rtol=1e-6, atol=1e-6)
    assert session.get_modelmeta().custom_metadata_map["space"] == head.spec.space


def test_kinds_without_a_graph_say_which_have_one(tmp_path):
    with pytest.raises(UsageError, match="these have: logistic"):
        save_onnx(fitted("knn"), tmp_path / "head.onnx")
    assert not (tmp_path / "head.onnx").exists()


@pytest.mark.parametrize("scaling", ["unit", "standardise"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_scikit_learn_gives_the_same_numbers(scaling, n_classes, tmp_path):
    head = fitted("logistic", scaling=scaling, n_classes=n_classes)
    model = to_sklearn(head)
    np.testing.assert_allclose(model.predict_proba(ASKED), head.predict(ASKED), atol=1e-6)
    assert model.predict(ASKED).tolist() == [head.spec.classes[c] for c in head.predict(ASKED).argmax(axis=1)]
    skops.io.dump(model, tmp_path / "head.skops")
    assert skops.io.get_untrusted_types(file=tmp_path / "head.skops") == []
    back = skops.io.load(tmp_path / "head.skops")
    np.testing.assert_array_equal(back.predict_proba(ASKED), model.predict_proba(ASKED))


def test_scikit_learn_has_findings_and_values_too():
    head = fitted("logistic", task="findings")
    told = np.stack([one[:, 1] for one in to_sklearn(head).predict_proba(ASKED)], axis=1)
    np.testing.assert_allclose(told, head.predict(ASKED), atol=1e-6)
    head = fitted("ridge")
    np.testing.assert_allclose(to_sklearn(head).predict(ASKED), head.predict(ASKED)[:, 0], rtol=1e-5)
    for kind, more in (("knn", {}), ("logistic", {"uncertainty": "laplace"})):
        with pytest.raises(UsageError, match="scikit-learn"):
            to_sklearn(fitted(kind, **more))
