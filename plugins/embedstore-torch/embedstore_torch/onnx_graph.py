"""Networks exported to ONNX, kept in the user's cache by what they were made from, and checked before use."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from embedstore.contracts.encoder import INT8_POLICY, EncoderSpec, LoadRequest
from embedstore.errors import Refused, UsageError
from embedstore.fingerprint import digest, file_sha256
from embedstore.settings import Settings

GRAPH = "model.onnx"
_SUMS = "sha256.json"
_TOLERANCE = 1e-5
_WEIGHTS = QuantType.QUInt8
_QUANTISED = ("MatMulInteger", "DynamicQuantizeMatMul")


def graph_of(module: nn.Module, spec: EncoderSpec, request: LoadRequest, shape: Sequence[int]) -> Path:
    """The graph file of a module that maps (n, *shape) to (n, dim), from the cache or made now.

    It is known by the encoder, its weights' hash, pooling, input and precision, and by the versions of the
    exporter; a file whose sha256 is no longer that of its making is made anew.
    Raises Refused when the fp32 graph's vectors differ from the module's, UsageError when int8 has no layer.
    """
    tower = spec.tower("image")
    assert tower is not None
    key = digest(
        {
            "encoder": [spec.name.partition(":")[0], spec.version, spec.weights_sha256],
            "pooling": tower.pooling,
            "shape": list(shape),
            "precision": [request.precision, INT8_POLICY if request.precision == "int8" else 0],
            "made by": [torch.__version__, onnx.__version__, onnxruntime.__version__],
        }
    )
    folder = (request.cache or Settings.from_environment().cache) / "onnx" / key
    if not _intact(folder):
        _make(folder, module, request.precision, shape)
    return folder / GRAPH


def _intact(folder: Path) -> bool:
    try:
        sums = json.loads((folder / _SUMS).read_text(encoding="utf-8"))
        return GRAPH in sums and all(file_sha256(folder / name) == sums[name] for name in sums)
    except (OSError, ValueError, TypeError):
        return False


def _make(folder: Path, module: nn.Module, precision: str, shape: Sequence[int]) -> None:
    """Made beside its place and moved there whole, so that a run that is killed leaves nothing half done."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as name:
        made = Path(name) / "graph"
        made.mkdir()
        _export(module, shape, made / GRAPH)
        _compare(module, shape, made / GRAPH)
        if precision == "int8":
            exact, made = made, Path(name) / "int8"
            made.mkdir()
            _quantise(exact / GRAPH, made / GRAPH)
        sums = {path.name: file_sha256(path) for path in sorted(made.iterdir())}
        (made / _SUMS).write_text(json.dumps(sums), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            made.replace(folder)
        except OSError:
            if not _intact(folder):  # another process was first
                raise


def _export(module: nn.Module, shape: Sequence[int], file: Path) -> None:
    images = torch.zeros(2, *shape)
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            module,
            (images,),
            file,
            input_names=["images"],
            output_names=["vectors"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            dynamo=True,
            verbose=False,
        )


def _compare(module: nn.Module, shape: Sequence[int], file: Path) -> None:
    images = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    with torch.inference_mode():
        expected = module(torch.from_numpy(images)).numpy()
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: images})[0]
    off = float(np.abs(found - expected).max() / max(1.0, float(np.abs(expected).max())))
    if not off <= _TOLERANCE:
        raise Refused(
            f"this network's vectors by ONNX Runtime are off by {off:.1e} from torch's; use --runtime torch"
        )


def _quantise(exact: Path, file: Path) -> None:
    """Weights of the linear layers to 8 bits, one scale a channel; their inputs are scaled as they come.

    Without a sign: products of a signed weight overflow 16 bits on processors without VNNI instructions, and
    vectors would depend on the machine.
    """
    with _quiet():
        quantize_dynamic(
            exact,
            file,
            weight_type=_WEIGHTS,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Gemm"],
        )
    graph = onnx.load(file, load_external_data=False).graph
    if not any(node.op_type in _QUANTISED for node in graph.node):
        raise UsageError("int8 speeds up the linear layers of transformers; this network has none: use fp32")


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn about themselves, and log on the root, which would otherwise start printing."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    before = root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        root.removeHandler(handler)
