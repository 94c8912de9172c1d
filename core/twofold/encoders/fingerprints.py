"""Fingerprints of models: hashes of weights, tokenizers and settings, alike on every runtime."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import xxhash

from twofold.encoders.batching import copy_fast_tokenizer

_PROBE = "Ünïcode TEXT, x²=49;  don't 中文 ひらがな 🙂 naïve_id42"
"""Has what tokenizers differ in: case, accents, spaces, scripts, digits and symbols."""
_HEADS, _ACTIVATION, _EPSILON = 12, "gelu", 1e-12
"""Defaults of BERT-like models in transformers."""
_UNUSED = re.compile(
    r"(^|\.)(pooler|cls|lm_head|vocab_transform|vocab_layer_norm|vocab_projector|qa_outputs|"
    r"classifier)\.|position_ids$"
)
"""Names of a transformer's weights that its token vectors don't depend on."""


def affects_vectors(weight: str) -> bool:
    """Return whether a transformer's token vectors depend on the weight of this name."""
    return _UNUSED.search(weight) is None


def hash_arrays(arrays: Iterable[tuple[str, tuple[int, ...], Any]]) -> xxhash.xxh3_128:
    """Return a hash of weights in the order of their names, which callers may update.

    The names themselves change with library versions. A weight that comes again, because it is tied
    to another one, counts once.

    Args:
        arrays: Data type, shape and a contiguous buffer of each.
    """
    hashes: dict[bytes, None] = {}
    for kind, shape, values in arrays:
        state = xxhash.xxh3_128(f"{kind} {shape} ".encode())
        state.update(values)
        hashes[state.digest()] = None
    return xxhash.xxh3_128(b"".join(hashes))


def describe_transformer(config: Mapping[str, Any]) -> list[object]:
    """Return the settings of a transformer that its weights don't show.

    Args:
        config: The contents of ``config.json``, with or without the defaults of transformers.
    """
    kind = config.get("model_type")
    heads = config.get("num_attention_heads", config.get("n_heads", _HEADS))
    activation = config.get("hidden_act", config.get("activation", _ACTIVATION))
    epsilon = None if kind == "distilbert" else config.get("layer_norm_eps", _EPSILON)
    return ["Transformer", kind, heads, activation, epsilon]


def combine(weights: xxhash.xxh3_128, settings: Mapping[str, object]) -> str:
    """Return the fingerprint of a model with these weights and settings."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return xxhash.xxh3_128_hexdigest(weights.digest() + text.encode())


def fingerprint_tokenizer(tokenizer: Any) -> str:
    """Return a hash of a tokenizer's vocabulary and its token ids of a fixed text; "" for None."""
    if tokenizer is None:
        return ""
    fast = copy_fast_tokenizer(tokenizer)
    ids = fast.encode(_PROBE).ids if fast is not None else tokenizer(_PROBE)["input_ids"]
    vocabulary = (fast if fast is not None else tokenizer).get_vocab()
    text = json.dumps([sorted(vocabulary.items()), ids])
    return xxhash.xxh3_128_hexdigest(text.encode())
