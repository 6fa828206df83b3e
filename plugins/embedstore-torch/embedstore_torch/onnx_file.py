"""An ONNX graph as an encoder. It is data: what could reach beyond it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from embedstore.contracts.encoder import EncoderSpec, LoadRequest
from embedstore.errors import Refused, UsageError
from embedstore_torch.binding import bind_file
from embedstore_torch.encoder import ImageEncoder
from embedstore_torch.files import plain_recipe, read_recipe
from embedstore_torch.loading import check_request, input_shape

_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc")
_CHANNELS = 3


def load(template: EncoderSpec, path: Path, request: LoadRequest) -> ImageEncoder:
    """Raises Refused for a graph that is damaged, reaches beyond its folder, or is none of images."""
    check_request(template.name, request)
    if request.precision != "fp32" or request.device != "cpu":
        raise UsageError("an ONNX file runs on the CPU and in the precision it was exported in")
    if any(find_spec(module) is None for module in ("onnx", "onnxruntime")):
        raise UsageError("onnx:FILE needs onnx and onnxruntime; 'pip install embedstore-torch[onnx]'")
    model, beside = examine(path)
    alone, height, width = _input(path, model)
    recipe = read_recipe(path) or (plain_recipe(height, width) if height and width else plain_recipe())
    shape = input_shape(recipe)
    if (height and shape[1] != height) or (width and shape[2] != width):
        raise Refused(f"{path} reads {height}x{width} and its recipe gives {shape[1]}x{shape[2]}")
    from embedstore_torch.onnx_forward import OnnxForward

    try:
        forward = OnnxForward(path, alone=alone)
        forward.set_threads(request.threads)
        vectors = forward(np.zeros((1, *shape), dtype=np.float32))
    except Exception as error:  # ONNX Runtime has no common base for what it raises
        raise Refused(f"{path} cannot be run: {str(error).strip().splitlines()[0][:200]}") from error
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise Refused(f"{path} gives {vectors.dtype} of {vectors.shape}; expected float32 of (n, dim)")
    spec = bind_file(template, path, recipe, vectors.shape[1], "fp32", beside)
    return ImageEncoder(spec, forward, recipe, request.threads)


def _input(path: Path, model: Any) -> tuple[bool, int, int]:
    """Whether images go in one by one, and their height and width, 0 where the graph leaves it open."""
    kept = {tensor.name for tensor in model.graph.initializer}
    found = [one for one in model.graph.input if one.name not in kept]
    tensor = found[0].type.tensor_type if len(found) == 1 else None
    sizes = [size.dim_value for size in tensor.shape.dim] if tensor is not None else []
    if tensor is None or tensor.elem_type != 1 or len(sizes) != 4 or sizes[1] not in (0, _CHANNELS):
        read = ", ".join(one.name for one in found) or "nothing"
        raise Refused(f"{path} reads {read} of {sizes}; expected one float32 input of (n, 3, height, width)")
    if sizes[0] > 1:
        raise Refused(f"{path} was exported for batches of {sizes[0]}; export it for 1 or for any number")
    return sizes[0] == 1, sizes[2], sizes[3]


def examine(path: Path) -> tuple[Any, list[Path]]:
    """The graph and the files its tensors lie in, each of them in its folder. Raises Refused."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise Refused(f"{path} is truncated, or no ONNX file") from error
    own = {(function.domain, function.name) for function in model.functions}
    folder, beside = path.resolve().parent, {}
    for node in _nodes(model):
        if node.domain not in _DOMAINS and (node.domain, node.op_type) not in own:
            raise Refused(f"{path} has an operator of its own, {node.domain}.{node.op_type}; it is not run")
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            location = next((e.value for e in tensor.external_data if e.key == "location"), "")
            place = (folder / location).resolve()
            if not location or not place.is_relative_to(folder) or not place.is_file():
                raise Refused(f"{path} keeps tensors in '{location}', which is no file in its folder")
            beside[place] = None
    return model, list(beside)


def _graphs(model: Any) -> Iterator[Any]:
    """Every graph and function, those inside of nodes too."""
    left = [model.graph, *model.functions]
    while left:
        graph = left.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                left.extend([attribute.g] if attribute.HasField("g") else [])
                left.extend(attribute.graphs)


def _nodes(model: Any) -> Iterator[Any]:
    for graph in _graphs(model):
        yield from graph.node


def _tensors(model: Any) -> Iterator[Any]:
    for graph in _graphs(model):
        yield from getattr(graph, "initializer", ())
        for sparse in getattr(graph, "sparse_initializer", ()):
            yield from (sparse.values, sparse.indices)
    for node in _nodes(model):
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else [])
            yield from attribute.tensors
