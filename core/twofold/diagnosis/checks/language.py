"""Checks that the analyzer is one for the language of the texts."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache

from twofold.diagnosis.checks.legs import analyzer_name
from twofold.diagnosis.finding import Finding, first_ids, percent
from twofold.diagnosis.sample import IndexSample
from twofold.lexical.analysis.languages import LANGUAGES
from twofold.types import Passage

_SCRIPTS = {
    "HIRAGANA": ("japanese",),
    "KATAKANA": ("japanese",),
    "CJK": ("chinese", "japanese"),
    "HANGUL": ("korean",),
    "THAI": ("thai",),
    "ARABIC": ("arabic", "persian"),
    "HEBREW": ("hebrew", "yiddish"),
    "DEVANAGARI": ("hindi", "nepali"),
    "BENGALI": ("bengali",),
    "TAMIL": ("tamil",),
    "TELUGU": ("telugu",),
    "GREEK": ("greek",),
    "ARMENIAN": ("armenian",),
    "CYRILLIC": ("russian", "ukrainian", "bulgarian", "serbian"),
}
"""Languages by the script in the names that Unicode gives to their letters."""
_MOST = 0.5
"""The share of passages in another language that is an alarm."""
_CLEAR = 1.5
"""How many times more stop words of a language than of the analyzer's tell that it is another."""
_LEAST = 0.12
"""The share of words of a text that are stop words of its language, at least."""
_LONG_TERM = 25
"""Characters of a term that is no word."""


def check_language(sample: IndexSample) -> Iterator[Finding]:
    """Find texts in another language than the analyzer's, by script and by stop words."""
    if not sample.has_lexical or not sample.passages:
        return
    name = analyzer_name(sample)
    if name in LANGUAGES and name != "multilingual":
        yield from _find_other_languages(sample, name)
    yield from _find_unsplit_words(sample)


def guess_language(text: str, expected: str = "") -> str | None:
    """Return the likely language of a text, None if it can't be told.

    Of languages that share a script, it is ``expected`` unless another one is clearly likelier.
    """
    scripts = Counter(
        unicodedata.name(char, "").partition(" ")[0] for char in text[:1_000] if char.isalpha()
    )
    total = sum(scripts.values())
    if not total:
        return None
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > total * 0.1:
        return "japanese"
    script, count = scripts.most_common(1)[0]
    if script == "LATIN":
        return _guess_by_stop_words(text)
    if count < total / 2 or script not in _SCRIPTS:
        return None
    languages = _SCRIPTS[script]
    if expected in languages:
        found = _guess_by_stop_words(text, languages)
        return expected if found is None or expected not in _stop_words() else found
    return _guess_by_stop_words(text, languages) or languages[0]


def _guess_by_stop_words(text: str, among: tuple[str, ...] = ()) -> str | None:
    """Return the language whose stop words are clearly the most frequent ones in a text."""
    words = re.findall(r"[^\W\d_]+", text.lower())[:200]
    if len(words) < 8:
        return None
    shares = {
        name: sum(word in stop for word in words) / len(words)
        for name, stop in _stop_words().items()
        if not among or name in among
    }
    if not shares:
        return None
    best = max(shares, key=lambda name: shares[name])
    return best if shares[best] >= _LEAST else None


@cache
def _stop_words() -> dict[str, frozenset[str]]:
    found = {name: language.stop_words() for name, language in LANGUAGES.items()}
    return {name: words for name, words in found.items() if len(words) > 20}


def _find_other_languages(sample: IndexSample, name: str) -> Iterator[Finding]:
    others: Counter[str] = Counter()
    affected: dict[str, list[str]] = {}
    looked = 0
    for passage in sample.passages:
        language = guess_language(passage.content, name)
        if language is None:
            continue
        looked += 1
        if language != name and not _is_served(passage, language, name):
            others[language] += 1
            affected.setdefault(language, []).append(passage.id)
    if not others or looked < 10:
        return
    language, count = others.most_common(1)[0]
    share = others.total() / looked
    if share < 0.05:
        return
    single = count > 0.8 * others.total()
    yield Finding(
        "analyzer-of-another-language",
        "error"
        if share >= _MOST and _is_other_script(language)
        else "warning"
        if share >= 0.2
        else "note",
        f"{percent(share)} of the passages are not in the language of the analyzer, {name!r}: "
        f"most of these are in {language.capitalize()}",
        f"rebuild the words with Index.reanalyze({(language if single else 'multilingual')!r}), "
        "which encodes nothing",
        evidence=(f"told by scripts and stop words of {looked:,} passages",),
        share=share,
        ids=first_ids(affected[language]),
    )


def _is_served(passage: Passage, language: str, name: str) -> bool:
    """Return whether the stop words of two languages can't tell them apart in a passage."""
    stops = _stop_words()
    shared = any(language in some and name in some for some in _SCRIPTS.values())
    if name not in stops or language not in stops or (_is_other_script(language) and not shared):
        return False
    words = re.findall(r"[^\W\d_]+", passage.content.lower())[:200]
    theirs = sum(word in stops[language] for word in words)
    return theirs < _CLEAR * max(sum(word in stops[name] for word in words), 1)


def _is_other_script(language: str) -> bool:
    return any(language in languages for languages in _SCRIPTS.values())


def _find_unsplit_words(sample: IndexSample) -> Iterator[Finding]:
    """Find an analyzer whose terms are long runs of characters rather than words."""
    analyzer = sample.scope.analyzer
    if analyzer is None:
        return
    affected: list[str] = []
    looked = 0
    for passage in sample.passages[: len(sample.probes)]:
        terms = analyzer.passage_terms(passage.content)
        if not terms:
            continue
        looked += 1
        characters = sum(map(len, terms))
        affected += [passage.id] * (
            sum(len(term) for term in terms if len(term) > _LONG_TERM) > characters / 3
        )
    share = len(affected) / looked if looked else 0.0
    if share < 0.2:
        return
    yield Finding(
        "unsplit-words",
        "error" if share >= _MOST else "warning",
        f"the analyzer doesn't split the texts of {percent(share)} of the passages into words",
        "use the analyzer of their language with Index.reanalyze, such as 'japanese'",
        evidence=(
            f"more than a third of their terms' characters are in terms of over {_LONG_TERM}",
        ),
        share=share,
        ids=first_ids(affected),
    )
