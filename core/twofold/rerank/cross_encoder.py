"""Rerankers that use cross-encoders of sentence-transformers."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from twofold.concurrency import ForkSafeLock
from twofold.encoders.batching import (
    TokenCounter,
    batch_by_tokens,
    check_texts,
)
from twofold.encoders.fingerprints import fingerprint_tokenizer
from twofold.encoders.model_loading import hash_weights, quiet_loading
from twofold.encoders.model_spec import (
    absolute_model,
    check_model_name,
    format_spec,
    is_folder,
    model_not_found,
    resolve_model_source,
    split_spec,
)
from twofold.encoders.sentence_transformer import ACCELERATOR_TOKENS, CPU_TOKENS
from twofold.errors import InputError
from twofold.extras import check_extra
from twofold.protocols import Reranker
from twofold.types import Mask, Scores
from twofold.validation import check_choice, check_integer, check_number

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

Activation = Literal["sigmoid", "identity"]
_OPTIONS = ("candidates", "threshold", "batch_tokens", "max_length", "device", "activation")
_CHARACTERS_PER_TOKEN = 4  # for a model without a tokenizer
_MAX_QUERY_SHARE = 3 / 4
"""A query that takes at most this share of the model's input is never truncated."""
_UNLIMITED = 10**9  # a tokenizer without a length limit reports more

_model_locks: WeakKeyDictionary[Any, ForkSafeLock] = WeakKeyDictionary()
_model_locks_lock = ForkSafeLock()


@dataclass(frozen=True, slots=True)
class RerankerIdentity:
    """A reranker's name, and a hash of everything that determines its scores."""

    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True, repr=False)
