"""Mines hard negatives for each query, and keeps likely answers out of them."""

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal, get_args

import numpy as np
import xxhash

from twofold.backend import Capabilities, Searchable, SearchScope
from twofold.errors import DegradedWarning, InputError, QueryError
from twofold.retriever import Retriever
from twofold.training.data.examples import Example, TrainingSet
from twofold.types import LegHits, Passage, Vectors
from twofold.validation import check_choice, check_integer, check_number

Source = Literal["random", "lexical", "dense", "hybrid", "given"]
"""How a negative was found; ``"given"`` ones are negatives of the training set."""

_WORD = re.compile(r"\w+")
_MIN_DEVIATIONS = 2.0
"""Least distance of the score limit from the mean score, in standard deviations."""
# In this order: a passage that two searches find belongs to the first.
_MINED: tuple[Source, ...] = ("lexical", "dense", "hybrid", "random")
_BATCH = 256  # queries searched at once
_LEAST = 1e-6  # of shares and margins
_SPARE = 64  # random passages drawn beyond four times the number needed


@dataclass(frozen=True, slots=True)
class Negative:
    """A passage that doesn't answer a query.

    ``rank``, from 1, and ``score`` are those in the results of the search ``source``. They are None
    for the sources ``"random"`` and ``"given"``.
    """

    id: str
    source: Source
    rank: int | None = None
    score: float | None = None

    def __post_init__(self) -> None:
        check_choice(f"source of {self.id!r:.80}", self.source, get_args(Source))


MinedNegatives = dict[str, tuple[Negative, ...]]
"""Query id to its negatives; an empty tuple if none was found."""


def turnover(
    before: Mapping[str, Sequence[Negative]], after: Mapping[str, Sequence[Negative]]
) -> float:
    """Return the share of the passages in ``before`` that ``after`` lacks, from 0 to 1.

    Only queries in both mappings are compared. Without any negatives the turnover is 0.0.
    """
    total = replaced = 0
    for query_id in before.keys() & after.keys():
        kept = {negative.id for negative in after[query_id]}
        total += len(before[query_id])
        replaced += sum(negative.id not in kept for negative in before[query_id])
    return replaced / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Mining:
    """How negatives are mined.

    A candidate is refused as a likely answer if its dense score is above a limit. By default, the
    limit is mean + ``share`` * (best - mean), for the mean score of all passages and the best
    positive's score. It is at least two standard deviations above the mean. If no positive of a
    query has a vector, best - mean is the other queries' median. With ``margin``, the limit is a
    part of the best score, as in NV-Retriever (Moreira et al. 2024, arXiv:2407.15831), which takes
    95% of it. That refuses nearly everything if a model scores random passages at 0.8.

    Args:
        counts: Negatives per query by source, ``"random"``, ``"lexical"``, ``"dense"`` and
            ``"hybrid"``. Negatives of the training set come on top.
        depth: Number of candidates of each search.
        skip: How many of the best candidates to skip.
        margin: Replaces ``share``: the limit is best - ``margin`` * abs(best); > 0 and <= 1.
        share: Position of the limit between mean and best, > 0 and <= 1, or None for no limit.
        seed: Seed of the random negatives.
    """

    counts: Mapping[Source, int] = field(
        default_factory=lambda: {"random": 1, "lexical": 2, "dense": 2}
    )
    depth: int = 100
    skip: int = 0
    margin: float | None = None
    share: float | None = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        for name, minimum in (("depth", 1), ("skip", 0), ("seed", 0)):
            check_integer(name, getattr(self, name), minimum)
        for name in ("margin", "share"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), _LEAST, 1)
        if self.skip >= self.depth:
            raise InputError(f"skip must be < depth, got skip={self.skip} and depth={self.depth}")
        if not isinstance(self.counts, Mapping):
            raise InputError(
                "counts must map sources to numbers, such as {'random': 1, 'dense': 4}, "
                f"got {self.counts!r:.80}"
            )
        for source, count in self.counts.items():
            check_choice("a source in counts", source, _MINED)
            check_integer(f"counts[{source!r}]", count, 0)
        counts = {source: self.counts[source] for source in _MINED if self.counts.get(source)}
        if not counts:
            raise InputError(f"counts must ask for at least one negative, got {self.counts!r:.80}")
        object.__setattr__(self, "counts", counts)


