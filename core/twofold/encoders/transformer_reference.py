"""Computes token vectors of BERT-like models with numpy, as a reference for graphs.

It is slow, and shares no code with the graphs that it checks.
"""

import math

import numpy as np
from numpy.typing import NDArray

from twofold.encoders.model_spec import Pooling
from twofold.encoders.transformer_files import TransformerConfig, Weights

_Rows = NDArray[np.float64]
_erf = np.frompyfunc(math.erf, 1, 1)


def encode_tokens(
    config: TransformerConfig, weights: Weights, pooling: Pooling, ids: list[int]
) -> _Rows:
    """Return the pooled vector of one text, float64 (hidden,), before normalization.

    Args:
        config: The settings of the model.
        weights: Its weights.
        pooling: How token vectors are combined.
        ids: The token ids, special tokens included.
    """
    rows = _normalize(config, weights, "embeddings.LayerNorm", _embed(config, weights, ids))
    names = config.architecture.layer
    for number in range(config.layers):
        prefix = f"{names.prefix}{number}."
        attended = _attend(config, weights, prefix, rows)
        attended = _linear(weights, prefix + names.attention_output, attended) + rows
        attended = _normalize(config, weights, prefix + names.attention_norm, attended)
        inner = _linear(weights, prefix + names.inner, attended)
        inner = np.maximum(inner, 0) if config.activation == "relu" else _gelu(inner)
        rows = _linear(weights, prefix + names.outer, inner) + attended
        rows = _normalize(config, weights, prefix + names.output_norm, rows)
    pooled: _Rows = rows[0]
    if pooling != "cls":
        pooled = rows.mean(axis=0) if pooling == "mean" else rows.max(axis=0)
    return pooled


def _embed(config: TransformerConfig, weights: Weights, ids: list[int]) -> _Rows:
    positions = list(range(len(ids)))
    if config.architecture.padded_positions:
        seen = 0
        for place, token in enumerate(ids):
            seen += token != config.padding
            positions[place] = config.padding + (seen if token != config.padding else 0)
    rows = weights["embeddings.word_embeddings.weight"][ids].astype(np.float64)
    rows += weights["embeddings.position_embeddings.weight"][positions]
    if config.architecture.has_types:
        rows += weights["embeddings.token_type_embeddings.weight"][0]
    return rows


def _attend(config: TransformerConfig, weights: Weights, prefix: str, rows: _Rows) -> _Rows:
    """Return the attention of all heads, (n, hidden)."""
    names, size = config.architecture.layer, config.hidden // config.heads
    queries, keys, values = (
        _linear(weights, prefix + name, rows) for name in (names.query, names.key, names.value)
    )
    found = np.empty_like(rows)
    for head in range(config.heads):
        columns = slice(head * size, (head + 1) * size)
        scores = queries[:, columns] @ keys[:, columns].T / math.sqrt(size)
        if config.architecture.relative_buckets:
            scores += _position_bias(weights, head, len(rows))
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        found[:, columns] = scores @ values[:, columns] / scores.sum(axis=1, keepdims=True)
    return found


def _position_bias(weights: Weights, head: int, count: int) -> _Rows:
    """Return MPNet's bias of each key (column) for each query (row), (n, n)."""
    half, exact = 16, 8  # of 32 buckets
    table = weights["encoder.relative_attention_bias.weight"][:, head]
    bias = np.empty((count, count))
    for query in range(count):
        for key in range(count):
            distance = abs(key - query)
            bucket = distance
            if distance >= exact:
                ratio = math.log(distance / exact) / math.log(128 / exact)
                bucket = min(half - 1, exact + int(ratio * (half - exact)))
            bias[query, key] = table[bucket + (half if key > query else 0)]
    return bias


def _linear(weights: Weights, name: str, rows: _Rows) -> _Rows:
    matrix = weights[f"{name}.weight"].astype(np.float64)
    found: _Rows = rows @ matrix.T + weights[f"{name}.bias"]
    return found


def _gelu(rows: _Rows) -> _Rows:
    found: _Rows = rows * (1 + np.asarray(_erf(rows / math.sqrt(2)), np.float64)) / 2
    return found


def _normalize(config: TransformerConfig, weights: Weights, name: str, rows: _Rows) -> _Rows:
    centered = rows - rows.mean(axis=1, keepdims=True)
    scale = np.sqrt((centered**2).mean(axis=1, keepdims=True) + config.epsilon)
    found: _Rows = centered / scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]
    return found