class CrossEncoderReranker:
    """Reranks with a cross-encoder (Nogueira and Cho, Passage Re-ranking with BERT, 2019).

    The scores equal those of ``CrossEncoder.predict``. The model's activation is the sigmoid unless
    another was saved, so that scores lie in [0, 1]. They are calibrated probabilities only if the
    model was trained for that. A pair's score depends on its batch by rounding errors only, and
    equal calls give equal scores. Thread-safe: threads take turns, batch by batch.

    Args:
        model: A CrossEncoder, or the folder, installed package or hub name of one that is loaded
            when first used. It must give one score per pair.
        candidates: The number of best passages to score per query; k if k is larger.
        threshold: Hits with a lower score are dropped. None keeps all.
        batch_tokens: The most tokens in a batch, padding included. Default: 1,024 on a CPU, 32,768
            elsewhere. A longer pair is a batch by itself.
        max_length: The most tokens of a pair. In a longer pair the passage is truncated, and a
            query only if it takes more than 3/4 of them. Default: the model's limit.
        device: A torch device, for a model given by name.
        activation: ``"sigmoid"``, ``"identity"`` for logits, or None for the model's own.

    Example:
        >>> from twofold import CrossEncoderReranker
        >>> CrossEncoderReranker("my-model", candidates=20, threshold=0.2).name
        'my-model?candidates=20&threshold=0.2'
    """

    model: "CrossEncoder | str | Path"
    _: KW_ONLY
    candidates: int = 50
    threshold: float | None = None
    batch_tokens: int | None = None
    max_length: int | None = None
    device: str | None = None
    activation: Activation | None = None
    _title: str = field(init=False, compare=False)  # the model's name in messages
    _source: str = field(init=False, compare=False, default="")
    _load_lock: ForkSafeLock = field(init=False, compare=False, default_factory=ForkSafeLock)
    _loaded: "tuple[Any, _PairCounter] | None" = field(init=False, compare=False, default=None)

    def __post_init__(self) -> None:
        check_integer("candidates", self.candidates)
        for name in ("batch_tokens", "max_length"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name))
        if self.threshold is not None:
            check_number("threshold", self.threshold)
        if self.activation is not None:
            check_choice("activation", self.activation, get_args(Activation))
        if isinstance(self.model, str | Path):
            object.__setattr__(self, "_title", absolute_model(self.model))
            object.__setattr__(self, "_source", resolve_model_source(self._title))
            return
        check_extra("models", "cross-encoders", "sentence_transformers", "torch")
        from sentence_transformers import CrossEncoder

        if not isinstance(self.model, CrossEncoder):
            raise InputError(
                "model must be a CrossEncoder of sentence-transformers, a folder or a name, got "
                f"{type(self.model).__name__}"
            )
        if self.device is not None:
            raise InputError(
                f"device={self.device!r} can't apply to a model that is loaded already: omit it, "
                "or pass the model's name"
            )
        source = getattr(self.model.transformers_model, "name_or_path", "") or "no name"
        object.__setattr__(self, "_title", f"CrossEncoder({source})")
        _check_single_score(self.model, self._title)

    @property
    def name(self) -> str:
        """The spec that ``reranker_from_name`` takes, if the model was given by name."""
        return format_spec(self._title, {name: getattr(self, name) for name in _OPTIONS})

    @property
    def identity(self) -> RerankerIdentity:
        """The name, and a hash of weights, tokenizer and options, computed on each access."""
        model, _ = self._load()
        with _model_lock(model):
            state = hash_weights(model)
            saved = type(model.activation_fn).__name__
            state.update(fingerprint_tokenizer(getattr(model[0], "tokenizer", None)).encode())
        options = (self.activation or saved, self._length_limit(model), _default_prompt(model))
        state.update(repr(options).encode())
        return RerankerIdentity(self.name, str(state.hexdigest()))

    @property
    def cross_encoder(self) -> Any:
        """The CrossEncoder, which can be passed to another reranker without loading it again.

        Raises EncoderNotFoundError if it can't be loaded.
        """
        return self._load()[0]

    def rerank(
        self,
        queries: Sequence[str],
        texts: Sequence[Sequence[str]],
        progress: Callable[[int], None] | None = None,
    ) -> list[Scores]:
        """Return a list with the scores of query i's n_i candidates, float64 (n_i,), for each i.

        Args:
            queries: The texts of the n queries.
            texts: For each query, the texts of its candidates.
            progress: Called after each batch with the number of pairs scored so far.

        Raises:
            InputError: An input isn't text, or a score isn't finite.
        """
        queries = check_texts(queries)
        if isinstance(texts, str):
            raise InputError(
                f"texts must have a sequence of strings for each query, got {texts!r:.40}"
            )
        candidates = [check_texts(passages) for passages in texts]
        if len(queries) != len(candidates):
            raise InputError(
                f"texts must have one sequence for each of the {len(queries)} queries, got "
                f"{len(candidates)}"
            )
        counts = [len(passages) for passages in candidates]
        if not sum(counts):
            return [np.zeros(0, np.float64) for _ in queries]
        pairs = [
            (query, text) for query, read in zip(queries, candidates, strict=True) for text in read
        ]
        scores = np.zeros(len(pairs), np.float64)
        model, counter = self._load()
        tokens, keep_query = counter.measure(queries, candidates)
        budget = self.batch_tokens
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
        return list(np.split(scores, np.cumsum(counts)[:-1]))

    def _predict(self, model: Any, pairs: list[tuple[str, str]], *, keep_query: bool) -> Scores:
        """Score one batch of pairs; if ``keep_query``, only passages are truncated."""
        from torch import nn

        text: dict[str, Any] = {"truncation": "only_second"} if keep_query else {}
        if self.max_length is not None:
            text["max_length"] = self.max_length
        options: dict[str, Any] = {"processing_kwargs": {"text": text}} if text else {}
        saved_sigmoid = type(model.activation_fn) is nn.Sigmoid
        sigmoid = self.activation == "sigmoid" or (self.activation is None and saved_sigmoid)
        logits = sigmoid or self.activation == "identity"
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
                f"{self._title!r} gives {scores[bad[0]]} for the query {query!r:.60} and the "
                f"passage {passage!r:.60}: its weights are damaged, or too large for their dtype; "
                "load it in float32, or use another model"
            )
        # In float32, every logit above 17 would score 1, and such passages would tie.
        return np.exp(-np.logaddexp(0, -scores)) if sigmoid else scores

    def _load(self) -> "tuple[Any, _PairCounter]":
        with self._load_lock:
            interrupted = self._loaded is not None and _model_lock(self._loaded[0]).interrupted
            if self._loaded is None or (interrupted and self._source):
                model: Any = self.model
                if self._source:
                    model = _load_cross_encoder(self._source, self._title, self.device)
                with _model_lock(model):
                    counter = _PairCounter(model, self._length_limit(model))
                if self.max_length is not None and self.max_length <= counter.special + 1:
                    raise InputError(
                        f"max_length must be >= {counter.special + 2} for {self._title!r}, which "
                        f"adds {counter.special} special tokens, got {self.max_length}"
                    )
                object.__setattr__(self, "_loaded", (model, counter))
            assert self._loaded is not None  # set above
            return self._loaded

    def _length_limit(self, model: Any) -> int | None:
        """Return the most tokens of a pair that are read, or None for no limit."""
        given = model.max_seq_length
        limit = int(given) if given is not None and given <= _UNLIMITED else None
        if self.max_length is None:
            return limit
        if limit is not None and self.max_length > limit:
            raise InputError(
                f"max_length must be <= {limit}, the tokens of a pair that {self._title!r} reads, "
                f"got {self.max_length}"
            )
        return self.max_length

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def reranker_from_name(name: str | Path) -> CrossEncoderReranker:
    """Return the reranker that a spec names; its model is loaded when it first scores.

    Args:
        name: A model's name or folder, or ``"model?candidates=30&threshold=0.5"`` with
            arguments of CrossEncoderReranker.

    Raises:
        EncoderNotFoundError: A path doesn't exist.
        InputError: The spec is malformed or has an unknown option.
    """
    name = check_model_name(name)
    if is_folder(name):
        return CrossEncoderReranker(name)
    integers = ("candidates", "batch_tokens", "max_length")
    model, values = split_spec(name, _OPTIONS, "reranker", integers)
    with suppress(KeyError, ValueError):  # CrossEncoderReranker refuses what is no number
        values["threshold"] = float(values["threshold"])
    return CrossEncoderReranker(model, **values)


