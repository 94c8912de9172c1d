"""Rerankers by sentence-transformers' cross-encoders."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from twofold.encoders.batching import check_texts
from twofold.encoders.model_spec import (
    check_model_name,
    is_folder,
    join_spec,
    parse_integer,
    split_spec,
)
from twofold.errors import InputError
from twofold.protocols import Reranker
from twofold.rerank.pair_scorer import Activation, PairScorer
from twofold.types import Scores
from twofold.validation import check_choice, check_integer, check_number

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

_OPTIONS = ("candidates", "threshold", "batch_tokens", "max_length", "device", "activation")


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
    model was trained for that. Scores vary with the batch by float noise only, and equal calls give
    equal bits. Thread-safe: threads take turns by batches.

    Args:
        model: A CrossEncoder, or the folder, installed package or hub name of one that is loaded
            when first used. It must give one score per pair.
        candidates: The number of passages to score for a query, or k if that is larger.
        threshold: Hits with a lower score are dropped. None keeps all.
        batch_tokens: The most tokens in a batch, padding included. Default: 1,024 on a CPU, 32,768
            elsewhere. A longer pair is a batch by itself.
        max_length: The most tokens of a pair. The passage is truncated, and the query only if it
            takes more than three quarters. Default: the model's limit.
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
    _scorer: PairScorer = field(init=False, compare=False)

    def __post_init__(self) -> None:
        check_integer("candidates", self.candidates)
        for name in ("batch_tokens", "max_length"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name))
        if self.threshold is not None:
            check_number("threshold", self.threshold)
        if self.activation is not None:
            check_choice("activation", self.activation, get_args(Activation))
        scorer = PairScorer(
            self.model, self.device, self.batch_tokens, self.max_length, self.activation
        )
        object.__setattr__(self, "_scorer", scorer)

    @property
    def name(self) -> str:
        """The spec that ``reranker_from_name`` takes, if the model was given by name."""
        options = {name: getattr(self, name) for name in _OPTIONS}
        return join_spec(
            self._scorer.title,
            {name: str(value) for name, value in options.items() if value is not None},
        )

    @property
    def identity(self) -> RerankerIdentity:
        """Name and fingerprint. Hashes all weights."""
        return RerankerIdentity(self.name, self._scorer.fingerprint())

    @property
    def cross_encoder(self) -> Any:
        """The CrossEncoder, which can be passed to another reranker without loading it again.

        Raises EncoderNotFoundError if it can't be loaded.
        """
        return self._scorer.model

    def rerank(
        self,
        queries: Sequence[str],
        texts: Sequence[Sequence[str]],
        progress: Callable[[int], None] | None = None,
    ) -> list[Scores]:
        """Score the candidates of each query.

        Args:
            queries: The queries (n,).
            texts: The candidates' texts for each query (n, n_i).
            progress: Called after each batch with the number of pairs scored so far.

        Returns:
            The scores for each query, float64 (n_i,).

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
        scores = self._scorer.score(queries, candidates, progress)
        ends = np.cumsum([len(passages) for passages in candidates], dtype=np.int64)[:-1]
        return list(np.split(scores, ends)) if candidates else []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def reranker_from_name(name: str | Path) -> CrossEncoderReranker:
    """Return the reranker of a spec, without loading the model.

    Args:
        name: A model, or ``"model?candidates=30&threshold=0.5"`` with the arguments of
            CrossEncoderReranker.

    Raises:
        EncoderNotFoundError: A path doesn't exist.
        InputError: The spec is malformed or has an unknown option.
    """
    name = check_model_name(name)
    if is_folder(name):
        return CrossEncoderReranker(name)
    model, texts = split_spec(name, _OPTIONS, "reranker")
    values: dict[str, Any] = dict(texts)
    for option in {"candidates", "batch_tokens", "max_length"} & texts.keys():
        values[option] = parse_integer(texts[option])
    with suppress(KeyError, ValueError):  # CrossEncoderReranker refuses what is no number
        values["threshold"] = float(texts["threshold"])
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
