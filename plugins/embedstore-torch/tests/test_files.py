"""TorchScript and ONNX files as encoders: programs only when trusted, data only within its folder."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
import torch
import yaml
from embedstore_torch import onnx_factory, torchscript_factory
from embedstore_torch.files import plain_recipe
from onnx import TensorProto, helper
from torch import nn

from embedstore.contracts.encoder import LoadRequest
from embedstore.discovery import ENCODERS, find_plugin
from embedstore.errors import Refused, UsageError, WeightsMissing
from embedstore.fingerprint import file_sha256
from embedstore.testing.encoders import EncoderContract, sample_images


def network():
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, 8, 16, 16), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def export(path, sides=(32, 32), batch=None, module=None):
    shapes = ({0: torch.export.Dim("n")},) if batch is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = torch.zeros(batch or 2, 3, *sides)
        torch.onnx.export(
            module or network(), (images,), path, dynamic_shapes=shapes, dynamo=True, verbose=False
        )
    return path


@pytest.fixture(scope="session")
def scripted(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "mine.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network()), path)
    return path


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    return export(tmp_path_factory.mktemp("data") / "mine.onnx")


class TestTorchScript(EncoderContract):
    factory = torchscript_factory
    entry = "embedstore_torch:torchscript_factory"

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def file(scripted):
        TestTorchScript.name = f"torchscript:{scripted}"
        TestTorchScript.request = LoadRequest(threads=1, trust=file_sha256(scripted))


class TestOnnxFile(EncoderContract):
    factory = onnx_factory
    entry = "embedstore_torch:onnx_factory"
    request = LoadRequest(threads=1)

    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def file(exported):
        TestOnnxFile.name = f"onnx:{exported}"


def _expected(recipe):
    images = torch.from_numpy(np.stack([recipe.apply(image) for image in sample_images()]))
    with torch.inference_mode():
        return network()(images).numpy()


def test_they_are_found_by_entry_point():
    assert find_plugin(ENCODERS, "torchscript:x.pt").load() is torchscript_factory
    assert find_plugin(ENCODERS, "onnx:x.onnx").load() is onnx_factory


def test_vectors_are_those_of_the_network(scripted, exported):
    trusted = LoadRequest(threads=1, trust=file_sha256(scripted))
    program = torchscript_factory.load(f"torchscript:{scripted}", trusted)
    assert np.abs(program.encode_images(sample_images()) - _expected(plain_recipe())).max() < 1e-5
    data = onnx_factory.load(f"onnx:{exported}", LoadRequest(threads=1))
    assert np.abs(data.encode_images(sample_images()) - _expected(plain_recipe(32, 32))).max() < 1e-5
    assert data.prepare_image(sample_images()[0]).shape == (3, 32, 32)
    by_weights = onnx_factory.load("onnx", LoadRequest(weights=exported))
    assert by_weights.spec.tower("image").space == data.spec.tower("image").space


def test_a_graph_for_one_image_at_a_time_takes_many(tmp_path):
    encoder = onnx_factory.load(f"onnx:{export(tmp_path / 'one.onnx', batch=1)}", LoadRequest(threads=2))
    assert np.abs(encoder.encode_images(sample_images()) - _expected(plain_recipe(32, 32))).max() < 1e-5


@pytest.mark.parametrize("trust", [None, "0" * 64])
def test_a_program_runs_only_when_its_sha256_was_typed(scripted, trust):
    with pytest.raises(Refused, match=f"--trust-code {file_sha256(scripted)}"):
        torchscript_factory.load(f"torchscript:{scripted}", LoadRequest(trust=trust))


def test_a_recipe_beside_the_file_is_the_preprocessing(exported, tmp_path):
    path = export(tmp_path / "mine.onnx", sides=(48, 32))
    recipe = plain_recipe(48, 32)
    described = recipe.to_json()
    described["steps"][1]["mode"] = "longest"
    described["steps"].insert(2, {"step": "pad", "size": [48, 32], "fill": 0.0, "align": "center"})
    path.with_name("mine.onnx.yaml").write_text(yaml.safe_dump(described))
    encoder = onnx_factory.load(f"onnx:{path}", LoadRequest(threads=1))
    assert [step["step"] for step in encoder.spec.tower("image").preprocess["steps"]][1:3] == [
        "resize",
        "pad",
    ]
    plain = onnx_factory.load("onnx", LoadRequest(weights=export(tmp_path / "b.onnx", sides=(48, 32))))
    assert encoder.spec.tower("image").space != plain.spec.tower("image").space
    path.with_name("mine.onnx.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(Refused, match="cannot be read as YAML"):
        onnx_factory.load(f"onnx:{path}", LoadRequest())
    path.with_name("mine.onnx.yaml").write_text("steps: [{step: sharpen}]")
    with pytest.raises(Refused, match=r"mine\.onnx\.yaml.*must name one of"):
        onnx_factory.spec(f"onnx:{path}")


def test_what_is_no_such_file_is_refused(tmp_path, exported, scripted):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(exported.read_bytes()[:100])
    with pytest.raises(Refused, match=r"truncated, or no ONNX file|expected one float32|cannot be run"):
        onnx_factory.load(f"onnx:{bad}", LoadRequest())
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(Refused, match="not a TorchScript archive"):
        torchscript_factory.load(f"torchscript:{tmp_path / 'weights.pt'}", LoadRequest())
    with pytest.raises(WeightsMissing, match="no file"):
        onnx_factory.load(f"onnx:{tmp_path / 'none.onnx'}", LoadRequest())
    with pytest.raises(WeightsMissing, match="say which file"):
        torchscript_factory.load("torchscript", LoadRequest())
    with pytest.raises(UsageError, match="precision it was exported in"):
        onnx_factory.load(f"onnx:{exported}", LoadRequest(precision="int8"))
    with pytest.raises(UsageError, match="runs by torch"):
        torchscript_factory.load(f"torchscript:{scripted}", LoadRequest(runtime="onnx"))


def _graph(nodes, path, initializers=(), shape=("n", 3, 8, 8)):
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    vectors = helper.make_tensor_value_info("vectors", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [image], [vectors], list(initializers))
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("my.ops", 1)]
    path.write_bytes(helper.make_model(graph, opset_imports=imports).SerializeToString())
    return path


def _external(location):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[192, 4])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    return tensor


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "link.bin", ""])
def test_tensors_outside_of_the_folder_are_refused(tmp_path, location):
    (tmp_path / "secret.bin").write_bytes(bytes(192 * 4 * 4))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["vectors"]),
    ]
    path = _graph(nodes, folder / "m.onnx", [_external(location)])
    with pytest.raises(Refused, match="no file in its folder"):
        onnx_factory.load(f"onnx:{path}", LoadRequest())


def test_tensors_beside_the_file_are_part_of_the_space(tmp_path):
    nodes = [
        helper.make_node("Flatten", ["images"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["vectors"]),
    ]
    path = _graph(nodes, tmp_path / "m.onnx", [_external("w.bin")])
    spaces = []
    for seed in (0, 1):
        weights = np.random.default_rng(seed).standard_normal((192, 4)).astype(np.float32)
        (tmp_path / "w.bin").write_bytes(weights.tobytes())
        spaces.append(onnx_factory.load(f"onnx:{path}", LoadRequest()).spec.tower("image").space)
    assert spaces[0] != spaces[1]


def test_operators_of_its_own_are_refused_wherever_they_hide(tmp_path):
    own = helper.make_node("Spy", ["images"], ["vectors"], domain="my.ops")
    with pytest.raises(Refused, match=r"my\.ops\.Spy"):
        onnx_factory.load(f"onnx:{_graph([own], tmp_path / 'a.onnx')}", LoadRequest())
    out = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    inner = helper.make_graph(
        [helper.make_node("Spy", ["images"], ["inner"], domain="my.ops")], "inner", [], [out]
    )
    always = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    branch = helper.make_node("If", ["yes"], ["vectors"], then_branch=inner, else_branch=inner)
    with pytest.raises(Refused, match=r"my\.ops\.Spy"):
        onnx_factory.load(f"onnx:{_graph([branch], tmp_path / 'b.onnx', [always])}", LoadRequest())


@pytest.mark.parametrize(
    ("shape", "told"),
    [(("n", 1, 8, 8), "expected one float32"), ((4, 3, 8, 8), "batches of 4"), (("n", 192), "expected one")],
)
def test_graphs_that_are_not_of_images_are_refused(tmp_path, shape, told):
    flat = helper.make_node("Flatten", ["images"], ["vectors"])
    with pytest.raises(Refused, match=told):
        onnx_factory.load(f"onnx:{_graph([flat], tmp_path / 'm.onnx', shape=shape)}", LoadRequest())


def test_maps_instead_of_vectors_are_refused(tmp_path):
    same = helper.make_node("Identity", ["images"], ["vectors"])
    with pytest.raises(Refused, match=r"expected float32 of \(n, dim\)"):
        onnx_factory.load(f"onnx:{_graph([same], tmp_path / 'm.onnx')}", LoadRequest())
    assert onnx.load(tmp_path / "m.onnx").graph.name == "g"
