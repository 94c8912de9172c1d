"""Completes the ONNX graph that a model's folder carries: from tokens to pooled vectors."""

from pathlib import Path
from typing import Any

from twofold.encoders.model_spec import Pooling
from twofold.encoders.transformer_files import UnsupportedModelError

_TOKENS = ("last_hidden_state", "token_embeddings")
_POOLED = "sentence_embedding"
_FILLED = {"attention_mask": 1, "token_type_ids": 0}
"""Inputs besides the token ids, and their value for a single text without padding."""
_INT64 = 7
_AXES_ARE_INPUTS = 18  # from this opset on
_PREFIX = "twofold_"


def complete_graph(path: Path, pooling: Pooling, dim: int, *, normalize: bool) -> Any:
    """Return an ``onnx.ModelProto`` that maps token ids (1, n) to a vector (1, dim).

    Args:
        path: A graph with the inputs and outputs of sentence-transformers' or Optimum's exports.
        pooling: How token vectors are combined, unless the graph does it.
        dim: How many leading dimensions to keep.
        normalize: Whether vectors get unit length.

    Raises:
        UnsupportedModelError: The graph can't be read, or has other inputs or outputs.
    """
    import onnx
    from onnx import TensorProto, helper

    try:
        model = onnx.load(str(path))
    except Exception as error:  # noqa: BLE001  # protobuf's and onnx's errors have no common base
        raise UnsupportedModelError(f"{path} can't be read ({error})") from None
    graph = model.graph
    inputs = {entry.name: entry for entry in graph.input}
    others = sorted(inputs.keys() - _FILLED.keys() - {"input_ids"})
    if "input_ids" not in inputs or others:
        raise UnsupportedModelError(f"{path} has the inputs {', '.join(sorted(inputs))}")
    if any(entry.type.tensor_type.elem_type != _INT64 for entry in inputs.values()):
        raise UnsupportedModelError(f"{path} has inputs that aren't int64")
    outputs = [entry.name for entry in graph.output]
    tokens = next((name for name in _TOKENS if name in outputs), None)
    if tokens is None and _POOLED not in outputs:
        raise UnsupportedModelError(f"{path} has the outputs {', '.join(outputs)}")

    first = []
    for name in inputs.keys() & _FILLED.keys():
        value = helper.make_tensor("", TensorProto.INT64, [1], [_FILLED[name]])
        shape = f"{_PREFIX}shape_{name}"
        first += [
            helper.make_node("Shape", ["input_ids"], [shape]),
            helper.make_node("ConstantOfShape", [shape], [name], value=value),
        ]
    opset = max((entry.version for entry in model.opset_import if not entry.domain), default=1)
    tail = _Tail(graph, opset)
    vectors = tail.pool(tokens, pooling) if tokens is not None else _POOLED
    tail.finish(vectors, dim, normalize=normalize)
    nodes = [*first, *graph.node, *tail.nodes]
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"]))
    graph.output.append(helper.make_tensor_value_info("vectors", TensorProto.FLOAT, [1, "dim"]))
    return model


def pools_tokens(path: Path) -> bool:
    """Return whether a graph gives pooled vectors alone."""
    import onnx

    outputs = {entry.name for entry in onnx.load(str(path), load_external_data=False).graph.output}
    return outputs.isdisjoint(_TOKENS)


class _Tail:
    """The operators after a graph, in its version of the operator set."""

    def __init__(self, graph: Any, opset: int) -> None:
        self.nodes: list[Any] = []
        self._graph = graph
        self._opset = opset

    def pool(self, tokens: str, pooling: Pooling) -> str:
        """Add the pooling of token vectors (1, n, hidden); return the name of the output."""
        if pooling == "cls":
            place = self._constant("first", [0])
            picked = self._call("Gather", [tokens, place], axis=1)
            return self._reduce("ReduceMean", picked, keepdims=0)
        return self._reduce("ReduceMean" if pooling == "mean" else "ReduceMax", tokens, keepdims=0)

    def finish(self, pooled: str, dim: int, *, normalize: bool) -> None:
        """Add the cut to ``dim`` dimensions and the normalization, named ``vectors``."""
        ends = [
            self._constant(name, [value])
            for name, value in (("start", 0), ("stop", dim), ("axis", 1))
        ]
        vectors = self._call("Slice", [pooled, *ends])
        if normalize:
            norm = self._reduce("ReduceL2", vectors, keepdims=1)
            least = self._constant("least", [1e-12])
            vectors = self._call("Div", [vectors, self._call("Max", [norm, least])])
        self._call("Identity", [vectors], output="vectors")

    def _reduce(self, operator: str, value: str, *, keepdims: int) -> str:
        if self._opset >= _AXES_ARE_INPUTS:
            return self._call(operator, [value, self._constant("axes", [1])], keepdims=keepdims)
        return self._call(operator, [value], keepdims=keepdims, axes=[1])

    def _constant(self, name: str, values: list[int] | list[float]) -> str:
        from onnx import TensorProto, helper

        kind = TensorProto.FLOAT if isinstance(values[0], float) else TensorProto.INT64
        full = f"{_PREFIX}{name}_{len(self._graph.initializer)}"
        self._graph.initializer.append(helper.make_tensor(full, kind, [1], values))
        return full

    def _call(
        self, operator: str, inputs: list[str], *, output: str | None = None, **attributes: Any
    ) -> str:
        from onnx import helper

        name = output if output is not None else f"{_PREFIX}value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name
