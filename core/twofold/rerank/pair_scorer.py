"""Scores pairs of texts with a CrossEncoder, in batches of similar length."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from twofold.encoders.batching import TokenCounter, batch_by_tokens
from twofold.encoders.model_loading import fingerprint_tokenizer, hash_weights, quiet_loading
from twofold.encoders.model_spec import check_model_name, model_not_found, resolve_model_source
from twofold.encoders.sentence_transformer import ACCELERATOR_TOKENS, CPU_TOKENS
from twofold.errors import InputError
from twofold.types import Mask, Scores

Activation = Literal["sigmoid", "identity"]
_CHARACTERS_PER_TOKEN = 4  # for a model without a tokenizer
_MAX_QUERY_SHARE = 3 / 4
"""The largest share of the model's input for which a query is never cut."""
_UNLIMITED = 10**9  # a tokenizer without a length limit reports more

_model_locks: WeakKeyDictionary[Any, threading.Lock] = WeakKeyDictionary()
_model_locks_lock = threading.Lock()


class PairScorer:
    """A CrossEncoder, or the name of one that is loaded when first used.

    The arguments are those of ``CrossEncoderReranker``. ``title`` is the model's name in messages.
    """

    def __init__(
        self,
        model: Any,
        device: str | None,
        batch_tokens: int | None,
        max_length: int | None,
        activation: Activation | None,
    ) -> None:
        self._device = device
        self._batch_tokens = batch_tokens
        self._max_length = max_length
        self._activation = activation
        self._load_lock = threading.Lock()
        self._counter: _PairCounter | None = None
        self._model: Any = None
        self._source = ""
        if isinstance(model, str | Path):
            self.title = check_model_name(model)
            self._source = resolve_model_source(self.title)
            return
        from sentence_transformers import CrossEncoder

        if not isinstance(model, CrossEncoder):
            raise InputError(
                "model must be a CrossEncoder of sentence-transformers, a folder or a name, got "
                f"{type(model).__name__}"
            )
        if device is not None:
            raise InputError(
                f"device={device!r} can't apply to a model that is loaded already: omit it, or "
                "pass the model's name"
            )
        source = getattr(model.transformers_model, "name_or_path", "") or "no name"
        self.title = f"CrossEncoder({source})"
        _check_single_score(model, self.title)
        self._model = model

    @property
    def model(self) -> Any:
        """The CrossEncoder. Raises EncoderNotFoundError if it can't be loaded."""
        return self._load()[0]

    def fingerprint(self) -> str:
        """Return a hash of the weights, tokenizer and options that determine the scores."""
        model, _ = self._load()
        with _model_lock(model):
            state = hash_weights(model)
            saved = type(model.activation_fn).__name__
            state.update(fingerprint_tokenizer(getattr(model[0], "tokenizer", None)).encode())
        options = (self._activation or saved, self._length_limit(model), _default_prompt(model))
        state.update(repr(options).encode())
        return str(state.hexdigest())

    def score(
        self,
        queries: Sequence[str],
        texts: Sequence[Sequence[str]],
        progress: Callable[[int], None] | None,
    ) -> Scores:
        """Return the scores of all pairs, query by query, float64 (n,)."""
        pairs = [(query, text) for query, read in zip(queries, texts, strict=True) for text in read]
        scores = np.zeros(len(pairs), np.float64)
        if not pairs:
            return scores
        model, counter = self._load()
        tokens, keep_query = counter.measure(queries, texts)
        budget = self._batch_tokens
        if budget is None:
            budget = CPU_TOKENS if model.device.type == "cpu" else ACCELERATOR_TOKENS
        done = 0
        for keep in (False, True):
            (positions,) = np.nonzero(keep_query == keep)
            for chosen in batch_by_tokens(tokens[positions], budget):
                batch = positions[chosen]
                scores[batch] = self._predict(model, [pairs[at] for at in batch], keep_query=keep)
                done += len(batch)
                if progress is not None:
                    progress(done)
        return scores

    def _predict(self, model: Any, pairs: list[tuple[str, str]], *, keep_query: bool) -> Scores:
        """Score one batch; ``keep_query`` truncates passages only."""
        from torch import nn

        text: dict[str, Any] = {"truncation": "only_second"} if keep_query else {}
        if self._max_length is not None:
            text["max_length"] = self._max_length
        options: dict[str, Any] = {"processing_kwargs": {"text": text}} if text else {}
        saved_sigmoid = type(model.activation_fn) is nn.Sigmoid
        sigmoid = self._activation == "sigmoid" or (self._activation is None and saved_sigmoid)
        logits = sigmoid or self._activation == "identity"
        with _model_lock(model):
            predicted = model.predict(
                pairs,
                batch_size=len(pairs),
                show_progress_bar=False,
                activation_fn=nn.Identity() if logits else None,
                **options,
            )
        scores = np.asarray(predicted, np.float64)
        bad: NDArray[np.int64] = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            query, passage = pairs[bad[0]]
            raise InputError(
                f"{self.title!r} gives {scores[bad[0]]} for the query {query!r:.60} and the "
                f"passage {passage!r:.60}: its weights are damaged, or too large for their dtype; "
                "load it in float32, or use another model"
            )
        # In float32, every logit above 17 would score 1, and such passages would tie.
        return np.exp(-np.logaddexp(0, -scores)) if sigmoid else scores

    def _load(self) -> "tuple[Any, _PairCounter]":
        with self._load_lock:
            if self._model is None:
                self._model = _load_cross_encoder(self._source, self.title, self._device)
            if self._counter is None:
                with _model_lock(self._model):
                    counter = _PairCounter(self._model, self._length_limit(self._model))
                if self._max_length is not None and self._max_length <= counter.special + 1:
                    raise InputError(
                        f"max_length must be >= {counter.special + 2} for {self.title!r}, which "
                        f"adds {counter.special} special tokens, got {self._max_length}"
                    )
                self._counter = counter
            return self._model, self._counter

    def _length_limit(self, model: Any) -> int | None:
        """Return how many tokens of a pair are read, or None if there is no limit."""
        given = model.max_seq_length
        limit = int(given) if given is not None and given <= _UNLIMITED else None
        if self._max_length is None:
            return limit
        if limit is not None and self._max_length > limit:
            raise InputError(
                f"max_length must be <= {limit}, the tokens of a pair that {self.title!r} reads, "
                f"got {self._max_length}"
            )
        return self._max_length