def as_reranker(reranker: object) -> Reranker:
    """Return a reranker unchanged, or make one from its name; raise InputError otherwise."""
    if isinstance(reranker, str):
        return reranker_from_name(reranker)
    if isinstance(reranker, type) or not isinstance(reranker, Reranker):
        raise InputError(
            "reranker must be a reranker of twofold.rerank or a cross-encoder's name, got "
            f"{reranker!r:.80}"
        )
    return reranker


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
        """Return the tokens read of each pair (n,), and whether its query must be kept (n,).

        Pairs are ordered by query. In a pair whose query must be kept, only the passage is
        truncated; by default, the model truncates the longer text, here the query too.
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
        """Return the number of tokens of each text without special tokens, int64 (n,)."""
        unique: dict[str, int] = {}
        positions = [unique.setdefault(text, len(unique)) for text in texts]
        if self._counter is None:
            counts = np.array([len(text) // _CHARACTERS_PER_TOKEN for text in unique], np.int64)
        else:
            counts = self._counter.count(list(unique)) - self._special_single
        return counts[positions]


def _load_cross_encoder(source: str, name: str, device: str | None) -> Any:
    """Load a CrossEncoder; raise InputError if it doesn't give one relevance score per pair."""
    check_extra("models", "cross-encoders", "sentence_transformers", "torch")
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


def _model_lock(model: Any) -> ForkSafeLock:
    """Return the lock for calls of a model, shared by all rerankers that use it.

    Every call sets the tokenizer's truncation and padding, so calls can't run concurrently.
    """
    with _model_locks_lock:
        return _model_locks.setdefault(model, ForkSafeLock())