def restrict_to_legs(index: Searchable, mining: Mining) -> Mining:
    """Return a plan with dense for lexical and hybrid negatives if there is no lexical leg.

    Warns (DegradedWarning) if it replaces any.
    """
    counts = dict(mining.counts)
    if "lexical" in index.capabilities.modes or not counts.keys() & {"lexical", "hybrid"}:
        return mining
    _warn("the index has no lexical leg: all searched negatives come from the dense leg")
    random = counts.pop("random", 0)
    return replace(mining, counts={"dense": sum(counts.values()), "random": random})


def mine(
    index: Searchable,
    training_set: TrainingSet,
    mining: Mining | None = None,
    *,
    progress: Callable[[int], None] | None = None,
) -> MinedNegatives:
    """Return negatives for each query of a training set.

    The dense leg is searched exactly, with the active query adapter. No negative is a positive of
    its query, a copy of a positive or the query, blank, or a likely answer by its score.
    Negatives of the training set are kept as they are. Where a source finds too few, random ones
    fill up. The result depends on index, data and seed, but not on the order of the examples.

    ``progress`` is called with the number of queries done. Warns (DegradedWarning) if positives
    have no text, or if there is no dense leg to score candidates. Raises QueryError if the index is
    empty or lacks a leg that ``mining`` needs.
    """
    with index.open_search() as scope:
        return _Miner(scope, mining if mining is not None else Mining(), training_set).run(progress)


