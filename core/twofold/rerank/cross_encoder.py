"""Cross-encoders by sentence-transformers as rerankers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from twofold.encoders.batching import check_texts
from twofold.encoders.model_spec import join_spec
from twofold.errors import InputError
from twofold.rerank.pair_scorer import Activation, PairScorer
from twofold.types import Scores

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder


@dataclass(frozen=True, slots=True)
class RerankerIdentity:
    """A reranker's name, and a hash of all that decides a pair's score."""

    name: str
    fingerprint: str


ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
OPTIONS = ("candidates", "threshold", "batch_tokens", "max_length", "device", "activation")


@dataclass(frozen=True, slots=True, repr=False)
class CrossEncoderReranker:
    """Any sentence-transformers CrossEncoder that gives one score a pair.

    ``model`` is a CrossEncoder, or a folder, an installed model package or a name on the hub,
    loaded when first used. Scores are those of ``CrossEncoder.predict``: on the scale of the
    model's own activation, which is the sigmoid unless another was saved, so that they lie in
    [0, 1]; ``activation="identity"`` gives the logits. They are no probabilities unless the model
    was trained to give such, and a ``threshold`` is on this scale.

    ``candidates`` passages are read for a query, or as many as there are hits wanted (k) where
    that is more. Pairs of all queries are sorted by length and
    scored in batches of at most ``batch_tokens`` tokens, padding included (left out: 1,024 on a
    CPU, 32,768 elsewhere); a pair above that is a batch by itself. A score depends on the batch
    by float noise only, and the same call gives the same bits. ``max_length`` is in tokens of a
    pair: of a longer one the passage is cut, and the query only where it alone takes more than
    three quarters of that. Safe for many threads, which take turns by batches.

    Nogueira and Cho, Passage Re-ranking with BERT (2019).
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
        for name in ("candidates", "batch_tokens", "max_length"):
            value: object = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            if not whole and (value is not None or name == "candidates"):
                raise InputError(f"{name} is {value!r}: a whole number of at least 1 is wanted")
        if self.threshold is not None:
            number = isinstance(self.threshold, int | float) and not isinstance(
                self.threshold, bool
            )
            if not number or not math.isfinite(self.threshold):
                raise InputError(f"threshold is {self.threshold!r}: a number or None is wanted")
        if self.activation is not None and self.activation not in ACTIVATIONS:
            names = ", ".join(repr(name) for name in ACTIVATIONS)
            raise InputError(f"activation is {self.activation!r}: use one of {names}, or None")
        scorer = PairScorer(
            self.model,
            device=self.device,
            batch_tokens=self.batch_tokens,
            max_length=self.max_length,
            activation=self.activation,
        )
        object.__setattr__(self, "_scorer", scorer)

    @property
    def name(self) -> str:
        """The spec that ``reranker_named`` makes it from, if its model was given by name."""
        given = {name: getattr(self, name) for name in OPTIONS if name != "candidates"}
        chosen = {name: str(value) for name, value in given.items() if value is not None}
        return join_spec(self._scorer.title, {"candidates": str(self.candidates), **chosen})

    @property
    def identity(self) -> RerankerIdentity:
        """Name and fingerprint; hashes all weights."""
        return RerankerIdentity(self.name, self._scorer.fingerprint())

    @property
    def cross_encoder(self) -> Any:
        """The CrossEncoder itself; raises EncoderNotFoundError if it can't be had.

        Given to another reranker, it isn't loaded again.
        """
        return self._scorer.model

    def rerank(
        self,
        queries: Sequence[str],
        texts: Sequence[Sequence[str]],
        progress: Callable[[int], None] | None = None,
    ) -> list[Scores]:
        """Return for each query the scores of its candidates ``texts[i]``, float64 (n_i,).

        ``progress`` is called after each batch with the number of pairs scored so far. Raises
        InputError for what isn't text and for a score that isn't finite, EncoderNotFoundError.
        """
        asked = check_texts(queries)
        if isinstance(texts, str):
            raise InputError(f"a sequence of texts for each query is wanted, not {texts!r:.40}")
        read = [check_texts(each) for each in texts]
        if len(asked) != len(read):
            raise InputError(
                f"{len(asked)} queries and the passages of {len(read)}: give one sequence of "
                "passages for each query"
            )
        scores = self._scorer.scores(asked, read, progress)
        ends = np.cumsum([len(each) for each in read], dtype=np.int64)[:-1]
        return list(np.split(scores, ends)) if read else []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"
