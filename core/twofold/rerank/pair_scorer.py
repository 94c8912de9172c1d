"""One CrossEncoder at work: pairs of texts in batches of like length, to scores."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from twofold.encoders.batching import TokenCounter, batch_by_tokens
from twofold.encoders.model_loading import hashed_weights, quiet_loading, tokenizer_fingerprint
from twofold.encoders.model_spec import check_model_name, resolve_model_source, model_not_found
from twofold.encoders.sentence_transformer import ACCELERATOR_TOKENS, CPU_TOKENS
from twofold.errors import InputError
from twofold.types import Scores

_turns: WeakKeyDictionary[Any, threading.Lock] = WeakKeyDictionary()
_turns_lock = threading.Lock()


def loaded_cross_encoder(source: str, name: str, device: str | None) -> Any:
    """Return the model of a folder or a name on the hub; ``name`` is what messages call it.

    Raises EncoderNotFoundError if it can't be had, InputError if it gives no relevance score.
    """
    from sentence_transformers import CrossEncoder

    try:
        with quiet_loading():
            model = CrossEncoder(source, device=device)
    except (OSError, ValueError) as error:
        raise model_not_found(name, error) from error
    check_head(model, name)
    check_labels(model, name)
    return model


def check_labels(model: Any, name: str) -> None:
    """Raise InputError for a model that gives several scores a pair."""
    if model.num_labels != 1:
        raise InputError(
            f"{name!r} gives {model.num_labels} scores a pair (num_labels={model.num_labels}): a "
            "cross-encoder that gives one, the relevance, is wanted"
        )


def check_head(model: Any, name: str) -> None:
    """Raise InputError for a transformer that was loaded without a trained scoring head.

    sentence-transformers gives such a model a random one, whose scores look like any others.
    """
    if getattr(model[0], "transformer_task", None) != "sequence-classification":
        return
    saved = getattr(model.config, "architectures", None) or []
    if saved and not any(each.endswith("ForSequenceClassification") for each in saved):
        raise InputError(
            f"{name!r} is a {saved[0]}, which has no scoring head: its scores would be random. "
            "Give a cross-encoder, or make one of it by training"
        )


def turn_of(model: Any) -> threading.Lock:
    """Return the lock over a model's calls, one for all rerankers that share it.

    Tokenizers are set to truncate and pad by each call, so they can't be used by two at once.
    """
    with _turns_lock:
        return _turns.setdefault(model, threading.Lock())


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
            lengths = self._counter.count(unique) - self._alone
        place = {text: number for number, text in enumerate(unique)}
        return lengths[np.array([place[text] for text in texts], np.int64)]


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
            self.title = check_model_name(model)
            self._source = resolve_model_source(self.title)
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
            for chosen in batch_by_tokens(sizes.tokens[places], budget):
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
