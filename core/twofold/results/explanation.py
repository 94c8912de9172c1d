"""Why a passage was retrieved: the legs' contributions, matching words, dense evidence."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from twofold.results.dense_evidence import DenseEvidence
from twofold.types import Hit, LegScore, Passage, TermMatch, TermSpan, Window

_TERMS = 4
"""Terms that ``HitExplanation.reason`` names at most."""


@dataclass(frozen=True, slots=True)
class Word:
    """A term as the passage writes it: its most frequent form, and the number of occurrences."""

    form: str
    count: int


@dataclass(frozen=True, slots=True)
class HitExplanation:
    """One hit, and why it was retrieved.

    Attributes:
        hit: The hit.
        terms: The terms behind its lexical score, the greatest contribution first.
        words: By term, its form in the passage; without terms that the analyzer can't locate.
        meaning: The evidence behind the dense score. None if ``explain(meaning=False)``, without an
            encoder, or if the caller's query vector is not the encoding of the text.
        window: The part of a long passage that has the dense score; None if it has no windows.
    """

    hit: Hit
    terms: tuple[TermMatch, ...]
    words: Mapping[str, Word]
    meaning: DenseEvidence | None = None
    window: Window | None = None

    @property
    def reason(self) -> str:
        """The hit's ranks and scores in both legs, and the words that match, as one sentence."""
        parts: list[str] = []
        dense, lexical = self.hit.legs.get("dense"), self.hit.legs.get("lexical")
        if dense is not None and dense.rank is not None:
            parts.append(f"{_ordinal(dense.rank)} by meaning ({dense.score:.3f})")
        elif dense is not None:
            parts.append(f"meaning {dense.score:.3f}")
        if lexical is not None and self.terms:
            place = f"{_ordinal(lexical.rank)} by words" if lexical.rank is not None else "words"
            parts.append(f"{place} ({lexical.score:.2f}): {self._list_words()}")
        elif lexical is not None:
            parts.append("no word in common")
        return "; ".join(parts)

    @property
    def details(self) -> tuple[str, ...]:
        """One line per term (idf, weight, contribution), then the lines of the dense evidence."""
        evidence = self.meaning.lines if self.meaning is not None else ()
        return (*(_describe_term(term) for term in self.terms), *evidence)

    @property
    def shares(self) -> tuple[str, ...]:
        """Lines: each leg's rank, scores and contribution; window; reranking; near-duplicates."""
        hit = self.hit
        lines = [_describe_leg(leg, share) for leg, share in hit.legs.items()]
        if self.window is not None:
            first, last = self.window.tokens
            lines.append(f"best window: tokens {first:,} to {last:,}")
        if hit.reranked is not None:
            lines.append(f"reranked: {hit.reranked:.4f}, fused before: {hit.fused:.4f}")
        if hit.duplicates:
            lines.append(f"near-duplicates: {', '.join(hit.duplicates)}")
        return tuple(lines)

    def _list_words(self) -> str:
        """Return the query's words that the passage contains, with their counts, as text."""
        shared = [term for term in self.terms if term.frequency]
        listed: list[str] = []
        for term in shared[:_TERMS]:
            word = self.words.get(term.term, Word(term.term, term.frequency))
            listed.append(f"{word.form!r}" + (f" {word.count} times" if word.count > 1 else ""))
        if len(shared) > _TERMS:
            listed.append(f"{len(shared) - _TERMS} more")
        last = f" and {listed[-1]}" if len(listed) > 1 else listed[-1]
        return f"contains {', '.join(listed[:-1])}{last}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        hit = self.hit
        return {
            "id": hit.id,
            "rank": hit.rank,
            "score": hit.score,
            "fused": hit.fused,
            "reranked": hit.reranked,
            "duplicates": list(hit.duplicates),
            "legs": {leg: asdict(share) for leg, share in hit.legs.items()},
            "terms": [
                asdict(term) | {"word": word.form if (word := self.words.get(term.term)) else None}
                for term in self.terms
            ],
            "meaning": self.meaning.to_dict() if self.meaning is not None else None,
            "window": asdict(self.window) if self.window is not None else None,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the hits of a query were retrieved. ``str()`` returns it as text."""

    query: str | None
    warnings: tuple[str, ...]
    hits: tuple[HitExplanation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "query": self.query,
            "warnings": list(self.warnings),
            "hits": [explained.to_dict() for explained in self.hits],
        }

    def __str__(self) -> str:
        lines = [f"query: {self.query}", *(f"warning: {warning}" for warning in self.warnings)]
        for explained in self.hits:
            hit = explained.hit
            name = hit.passage.title or hit.passage.metadata.get("source")
            named = f"  {' '.join(str(name).split())}" if name else ""
            lines.append(f"{hit.rank:>3}. {hit.id}  {hit.score:.4f}{named}  {explained.reason}")
            lines += [f"       {line}" for line in (*explained.shares, *explained.details)]
        return "\n".join(lines)


def build_explanation(
    query: str | None,
    warnings: tuple[str, ...],
    hits: Sequence[Hit],
    terms: Sequence[tuple[TermMatch, ...]],
    find_spans: Callable[[Sequence[str]], Sequence[Sequence[TermSpan]]],
    evidence: Sequence[DenseEvidence | None],
    windows: Sequence[Window | None],
) -> Explanation:
    """Return the explanation of ``hits``, with an entry per hit in the sequences after it.

    ``find_spans`` returns, for each text, the spans of the query's terms.
    """
    texts = [text for hit in hits for text in (hit.passage.title, hit.passage.text)]
    spans = iter(find_spans(texts) if texts else ())
    explained = [
        HitExplanation(
            hit, matches, _count_words(hit.passage, next(spans), next(spans)), meaning, window
        )
        for hit, matches, meaning, window in zip(hits, terms, evidence, windows, strict=True)
    ]
    return Explanation(query, warnings, tuple(explained))


def _count_words(
    passage: Passage, title: Sequence[TermSpan], text: Sequence[TermSpan]
) -> dict[str, Word]:
    """Return a `Word` for each term of the spans ``title`` and ``text`` of a passage."""
    forms: dict[str, Counter[str]] = {}
    for content, spans in ((passage.title, title), (passage.text, text)):
        for span in spans:
            forms.setdefault(span.term, Counter())[content[span.start : span.end]] += 1
    return {
        term: Word(counts.most_common(1)[0][0], counts.total()) for term, counts in forms.items()
    }


def _describe_leg(leg: str, share: LegScore) -> str:
    """Return a line with one leg's rank, raw and normalized score, weight and contribution."""
    place = _ordinal(share.rank) if share.rank is not None else "not listed"
    return (
        f"{leg}: {place}, score {share.score:.4f}, normalised {share.normalized:.4f} x weight "
        f"{share.weight:.3f} = {share.contribution:.4f}"
    )


def _describe_term(match: TermMatch) -> str:
    """Return a line with one term's idf, weight and contribution to the lexical score."""
    repeated = f"{match.query_frequency} x " if match.query_frequency > 1 else ""
    passages = _count(match.document_frequency, "passage")
    times, terms = _count(match.frequency, "time"), _count(match.length, "term")
    return (
        f"{match.term!r}: {repeated}idf {match.idf:.3f} (in {passages}) x {match.tf_weight:.3f} "
        f"({times} in {terms}, average {match.average_length:.1f}) = {match.contribution:.4f}"
    )


def _count(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural if needed."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _ordinal(number: int) -> str:
    """Return 1st, 2nd, 3rd, 4th ..."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"
