"""A copy of a model's tokenizer, to count and compare with while others encode."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

_PROBE = "Ünïcode TEXT, x²=49;  don't 中文 ひらがな 🙂 naïve_id42"
"""What tokenizers treat in different ways: case, accents, blanks, scripts, digits, signs."""

_AT_ONCE = 1024
"""Texts whose tokens are held in memory; those of an abstract take some 50 kB."""


class TokenCounter:
    """Counts tokens, special ones included, without truncating.

    A model's own tokenizer is set to truncate and pad by each call, so it can't be shared.
    """

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer

        own = getattr(tokenizer, "backend_tokenizer", tokenizer)
        self._slow: Any = None
        self._fast: Any = None
        if isinstance(own, Tokenizer):
            self._fast = Tokenizer.from_str(own.to_str())
            self._fast.no_truncation()
            self._fast.no_padding()
        else:
            self._slow = tokenizer

    def lengths(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the number of tokens of each text, int64 (n,)."""
        found: list[int] = []
        for start in range(0, len(texts), _AT_ONCE):
            found += map(len, self._encoded(list(texts[start : start + _AT_ONCE])))
        return np.array(found, np.int64)

    def _encoded(self, texts: list[str]) -> list[Any]:
        if self._fast is not None:
            return list(self._fast.encode_batch(texts))
        return list(self._slow(texts, truncation=False, verbose=False)["input_ids"])

    def fingerprint(self) -> str:
        """Return a hash of the vocabulary, and of what becomes of a probe text."""
        if self._fast is not None:
            vocabulary, ids = self._fast.get_vocab(), self._fast.encode(_PROBE).ids
        else:
            vocabulary, ids = self._slow.get_vocab(), self._slow(_PROBE)["input_ids"]
        text = json.dumps([sorted(vocabulary.items()), ids])
        return xxhash.xxh3_128_hexdigest(text.encode())
