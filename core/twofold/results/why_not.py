"""Why a passage is not among the hits, and what would bring it in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from twofold.types import Hit, Leg, Vectors


class Asks(Protocol):
    """A retriever, as far as a remedy needs it."""

    def retrieve(self, query: str | None = None, *, vector: Vectors | None = None) -> Sequence[Hit]:
        """Return the hits of a query."""
        ...


@dataclass(frozen=True, slots=True)
class LegRank:
    """A passage in one leg: its raw score and its rank among all that the filter lets through.

    The score is None without a vector, the rank where the leg would never list it. ``below`` says
    that it is not among the first ``depth``, those that the leg was asked for; ``missed``, that it
    is, and that an approximate search did not find it.
    """

    score: float | None
    rank: int | None
    depth: int
    missed: bool = False

    @property
    def below(self) -> bool:
        """Whether the leg was not asked for so many that the passage is among them."""
        return self.rank is None or self.rank > self.depth


@dataclass(frozen=True, slots=True)
class ThresholdMiss:
    """A threshold that the passage does not reach, by its argument's name; ``had`` may be None."""

    name: str
    wanted: float
    had: float | None


@dataclass(frozen=True, slots=True)
class Advice:
    """The smallest change of the dense leg's share that brings the passage in, tried out.

    ``used`` is the share that was used; ``depth`` what it takes so that a leg lists the passage,
    None where it is as it was. ``exact`` tells that an approximate dense leg would miss it.
    ``retriever`` has all of it set, and the query's filter: ask it the same.
    """

    dense_weight: float
    used: float
    depth: int | None
    exact: bool
    retriever: Asks = field(repr=False)

    def __str__(self) -> str:
        said = []
        if self.dense_weight != self.used:
            said.append(f"dense_weight {self.dense_weight:.6g} instead of {self.used:.6g}")
        if self.depth is not None:
            said.append(f"depth {self.depth}")
        if self.exact:
            said.append("exact=True")
        return " and ".join(said) or "asking again"


@dataclass(frozen=True, slots=True)
class WhyNot:
    """What kept one passage from being a hit; prints as text, and turns into plain values.

    ``rank`` is set where it is a hit. ``stored`` is False where no passage has the id, ``filtered``
    True where the filter leaves it out; then the rest is empty. ``score`` is what it has, or would
    have had as a candidate, before reranking, and ``place`` its place among the candidates that
    reach the thresholds, None far down where hits depend on one another. ``outranked_by`` are the
    hits above it and ``gap`` what it lacks to the last of them, both by the score that orders hits.
    ``budget`` is how many a reranker reads, where the passage is not one of them. ``duplicate_of``
    is the hit that stands for it, ``group`` are the hits that fill its group, and ``diverse`` says
    that others were preferred for being unlike the hits before them. ``remedy``, ``k_needed``
    (together with ``exact=True`` if ``exact_needed``) and ``settings`` each bring it in; all have
    been tried.
    """

    passage_id: str
    query: str | None
    rank: int | None = None
    stored: bool = True
    filtered: bool = False
    asked: bool = True
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
    remedy: Advice | None = None
    k_needed: int | None = None
    exact_needed: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def found(self) -> bool:
        """Whether the passage is a hit after all."""
        return self.rank is not None

    @property
    def candidate(self) -> bool:
        """Whether a leg brought it, so that it could be a hit."""
        return any(not each.below and not each.missed for each in self.legs.values())

    @property
    def reasons(self) -> tuple[str, ...]:
        """What kept it out, a sentence each."""
        if self.found:
            return (f"it is hit {self.rank}",)
        plain = {
            "no passage has this id": not self.stored,
            "the filter leaves it out": self.filtered,
            "the query is empty": not self.asked,
        }
        if any(plain.values()):
            return tuple(each for each, true in plain.items() if true)
        said: list[str] = []
        if any(each.missed for each in self.legs.values()):
            said.append("the dense leg, which is approximate, missed it")
        elif not self.candidate:
            said.append("no leg lists it within its depth, so it was no candidate")
        for each in self.missed:
            had = f"{each.had:.4f}" if each.had is not None else "none"
            said.append(f"{each.name} is {each.wanted:g}, and it has {had}")
        if self.budget is not None:
            said.append(f"the reranker reads {self.budget}, and it is number {self.place}")
        if self.duplicate_of is not None:
            said.append(f"hit {self.duplicate_of!r} stands for it: they are near-duplicates")
        if self.group:
            said.append(f"its group is full: {_listed(self.group)}")
        if self.diverse:
            said.append("diversity prefers others, which are less like the hits before them")
        if self.outranked_by:
            count = len(self.outranked_by)
            hits = f"{count} hits" if count > 1 else "1 hit"
            lacks = f"; it lacks {self.gap:.4f} to {self.outranked_by[-1]!r}" if self.gap else ""
            would = "" if self.candidate else "as a candidate it would be "
            said.append(f"{would}outranked by {hits}{lacks}")
        return tuple(said)

    @property
    def advice(self) -> str:
        """What would bring it in."""
        ways: list[str] = []
        if self.settings:
            ways.append(" and ".join(f"{name}={value!r}" for name, value in self.settings.items()))
        if self.remedy is not None:
            ways.append(str(self.remedy))
        if self.k_needed is not None:
            ways.append(f"k={self.k_needed}" + (" and exact=True" if self.exact_needed else ""))
        if not ways:
            return "no weight and no k would bring it in"
        return f"{', or '.join(ways)} would bring it in"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        remedy = self.remedy
        return {
            "id": self.passage_id,
            "query": self.query,
            "found": self.found,
            "rank": self.rank,
            "stored": self.stored,
            "filtered": self.filtered,
            "legs": {
                leg: {"score": each.score, "rank": each.rank, "depth": each.depth}
                | {"below": each.below, "missed": each.missed}
                for leg, each in self.legs.items()
            },
            "score": self.score,
            "place": self.place,
            "reranked": self.reranked,
            "missed": [{"name": m.name, "wanted": m.wanted, "had": m.had} for m in self.missed],
            "outranked_by": list(self.outranked_by),
            "gap": self.gap,
            "budget": self.budget,
            "duplicate_of": self.duplicate_of,
            "group": list(self.group),
            "diverse": self.diverse,
            "reasons": list(self.reasons),
            "remedy": {
                "dense_weight": remedy.dense_weight,
                "used": remedy.used,
                "depth": remedy.depth,
                "exact": remedy.exact,
            }
            if remedy is not None
            else None,
            "k_needed": self.k_needed,
            "exact_needed": self.exact_needed,
            "settings": dict(self.settings),
        }

    def __str__(self) -> str:
        lines = [f"{self.passage_id}, for the query: {self.query}"]
        lines += [f"  {each}" for each in self.reasons]
        for leg, each in self.legs.items():
            place = f"{each.rank:,}. of its whole list" if each.rank is not None else "not listed"
            score = f"{each.score:.4f}" if each.score is not None else "none"
            lines.append(f"  {leg}: score {score}, {place}, asked for {each.depth:,}")
        if self.score is not None:
            place = f", place {self.place}" if self.place is not None else ""
            lines.append(f"  score {self.score:.4f}{place}")
        if self.legs and not self.found:
            lines.append(f"  {self.advice}")
        return "\n".join(lines)


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(repr(each) for each in ids)
