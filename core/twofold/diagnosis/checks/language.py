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
_WORD = re.compile(r"[^\s\d!-/:-@\[-`{-~\u0964\u060c\u061b\u061f\u00ab\u00bb\u2010-\u203a]+")
_READ = 4_000  # characters of a text
_UNSPACED = ("chinese", "japanese")
"""Languages whose stop words can't be counted, since words aren't separated."""
_VIETNAMESE = frozenset(
    "\u0111\u01a1\u01b0\u1ea1\u1ea3\u1ea5\u1ea7\u1ea9\u1eab\u1ead\u1eaf\u1eb1\u1eb3\u1eb5\u1eb7\u1eb9\u1ebb"
    "\u1ebd\u1ebf\u1ec1\u1ec3\u1ec5\u1ec7\u1ec9\u1ecb\u1ecd\u1ecf\u1ed1\u1ed3\u1ed5\u1ed7\u1ed9\u1edb\u1edd"
    "\u1edf\u1ee1\u1ee3\u1ee5\u1ee7\u1ee9\u1eeb\u1eed\u1eef\u1ef1\u1ef3\u1ef5\u1ef7\u1ef9"
)
"""Letters that hardly any other language has; there are no stop words of Vietnamese."""
_MOST = 0.5
"""The share of passages in another language that is an alarm."""
_CLEAR = 1.5
"""How many times more stop words of a language than of the analyzer's tell that it is another."""
_LEAST = 0.12
"""The share of words of a text that are stop words of its language, at least."""
_OTHER_TERMS = 0.2
"""The share of a query's terms that the same words of a passage don't have, as an alarm."""
_DISTINCT = 3  # stop words that tell a language
_LONG_TERM, _LONG_CJK = 25, 6
"""Characters of a term that is no word; of Chinese and Japanese ones."""
_FEW_TERMS, _HARDLY_ANY = 0.5, 0.3
"""Terms of a passage for each of its different words; XQuAD in ten languages gives .96 and more."""


def check_language(sample: IndexSample) -> Iterator[Finding]:
    """Find texts in another language than the analyzer's, by script and by stop words."""
    if not sample.has_lexical or not sample.passages:
        return
    name = analyzer_name(sample)
    if name in LANGUAGES and name != "multilingual":
        yield from _find_other_languages(sample, name)
    yield from _find_unsplit_words(sample)
    yield from _find_other_query_terms(sample)
    yield from _find_lost_words(sample)


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
        marked = sum(char in _VIETNAMESE for char in text[:1_000].lower())
        return "vietnamese" if marked > total * 0.03 else _guess_by_stop_words(text)
    if count < total / 2 or script not in _SCRIPTS:
        return None
    languages = _SCRIPTS[script]
    if expected in languages:
        found = _guess_by_stop_words(text, languages)
        return expected if found is None or expected not in _stop_words() else found
    return _guess_by_stop_words(text, languages) or languages[0]


def _guess_by_stop_words(text: str, among: tuple[str, ...] = ()) -> str | None:
    """Return the language whose stop words are clearly the most frequent ones in a text."""
    words = _split_words(text)
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
    known = _stop_words()[best] & set(words)
    return best if shares[best] >= _LEAST and len(known) >= _DISTINCT else None


def _split_words(text: str) -> list[str]:
    """Return the first 200 words of a text in lower case, with the vowel signs of Indic scripts."""
    return _WORD.findall(text[:_READ].lower())[:200]


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
    if language in _UNSPACED or name in _UNSPACED:
        return False
    shared = any(language in some and name in some for some in _SCRIPTS.values())
    if name not in stops or language not in stops or (_is_other_script(language) and not shared):
        return False
    words = _split_words(passage.content)
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
            sum(len(term) for term in terms if _is_long(term)) > characters / 3
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
            f"more than a third of their terms' characters are in terms of over {_LONG_TERM}, or "
            f"over {_LONG_CJK} of Chinese and Japanese",
        ),
        share=share,
        ids=first_ids(affected),
    )


def _is_long(term: str) -> bool:
    """Return whether a term is too long for a word."""
    cjk = "\u3040" <= term[len(term) // 2] <= "\u9fff"
    return len(term) > (_LONG_CJK if cjk else _LONG_TERM)


def _find_lost_words(sample: IndexSample) -> Iterator[Finding]:
    """Find an analyzer that leaves most words out, or that gives single letters."""
    analyzer = sample.scope.analyzer
    if analyzer is None:
        return
    words: list[int] = []
    counts: list[int] = []
    letters: list[float] = []
    for passage in sample.passages[: len(sample.probes)]:
        opening = passage.content[:_READ]
        different = {word for word in _WORD.findall(opening.lower()) if len(word) > 1}
        terms = set(analyzer.passage_terms(opening))
        if len(different) >= 3 and terms:
            words.append(len(different))
            counts.append(len(terms))
            letters.append(sum(map(len, terms)) / len(terms))
    if len(words) < 10:
        return
    share = sum(counts) / sum(words)
    single = sum(letters) / len(letters) < 1.3
    if share >= _FEW_TERMS and not single:
        return
    yield Finding(
        "words-lost",
        "error" if single or share < _HARDLY_ANY else "warning",
        "the analyzer turns words into single letters"
        if single
        else f"the analyzer leaves {percent(1 - share)} of the different words of the passages out",
        "use an analyzer for the language of the texts with Index.reanalyze",
        evidence=(
            f"{sum(counts):,} different terms for {sum(words):,} different words in {len(words):,} "
            f"passages; the analyzer is {analyzer_name(sample)!r}",
        ),
        share=max(1 - share, 0.0),
    )


def _find_other_query_terms(sample: IndexSample) -> Iterator[Finding]:
    """Find an analyzer whose terms of a query are not those of a passage with the same words."""
    analyzer = sample.scope.analyzer
    if analyzer is None:
        return
    found = looked = 0
    affected: list[str] = []
    for passage, sentence in zip(sample.passages, sample.sentences, strict=False):
        asked = set(analyzer.query_terms(sentence))
        common = asked & set(analyzer.passage_terms(passage.content))
        looked += len(asked)
        found += len(common)
        affected += [passage.id] * (2 * len(common) < len(asked))
    share = 1 - found / looked if looked else 0.0
    if share < _OTHER_TERMS:
        return
    yield Finding(
        "query-terms-differ",
        "error" if share >= _MOST else "warning",
        f"{percent(share)} of the terms of queries are other ones than those of passages with the "
        "same words",
        "make query_terms and passage_terms of the analyzer agree, then call Index.reanalyze",
        evidence=(
            f"counted in {looked:,} terms of sentences, and in the passages that have them; the "
            f"analyzer is {analyzer_name(sample)!r}",
        ),
        share=share,
        ids=first_ids(affected),
    )
