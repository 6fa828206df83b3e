"""A recorded head leaves the store as files that other programs read, without the labels it was fitted on."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
import skops.io

from embedstore.engine.head_requests import HeadRequest
from embedstore.errors import BadInputFile, UsageError
from embedstore.learning.heads.files import load_head


def test_a_head_is_exported_in_every_form(filled, tmp_path):
    filled.fit_head(HeadRequest(target="bright", name="outward"))
    written = filled.export_head(
        "outward", folder=tmp_path / "head", onnx=tmp_path / "h.onnx", sklearn=tmp_path / "h.skops"
    )
    assert all(path.exists() for path in written)
    head = load_head(tmp_path / "head")
    assert set(head.arrays) == {"weights", "bias", "mean", "scale"}
    assert "P1" not in json.dumps(head.to_json())
    asked = np.random.default_rng(0).normal(size=(9, head.dim)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "h.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"vectors": asked})[0], head.predict(asked), atol=1e-6)
    outside = skops.io.load(tmp_path / "h.skops")
    np.testing.assert_allclose(outside.predict_proba(asked), head.predict(asked), atol=1e-5)
    with pytest.raises(UsageError, match="--folder DIR, --onnx FILE or --sklearn FILE"):
        filled.export_head("outward")
    with pytest.raises(BadInputFile, match="cannot be written"):
        filled.export_head("outward", onnx=tmp_path / "nowhere" / "h.onnx")
