"""Selecting the hits among the candidates: thresholds, groups, near-duplicates, diversity."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.backend import Keys, SearchScope
from twofold.errors import QueryError
from twofold.retriever.candidates import CandidateSet, Positions
from twofold.types import Mask, Passage, Scores, Vectors
from twofold.validation import check_integer, check_number

_ROUNDING = 1e-6
"""How far the float32 cosine of equal vectors may stay below 1."""
_TIE = 1e-12
"""How far gains may differ that are equal on paper."""


@dataclass(frozen=True, slots=True)
class CandidateFeatures:
    """Features of candidates (n,), to compare them.

    Attributes:
        vectors: Unit vectors, float64 (n, dim); zero where a passage has none.
        texts: Equal numbers for equal texts; None if not needed.
        groups: Equal numbers for members of one group; None if not needed.
    """

    vectors: NDArray[np.float64]
    texts: NDArray[np.int64] | None
    groups: NDArray[np.int64] | None

    @classmethod
    def from_session(
        cls, scope: SearchScope, keys: Keys, *, texts: bool, group_by: str | None
    ) -> "CandidateFeatures":
        """Read the features of candidates."""
        fetched = scope.session.fetch(keys, texts=texts or group_by is not None, vectors=True)
        assert fetched.vectors is not None  # asked for
        vectors = fetched.vectors.astype(np.float64)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        contents = [passage.content for passage in fetched.passages] if texts else None
        groups = group_values(keys, fetched.passages, group_by) if group_by is not None else None
        return cls(
            vectors / np.where(lengths > 0, lengths, 1.0),
            _number_values(contents) if contents is not None else None,
            _number_values(groups) if groups is not None else None,
        )

    def cosines_to(self, position: int) -> Scores:
        """Return the cosine of each candidate to one of them, 0 without a vector."""
        return np.asarray(self.vectors @ self.vectors[position])

    def cosines_to_query(self, vector: Vectors) -> Scores:
        """Return the cosine of each candidate to a query vector (dim,)."""
        wide = vector.astype(np.float64)
        length = float(np.linalg.norm(wide))
        return np.asarray(self.vectors @ (wide / length if length > 0 else wide))

    def duplicates_of(self, position: int, cosines: Scores, threshold: float) -> Mask:
        """Return which candidates repeat one of them, given their cosines to it."""
        assert self.texts is not None  # read where near-duplicates are dropped
        return np.asarray((cosines >= threshold - _ROUNDING) | (self.texts == self.texts[position]))


def group_values(keys: Keys, passages: Sequence[Passage], field: str) -> list[str]:
    """Return each passage's value of a metadata field as JSON; its own key if it lacks the field.

    Equal numbers are one value: 1 and 1.0.
    """
    values = [passage.metadata.get(field) for passage in passages]
    return [
        json.dumps(_integral(value), sort_keys=True) if value is not None else f"key {key}"
        for key, value in zip(keys.tolist(), values, strict=True)
    ]


def _integral(value: Any) -> Any:
    """Return a JSON value with integers in place of equal floats."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_integral(item) for item in value]
    if isinstance(value, dict):
        return {name: _integral(item) for name, item in value.items()}
    return value


