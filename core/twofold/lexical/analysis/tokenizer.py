"""Finds words, runs of scripts without spaces, and identifiers in a text."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

from twofold.lexical.analysis.characters import EMOJI, FLAG_LETTERS

# Han, kana, Hangul: written without spaces, or with long compounds.
_CJK = "\u1100-\u11ff\u2e80-\u2fdf\u3005\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff" + (
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
# Thai, Lao, Myanmar, Khmer: no spaces between words either, and marks above and below.
_SOUTHEAST = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_CJK_START = re.compile(rf"[{_CJK}]")
_RUN_START = re.compile(rf"[{_CJK}{_SOUTHEAST}]")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_HEBREW = "\u05d0-\u05ea\u05ef-\u05f2"
_ARABIC = "\u0620-\u064a\u066e-\u06d3\u06ee-\u06fc"
_ALPHABETIC = f"A-Za-z0-9\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff{_HEBREW}{_ARABIC}"
_JOINED = rf"[{_ALPHABETIC}]+(?:[-_.][{_ALPHABETIC}]+)+"
_HUMPED = r"[A-Za-z0-9]*(?:[a-z][A-Z]|[A-Z]{2}[a-z]{2})[A-Za-z0-9]*"
_SIGNED = r"[A-Za-z](?:\+\+|#)(?![\w+#])"
# Numbers with grouped digits: 1,234,567.8 and 1'234 and, in India, 12,34,567; 1.234.567,8. One
# point alone is a decimal point, except in languages where it groups digits: 1.234.
_COMMAS = r"[0-9]{1,3}(?:(?:,[0-9]{3})+|(?:,[0-9]{2})+,[0-9]{3}|(?:'[0-9]{3})+)(?![,']?[0-9])"
_GROUPED, _GROUPED_BY_POINTS = (
    rf"(?:{_COMMAS}(?:\.[0-9]+)?|[0-9]{{1,3}}(?:\.[0-9]{{3}}){{{groups},}}(?:,[0-9]+)?"
    rf"(?![-_.,]?[{_ALPHABETIC}]))"
    for groups in (2, 1)
)
# Tried only where a word starts: at every letter, it would take quadratic time.
_IDENTIFIER, _IDENTIFIER_BY_POINTS = (
    re.compile(rf"(?<![{_ALPHABETIC}])(?:{grouped}|{_JOINED}|{_HUMPED}|{_SIGNED})")
    for grouped in (_GROUPED, _GROUPED_BY_POINTS)
)
_NUMBER, _NUMBER_BY_POINTS = map(re.compile, (_GROUPED, _GROUPED_BY_POINTS))
_LOWER = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*")
_SEPARATOR = re.compile(r"[-_.]")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[-_.](?=\d)")

Piece = tuple[str, int, int]  # a term before stemming, and its span in the text


def is_run(word: str) -> bool:
    """Return whether a word is a run of a script without spaces."""
    return _RUN_START.match(word) is not None


@cache
def word_pattern(*, splits: bool, elides: bool) -> re.Pattern[str]:
    """Return the pattern of a run, or of a word of letters, digits and marks.

    An emoji is a word. ``splits`` separates words at apostrophes. ``elides`` drops a lone letter
    before one. A Hebrew abbreviation keeps its quote, which ``join_abbreviation`` takes out.
    """
    # Python's \w leaves out combining marks, without which Hindi words fall apart.
    marks = _marks(0, 0x10000)
    letters = rf"(?:(?![{_CJK}{_SOUTHEAST}])(?:[^\W_]|[{marks}]))+"
    inner = "" if splits else f"(?:'{letters})*"
    inner += rf'(?:(?<=[{_HEBREW}])"(?=[{_HEBREW}]){letters})*'
    particle = r"(?!(?<![^\W_])[^\W_]'(?=[^\W_]))" if elides else ""
    word = f"{particle}{letters}{inner}"
    emoji = f"[{EMOJI}]|[{FLAG_LETTERS}]{{1,2}}"
    return re.compile(rf"[{_CJK}]+|[{_SOUTHEAST}]+|{word}|{emoji}")


def join_abbreviation(word: str) -> str:
    """Return a word without the quote of a Hebrew abbreviation."""
    return word.replace('"', "")


def split_run(run: str, *, query: bool) -> Iterator[Piece]:
    """Yield the characters of a run, with their marks, and the overlapping pairs of characters.

    A query looks up Thai and similar scripts by pairs alone, because single characters are vague.
    """
    units = [(found.start(), found.end()) for found in _unit_pattern().finditer(run)]
    if not query or len(units) == 1 or _CJK_START.match(run):
        for start, end in units:
            yield run[start:end], start, end
    for (start, _), (_, end) in pairwise(units):
        yield run[start:end], start, end


@cache
def _unit_pattern() -> re.Pattern[str]:
    return re.compile(rf".[{_marks(0xE00, 0x1800)}]*", re.DOTALL)


def _marks(start: int, end: int) -> str:
    """Return the combining marks of a range of code points, escaped for a character class."""
    chars = map(chr, range(start, end))
    return re.escape("".join(char for char in chars if unicodedata.category(char)[0] == "M"))


def identifier_spans(text: str, *, points: bool) -> Iterator[Piece]:
    """Yield the pieces of each identifier with their spans in the text.

    ``points`` is whether one point groups the digits of a number, as in German 1.234.
    """
    for found in (_IDENTIFIER_BY_POINTS if points else _IDENTIFIER).finditer(text):
        for piece, start, end in split_identifier(found[0], points=points):
            yield piece, found.start() + start, found.start() + end


def split_lowercase(word: str) -> list[str]:
    """Return the parts of a word of lowercase letters and digits, or [] for other words."""
    return _SEPARATOR.split(word) if _LOWER.fullmatch(word) else []


def split_identifier(whole: str, *, points: bool) -> list[Piece]:
    """Return the terms of an identifier that splitting the text into words leaves out.

    "pandas.DataFrame" is also one word without its separators (between digits they stay, as
    dots), "DataFrame" is also two words, and "C++" and "C#" are more than a C. "1,234.50" is also
    1234 and 1234.50. For ``points`` see ``identifier_spans``.
    """
    if whole[-1] in "+#":
        return [(whole, 0, len(whole))]
    if (_NUMBER_BY_POINTS if points else _NUMBER).fullmatch(whole):
        return _split_number(whole)
    pieces: list[Piece] = []
    parts = _SEPARATOR.split(whole)
    if len(parts) > 1:
        joined = "".join(parts)
        if _BETWEEN_DIGITS.search(whole):
            joined = _SEPARATOR.sub("", _BETWEEN_DIGITS.sub("\0", whole)).replace("\0", ".")
        pieces.append((joined, 0, len(whole)))
    at = 0
    for part in parts:
        humps = _HUMP.split(part) if not part.islower() else ()
        start = at
        for hump in humps if len(humps) > 1 else ():
            pieces.append((hump, start, start + len(hump)))
            start += len(hump)
        at += len(part) + 1
    return pieces


def _split_number(whole: str) -> list[Piece]:
    """Return a number without the separators of its groups, and its integer part."""
    separators = [char for char in whole if not char.isdigit()]
    decimals = len(separators) > 1 and separators[-1] != separators[0]
    integer, _, fraction = whole.rpartition(separators[-1]) if decimals else (whole, "", "")
    digits = integer.replace(separators[0], "")
    pieces = [(digits, 0, len(integer))]
    if decimals:
        pieces.append((f"{digits}.{fraction}", 0, len(whole)))
    return pieces
