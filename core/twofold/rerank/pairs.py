"""How long pairs of a query and a passage are, and which queries a cut would shorten."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.encoders.tokens import TokenCounter

_CHARACTERS = 4  # of a token, for a model whose input is no text of tokens
_WHOLE_QUERY = 3 / 4
"""The largest part of what a model reads that a query takes from its passage."""


@dataclass(frozen=True, slots=True)
class PairSizes:
    """What the model will read of each pair.

    ``tokens`` int64 (n,); ``kept`` bool (n,) is True where the passage alone must be cut, since
    cutting the longer of both in turn would shorten the query as well.
    """

    tokens: NDArray[np.int64]
    kept: NDArray[np.bool_]


class PairCounter:
    """Counts the tokens of pairs for one model; each text is read once, however often it stands."""

    def __init__(self, model: Any, longest: int | None) -> None:
        tokenizer = getattr(model[0], "tokenizer", None)
        self._longest = longest
        self._counter = TokenCounter(tokenizer) if tokenizer is not None else None
        # Chat models write both texts into one, which is cut as a whole.
        self._parted = "message" not in getattr(model[0], "modality_config", {})
        self._alone = self._together = 0
        if tokenizer is not None:
            self._alone = int(tokenizer.num_special_tokens_to_add(pair=False))
            self._together = int(tokenizer.num_special_tokens_to_add(pair=True))
        prompt = model.prompts.get(model.default_prompt_name) if model.prompts else None
        self._prompt = str(prompt or "")

    @property
    def special(self) -> int:
        """The number of special tokens in a pair."""
        return self._together

    def sizes(self, queries: Sequence[str], texts: Sequence[Sequence[str]]) -> PairSizes:
        """Return the size of each pair, all of the first query first."""
        counts = [len(each) for each in texts]
        asked = np.repeat(self._lengths([self._prompt + query for query in queries]), counts)
        read = self._lengths([text for each in texts for text in each])
        whole = asked + read + self._together
        if self._longest is None:
            return PairSizes(whole, np.zeros(len(whole), np.bool_))
        room = self._longest - self._together
        kept = (asked + read > room) & (2 * asked > room) & (asked <= _WHOLE_QUERY * room)
        return PairSizes(np.minimum(whole, self._longest), kept & self._parted)

    def _lengths(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the tokens of each text without special ones, int64 (n,)."""
        unique = list(dict.fromkeys(texts))
        if self._counter is None:
            lengths = np.array([len(text) // _CHARACTERS for text in unique], np.int64)
        else:
            lengths = self._counter.lengths(unique) - self._alone
        place = {text: number for number, text in enumerate(unique)}
        return lengths[np.array([place[text] for text in texts], np.int64)]
