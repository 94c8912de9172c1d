"""Fingerprints of models: hashes of weights, tokenizers and settings, alike on every runtime."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import xxhash

from twofold.encoders.batching import copy_fast_tokenizer

_PROBE = "Ünïcode TEXT, x²=49;  don't 中文 ひらがな 🙂 naïve_id42"
"""Has what tokenizers differ in: case, accents, spaces, scripts, digits and symbols."""
_UNUSED_WEIGHTS = ("pooler.", "cls.", "lm_head.", "vocab_", "qa_outputs.", "classifier.")
"""Beginnings of the names of a transformer's weights that its token vectors don't depend on."""


def affects_vectors(weight: str) -> bool:
    """Return whether a transformer's token vectors depend on the weight of this name."""
    return not weight.startswith(_UNUSED_WEIGHTS) and not weight.endswith("position_ids")


def hash_arrays(arrays: Iterable[tuple[str, str, tuple[int, ...], Any]]) -> xxhash.xxh3_128:
    """Return a hash of arrays, which callers may update.

    Args:
        arrays: Name, data type, shape and a contiguous buffer of each, in a fixed order.
    """
    state = xxhash.xxh3_128()
    for name, kind, shape, values in arrays:
        state.update(f"{name} {kind} {shape}".encode())
        state.update(values)
    return state


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
