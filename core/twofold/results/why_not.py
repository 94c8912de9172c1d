"""Why a passage is not among the hits, as a value that prints as text and turns into JSON."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from twofold.types import Leg


@dataclass(frozen=True, slots=True)
class LegRank:
    """A passage in one leg.

    Attributes:
        score: Its raw score, None where the leg can't score it.
        rank: Its rank among all that match the filter, None if it is not among the first
            ``searched``.
        depth: How many passages the leg was asked for.
        searched: How many were looked through for the rank.
        missed: Whether it is within the depth, and an approximate search did not find it.
    """

    score: float | None
    rank: int | None
    depth: int
    searched: int
    missed: bool = False

    @property
    def below(self) -> bool:
        """Whether it ranks below the depth that the leg was asked for."""
        return self.rank is None or self.rank > self.depth


@dataclass(frozen=True, slots=True)
class ThresholdMiss:
    """A threshold that the passage does not reach.

    Attributes:
        name: The option's name, such as ``"min_dense"``.
        required: The threshold.
        score: What the passage has, None without a score.
    """

    name: str
    required: float
    score: float | None


@dataclass(frozen=True, slots=True)
class WhyNot:
    """Why one passage is not among the hits of a query.

    Attributes:
        passage_id: The passage.
        query: The query's text.
        rank: Its rank, if it is a hit after all.
        stored: Whether the index has the passage; if not, the rest is empty.
        filtered: Whether the filter leaves it out; if so, the rest is empty.
        searched: Whether anything was searched; a blank query searches nothing.
        legs: Its rank in each leg that was searched.
        score: Its score before reranking, which it has or would have as a candidate.
        place: Its place among the candidates that reach the thresholds, if it is known.
        reranked: The reranker's score of it.
        missed: The thresholds that it does not reach.
        outranked_by: The ids of hits with a better score.
        gap: How much its score lacks to the last of them.
        budget: How many candidates the reranker reads, if it is not one of them.
        duplicate_of: The hit that it nearly duplicates.
        group: The hits that fill its group.
        diverse: Whether diversity preferred others.
        changes: Options that bring it in, each tried: pass one to ``dataclasses.replace``.
    """

    passage_id: str
    query: str | None
    rank: int | None = None
    stored: bool = True
    filtered: bool = False
    searched: bool = True
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
        """Whether the passage is a hit after all."""
        return self.rank is not None

    @property
    def candidate(self) -> bool:
        """Whether a leg listed it, so that it could be a hit."""
        return any(not leg.below and not leg.missed for leg in self.legs.values())

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not a hit, one sentence each."""
        if self.found:
            return (f"it is hit {self.rank}",)
        if not self.stored:
            return ("no passage has this id",)
        if self.filtered:
            return ("the filter leaves it out",)
        if not self.searched:
            return ("the query is empty",)
        return (*self._explain_score(), *self._explain_selection())

    def _explain_score(self) -> Iterator[str]:
        """Yield what keeps its score out: the legs, the thresholds, the reranker."""
        if any(leg.missed for leg in self.legs.values()):
            yield "the approximate dense leg missed it"
        elif not self.candidate:
            yield "no leg lists it within its depth, so it was not a candidate"
        for miss in self.missed:
            score = f"{miss.score:.4f}" if miss.score is not None else "none"
            yield f"{miss.name} is {miss.required:g}, and its score is {score}"
        if self.budget is not None:
            yield f"the reranker reads {self.budget}, and it is candidate {self.place}"

    def _explain_selection(self) -> Iterator[str]:
        """Yield what other hits keep it out."""
        if self.duplicate_of is not None:
            yield f"it is a near-duplicate of hit {self.duplicate_of!r}"
        if self.group:
            yield f"its group is full: {', '.join(map(repr, self.group))}"
        if self.diverse:
            yield "diversity prefers hits that are less like those before them"
        if self.outranked_by:
            count = len(self.outranked_by)
            hits = f"{count} hits" if count > 1 else "1 hit"
            gap = f"; it lacks {self.gap:.4f} to {self.outranked_by[-1]!r}" if self.gap else ""
            would = "" if self.candidate else "as a candidate it would be "
            yield f"{would}outranked by {hits}{gap}"

    @property
    def advice(self) -> str:
        """The options that would bring it in."""
        if not self.changes:
            return "no option that was tried brings it in"
        ways = [
            " and ".join(f"{name}={value!r}" for name, value in change.items())
            for change in self.changes
        ]
        return f"{', or '.join(ways)} would bring it in"

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
            lines.append(f"  {name}: score {score}, {rank}, asked for {leg.depth:,}")
        if self.score is not None:
            place = f", place {self.place}" if self.place is not None else ""
            lines.append(f"  score {self.score:.4f}{place}")
        if self.legs and not self.found:
            lines.append(f"  {self.advice}")
        return "\n".join(lines)
