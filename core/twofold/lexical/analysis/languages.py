"""Languages: their stemmers, stop words and rules for accents and apostrophes."""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from twofold.errors import InputError
from twofold.validation import did_you_mean


@dataclass(frozen=True, slots=True)
class Language:
    """How the words of one language become terms.

    ``stemmer`` names a Snowball algorithm. ``folds`` removes accents, so that "cafe" finds
    "caf\u00e9", except from ``letters``. ``splits`` separates words at apostrophes, and ``elides``
    drops a lone letter before one, as in French "l'eau". With ``dotless``, I is the capital of
    dotless \u0131, as in Turkish. ``points`` group the digits of numbers, as in German 1.234.
    """

    name: str
    code: str
    stemmer: str | None = None
    folds: bool = False
    letters: str = ""
    splits: bool = False
    elides: bool = False
    dotless: bool = False
    points: bool = False

    def stop_words(self) -> frozenset[str]:
        """Return the published list of stop words, which may be empty."""
        return _read_stop_words(self.name)


def _stemmed(name: str, code: str, **particulars: bool | str) -> Language:
    return Language(name, code, stemmer=name, **particulars)  # type: ignore[arg-type]  # checked in the table


MULTILINGUAL = Language("multilingual", "mul")
"""Words in any script, lowercased; no stemming, folding or stop words."""
_ALL = (
    MULTILINGUAL,
    _stemmed("arabic", "ar"),
    _stemmed("armenian", "hy"),
    _stemmed("basque", "eu", folds=True, letters="\u00f1", points=True),
    Language("bengali", "bn"),
    Language("bulgarian", "bg"),
    _stemmed("catalan", "ca", folds=True, splits=True, elides=True, points=True),
    Language("chinese", "zh", stemmer="english", folds=True),
    _stemmed("czech", "cs"),
    _stemmed("danish", "da", points=True),
    _stemmed("dutch", "nl", folds=True, points=True),
    _stemmed("english", "en", folds=True),
    _stemmed("esperanto", "eo"),
    _stemmed("estonian", "et"),
    _stemmed("finnish", "fi"),
    _stemmed("french", "fr", folds=True, splits=True, elides=True),
    Language("galician", "gl", folds=True, letters="\u00f1", points=True),
    _stemmed("german", "de", folds=True, points=True),
    _stemmed("greek", "el", folds=True, points=True),
    Language("hebrew", "he"),
    _stemmed("hindi", "hi"),
    _stemmed("hungarian", "hu"),
    _stemmed("indonesian", "id", points=True),
    _stemmed("irish", "ga", splits=True, elides=True),
    _stemmed("italian", "it", folds=True, splits=True, elides=True, points=True),
    Language("japanese", "ja", stemmer="english", folds=True),
    Language("korean", "ko", stemmer="english", folds=True),
    Language("latvian", "lv"),
    _stemmed("lithuanian", "lt"),
    _stemmed("nepali", "ne"),
    _stemmed("norwegian", "no"),
    _stemmed("persian", "fa"),
    _stemmed("polish", "pl"),
    _stemmed("portuguese", "pt", folds=True, points=True),
    _stemmed("romanian", "ro", folds=True, points=True),
    _stemmed("russian", "ru"),
    _stemmed("serbian", "sr", points=True),
    _stemmed("sesotho", "st"),
    _stemmed("spanish", "es", folds=True, letters="\u00f1", points=True),
    _stemmed("swedish", "sv"),
    _stemmed("tamil", "ta"),
    Language("telugu", "te"),
    Language("thai", "th", stemmer="english", folds=True),
    _stemmed("turkish", "tr", splits=True, dotless=True, points=True),
    Language("ukrainian", "uk"),
    Language("vietnamese", "vi", points=True),
    _stemmed("yiddish", "yi"),
)
LANGUAGES = {language.name: language for language in _ALL}
_BY_CODE = {language.code: language for language in _ALL}


def language_from_name(name: str) -> Language:
    """Return a language by its English name or ISO 639 code; raise InputError for others."""
    plain = name.strip().lower()
    found = LANGUAGES.get(plain) or _BY_CODE.get(re.split("[-_]", plain)[0])
    if found is None:
        hint = did_you_mean(plain, LANGUAGES)
        raise InputError(
            f"unknown analyzer {name!r}: use one of {', '.join(LANGUAGES)}, a language code such "
            f"as 'de', or a function that returns the terms of a text{hint}"
        )
    return found


@cache
def _read_stop_words(name: str) -> frozenset[str]:
    """Read a language's stop words; lines that begin with # are comments."""
    path = resources.files("twofold.lexical") / "stopwords" / f"{name}.txt"
    if not path.is_file():
        return frozenset()
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())
