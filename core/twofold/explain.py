"""Why a passage came back: each leg's share, and the words that matched."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from twofold.types import Hit, TermMatch

_TERMS = 4


@dataclass(frozen=True, slots=True)
class HitExplanation:
    """One hit with the terms behind its lexical score, most telling first."""

    hit: Hit
    terms: tuple[TermMatch, ...]

    @property
    def reason(self) -> str:
        """One sentence that a person reads."""
        parts: list[str] = []
        dense, lexical = self.hit.legs.get("dense"), self.hit.legs.get("lexical")
        if dense is not None and dense.rank is not None:
            parts.append(f"{_ordinal(dense.rank)} by meaning ({dense.score:.3f})")
        elif dense is not None:
            parts.append(f"meaning {dense.score:.3f}")
        if lexical is not None and self.terms:
            words = ", ".join(
                f"{each.term!r}" + (f" x{each.frequency}" if each.frequency > 1 else "")
                for each in self.terms[:_TERMS]
            )
            more = f" and {len(self.terms) - _TERMS} more" if len(self.terms) > _TERMS else ""
            place = f"{_ordinal(lexical.rank)} by words" if lexical.rank is not None else "words"
            parts.append(f"{place} ({lexical.score:.2f}): {words}{more}")
        elif lexical is not None:
            parts.append("no word in common")
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "id": self.hit.id,
            "rank": self.hit.rank,
            "score": self.hit.score,
            "legs": {leg: asdict(share) for leg, share in self.hit.legs.items()},
            "terms": [asdict(each) for each in self.terms],
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why these hits came back; prints as text, and turns into plain values."""

    query: str | None
    warnings: tuple[str, ...]
    hits: tuple[HitExplanation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "query": self.query,
            "warnings": list(self.warnings),
            "hits": [each.to_dict() for each in self.hits],
        }

    def __str__(self) -> str:
        lines = [f"query: {self.query}", *(f"warning: {each}" for each in self.warnings)]
        for each in self.hits:
            lines.append(f"{each.hit.rank:>3}. {each.hit.id}  {each.hit.score:.4f}  {each.reason}")
            lines += [
                f"       {leg}: {share.weight:.2f} x {share.normalized:.4f} = "
                f"{share.contribution:.4f}"
                for leg, share in each.hit.legs.items()
            ]
        return "\n".join(lines)


def explain(
    query: str | None,
    warnings: tuple[str, ...],
    hits: Sequence[Hit],
    term_matches: Callable[[int], tuple[TermMatch, ...]],
) -> Explanation:
    """Return the explanation of ``hits``; ``term_matches`` takes a hit's place from 0."""
    explained = (HitExplanation(hit, term_matches(at)) for at, hit in enumerate(hits))
    return Explanation(query, warnings, tuple(explained))


def _ordinal(number: int) -> str:
    """Return 1st, 2nd, 3rd, 4th ..."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"
