"""The passages, queries and searches that the checks of a diagnosis share."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twofold.backend import SearchScope
from twofold.diagnosis.scan import CorpusScan
from twofold.errors import EncoderMismatchError, EncoderWarning, TwofoldError
from twofold.index.leg_agreement import choose_sentence, order_by_digest
from twofold.protocols import Encoder
from twofold.similarity import Metric
from twofold.types import LegHits, Passage, Scores, Vectors

READ = 2_000
"""Passages whose texts the checks read."""
PROBES = 200
"""Passages of which one sentence each is a query."""
ENCODED = 100
"""Passages that are encoded again, to compare with their stored vectors."""
DEPTH = 100
"""Hits per query."""
_AT_ONCE = 500  # queries

Positions = NDArray[np.int64]
"""Positions (n,) of passages in a `CorpusScan`."""


@dataclass(frozen=True, eq=False)  # without slots: what the checks share is computed once
class IndexSample:
    """An open session, and what the checks look at. Each value is computed when first used.

    Attributes:
        scope: The session.
        scan: Its passages.
        model: The encoder itself, None without one.
        windowed: Whether passages that are longer than the encoder reads have windows.
        queries: Queries of users, by id.
    """

    scope: SearchScope
    scan: CorpusScan
    model: Encoder | None
    windowed: bool
    queries: dict[str, str]

    @property
    def metric(self) -> Metric | None:
        """The similarity of the vectors, None without a dense leg."""
        return self.scope.metric if self.scan.vectors is not None else None

    @cached_property
    def order(self) -> Positions:
        """The positions of all passages with text, in the order of a hash of their ids."""
        with_text = np.flatnonzero(self.scan.has_text)
        ids = [self.scan.ids[at] for at in with_text.tolist()]
        return with_text[order_by_digest(ids)]

    @cached_property
    def read(self) -> Positions:
        """The positions of the passages in ``passages``."""
        return self.order[:READ]

    @cached_property
    def passages(self) -> Sequence[Passage]:
        """Up to 2,000 passages with text."""
        return self.fetch(self.read)

    def fetch(self, positions: Positions) -> list[Passage]:
        """Return the passages at these positions."""
        fetched = self.scope.session.fetch(self.scan.keys[positions])
        by_key = dict(zip(fetched.keys.tolist(), fetched.passages, strict=True))
        return [by_key[key] for key in self.scan.keys[positions].tolist() if key in by_key]

    @cached_property
    def probes(self) -> Positions:
        """The positions of the passages of which one sentence is a query."""
        return self.order[:PROBES]

    @cached_property
    def sentences(self) -> list[str]:
        """The sentence of each passage in ``probes``."""
        return [choose_sentence(passage) for passage in self.passages[: len(self.probes)]]

    @cached_property
    def encoding(self) -> "Encoding":
        """The vectors of the sentences, or why there are none."""
        if self.metric is None or self.scope.encoder is None or not self.sentences:
            return Encoding(None, None, ())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                vectors = np.asarray(self.scope.encode_queries(self.sentences, adapt=False))
            except Exception as error:  # noqa: BLE001  # encoders of users raise anything
                return Encoding(None, error, ())
        problem = self._find_problem(vectors, len(self.sentences))
        if problem is not None:
            return Encoding(None, problem, ())
        texts = [str(one.message) for one in caught if issubclass(one.category, EncoderWarning)]
        return Encoding(vectors.astype(np.float32), None, tuple(texts))

    @cached_property
    def lexical_problem(self) -> TwofoldError | None:
        """Why the lexical leg can't be searched, None if it can or there is none."""
        if not self.scope.has_lexical:
            return None
        try:
            self.scope.session.search_lexical(["a word"], 1, None, None)
        except TwofoldError as error:
            return error
        return None

    @property
    def has_lexical(self) -> bool:
        """Whether there is a lexical leg that can be searched."""
        return self.scope.has_lexical and self.lexical_problem is None

    @cached_property
    def dense_hits(self) -> list[LegHits]:
        """The dense leg's hits of each sentence, as a search finds them."""
        vectors = self.encoding.vectors
        return [] if vectors is None else self.search_dense(self.scope.adapt(vectors))

    @cached_property
    def lexical_hits(self) -> list[LegHits]:
        """The lexical leg's hits of each sentence."""
        if not self.has_lexical or not self.sentences:
            return []
        return self.search_lexical(self.sentences)

    def search_dense(self, vectors: Vectors, k: int = DEPTH, effort: float = 1.0) -> list[LegHits]:
        """Search the dense leg in batches; vectors that have no cosine find nothing."""
        assert self.metric is not None  # asked for by callers
        found = [LegHits.empty() for _ in vectors]
        usable = np.flatnonzero(self.metric.can_compare(vectors))
        for start in range(0, len(usable), _AT_ONCE):
            places = usable[start : start + _AT_ONCE]
            hits = self.scope.session.search_dense(vectors[places], k, None, effort)
            for place, one in zip(places.tolist(), hits, strict=True):
                found[place] = one
        return found

    def search_lexical(self, texts: Sequence[str], k: int = DEPTH) -> list[LegHits]:
        """Search the lexical leg in batches."""
        return [
            hits
            for start in range(0, len(texts), _AT_ONCE)
            for hits in self.scope.session.search_lexical(
                texts[start : start + _AT_ONCE], k, None, None
            )
        ]

    @property
    def encoded(self) -> tuple[Positions, Vectors]:
        """The positions of passages that were encoded again, and their vectors as now encoded."""
        return self._encoded_again[:2]

    @property
    def passage_error(self) -> Exception | None:
        """Why passages can't be encoded again, None if they can or needn't be."""
        return self._encoded_again[2]

    @cached_property
    def _encoded_again(self) -> tuple[Positions, Vectors, Exception | None]:
        nowhere, nothing = np.empty(0, np.int64), np.empty((0, 0), np.float32)
        metric = self.metric
        if metric is None or self.encoding.vectors is None:
            return nowhere, nothing, None
        chosen = self.read[self.scan.has_vector[self.read]][:ENCODED]
        if not len(chosen):
            return nowhere, nothing, None
        texts = [passage.content for passage in self.fetch(chosen)]
        try:
            vectors = np.asarray(self.scope.encode_passages(texts), np.float32)
        except Exception as error:  # noqa: BLE001  # likewise
            return nowhere, nothing, error
        problem = self._find_problem(vectors, len(chosen))
        if problem is not None:
            return nowhere, nothing, problem
        usable = metric.can_compare(vectors)
        return chosen[usable], metric.prepare(vectors[usable]), None

    def _find_problem(self, vectors: Vectors, count: int) -> EncoderMismatchError | None:
        """Return why an encoder's vectors of ``count`` texts can't be used, None if they can."""
        shape = (count, self.scope.session.corpus.dim)
        if vectors.shape == shape and np.isfinite(vectors).all():
            return None
        return EncoderMismatchError(
            f"the encoder gives vectors of shape {vectors.shape}, and the index needs {shape} with "
            "finite numbers"
        )

    def ids(self, positions: Positions) -> list[str]:
        """Return the ids of the passages at these positions."""
        return [self.scan.ids[at] for at in positions.tolist()]


