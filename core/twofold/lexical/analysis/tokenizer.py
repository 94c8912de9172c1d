"""Finding words, runs of scripts without blanks, and identifiers in a text."""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

# Han, kana, Hangul: written without blanks, or with long compounds.
_CJK = "\u1100-\u11ff\u2e80-\u2fdf\u3005\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff" + (
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
# Thai, Lao, Myanmar, Khmer: no blanks between words either, and marks above and below.
_SOUTHEAST = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_CJK_START = re.compile(rf"[{_CJK}]")
_RUN_START = re.compile(rf"[{_CJK}{_SOUTHEAST}]")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_ALPHABETIC = "A-Za-z0-9\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff"
_JOINED = rf"[{_ALPHABETIC}]+(?:[-_.][{_ALPHABETIC}]+)+"
_HUMPED = r"[A-Za-z0-9]*(?:[a-z][A-Z]|[A-Z]{2}[a-z]{2})[A-Za-z0-9]*"
_SIGNED = r"[A-Za-z](?:\+\+|#)(?![\w+#])"
# Tried only where a word starts: at every letter, it would take quadratic time.
_IDENTIFIER = re.compile(rf"(?<![{_ALPHABETIC}])(?:{_JOINED}|{_HUMPED}|{_SIGNED})")
_LOWER = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*")
_SEPARATOR = re.compile(r"[-_.]")
_BETWEEN_DIGITS = re.compile(r"(?<=\d)[-_.](?=\d)")

Piece = tuple[str, int, int]
"""A term before stemming, and its span in the text that it was found in."""


def is_run(word: str) -> bool:
    """Whether a word is a run of a script without blanks."""
    return _RUN_START.match(word) is not None


@cache
def word_pattern(*, splits: bool, elides: bool) -> re.Pattern[str]:
    """Match a run, or a word of letters, digits and marks.

    Apostrophes stand inside words, or part them; a lone letter before one may be left out.
    """
    # Python's \w leaves out combining marks, without which Hindi words fall apart.
    marks = "".join(
        char for char in map(chr, range(0x10000)) if unicodedata.category(char)[0] == "M"
    )
    letters = rf"(?:(?![{_CJK}{_SOUTHEAST}])(?:[^\W_]|[{re.escape(marks)}]))+"
    inner = "" if splits else f"(?:'{letters})*"
    particle = r"(?<![^\W_])[^\W_]'(?=[^\W_])" if elides else ""
    word = f"(?!{particle}){letters}{inner}" if elides else f"{letters}{inner}"
    return re.compile(rf"[{_CJK}]+|[{_SOUTHEAST}]+|{word}")


def run_pieces(run: str, *, asked: bool) -> Iterator[Piece]:
    """Yield the characters of a run and their overlapping pairs.

    Marks stay with the character before them. A query asks for a run of Thai and its like by
    pairs alone, since a character says little there.
    """
    units = [(found.start(), found.end()) for found in _unit_pattern().finditer(run)]
    if not asked or len(units) == 1 or _CJK_START.match(run):
        for start, end in units:
            yield run[start:end], start, end
    for (start, _), (_, end) in pairwise(units):
        yield run[start:end], start, end


@cache
def _unit_pattern() -> re.Pattern[str]:
    marks = "".join(
        char for char in map(chr, range(0xE00, 0x1800)) if unicodedata.category(char)[0] == "M"
    )
    return re.compile(rf".[{re.escape(marks)}]*", re.DOTALL)


def identifiers(text: str) -> list[str]:
    """Return what looks like an identifier in a text; case as written."""
    return _IDENTIFIER.findall(text)


def identifier_spans(text: str) -> Iterator[Piece]:
    """Yield the pieces of each identifier with their spans in the text."""
    for found in _IDENTIFIER.finditer(text):
        for piece, start, end in identifier_pieces(found[0]):
            yield piece, found.start() + start, found.start() + end


def lower_parts(word: str) -> list[str]:
    """Return the parts of a word of small letters and digits; nothing if it has anything else."""
    return _SEPARATOR.split(word) if _LOWER.fullmatch(word) else []


def identifier_pieces(whole: str) -> list[Piece]:
    """Return what the words of a text leave out of an identifier.

    "pandas.DataFrame" is also one word without its separators (which stay, as dots, between
    digits), "DataFrame" also two, and "C++" and "C#" are more than a C.
    """
    if whole[-1] in "+#":
        return [(whole, 0, len(whole))]
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
        if len(humps) > 1:
            start = at
            for hump in humps:
                pieces.append((hump, start, start + len(hump)))
                start += len(hump)
        at += len(part) + 1
    return pieces
