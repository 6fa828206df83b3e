"""The ONNX Runtime route: the same vectors in fp32, int8 behind a check on the user's own images."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
import timm
import torch
from embedstore_timm import factory
from embedstore_torch import check_request
from embedstore_torch.forward import forward_of
from PIL import Image as PilImage
from timm.models import save_for_hf

from embedstore.contracts.encoder import ApproximateEncoder, LoadRequest
from embedstore.contracts.query import Query
from embedstore.engine import precision
from embedstore.engine.requests import EncoderChoice, IngestRequest
from embedstore.engine.store import Store
from embedstore.errors import Refused, UsageError
from embedstore.testing.encoders import EncoderContract, sample_images

ARGUMENTS = {"embed_dim": 64, "depth": 2, "num_heads": 2, "img_size": 64}


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def vit(tmp_path_factory):
    """A small vision transformer in a folder as timm publishes them."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(8)
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, **ARGUMENTS)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    model.pretrained_cfg = {**model.pretrained_cfg, "input_size": (3, 64, 64)}
    save_for_hf(model, folder, model_args=ARGUMENTS, safe_serialization=True)
    return folder


@pytest.fixture(scope="session")
def load(vit, cache):
    return lambda **more: factory.load(f"timm:{vit}", LoadRequest(threads=2, cache=cache, **more))


class _Small(EncoderContract):
    __test__ = False
    factory = factory

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def model(cls, vit, cache):
        cls.name = f"timm:{vit}"
        cls.request = replace(cls.request, cache=cache)


class TestOnnx(_Small):
    __test__ = True
    request = LoadRequest(threads=1, runtime="onnx")


class TestInt8(_Small):
    __test__ = True
    request = LoadRequest(threads=2, precision="int8")


def test_onnx_gives_the_same_vectors_in_the_same_space(load):
    by_torch, by_onnx = load(), load(runtime="onnx")
    images = [*sample_images(), sample_images()[1]]
    expected = by_torch.encode_images(images)
    assert np.abs(by_onnx.encode_images(images) - expected).max() < 1e-5
    assert np.abs(by_onnx.encode_images(images[:1]) - expected[:1]).max() < 1e-5
    assert by_onnx.spec == by_torch.spec


def test_int8_is_another_space_close_to_fp32_and_knows_the_exact_vectors(load):
    exact, quick = load(), load(precision="int8")
    assert isinstance(quick, ApproximateEncoder)
    prepared = np.stack([exact.prepare_image(image) for image in sample_images()])
    a, b = exact.forward_images(prepared), quick.forward_images(prepared)
    assert np.array_equal(quick.exact_images(prepared), a)
    assert np.abs(a - b).max() > 0
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 0.99
    assert quick.spec.tower("image").space != exact.spec.tower("image").space
    assert quick.spec.precision == "int8"


def test_int8_weights_have_no_sign(load, cache):
    """With one, sums of products overflow on processors without VNNI instructions."""
    load(precision="int8")
    weights = []
    for file in cache.rglob("model.onnx"):
        graph = onnx.load(file).graph
        own = {node.input[1] for node in graph.node if node.op_type == "MatMulInteger"}
        weights += [one.data_type for one in graph.initializer if one.name in own]
    assert weights
    assert set(weights) == {onnx.TensorProto.UINT8}


def test_bf16_is_another_space(load):
    exact, half = load(), load(precision="bf16")
    a, b = exact.encode_images(sample_images()), half.encode_images(sample_images())
    assert 0 < np.abs(a - b).max() < 0.1 * np.abs(a).max()
    assert half.spec.tower("image").space != exact.spec.tower("image").space


