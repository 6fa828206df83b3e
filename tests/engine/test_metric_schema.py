"""No metric leaves without what it rests on: numbers of images, patients, positives, interval, method."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from embedstore.engine.drift_records import DriftRequest
from embedstore.engine.head_requests import Conformal, HeadRequest
from embedstore.engine.requests import VoteRequest, ZeroShotRequest

BACKING = {"low", "high", "n_images", "n_patients", "n_positives", "method"}
METRICS = {"auroc", "accuracy", "brier", "log_loss", "balanced_accuracy", "average_precision", "r2", "ece"}
VOTERS = """
label_set: schema
voters:
  table: {kind: metadata, column: label, lookup: {bright: present, normal: absent}}
  site: {kind: metadata, column: site, lookup: {B: present}}
"""
PROMPTS = "name: x\nfindings: {bright: {present: [There is an opacity.], absent: [No opacity.]}}\n"


def bare(found, where=""):
    """Paths of numbers that are metrics and say nothing of what they rest on."""
    if isinstance(found, dict):
        is_estimate = "value" in found and ("low" in found or "metric" in found)
        if is_estimate and not set(found) >= BACKING:
            yield f"{where}: lacks {sorted(BACKING - set(found))}"
        for name, one in found.items():
            if name in METRICS and isinstance(one, int | float):
                yield f"{where}.{name}: a bare number"
            yield from bare(one, f"{where}.{name}")
    if isinstance(found, list):
        for number, one in enumerate(found):
            yield from bare(one, f"{where}[{number}]")


def as_json(answer):
    plain = answer.to_json() if hasattr(answer, "to_json") else asdict(answer)
    return json.loads(json.dumps(plain))


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.yaml"
    path.write_text(PROMPTS)
    return path


@pytest.mark.parametrize(
    "asked",
    [
        {"target": "bright", "conformal": Conformal(alpha=0.3, by="site"), "uncertainty": "laplace"},
        {"target": "bright", "kind": "bag-mean", "bag": "patient"},
        {"target": "age", "kind": "ridge"},
        {"target": "label", "kind": "mahalanobis", "healthy": "normal"},
    ],
)
def test_heads(filled, asked):
    name = f"schema {asked['target']} {asked.get('kind')} {len(asked)}"
    card = filled.fit_head(HeadRequest(name=name, test_fraction=0.4, **asked))
    assert list(bare(as_json(card))) == []
    assert list(bare(as_json(filled.evaluate_head(name)))) == []


def test_zero_shot(filled, prompts):
    asked = ZeroShotRequest(
        classes=prompts, where="site = 'B'", calibrate_where="site = 'A'", sensitivity=True
    )
    assert list(bare(as_json(filled.zeroshot(asked)))) == []


def test_labels(filled, tmp_path):
    (tmp_path / "voters.yaml").write_text(VOTERS)
    filled.run_votes(VoteRequest(voters=tmp_path / "voters.yaml"))
    assert list(bare(as_json(filled.fit_label_model("schema", truth="attr.bright")))) == []
    assert list(bare(as_json(filled.label_report("schema", truth="attr.bright")))) == []


def test_drift(filled):
    asked = DriftRequest(reference="site = 'A'", new="site = 'B'", label="bright")
    assert list(bare(as_json(filled.drift(asked)))) == []


def test_a_metric_without_backing_is_found():
    assert list(bare({"a": [{"auroc": 0.9}]})) == [".a[0].auroc: a bare number"]
    assert "n_patients" in next(iter(bare({"x": {"value": 0.9, "low": 0.8}})))