class _PairCounter:
    """Counts the tokens of pairs for one model. Each distinct text is tokenized once."""

    def __init__(self, model: Any, max_length: int | None) -> None:
        tokenizer = getattr(model[0], "tokenizer", None)
        self._max_length = max_length
        self._counter = TokenCounter(tokenizer) if tokenizer is not None else None
        # Chat models put both texts into one message, which is truncated as a whole.
        self._two_texts = "message" not in getattr(model[0], "modality_config", {})
        self.special = self._special_single = 0  # special tokens of a pair, and of one text
        if tokenizer is not None:
            self._special_single = int(tokenizer.num_special_tokens_to_add(pair=False))
            self.special = int(tokenizer.num_special_tokens_to_add(pair=True))
        self._prompt = str(_default_prompt(model) or "")

    def measure(
        self, queries: Sequence[str], texts: Sequence[Sequence[str]]
    ) -> tuple[NDArray[np.int64], Mask]:
        """Return how many tokens the model reads of each pair (n,), query by query.

        Also returns for which pairs only the passage may be truncated (n,), because truncating the
        longer text would shorten the query too.
        """
        counts = [len(passages) for passages in texts]
        query = np.repeat(self._count([self._prompt + query for query in queries]), counts)
        passage = self._count([text for passages in texts for text in passages])
        total = query + passage + self.special
        if self._max_length is None:
            return total, np.zeros(len(total), np.bool_)
        room = self._max_length - self.special
        too_long = query + passage > room
        keep_query = too_long & (2 * query > room) & (query <= _MAX_QUERY_SHARE * room)
        return np.minimum(total, self._max_length), keep_query & self._two_texts

    def _count(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Return the tokens of each text without special tokens, int64 (n,)."""
        unique = list(dict.fromkeys(texts))
        if self._counter is None:
            counts = np.array([len(text) // _CHARACTERS_PER_TOKEN for text in unique], np.int64)
        else:
            counts = self._counter.count(unique) - self._special_single
        position = {text: number for number, text in enumerate(unique)}
        return counts[np.array([position[text] for text in texts], np.int64)]


def _load_cross_encoder(source: str, name: str, device: str | None) -> Any:
    """Load a CrossEncoder; raise InputError if it doesn't give one relevance score per pair."""
    from sentence_transformers import CrossEncoder

    try:
        with quiet_loading():
            model = CrossEncoder(source, device=device)
    except (OSError, ValueError) as error:
        raise model_not_found(name, error) from error
    # sentence-transformers gives a transformer without a scoring head a random one.
    if getattr(model[0], "transformer_task", None) == "sequence-classification":
        saved = getattr(model.config, "architectures", None) or []
        if saved and not any(kind.endswith("ForSequenceClassification") for kind in saved):
            raise InputError(
                f"{name!r} is a {saved[0]}, which has no scoring head: its scores would be random. "
                "Use a cross-encoder, or train one from this model"
            )
    _check_single_score(model, name)
    return model


def _check_single_score(model: Any, name: str) -> None:
    if model.num_labels != 1:
        raise InputError(
            f"{name!r} gives {model.num_labels} scores per pair (num_labels={model.num_labels}): "
            "use a cross-encoder that gives one, the relevance"
        )


def _default_prompt(model: Any) -> str | None:
    return model.prompts.get(model.default_prompt_name) if model.prompts else None


def _model_lock(model: Any) -> threading.Lock:
    """Return the lock for calls of a model, shared by all rerankers that use it.

    Every call sets the tokenizer's truncation and padding, so two can't run at once.
    """
    with _model_locks_lock:
        return _model_locks.setdefault(model, threading.Lock())
