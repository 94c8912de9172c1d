"""Why a passage came back: each leg's share, the words that matched, and what was meant."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from twofold.results.dense_evidence import DenseEvidence
from twofold.types import Hit, LegScore, Passage, TermMatch, TermSpan

_TERMS = 4


@dataclass(frozen=True, slots=True)
class Word:
    """A term as the passage has it: the form that occurs most, and how often the term does."""

    form: str
    count: int


@dataclass(frozen=True, slots=True)
class HitExplanation:
    """One hit with the terms behind its lexical score, most telling first.

    ``words`` tells how the passage writes each term; terms that its analyzer can't show are
    missing there. ``meaning`` is what the dense score rests on: None where it was not asked for, no
    dense leg was, there is no encoder, or the query came with a vector that is not its text's.
    """

    hit: Hit
    terms: tuple[TermMatch, ...]
    words: Mapping[str, Word]
    meaning: DenseEvidence | None = None

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
            place = f"{_ordinal(lexical.rank)} by words" if lexical.rank is not None else "words"
            parts.append(f"{place} ({lexical.score:.2f}): {self._contained()}")
        elif lexical is not None:
            parts.append("no word in common")
        return "; ".join(parts)

    @property
    def details(self) -> tuple[str, ...]:
        """One line a term: its frequencies, its idf, and how they make its contribution.

        Then what the dense score rests on.
        """
        meant = self.meaning.lines if self.meaning is not None else ()
        return (*(_line(term) for term in self.terms), *meant)

    @property
    def shares(self) -> tuple[str, ...]:
        """One line a leg: rank, raw score, and how its contribution comes about; then the rest."""
        hit = self.hit
        lines = [_share(leg, share) for leg, share in hit.legs.items()]
        if hit.reranked is not None:
            lines.append(f"reranked: {hit.reranked:.4f}, the legs together: {hit.fused:.4f}")
        if hit.duplicates:
            lines.append(f"stands for: {', '.join(hit.duplicates)}")
        return tuple(lines)

    def _contained(self) -> str:
        """Say which words the passage has, and how often."""
        shared = [each for each in self.terms if each.frequency]
        said: list[str] = []
        for each in shared[:_TERMS]:
            word = self.words.get(each.term, Word(each.term, each.frequency))
            said.append(f"{word.form!r}" + (f" {word.count} times" if word.count > 1 else ""))
        if len(shared) > _TERMS:
            said.append(f"{len(shared) - _TERMS} more")
        last = f" and {said[-1]}" if len(said) > 1 else said[-1]
        return f"contains {', '.join(said[:-1])}{last}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "id": self.hit.id,
            "rank": self.hit.rank,
            "score": self.hit.score,
            "fused": self.hit.fused,
            "reranked": self.hit.reranked,
            "duplicates": list(self.hit.duplicates),
            "legs": {leg: asdict(share) for leg, share in self.hit.legs.items()},
            "terms": [
                asdict(each) | {"word": word.form if (word := self.words.get(each.term)) else None}
                for each in self.terms
            ],
            "meaning": self.meaning.to_dict() if self.meaning is not None else None,
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
            lines += [f"       {line}" for line in (*each.shares, *each.details)]
        return "\n".join(lines)


def build_explanation(
    query: str | None,
    warnings: tuple[str, ...],
    hits: Sequence[Hit],
    term_matches: Callable[[int], tuple[TermMatch, ...]],
    spans: Callable[[str], Sequence[TermSpan]],
    meant: Sequence[DenseEvidence | None],
) -> Explanation:
    """Return the explanation of ``hits``.

    ``term_matches`` takes a hit's place from 0; ``spans`` finds the query's terms in a text;
    ``meant`` has one entry a hit.
    """
    explained = (
        HitExplanation(hit, term_matches(at), _words(hit.passage, spans), meaning)
        for at, (hit, meaning) in enumerate(zip(hits, meant, strict=True))
    )
    return Explanation(query, warnings, tuple(explained))


def _words(passage: Passage, spans: Callable[[str], Sequence[TermSpan]]) -> dict[str, Word]:
    """Return how a passage writes the query's terms."""
    forms: dict[str, Counter[str]] = {}
    for text in (passage.title, passage.text):
        for each in spans(text):
            forms.setdefault(each.term, Counter())[text[each.start : each.end]] += 1
    return {
        term: Word(counts.most_common(1)[0][0], counts.total()) for term, counts in forms.items()
    }


def _share(leg: str, share: LegScore) -> str:
    """Return one leg's rank and raw score, and how they become its contribution."""
    place = _ordinal(share.rank) if share.rank is not None else "not listed"
    return (
        f"{leg}: {place}, score {share.score:.4f}, normalised {share.normalized:.4f} x weight "
        f"{share.weight:.3f} = {share.contribution:.4f}"
    )


def _line(match: TermMatch) -> str:
    """Return one term's share in a lexical score."""
    repeated = f"{match.query_frequency} x " if match.query_frequency > 1 else ""
    passages = _counted(match.document_frequency, "passage")
    times, terms = _counted(match.frequency, "time"), _counted(match.length, "term")
    return (
        f"{match.term!r}: {repeated}idf {match.idf:.3f} (in {passages}) x {match.part:.3f} "
        f"({times} in {terms}, average {match.average_length:.1f}) = {match.contribution:.4f}"
    )


def _counted(number: int, thing: str) -> str:
    """Return a number of things."""
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


def _ordinal(number: int) -> str:
    """Return 1st, 2nd, 3rd, 4th ..."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"