@dataclass(frozen=True, slots=True)
class Encoding:
    """The vectors of the sentences (n, dim), the error that prevented them, and warnings."""

    vectors: Vectors | None
    error: Exception | None
    warnings: tuple[str, ...]


def find_reciprocal_ranks(hits: Sequence[LegHits], keys: Sequence[int]) -> Scores:
    """Return 1/rank (n,) of one passage for each search, 0 where it isn't among the hits."""
    ranks = [rank_of(one, key) for one, key in zip(hits, keys, strict=True)]
    return np.array([0.0 if rank is None else 1.0 / rank for rank in ranks])


def is_clearly_less(before: Scores, after: Scores, least: float) -> bool:
    """Return whether values (n,) fall by ``least`` on average, and by three standard errors."""
    falls = before - after
    error = float(falls.std(ddof=1)) / len(falls) ** 0.5 if len(falls) > 1 else np.inf
    return bool(falls.mean() >= max(least, 3 * error))


def rank_of(hits: LegHits, key: int) -> int | None:
    """Return the rank of a passage among hits, from 1; None if it is not among them."""
    found = np.flatnonzero(hits.keys == key)
    return int(found[0]) + 1 if len(found) else None


def to_unit(vectors: Vectors) -> Vectors:
    """Return vectors (n, dim) of unit length; those of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def cosines(first: Vectors, second: Vectors) -> Vectors:
    """Return the cosine of each pair of rows (n,)."""
    return np.asarray(np.einsum("ij,ij->i", to_unit(first), to_unit(second)), np.float32)