def test_a_graph_is_made_once_and_again_when_it_is_damaged(vit, tmp_path):
    def load():
        return factory.load(f"timm:{vit}", LoadRequest(threads=1, cache=tmp_path, runtime="onnx"))

    expected = load().encode_images(sample_images())
    (graph,) = tmp_path.glob("onnx/*/model.onnx")
    sums = json.loads((graph.parent / "sha256.json").read_text())
    before = graph.stat().st_mtime_ns
    load()
    assert graph.stat().st_mtime_ns == before
    for name in sums:
        content = bytearray((graph.parent / name).read_bytes())
        content[len(content) // 2] ^= 255
        (graph.parent / name).write_bytes(content)
        assert np.array_equal(load().encode_images(sample_images()), expected)
    assert [path.name for path in (tmp_path / "onnx").iterdir()] == [graph.parent.name]


def test_a_network_that_onnx_runtime_answers_otherwise_is_refused(load, tmp_path, monkeypatch):
    monkeypatch.setattr("embedstore_torch.onnx_graph._TOLERANCE", -1.0)
    request = LoadRequest(runtime="onnx", cache=tmp_path)
    with pytest.raises(Refused, match="--runtime torch"):
        forward_of(torch.nn.Flatten(), load().spec, request, (3, 4, 4))
    assert not list((tmp_path / "onnx").iterdir())


def test_int8_of_convolutions_alone_is_refused(load, tmp_path):
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 4), torch.nn.Flatten())
    with pytest.raises(UsageError, match="transformers"):
        forward_of(network, load().spec, LoadRequest(precision="int8", cache=tmp_path), (3, 4, 4))


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (LoadRequest(precision="fp8"), "no precision 'fp8'"),
        (LoadRequest(runtime="tvm"), "torch and onnx"),
        (LoadRequest(precision="bf16", runtime="onnx"), "not in bf16"),
        (LoadRequest(precision="int8", device="cuda"), "not on 'cuda'"),
    ],
)
def test_what_cannot_be_had_is_told_before_loading(request_, told):
    with pytest.raises(UsageError, match=told):
        check_request("timm:x", request_)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr("embedstore_torch.loading.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs onnx, onnxruntime.*embedstore-torch\[onnx\]"):
        check_request("timm:x", LoadRequest(precision="int8"))


# The check on the user's own images


def _draw(folder, count, start=0):
    folder.mkdir(exist_ok=True)
    for number in range(start, start + count):
        rng = np.random.default_rng(number)
        blocks = (rng.random((4, 4, 3)) ** rng.uniform(0.3, 3) * 255).astype(np.uint8)
        PilImage.fromarray(blocks).resize((64, 64), PilImage.Resampling.NEAREST).save(
            folder / f"{number}.png"
        )
    return folder


@pytest.fixture
def store(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("EMBEDSTORE_CACHE", str(cache))
    monkeypatch.setenv("EMBEDSTORE_READING", "inline")
    with Store.create(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def ask(vit):
    text = EncoderChoice(name="reference")

    def request(*paths, **more):
        encoder = EncoderChoice(name=f"timm:{vit}", precision="int8", threads=1)
        return IngestRequest(paths=paths, encoder=encoder, text_encoder=text, **more)

    return request


def _check(store):
    (space,) = store._workspace.spaces_of("image")
    return store._workspace.check_of(space)


def test_int8_is_kept_after_a_check_that_the_store_remembers(store, ask, tmp_path):
    folder = _draw(tmp_path / "in", 40)
    assert store.ingest(ask(folder)).added == 40
    found = _check(store)
    assert found["images"] == 40
    assert found["against"] == "fp32"
    assert precision.COSINE <= found["centred_cosine"] < 1
    assert precision.OVERLAP <= found["top_10_overlap"] <= 1
    _draw(folder, 1, start=40)
    assert store.ingest(ask(folder)).added == 1, "a store that passed takes any number"
    assert _check(store) == found
    hits = store.search(Query(image=folder / "7.png", k=1)).hits
    assert hits[0].item.path.endswith("7.png")


def test_int8_that_falls_short_keeps_nothing(store, ask, tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "COSINE", 1.1)
    with pytest.raises(Refused, match="nothing was kept, ingest with --precision fp32"):
        store.ingest(ask(_draw(tmp_path / "in", 40)))
    assert store.status().images == 0
    assert _check(store) is None


def test_too_few_images_to_check_int8_are_told(store, ask, tmp_path):
    with pytest.raises(UsageError, match="3 are too few"):
        store.ingest(ask(_draw(tmp_path / "in", 3)))
    assert store.status().images == 0


def test_agreement_of_vectors():
    rng = np.random.default_rng(0)
    exact = rng.standard_normal((60, 16)).astype(np.float32) + 20
    assert precision.agreement(exact, exact) == (pytest.approx(1.0), 1.0)
    cosine, overlap = precision.agreement(exact, exact[::-1].copy())
    assert abs(cosine) < 0.3, "what all vectors have in common does not flatter"
    assert overlap < 0.4
