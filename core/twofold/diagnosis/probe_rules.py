"""Rules that make probes of a user's own passages: questions whose right answers are known."""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from twofold.types import Passage

ProbeKind = Literal[
    "negation",
    "numbers",
    "units",
    "role-swap",
    "typos",
    "identifiers",
    "abbreviations",
    "synonyms",
    "one-word",
]
PER_KIND = 40
"""Probes of one kind."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_VERB = re.compile(r"\b(is|are|was|were|can|could|will|would|should|has been|have been)\b(?! not)")
_NUMBER = re.compile(r"(?<![\w.,])\d{1,6}(?:\.\d+)?(?![\w.,]*\d)")
_UNIT = re.compile(
    r"(?<=\d)(\s?)(mg|kg|g|ml|mm|cm|km|m|ms|s|min|h|GB|MB|KB|kHz|MHz|GHz|hours|days|weeks|months|years)\b"
)
_OTHER_UNITS = {
    "mg": "kg",
    "kg": "mg",
    "g": "kg",
    "ml": "mm",
    "mm": "km",
    "cm": "km",
    "km": "mm",
    "m": "km",
    "ms": "h",
    "s": "h",
    "min": "h",
    "h": "min",
    "GB": "KB",
    "MB": "GB",
    "KB": "GB",
    "kHz": "GHz",
    "MHz": "kHz",
    "GHz": "kHz",
    "hours": "years",
    "days": "years",
    "weeks": "years",
    "months": "days",
    "years": "days",
}
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][A-Za-z0-9-]{2,}\b")
_IDENTIFIER = re.compile(
    r"\b(?:[A-Za-z]+[-_][A-Za-z0-9_-]*\d[A-Za-z0-9_-]*|[A-Z]{2,}\d+|[a-z]+_[a-z0-9_]+|[a-z]+[A-Z]\w+)\b"
)
_GLOSS = re.compile(r"\b((?:[A-Za-z][\w-]*\s){1,5}[A-Za-z][\w-]*)\s\(([A-Za-z][\w -]{1,30})\)")
_WORD = re.compile(r"[^\W\d_]{5,}")


@dataclass(frozen=True, slots=True)
class PairProbe:
    """A query and two texts that differ in one point; the first one answers the query.

    Attributes:
        kind: What the texts differ in.
        query: The query.
        right: The text that answers it.
        wrong: The text that says something else in nearly the same words.
        id: The id of the passage that they are from.
    """

    kind: ProbeKind
    query: str
    right: str
    wrong: str
    id: str


@dataclass(frozen=True, slots=True)
class SearchProbe:
    """A query, and the words that a passage must have to answer it.

    Attributes:
        kind: The kind of query.
        query: The query.
        answer: The text that an answer contains, in lower case.
        id: The id of the passage that the query is from.
        lacks: A text that an answer must not contain, so that words alone don't find it.
    """

    kind: ProbeKind
    query: str
    answer: str
    id: str
    lacks: str | None = None


def make_pairs(passages: Sequence[Passage]) -> list[PairProbe]:
    """Return probes of negation, numbers, units and swapped roles; up to 40 of each kind."""
    made: dict[ProbeKind, list[PairProbe]] = {}
    for passage in passages:
        for pair in _pairs_of(passage):
            some = made.setdefault(pair.kind, [])
            if len(some) < PER_KIND and (not some or some[-1].id != passage.id):
                some.append(pair)
    return [pair for some in made.values() for pair in some]


def make_searches(passages: Sequence[Passage]) -> list[SearchProbe]:
    """Return probes of typos, identifiers, glosses and single words; up to 40 of each kind."""
    made: dict[ProbeKind, list[SearchProbe]] = {}
    for passage in passages:
        for search in _searches_of(passage):
            some = made.setdefault(search.kind, [])
            known = any(search.query == other.query for other in some)
            if len(some) < PER_KIND and not known and (not some or some[-1].id != passage.id):
                some.append(search)
    texts = [passage.content.lower() for passage in passages]
    return [search for some in made.values() for search in some if _is_answered(search, texts)]


def _is_answered(search: SearchProbe, texts: Sequence[str]) -> bool:
    """Return whether a passage answers a probe; that of its term's other name may be the only."""
    if search.lacks is None:
        return True
    return any(search.answer in text and search.lacks not in text for text in texts)


