"""A head as an ONNX graph: float32 vectors (n, dim) in, answers (n, outputs) out; `embedstore[onnx]`.

Sums are done in double precision inside, as this program does them, so that both give the same numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedstore.errors import UsageError
from embedstore.learning.heads.record import FittedHead

OPSET = 18
EXPORTED = ("logistic", "ridge", "tip-adapter", "lp++", "mahalanobis")
_TINY = 1e-12


def save_onnx(head: FittedHead, path: Path) -> None:
    """Write the graph. Raises UsageError for a kind that has none, or when the onnx package is missing."""
    if head.kind not in EXPORTED:
        raise UsageError(f"a head of kind '{head.kind}' has no ONNX graph; these have: {', '.join(EXPORTED)}")
    try:
        import onnx
    except ImportError:
        raise UsageError("the ONNX export needs a further package: pip install 'embedstore[onnx]'") from None
    graph = _Graph()
    graph.add("Cast", _answer(graph, head), to=onnx.TensorProto.FLOAT)
    graph.nodes[-1].output[0] = "answers"
    inside = onnx.helper.make_tensor_value_info("vectors", onnx.TensorProto.FLOAT, ["n", head.dim])
    outside = onnx.helper.make_tensor_value_info(
        "answers", onnx.TensorProto.FLOAT, ["n", len(head.spec.classes)]
    )
    made = onnx.helper.make_graph(graph.nodes, "head", [inside], [outside], graph.constants)
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=9)
    told = {"space": head.spec.space, "classes": "\n".join(head.spec.classes), "target": head.spec.target}
    onnx.helper.set_model_props(model, {**told, "kind": head.kind, "task": head.task})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


class _Graph:
    """Nodes and constants under names of their own."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def constant(self, values: Any, dtype: Any = np.float64) -> str:
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype=dtype), name))
        return name

    def double(self, name: str) -> str:
        from onnx import TensorProto

        return self.add("Cast", name, to=TensorProto.DOUBLE)

    def times(self, rows: str, matrix: NDArray[Any]) -> str:
        return self.add("MatMul", rows, self.constant(matrix))

    def plus(self, one: str, values: Any) -> str:
        return self.add("Add", one, self.constant(values))

    def scaled(self, one: str, factor: Any) -> str:
        return self.add("Mul", one, self.constant(factor))

    def unit(self) -> str:
        """The vectors at length 1, in float32 as `unit_rows` has them."""
        axis = self.constant([1], np.int64)
        length = self.add("ReduceL2", "vectors", axis, keepdims=1)
        floor = self.constant(_TINY, np.float32)
        return self.double(self.add("Div", "vectors", self.add("Max", length, floor)))

    def summed(self, one: str) -> str:
        return self.add("ReduceSum", one, self.constant([-1], np.int64), keepdims=1)


def _answer(graph: _Graph, head: FittedHead) -> str:
    arrays = head.arrays
    if head.kind == "tip-adapter":
        return _tip_adapter(graph, head)
    if head.kind == "lp++":
        return graph.add("Softmax", graph.times(graph.unit(), arrays["weights"].T), axis=-1)
    if head.kind == "mahalanobis":
        away = graph.plus(graph.double("vectors"), -arrays["mean"])
        squared = graph.summed(graph.add("Mul", graph.times(away, arrays["precision"]), away))
        return graph.add("Sqrt", graph.add("Max", squared, graph.constant(0.0)))
    x = graph.unit() if head.spec.params["scaling"] == "unit" else graph.double("vectors")
    x = graph.add("Div", graph.plus(x, -arrays["mean"]), graph.constant(arrays["scale"]))
    if "member_weights" in arrays:
        each = graph.times(x, arrays["member_weights"].transpose(0, 2, 1))
        answers = _link(graph, graph.plus(each, arrays["member_bias"][:, None, :]), head)
        return graph.add("ReduceMean", answers, graph.constant([0], np.int64), keepdims=0)
    z = graph.plus(graph.times(x, arrays["weights"].T), arrays["bias"])
    if "covariance" in arrays and head.kind == "logistic":
        z = _moderated(graph, z, x, arrays["covariance"])
    return _link(graph, z, head)


def _link(graph: _Graph, z: str, head: FittedHead) -> str:
    if head.task == "value":
        return z
    if head.task == "findings":
        return graph.add("Sigmoid", z)
    if len(head.spec.classes) == 2:
        z = graph.add("Concat", graph.scaled(z, 0.0), z, axis=-1)
    return graph.add("Softmax", z, axis=-1)


def _moderated(graph: _Graph, z: str, x: str, covariance: NDArray[Any]) -> str:
    """See `uncertainty.moderated`: a variance per output, then scores drawn towards 0."""
    found = []
    for one in covariance:
        inner, across, corner = one[:-1, :-1], one[:-1, -1:], one[-1, -1]
        square = graph.summed(graph.add("Mul", graph.times(x, inner), x))
        linear = graph.scaled(graph.times(x, across), 2.0)
        found.append(graph.plus(graph.add("Add", square, linear), corner))
    variance = graph.add("Concat", *found, axis=-1)
    positive = graph.add("Max", variance, graph.constant(0.0))
    return graph.add("Div", z, graph.add("Sqrt", graph.plus(graph.scaled(positive, np.pi / 8), 1.0)))


def _tip_adapter(graph: _Graph, head: FittedHead) -> str:
    scale, alpha, beta = head.spec.params["scale_alpha_beta"]
    rows = graph.unit()
    likeness = graph.times(rows, head.arrays["known"].T)
    cached = graph.add("Exp", graph.plus(graph.scaled(likeness, beta), -beta))
    told = graph.scaled(graph.times(cached, head.arrays["shares"]), alpha)
    words = graph.scaled(graph.times(rows, head.arrays["texts"].T), scale)
    return graph.add("Softmax", graph.add("Add", words, told), axis=-1)
