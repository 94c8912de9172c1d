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


def identifier_pieces(text: str) -> Iterator[Piece]:
    """Yield what the words of a text leave out of its identifiers; case as written.

    "pandas.DataFrame" is also one word without its separators (which stay, as dots, between
    digits), "DataFrame" also two, and "C++" and "C#" are more than a C.
    """
    for found in _IDENTIFIER.finditer(text):
        whole, start = found[0], found.start()
        if whole[-1] in "+#":
            yield whole, start, found.end()
            continue
        if _SEPARATOR.search(whole):
            dotted = _BETWEEN_DIGITS.sub("\0", whole)
            yield _SEPARATOR.sub("", dotted).replace("\0", "."), start, found.end()
        at = start
        for part in _SEPARATOR.split(whole):
            humps = _HUMP.split(part)
            for hump in humps if len(humps) > 1 else ():
                yield hump, at, at + len(hump)
                at += len(hump)
            at += 1 if len(humps) > 1 else len(part) + 1
