"""Why a passage is not among the hits, as a value that prints as text and turns into JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from twofold.types import Leg


@dataclass(frozen=True, slots=True)
class LegRank:
    """The rank of the missing passage in one leg.

    Attributes:
        score: Its raw score, None if the leg can't score it.
        rank: Its rank among the passages that match the filter, from 1; None if it is not among the
            best ``searched``.
        depth: How many passages the query's search took from the leg.
        searched: How many passages the explanation's search took from the leg.
        missed: Whether its rank is within ``depth``, but the approximate search missed it.
    """

    score: float | None
    rank: int | None
    depth: int
    searched: int
    missed: bool = False

    @property
    def below(self) -> bool:
        """Whether the passage ranks below ``depth``."""
        return self.rank is None or self.rank > self.depth


@dataclass(frozen=True, slots=True)
class ThresholdMiss:
    """A threshold that the passage does not reach.

    Attributes:
        name: The option's name, such as ``"min_dense"``.
        required: The threshold.
        score: The passage's score, None if it has none.
    """

    name: str
    required: float
    score: float | None


@dataclass(frozen=True, slots=True)
class WhyNot:
    """Why one passage is not among the hits of a query.

    Attributes:
        passage_id: The passage's id, or the path of a file.
        query: The query's text.
        rank: Its rank if it is one of the hits.
        stored: Whether the index has the passage; if not, the attributes below are not set.
        parts: The ids of the passages of the file that was asked for, if no passage has this id.
            ``passage_id`` is then that of its best one.
        suffix: If there is no such file either, the suffix of its name if no file with this suffix
            is stored.
        filtered: Whether the filter excludes it; if so, the attributes below are not set.
        searched: Whether anything was searched; a blank query searches nothing.
        abstained: Why no answer was given at all (``Retriever(abstain=...)``), None if one was; if
            so, the attributes below are not set.
        legs: Its rank in each leg that was searched.
        score: Its score before reranking, which it has or would have as a candidate.
        place: Its rank among the candidates that reach the thresholds, None if unknown.
        reranked: Its score from the reranker.
        missed: The thresholds that it does not reach.
        outranked_by: The ids of hits with a better score.
        gap: How far its score is below the lowest score of ``outranked_by``.
        budget: How many candidates the reranker scores, if the passage ranks below them.
        duplicate_of: The id of the hit that it is a near-duplicate of.
        group: The ids of the hits that fill its group (``group_by``).
        diverse: Whether ``diversity`` preferred less similar passages.
        changes: Tried options that make it a hit; pass one to ``dataclasses.replace``.
    """

    passage_id: str
    query: str | None
    rank: int | None = None
    stored: bool = True
    parts: tuple[str, ...] = ()
    suffix: str | None = None
    filtered: bool = False
    searched: bool = True
    abstained: str | None = None
    legs: Mapping[Leg, LegRank] = field(default_factory=dict)
    score: float | None = None
    place: int | None = None
    reranked: float | None = None
    missed: tuple[ThresholdMiss, ...] = ()
    outranked_by: tuple[str, ...] = ()
    gap: float | None = None
    budget: int | None = None
    duplicate_of: str | None = None
    group: tuple[str, ...] = ()
    diverse: bool = False
    changes: tuple[Mapping[str, Any], ...] = ()

    @property
    def found(self) -> bool:
        """Whether the passage is one of the hits."""
        return self.rank is not None

    @property
    def candidate(self) -> bool:
        """Whether a leg listed the passage, so that it could be a hit."""
        return any(not leg.below and not leg.missed for leg in self.legs.values())

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the passage is not a hit, one sentence per reason."""
        if self.parts:
            one = replace(self, parts=())
            file = f"of its file's {len(self.parts):,} passages the best" if self.parts[1:] else ""
            return (*([file] if file else []), *one.reasons)
        if self.found:
            return (f"it is hit {self.rank}",)
        if not self.stored:
            return (self._explain_missing(),)
        if self.filtered:
            return ("the filter leaves it out",)
        if not self.searched:
            return ("the query is empty",)
        if self.abstained is not None:
            return (self.abstained,)
        return (*self._explain_score(), *self._explain_selection())

    def _explain_score(self) -> Iterator[str]:
        """Yield the reasons that lie in its own scores: legs, thresholds, reranker."""
        if any(leg.missed for leg in self.legs.values()):
            yield "the approximate dense search missed it"
        elif not self.candidate:
            yield "no leg lists it within its depth, so it was not a candidate"
        for miss in self.missed:
            score = f"{miss.score:.4f}" if miss.score is not None else "none"
            yield f"{miss.name} is {miss.required:g}, and its score is {score}"
        if self.budget is not None:
            yield f"the reranker scores {self.budget} candidates, and this is number {self.place}"

    def _explain_missing(self) -> str:
        """Return why the index has no such passage."""
        reason = "no passage has this id"
        if "/" in self.passage_id or "." in self.passage_id:
            reason += " or is of this file"
        return f"{reason}, and none is of a {self.suffix} file" if self.suffix else reason

    def _explain_selection(self) -> Iterator[str]:
        """Yield the reasons that lie in hits: duplicates, groups, diversity, better scores."""
        if self.duplicate_of is not None:
            yield f"it is a near-duplicate of hit {self.duplicate_of!r}"
        if self.group:
            yield f"its group is full: {', '.join(map(repr, self.group))}"
        if self.diverse:
            yield "diversity prefers hits that are less like those before them"
        if self.outranked_by:
            count = len(self.outranked_by)
            hits = f"{count} hits" if count > 1 else "1 hit"
            gap = f"; score {self.gap:.4f} below {self.outranked_by[-1]!r}" if self.gap else ""
            would = "" if self.candidate else "as a candidate it would be "
            yield f"{would}outranked by {hits}{gap}"

    @property
    def advice(self) -> str:
        """The options that would make the passage a hit, as text."""
        if not self.changes:
            return "no option that was tried makes it a hit"
        ways = [
            " and ".join(f"{name}={value!r}" for name, value in change.items())
            for change in self.changes
        ]
        return f"{', or '.join(ways)} would make it a hit"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        values = asdict(self)
        del values["passage_id"], values["searched"]
        for leg, rank in self.legs.items():
            values["legs"][leg]["below"] = rank.below
        values |= {"id": self.passage_id, "found": self.found, "reasons": self.reasons}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }

    def __str__(self) -> str:
        lines = [f"{self.passage_id}, for the query: {self.query}"]
        lines += [f"  {reason}" for reason in self.reasons]
        for name, leg in self.legs.items():
            rank = f"rank {leg.rank:,}" if leg.rank is not None else f"not in {leg.searched:,}"
            score = f"{leg.score:.4f}" if leg.score is not None else "none"
            lines.append(f"  {name}: score {score}, {rank}, search depth {leg.depth:,}")
        if self.score is not None:
            place = f", place {self.place}" if self.place is not None else ""
            lines.append(f"  score {self.score:.4f}{place}")
        if self.legs and not self.found:
            lines.append(f"  {self.advice}")
        return "\n".join(lines)
