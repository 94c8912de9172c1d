"""One CrossEncoder at work: pairs of texts in batches of like length, to scores."""

import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twofold.encoders.loading import hashed_weights, tokenizer_fingerprint
from twofold.encoders.sentence_transformer import ACCELERATOR_TOKENS, CPU_TOKENS
from twofold.encoders.sources import model_name, model_source
from twofold.encoders.texts import batches
from twofold.errors import InputError
from twofold.rerank.loading import check_labels, loaded_cross_encoder, turn_of
from twofold.rerank.pairs import PairCounter
from twofold.types import Scores

Activation = Literal["sigmoid", "identity"]
_UNLIMITED = 10**9
"""A tokenizer that has no longest length gives a number above this."""


class PairScorer:
    """A CrossEncoder, or the name of one that is loaded when first used, as a function of pairs."""

    def __init__(
        self,
        model: Any,
        *,
        device: str | None,
        batch_tokens: int | None,
        max_length: int | None,
        activation: Activation | None,
    ) -> None:
        self._device = device
        self._batch_tokens = batch_tokens
        self._max_length = max_length
        self._activation = activation
        self._lock = threading.Lock()  # over loading
        self._counter: PairCounter | None = None
        self._model: Any = None
        self._source = ""
        if isinstance(model, str | Path):
            self.title = model_name(model)
            self._source = model_source(self.title)
            return
        from sentence_transformers import CrossEncoder

        if not isinstance(model, CrossEncoder):
            raise InputError(
                f"model is a {type(model).__name__}: a CrossEncoder of sentence-transformers, a "
                "folder or a name is wanted"
            )
        if device is not None:
            raise InputError(
                f"device is {device!r}, of a model that is loaded already: leave it out, or give "
                "the model's name"
            )
        made_from = getattr(model.transformers_model, "name_or_path", "") or "no name"
        self.title = f"CrossEncoder({made_from})"
        check_labels(model, self.title)
        self._model = model

    @property
    def model(self) -> Any:
        """The CrossEncoder itself; raises EncoderNotFoundError if it can't be had."""
        return self._ready()[0]

    def fingerprint(self) -> str:
        """Hash the weights, the tokenizer and the settings that decide a pair's score."""
        model, _ = self._ready()
        with turn_of(model):
            state = hashed_weights(model)
            own = type(model.activation_fn).__name__
            state.update(tokenizer_fingerprint(getattr(model[0], "tokenizer", None)).encode())
        prompt = model.prompts.get(model.default_prompt_name) if model.prompts else None
        state.update(repr((self._activation or own, self._longest(model), prompt)).encode())
        return str(state.hexdigest())

    def scores(
        self,
        queries: Sequence[str],
        texts: Sequence[Sequence[str]],
        progress: Callable[[int], None] | None,
    ) -> Scores:
        """Return the score of each pair, all of the first query first, float64 (n,)."""
        pairs = [(query, text) for query, each in zip(queries, texts, strict=True) for text in each]
        scores = np.zeros(len(pairs), np.float64)
        if not pairs:
            return scores
        model, counter = self._ready()
        sizes = counter.sizes(queries, texts)
        budget = self._budget(model)
        done = 0
        for kept in (False, True):
            (places,) = np.nonzero(sizes.kept == kept)
            for chosen in batches(sizes.tokens[places], budget):
                batch = places[chosen]
                scores[batch] = self._predicted(model, [pairs[place] for place in batch], kept=kept)
                done += len(batch)
                if progress is not None:
                    progress(done)
        return scores

    def _predicted(self, model: Any, pairs: list[tuple[str, str]], *, kept: bool) -> Scores:
        """Score one batch; ``kept`` says that only passages may be cut."""
        from torch import nn

        text: dict[str, Any] = {"truncation": "only_second"} if kept else {}
        if self._max_length is not None:
            text["max_length"] = self._max_length
        how: dict[str, Any] = {"processing_kwargs": {"text": text}} if text else {}
        own = type(model.activation_fn) is nn.Sigmoid
        sigmoid = self._activation == "sigmoid" or (self._activation is None and own)
        logits = sigmoid or self._activation == "identity"
        with turn_of(model):
            found = model.predict(
                pairs,
                batch_size=len(pairs),
                show_progress_bar=False,
                activation_fn=nn.Identity() if logits else None,
                **how,
            )
        scores = np.asarray(found, np.float64)
        self._check(scores, pairs)
        # In float32 every logit above 17 would be a score of 1, and such passages tied.
        return np.exp(-np.logaddexp(0, -scores)) if sigmoid else scores

    def _check(self, scores: Scores, pairs: list[tuple[str, str]]) -> None:
        bad: NDArray[np.int64] = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            query, text = pairs[bad[0]]
            raise InputError(
                f"{self.title!r} gives {scores[bad[0]]} for the query {query!r:.60} and the "
                f"passage {text!r:.60}: its weights are damaged, or too large for their dtype; "
                "load it in float32, or give another model"
            )

    def _ready(self) -> tuple[Any, PairCounter]:
        """Return the model and its counter, loaded at the first call."""
        with self._lock:
            if self._model is None:
                self._model = loaded_cross_encoder(self._source, self.title, self._device)
            if self._counter is None:
                with turn_of(self._model):
                    counter = PairCounter(self._model, self._longest(self._model))
                self._check_length(counter.special)
                self._counter = counter
            return self._model, self._counter

    def _longest(self, model: Any) -> int | None:
        """Return how many tokens of a pair are read, None for all of them."""
        limit = _limit(model)
        if self._max_length is None:
            return limit
        if limit is not None and self._max_length > limit:
            raise InputError(
                f"max_length={self._max_length} of {self.title!r}, which reads at most {limit} "
                "tokens of a pair"
            )
        return self._max_length

    def _check_length(self, special: int) -> None:
        if self._max_length is not None and self._max_length <= special + 1:
            raise InputError(
                f"max_length={self._max_length} of {self.title!r} leaves no room beside its "
                f"{special} special tokens: give at least {special + 2}"
            )

    def _budget(self, model: Any) -> int:
        if self._batch_tokens is not None:
            return self._batch_tokens
        return CPU_TOKENS if model.device.type == "cpu" else ACCELERATOR_TOKENS


def _limit(model: Any) -> int | None:
    """Return the most tokens that a model reads by itself, None for any number."""
    longest = model.max_seq_length
    return None if longest is None or longest == math.inf or longest > _UNLIMITED else int(longest)
