"""Builds the ONNX graph of a BERT-like model from its weights.

It maps the token ids of one text, int64 (1, n), to its pooled vector, float32 (1, dim). Attention
has plain operators, which ONNX Runtime fuses as it sees fit. Its own fused ones were slower.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.encoders.model_spec import Pooling
from twofold.encoders.transformer_files import TransformerConfig, UnsupportedModelError, Weights

_OPSET = 17
_TYPES = "embeddings.token_type_embeddings.weight"
_IR_VERSION = 8  # of opset 17; onnx writes a newer one than runtimes may read
_FUSED = "com.microsoft"
_BUCKETS = 32  # of MPNet's relative positions
_MAX_DISTANCE = 128  # from which all are in one bucket


class WeightReader:
    """Gives weights by name in float32, and raises UnsupportedModelError for unexpected ones."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self._unread = set(weights)

    def read(self, name: str, *shape: int | None) -> NDArray[np.float32]:
        """Return a weight of this shape; None stands for any size."""
        array = self._weights.get(name)
        if array is None:
            raise UnsupportedModelError(f"its weights lack {name!r}")
        matches = [wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=False)]
        if len(shape) != array.ndim or not all(matches):
            raise UnsupportedModelError(f"its weight {name!r} has the shape {array.shape}")
        self._unread.discard(name)
        return np.ascontiguousarray(array, np.float32)

    def check_all_read(self) -> None:
        """Raise UnsupportedModelError if the model has weights that no operator uses."""
        if self._unread:
            raise UnsupportedModelError(f"it has other weights, such as {min(self._unread)!r}")