@dataclass(slots=True)
class CandidateFilter:
    """Decides which passages may be negatives of one example.

    ``positive_texts`` are the contents of its positives that have one, ``vector`` (dim,) is the
    query vector, and ``positive_score`` the best positive's dense score. Passages with a dense
    score above ``max_score`` are refused as likely answers.
    """

    example: Example
    positive_texts: Sequence[str]
    vector: Vectors | None = None
    positive_score: float | None = None
    max_score: float = math.inf
    _accepted: dict[str, bool] = field(init=False)
    _refused_words: set[tuple[str, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self._accepted = dict.fromkeys((*self.example.positives, *self.example.negatives), False)
        self._refused_words = {(), *map(split_words, self.positive_texts)}

    def select(
        self, scope: SearchScope, source: Source, hits: LegHits, skip: int
    ) -> Iterator[Negative]:
        """Yield the hits after the first ``skip`` that may be negatives, and read them lazily."""
        ids, dense = scope.ids(hits.keys), np.full(len(hits.keys), np.nan)
        if self.vector is not None:
            dense = scope.dense_scores(self.vector, hits.keys)
        for place in range(skip, len(ids)):
            if ids[place] not in self._accepted:
                passage = scope.session.fetch(hits.keys[place : place + 1]).passages[0]
                self._accepted[ids[place]] = self._accepts(passage, float(dense[place]))
            if self._accepted[ids[place]]:
                ranked = (place + 1, float(hits.scores[place])) if source != "random" else ()
                yield Negative(ids[place], source, *ranked)

    def _accepts(self, passage: Passage, score: float) -> bool:
        """Return False for blank passages, copies of a positive or the query, and likely answers.

        ``score`` is the dense score, or NaN for passages without a vector, which have no limit.
        """
        words = split_words(passage.content)
        copies_query = split_words(self.example.query) in (words, split_words(passage.text))
        return not copies_query and words not in self._refused_words and not score > self.max_score


def split_words(text: str) -> tuple[str, ...]:
    """Return the words of a text, case-folded and without punctuation."""
    return tuple(_WORD.findall(text.casefold()))


@dataclass(frozen=True)  # without slots: hits refer to it weakly
class _PinnedIndex:
    """An index of one open search, so that a retriever searches the same generation."""

    pinned: SearchScope

    @property
    def capabilities(self) -> Capabilities:
        return self.pinned.capabilities

    def open_search(self) -> AbstractContextManager[SearchScope]:
        return nullcontext(self.pinned)


class _Miner:
    """Mines the negatives of one training set in one open search."""

    def __init__(self, scope: SearchScope, mining: Mining, training_set: TrainingSet) -> None:
        _check_legs(scope, mining)
        self._scope = scope
        self._mining = mining
        self._training_set = training_set
        self._texts = {passage.id: passage.content for passage in training_set.passages}
        self._total = sum(mining.counts.values())
        keys = scope.list_keys()
        ids = scope.ids(keys)
        # By id, so that random draws don't depend on the index's history.
        self._keys = keys[sorted(range(len(ids)), key=ids.__getitem__)]

    def run(self, progress: Callable[[int], None] | None) -> MinedNegatives:
        """Return the negatives of all queries."""
        # By id, because an encoder's vectors may depend on the other texts of a batch.
        examples = sorted(self._training_set, key=lambda example: example.query_id)
        filters = [
            CandidateFilter(example, list(filter(None, map(self._text, example.positives))))
            for example in examples
        ]
        if missing := sum(not candidate.positive_texts for candidate in filters):
            _warn(
                f"{missing:,} of {len(filters):,} queries have no positive in the index or in the "
                "training set's passages, so negatives may be copies of their positives"
            )
        if _has_dense(self._scope) and filters:
            self._set_score_limits(filters)
        elif filters:
            _warn("without dense leg and encoder, likely answers are not filtered by score")
        mined: MinedNegatives = {}
        for start in range(0, len(filters), _BATCH):
            batch = filters[start : start + _BATCH]
            for candidate, found in zip(batch, self._search(batch), strict=True):
                mined[candidate.example.query_id] = self._take(candidate, found)
            if progress is not None:
                progress(start + len(batch))
        return {example.query_id: mined[example.query_id] for example in self._training_set}

    def _text(self, passage_id: str) -> str:
        """Return a passage's content from the index or the training set, or an empty text."""
        fetched = self._scope.session.fetch(ids=[passage_id])
        return fetched.passages[0].content if len(fetched) else self._texts.get(passage_id, "")

    def _set_score_limits(self, filters: Sequence[CandidateFilter]) -> None:
        """Set the vector, the best positive's score and the score limit of each query's filter."""
        scope, share, margin = self._scope, self._mining.share, self._mining.margin
        metric, texts = scope.metric, self._texts
        assert metric is not None  # there is a dense leg
        ids = dict.fromkeys(id_ for candidate in filters for id_ in candidate.example.positives)
        keys = scope.find_keys(list(ids))
        absent = sorted(id_ for id_ in ids if id_ not in keys and texts.get(id_, "").strip())
        encoded: dict[str, Vectors] = {}
        if absent:
            vectors = metric.prepare(scope.encode_passages([texts[id_] for id_ in absent]))
            encoded = dict(zip(absent, vectors, strict=True))
        vectors = scope.encode_queries([candidate.example.query for candidate in filters])
        statistics = scope.require_statistics("filtering negatives by score")
        moments = [statistics.dense_moments(vector) for vector in vectors]
        for candidate, vector in zip(filters, vectors, strict=True):
            positives = candidate.example.positives
            stored = np.array([keys[id_] for id_ in positives if id_ in keys], np.int64)
            scores = scope.dense_scores(vector, stored)
            if others := [encoded[id_] for id_ in positives if id_ in encoded]:
                scores = np.append(scores, metric.score(vector, np.stack(others)))
            candidate.vector = vector
            candidate.positive_score = max(scores[~np.isnan(scores)].tolist(), default=None)
        pairs = list(zip(filters, moments, strict=True))
        gaps = [f.positive_score - level.mean for f, level in pairs if f.positive_score is not None]
        for candidate, level in pairs:
            best = candidate.positive_score
            if margin is not None and best is not None:
                candidate.max_score = best - margin * abs(best)
            elif margin is None and share is not None and gaps:
                gap = best - level.mean if best is not None else float(np.median(gaps))
                candidate.max_score = level.mean + max(
                    share * gap, _MIN_DEVIATIONS * level.deviation
                )

    def _search(self, filters: Sequence[CandidateFilter]) -> list[dict[Source, Iterator[Negative]]]:
        """Return each query's negatives by source, best first, filtered lazily."""
        scope, depth, counts = self._scope, self._mining.depth, self._mining.counts
        texts = [candidate.example.query for candidate in filters]
        vectors = [candidate.vector for candidate in filters if candidate.vector is not None]
        hits: dict[Source, list[LegHits]] = {}
        if "lexical" in counts:
            hits["lexical"] = scope.session.search_lexical(texts, depth, None, None)
        if "dense" in counts:
            hits["dense"] = scope.session.search_dense(np.stack(vectors), depth, None, math.inf)
        if "hybrid" in counts:
            retriever = Retriever(_PinnedIndex(scope), k=depth, exact=True)
            fused = retriever.retrieve_many(texts, vectors=np.stack(vectors))
            hits["hybrid"] = [
                LegHits(scope.session.fetch(ids=found.ids, texts=False).keys, found.scores)
                for found in fused
            ]
        return [
            {
                source: candidate.select(scope, source, lists[place], self._mining.skip)
                for source, lists in hits.items()
            }
            for place, candidate in enumerate(filters)
        ]

    def _take(
        self, candidate: CandidateFilter, found: Mapping[Source, Iterator[Negative]]
    ) -> tuple[Negative, ...]:
        """Return a query's negatives: of the training set, of each search, then random ones."""
        taken = {id_: Negative(id_, "given") for id_ in candidate.example.negatives}
        total = len(taken) + self._total
        for source, negatives in (*found.items(), ("random", self._draw(candidate))):
            count = total - len(taken) if source == "random" else self._mining.counts[source]
            new = (negative for negative in negatives if negative.id not in taken)
            taken |= {negative.id: negative for negative in islice(new, count)}
        return tuple(taken.values())

    def _draw(self, candidate: CandidateFilter) -> Iterator[Negative]:
        """Yield random negatives, which depend on the seed and the query id alone."""
        query_id = candidate.example.query_id.encode(errors="surrogatepass")
        rng = np.random.default_rng([self._mining.seed, xxhash.xxh3_64_intdigest(query_id)])
        size = min(len(self._keys), 4 * self._total + _SPARE)
        hits = LegHits(rng.choice(self._keys, size, replace=False), np.zeros(size))
        yield from candidate.select(self._scope, "random", hits, 0)


def _check_legs(scope: SearchScope, mining: Mining) -> None:
    """Raise QueryError if the index is empty or lacks a leg that ``mining`` searches."""
    if not scope.session.corpus.passages:
        raise QueryError("the index is empty: upsert passages before mining")
    legs = {"lexical": scope.has_lexical, "dense": _has_dense(scope)}
    for leg, exists in legs.items():
        sources = sorted(mining.counts.keys() & {leg, "hybrid"})
        if sources and not exists:
            raise QueryError(
                f"counts has {sources[0]!r}, but the index has no {leg} leg for queries as texts: "
                f"leave {sources[0]!r} out of counts"
            )


def _has_dense(scope: SearchScope) -> bool:
    return scope.metric is not None and scope.can_encode


def _warn(problem: str) -> None:
    warnings.warn(problem, DegradedWarning, stacklevel=4)