def misspell(text: str, seed: str) -> str:
    """Return a text whose two longest words have two letters exchanged, as fast typists do."""
    words = sorted(set(_WORD.findall(text)), key=lambda word: (-len(word), word))
    rng = random.Random(seed)  # noqa: S311  # no secret
    for word in words[:2]:
        at = rng.randrange(1, len(word) - 2)
        swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        text = text.replace(word, swapped)
    return text


def _pairs_of(passage: Passage) -> Iterator[PairProbe]:
    sentences = [part for part in _SENTENCE.split(passage.text) if part]
    for at, sentence in enumerate(sentences):
        if not 30 <= len(sentence) <= 250:
            continue
        # A text of its sentence alone would be equal to the query.
        context = sentences[at + 1] if at + 1 < len(sentences) else passage.title
        if not context:
            continue
        for kind, other in _altered(sentence):
            right, wrong = f"{sentence} {context}", f"{other} {context}"
            yield PairProbe(kind, sentence, right, wrong, passage.id)
            if kind == "negation":
                yield PairProbe(kind, other, wrong, right, passage.id)


def _altered(sentence: str) -> Iterator[tuple[ProbeKind, str]]:
    """Yield sentences that say something else, and in what they differ."""
    verb = _VERB.search(sentence)
    if verb is not None and "not" not in sentence.lower().split():
        yield "negation", f"{sentence[: verb.end()]} not{sentence[verb.end() :]}"
    number = _NUMBER.search(sentence)
    if number is not None:
        value = number.group()
        digits = "".join(str((int(char) + 3) % 10) if char.isdigit() else char for char in value)
        digits = "4" + digits[1:] if digits.startswith("0") and value[0] != "0" else digits
        yield "numbers", sentence[: number.start()] + digits + sentence[number.end() :]
    unit = _UNIT.search(sentence)
    if unit is not None:
        other = unit[1] + _OTHER_UNITS[unit[2]]
        yield "units", sentence[: unit.start()] + other + sentence[unit.end() :]
    names = list(dict.fromkeys(_NAME.findall(sentence)))
    if len(names) >= 2:
        first, second = names[:2]
        parts: list[str] = re.split(rf"\b({re.escape(first)}|{re.escape(second)})\b", sentence)
        other_of = {first: second, second: first}
        yield "role-swap", "".join(other_of.get(part, part) for part in parts)


def _searches_of(passage: Passage) -> Iterator[SearchProbe]:
    text = passage.content
    sentence = next((s for s in _SENTENCE.split(passage.text) if 30 <= len(s) <= 200), None)
    if sentence is not None:
        # The sentence's own words find its passage, unless the typing errors hide them.
        words = _WORD.findall(sentence)
        query = " ".join(words[:6])
        if len(words) >= 4:
            yield SearchProbe("typos", misspell(query, passage.id), sentence.lower(), passage.id)
    identifier = _IDENTIFIER.search(text)
    if identifier is not None:
        name = identifier.group()
        yield SearchProbe("identifiers", name, name.lower(), passage.id)
    for long, short in _glosses(text):
        kind: ProbeKind = "abbreviations" if short.isupper() or len(short) <= 6 else "synonyms"
        yield SearchProbe(kind, short, long.lower(), passage.id, lacks=short.lower())
    words = sorted(set(_WORD.findall(text)), key=lambda word: (-len(word), word))
    if words:
        yield SearchProbe("one-word", words[0], words[0].lower(), passage.id)


def _glosses(text: str) -> Iterator[tuple[str, str]]:
    """Yield a term and its other name, where a text gives both: "messenger RNA (mRNA)"."""
    for found in _GLOSS.finditer(text):
        words, short = found[1].split(), found[2].strip()
        if short.isupper() and len(short) <= 8:
            # An abbreviation has as many letters as its term has words (Schwartz and Hearst 2003).
            words = words[-len(short) :]
            if not words or words[0][0].lower() != short[0].lower():
                continue
        elif short.lower() in ("figure", "table", "see", "or") or len(short) < 4:
            continue
        else:
            words = words[-len(short.split()) :]
        long = " ".join(words)
        if len(long) > 3 and long.lower() != short.lower():
            yield long, short