def _number_values(values: Sequence[str]) -> NDArray[np.int64]:
    """Return a number for each value, equal ones for equal values."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


@dataclass(frozen=True, slots=True)
class ResultSelection:
    """Which candidates become hits.

    Diversity is maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998) with lambda =
    1 - ``diversity``: of the best max(depth, k) candidates, each next hit maximises
    (1 - diversity) * relevance - diversity * the greatest cosine to a hit before it. Relevance is
    the cosine to the query's vector where the dense leg alone was searched, and otherwise, also
    after a reranker, the score scaled to 0 (worst candidate) and 1 (best). Of equal gains, the
    better ranked candidate wins.

    Args:
        min_score: The least fused score.
        min_dense: The least dense score, on that leg's own scale.
        min_lexical: The least lexical score, on that leg's own scale.
        diversity: 0 to 1; 0 ranks by score alone.
        dedup_threshold: The cosine from which two passages count as one, the better one; equal
            texts always do then. None keeps all.
        group_by: A metadata field whose values form groups; passages without it are groups of one.
        per_group: The most hits of one group.

    Attributes:
        compares: Whether hits depend on one another, so that more candidates than hits are needed.
        selects: Whether fewer hits than candidates may be left.
    """

    min_score: float | None = None
    min_dense: float | None = None
    min_lexical: float | None = None
    diversity: float = 0.0
    dedup_threshold: float | None = None
    group_by: str | None = None
    per_group: int = 1
    compares: bool = field(init=False, repr=False, compare=False)
    selects: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("min_score", "min_dense", "min_lexical"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), error=QueryError)
        if self.diversity != 0:
            check_number("diversity", self.diversity, 0, 1, error=QueryError)
        if self.dedup_threshold is not None:
            check_number("dedup_threshold", self.dedup_threshold, 1e-9, 1, error=QueryError)
        if self.group_by is not None and not (isinstance(self.group_by, str) and self.group_by):
            raise QueryError(
                f"group_by must be the name of a metadata field, got {self.group_by!r}"
            )
        check_integer("per_group", self.per_group, error=QueryError)
        compared = (self.diversity or None, self.dedup_threshold, self.group_by)
        limits = (self.min_score, self.min_dense, self.min_lexical)
        object.__setattr__(self, "compares", any(value is not None for value in compared))
        selects = self.compares or any(limit is not None for limit in limits)
        object.__setattr__(self, "selects", selects)

    @property
    def thresholds(self) -> "ResultSelection":
        """The thresholds alone."""
        return ResultSelection(self.min_score, self.min_dense, self.min_lexical)

    def passing(self, candidates: CandidateSet) -> Positions | None:
        """Return the candidates that reach every threshold, None for all."""
        if self.min_score is None and self.min_dense is None and self.min_lexical is None:
            return None
        limits = [(self.min_score, candidates.scores)]
        limits += [
            (self.min_dense if leg == "dense" else self.min_lexical, scores.completed)
            for leg, scores in candidates.legs.items()
        ]
        reached = [values >= limit for limit, values in limits if limit is not None]
        return np.flatnonzero(np.logical_and.reduce(reached)) if reached else None

    def select(
        self,
        scope: SearchScope,
        candidates: CandidateSet,
        limit: int,
        k: int,
        vector: Vectors | None,
    ) -> tuple[Positions, list[Positions]]:
        """Return the best ``k`` candidates, and the near-duplicates that each stands for.

        Args:
            scope: The open search.
            candidates: The candidates of one query.
            limit: How many passages each leg was asked for.
            k: The most hits.
            vector: The query's vector (dim,), if it has one.
        """
        passing = self.passing(candidates)
        if not self.compares:
            return candidates.rank(scope, k, passing), []
        depth = limit if self.diversity else len(candidates.keys)
        ranked = candidates.rank(scope, depth, passing)
        features = self._features(scope, candidates.keys[ranked])
        if candidates.fused is None and "dense" in candidates.legs and vector is not None:
            relevance = features.cosines_to_query(vector)
        else:
            relevance = _scale(candidates.scores[ranked])
        return self._pick(features, ranked, relevance, k)

    def select_reranked(
        self,
        scope: SearchScope,
        candidates: CandidateSet,
        ranked: Positions,
        scores: Scores,
        k: int,
    ) -> tuple[Positions, list[Positions]]:
        """Return the best ``k`` of the candidates ``ranked`` by a reranker, and their duplicates.

        ``scores`` (n,) are the reranker's, in the order of ``ranked``.
        """
        if not self.compares:
            return ranked[:k], []
        features = self._features(scope, candidates.keys[ranked])
        return self._pick(features, ranked, _scale(scores), k)

    def _features(self, scope: SearchScope, keys: Keys) -> CandidateFeatures:
        texts = self.dedup_threshold is not None
        return CandidateFeatures.from_session(scope, keys, texts=texts, group_by=self.group_by)

    def _pick(
        self, features: CandidateFeatures, ranked: Positions, relevance: Scores, k: int
    ) -> tuple[Positions, list[Positions]]:
        """Pick up to ``k`` of the candidates ``ranked`` best first, one by one.

        Raises:
            QueryError: Diversity needs vectors, and there are none.
        """
        if self.diversity and features.vectors.shape[1] == 0 and len(ranked):
            raise QueryError("diversity compares vectors, and this index has none: leave it out")
        nearest = np.zeros(len(ranked))
        duplicate_of = np.full(len(ranked), -1)  # the first hit that a candidate repeats
        groups: Counter[int] = Counter()
        picked: list[int] = []
        remaining = list(range(len(ranked)))
        while remaining and len(picked) < k:
            at = remaining.pop(self._next(relevance, nearest, remaining, first=not picked))
            group = int(features.groups[at]) if features.groups is not None else -1
            if duplicate_of[at] >= 0 or (group >= 0 and groups[group] == self.per_group):
                continue
            if self.diversity or self.dedup_threshold is not None:
                cosines = features.cosines_to(at)
                nearest = np.maximum(nearest, cosines) if picked else cosines
                if self.dedup_threshold is not None:
                    duplicates = features.duplicates_of(at, cosines, self.dedup_threshold)
                    duplicate_of[(duplicate_of < 0) & duplicates] = at
                    duplicate_of[picked] = -1  # hits themselves
                    duplicate_of[at] = -1
            picked.append(at)
            groups[group] += 1
        # Duplicates ranked after the last hit are listed too.
        duplicates_of = [ranked[np.flatnonzero(duplicate_of == at)] for at in picked]
        return ranked[picked], duplicates_of

    def _next(
        self, relevance: Scores, nearest: Scores, remaining: list[int], *, first: bool
    ) -> int:
        """Return which of the remaining candidates comes next: the first of the greatest gain."""
        if not self.diversity:
            return 0
        gains = relevance[remaining]
        if not first:
            gains = (1 - self.diversity) * gains - self.diversity * nearest[remaining]
        return int(np.argmax(gains >= gains.max() - _TIE))


def _scale(scores: Scores) -> Scores:
    """Return scores scaled to 0 (worst) and 1 (best)."""
    span = float(np.ptp(scores)) if len(scores) else 0.0
    return (scores - scores.min()) / span if span > 0 else np.ones(len(scores))