class _GraphBuilder:
    """Collects the operators and constants of a graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, values: NDArray[Any]) -> str:
        """Add a constant, and return its name."""
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def call(
        self,
        operator: str,
        inputs: Sequence[str],
        attributes: dict[str, Any] | None = None,
        *,
        output: str | None = None,
    ) -> str:
        """Add an operator, and return the name of its output."""
        from onnx import helper

        name = output if output is not None else f"value{len(self.nodes)}"
        domain = _FUSED if operator in _FUSED_OPERATORS else ""
        node = helper.make_node(operator, inputs, [name], domain=domain, **(attributes or {}))
        self.nodes.append(node)
        return name


_FUSED_OPERATORS = ("Gelu",)


def build_graph(
    config: TransformerConfig,
    weights: Weights,
    pooling: Pooling,
    *,
    dim: int | None = None,
    normalize: bool = False,
) -> Any:
    """Return the ``onnx.ModelProto`` of a model.

    Args:
        config: The settings of the transformer.
        weights: Its weights.
        pooling: How token vectors are combined.
        dim: How many leading dimensions to keep. Default: all.
        normalize: Whether vectors get unit length.

    Raises:
        UnsupportedModelError: The weights aren't those of the architecture.
    """
    from onnx import TensorProto, helper

    reader, graph = WeightReader(weights), _GraphBuilder()
    hidden = _add_embeddings(graph, config, reader)
    bias = _add_position_bias(graph, config, reader)
    for number in range(config.layers):
        hidden = _add_layer(graph, config, reader, number, hidden, bias)
    pooled = _add_pooling(graph, pooling, hidden)
    _add_output(graph, pooled, dim if dim is not None else config.hidden, normalize=normalize)
    reader.check_all_read()
    proto = helper.make_graph(
        graph.nodes,
        "encoder",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, [1, "dim"])],
        graph.constants,
    )
    opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_FUSED, 1)]
    return helper.make_model(proto, opset_imports=opsets, ir_version=_IR_VERSION)


def _relative_buckets(positions: int) -> NDArray[np.int64]:
    """Return the bucket of each relative position from ``1 - positions`` to ``positions - 1``.

    A half of the buckets is for positions ahead. Of each half, a half is for single near positions,
    and the others are for logarithmic ranges (Raffel et al. 2020, T5).
    """
    relative = np.arange(1 - positions, positions, dtype=np.int64)
    half = _BUCKETS // 2
    exact = half // 2
    distance = np.abs(relative)
    scale = np.float32(math.log(_MAX_DISTANCE / exact))
    with np.errstate(divide="ignore"):
        logs = np.log(distance.astype(np.float32) / np.float32(exact)) / scale
    far = exact + np.where(distance > 0, logs * (half - exact), 0).astype(np.int64)
    found: NDArray[np.int64] = np.where(distance < exact, distance, np.minimum(far, half - 1))
    return found + half * (relative > 0)


def _add_embeddings(graph: _GraphBuilder, config: TransformerConfig, reader: WeightReader) -> str:
    architecture, hidden = config.architecture, config.hidden
    words = graph.constant(reader.read("embeddings.word_embeddings.weight", None, hidden))
    places = reader.read("embeddings.position_embeddings.weight", config.positions, hidden)
    if architecture.has_types:
        places = places + _first_row(reader.read(_TYPES, None, hidden))
    found = graph.call("Gather", [words, "input_ids"])
    positions = _add_positions(graph, config)
    added = graph.call("Gather", [graph.constant(places), positions])
    return _add_norm(graph, config, reader, "embeddings.LayerNorm", [found, added])


def _first_row(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    if not len(rows):
        raise UnsupportedModelError(f"its weight {_TYPES!r} is empty")
    first: NDArray[np.float32] = rows[0]
    return first


def _add_positions(graph: _GraphBuilder, config: TransformerConfig) -> str:
    """Add the position of each token, int64 (1, n)."""
    axis = graph.constant(np.array(1, np.int64))
    if config.architecture.padded_positions:
        padding = graph.constant(np.array(config.padding, np.int64))
        is_padding = graph.call("Equal", ["input_ids", padding])
        is_token = graph.call("Cast", [graph.call("Not", [is_padding])], {"to": 7})
        counts = graph.call("CumSum", [is_token, axis])
        return graph.call("Add", [graph.call("Mul", [counts, is_token]), padding])
    ones = graph.call("Shape", ["input_ids"])
    one = graph.constant(np.array([1], np.int64))
    filled = graph.call("Expand", [one, ones])
    return graph.call("Sub", [graph.call("CumSum", [filled, axis]), one])


def _add_position_bias(
    graph: _GraphBuilder, config: TransformerConfig, reader: WeightReader
) -> str | None:
    """Add the bias of the attention by relative position (1, heads, n, n), None without one."""
    if not config.architecture.relative_buckets:
        return None
    name = "encoder.relative_attention_bias.weight"
    table = reader.read(name, _BUCKETS, config.heads)
    by_offset = table[_relative_buckets(config.positions)]
    rows = graph.constant(np.ascontiguousarray(by_offset))  # (2 * positions - 1, heads)
    length = graph.call("Gather", [graph.call("Shape", ["input_ids"]), _index(graph, 1)])
    places = graph.call("Range", [_index(graph, 0), length, _index(graph, 1)])
    column = graph.call("Unsqueeze", [places, graph.constant(np.array([1], np.int64))])
    offsets = graph.call("Sub", [places, column])  # of the key from the query
    shifted = graph.call("Add", [offsets, _index(graph, config.positions - 1)])
    bias = graph.call("Transpose", [graph.call("Gather", [rows, shifted])], {"perm": [2, 0, 1]})
    return graph.call("Unsqueeze", [bias, graph.constant(np.array([0], np.int64))])


def _index(graph: _GraphBuilder, value: int) -> str:
    return graph.constant(np.array(value, np.int64))


def _add_layer(
    graph: _GraphBuilder,
    config: TransformerConfig,
    reader: WeightReader,
    number: int,
    hidden: str,
    bias: str | None,
) -> str:
    names, size = config.architecture.layer, config.hidden
    prefix = f"{names.prefix}{number}."
    projections = [prefix + name for name in (names.query, names.key, names.value)]
    queries, keys, values = (
        _add_heads(graph, config, reader, name, hidden, is_key=name == projections[1])
        for name in projections
    )
    scores = graph.call("MatMul", [queries, keys])
    scale = graph.constant(np.array(1 / math.sqrt(size / config.heads), np.float32))
    scores = graph.call("Mul", [scores, scale])
    if bias is not None:
        scores = graph.call("Add", [scores, bias])
    weights = graph.call("Softmax", [scores], {"axis": -1})
    mixed = graph.call("MatMul", [weights, values])
    mixed = graph.call("Transpose", [mixed], {"perm": [0, 2, 1, 3]})
    flat = graph.constant(np.array([1, -1, size], np.int64))
    attended = graph.call("Reshape", [mixed, flat])
    output, offset = _add_product(graph, reader, prefix + names.attention_output, attended, size)
    attended = _add_norm(
        graph, config, reader, prefix + names.attention_norm, [output, hidden], offset
    )
    inner, offset = _add_product(graph, reader, prefix + names.inner, attended, None)
    if config.activation == "gelu":
        inner = graph.call("Gelu", [graph.call("Add", [inner, offset])])
    else:
        inner = graph.call("Relu", [graph.call("Add", [inner, offset])])
    outer, offset = _add_product(graph, reader, prefix + names.outer, inner, size)
    return _add_norm(graph, config, reader, prefix + names.output_norm, [outer, attended], offset)


def _add_heads(
    graph: _GraphBuilder,
    config: TransformerConfig,
    reader: WeightReader,
    name: str,
    hidden: str,
    *,
    is_key: bool,
) -> str:
    """Add a projection, split by head: (1, heads, n, size), of keys (1, heads, size, n)."""
    product, offset = _add_product(graph, reader, name, hidden, config.hidden)
    projected = graph.call("Add", [product, offset])
    shape = np.array([1, -1, config.heads, config.hidden // config.heads], np.int64)
    split = graph.call("Reshape", [projected, graph.constant(shape)])
    return graph.call("Transpose", [split], {"perm": [0, 2, 3, 1] if is_key else [0, 2, 1, 3]})


def _add_product(
    graph: _GraphBuilder, reader: WeightReader, name: str, value: str, size: int | None
) -> tuple[str, str]:
    """Add a linear layer without its bias; return the names of the product and of the bias."""
    weight = reader.read(f"{name}.weight", size, None)
    bias = reader.read(f"{name}.bias", weight.shape[0])
    return graph.call("MatMul", [value, graph.constant(weight.T)]), graph.constant(bias)


def _add_norm(
    graph: _GraphBuilder,
    config: TransformerConfig,
    reader: WeightReader,
    name: str,
    values: list[str],
    bias: str | None = None,
) -> str:
    """Add a layer normalization of the sum of two values and a bias."""
    first, second = values
    if bias is not None:
        first = graph.call("Add", [first, bias])
    inputs = [
        graph.call("Add", [first, second]),
        graph.constant(reader.read(f"{name}.weight", config.hidden)),
        graph.constant(reader.read(f"{name}.bias", config.hidden)),
    ]
    return graph.call("LayerNormalization", inputs, {"axis": -1, "epsilon": config.epsilon})


def _add_pooling(graph: _GraphBuilder, pooling: Pooling, hidden: str) -> str:
    if pooling == "cls":
        return graph.call("Gather", [hidden, _index(graph, 0)], {"axis": 1})
    operator = "ReduceMean" if pooling == "mean" else "ReduceMax"
    return graph.call(operator, [hidden], {"axes": [1], "keepdims": 0})


def _add_output(graph: _GraphBuilder, pooled: str, dim: int, *, normalize: bool) -> None:
    ends = [graph.constant(np.array([value], np.int64)) for value in (0, dim, 1)]
    vectors = graph.call("Slice", [pooled, *ends])
    if normalize:
        norm = graph.call("ReduceL2", [vectors], {"axes": [1], "keepdims": 1})
        least = graph.constant(np.array(1e-12, np.float32))
        vectors = graph.call("Div", [vectors, graph.call("Max", [norm, least])])
    graph.call("Identity", [vectors], output="vectors")
