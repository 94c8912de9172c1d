"""Unicode normalization: ignored characters, NFKC, casefold, and removal of accents."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, pairwise

from twofold.lexical.analysis.characters import (
    GROUPING_BLANKS,
    IGNORED,
    REPLACED,
    VOWEL_POINTS,
    ZERO_WIDTH_NON_JOINER,
)
from twofold.lexical.analysis.languages import Language

_IGNORED = re.compile(f"[{''.join(sorted(IGNORED))}]+")
_GROUPED_DIGITS = re.compile(rf"(?<=\d)[{GROUPING_BLANKS}](?=\d{{3}}(?!\d))")
_REPLACED = str.maketrans(REPLACED)
_VOWEL_POINTS = re.compile(f"[{VOWEL_POINTS}]+")
_DOTLESS = str.maketrans({"I": "\u0131", "\u0130": "i"})
# Persian is often typed on Arabic keyboards.
_PERSIAN = str.maketrans({"\u064a": "\u06cc", "\u0643": "\u06a9"})
# Ligatures and strokes, which Unicode doesn't decompose.
_STROKES = str.maketrans(
    {"\u0153": "oe", "\u00e6": "ae", "\u00f8": "o", "\u0142": "l", "\u0111": "d", "\u00f0": "d"}
)
_LETTERS = "a-z\u03b1-\u03c9"  # Latin and Greek; marks of other scripts carry meaning
_MARKS = "\u0300-\u036f"
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")  # decimal digits of other scripts


def replace_blanks(text: str) -> str:
    """Return ``text`` with a comma for each unbreakable blank between groups of digits."""
    return text if text.isascii() else _GROUPED_DIGITS.sub(",", text)


def normalize(text: str, language: Language) -> str:
    """Return ``text`` in NFKC with ASCII hyphens, apostrophes and digits, case kept.

    Ignored characters and the vowel points of Hebrew and Arabic are removed.
    """
    if text.isascii():
        return text
    return _compose(_IGNORED.sub("", _replace(text, language)), language)


def _replace(text: str, language: Language) -> str:
    """Replace characters one by one."""
    if language.code == "fa":
        text = text.replace(ZERO_WIDTH_NON_JOINER, "-")
    return text.translate(_REPLACED)


def _compose(text: str, language: Language) -> str:
    """Return NFKC with ASCII digits and without vowel points."""
    # NFKC takes quadratic time in the marks on a character; no language uses so many.
    text = _stacked().sub(r"\1", text)
    text = _VOWEL_POINTS.sub("", unicodedata.normalize("NFKC", text))
    if language.code == "fa":
        text = text.translate(_PERSIAN)
    return _OTHER_DIGIT.sub(lambda found: str(unicodedata.digit(found[0])), text)


def fold(text: str, language: Language) -> str:
    """Return normalized ``text`` in lowercase, without the accents that the language folds."""
    if language.dotless:
        text = text.translate(_DOTLESS)
    if text.isascii():
        return text.lower()
    text = text.casefold()
    if language.folds:
        text = unicodedata.normalize("NFD", text).translate(_STROKES)
        text = _foldable(language.letters).sub("", text)
    return unicodedata.normalize("NFC", text)


@cache
def _foldable(letters: str) -> re.Pattern[str]:
    """Return the pattern of the marks of a letter, except those of ``letters``."""
    pairs = [unicodedata.normalize("NFD", letter) for letter in letters]
    kept = "".join(rf"(?!(?<={pair[0]}){pair[1]})" for pair in pairs)
    return re.compile(rf"(?<=[{_LETTERS}]){kept}[{_MARKS}]+")


@dataclass(frozen=True, slots=True)
class Alignment:
    """Maps character i of a changed ``text`` to [starts[i], ends[i]) of the original."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span in the original of the characters from ``start`` to ``end``."""
        return self.starts[start], self.ends[end - 1]


def align(text: str, language: Language, *, folded: bool) -> Alignment:
    """Normalize ``text``, and fold it if ``folded``, keeping the original positions."""
    # Normalization never reaches across clusters of a character and the marks that follow it.
    if text.isascii():
        changed = fold(normalize(text, language), language) if folded else text
        return Alignment(changed, range(len(text)), range(1, len(text) + 1))
    text = _replace(text, language)
    kept = [at for at, char in enumerate(text) if char not in IGNORED]
    text = _IGNORED.sub("", text)
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    joining = {char for char in set(text) if _joins(char)}
    firsts = [at for at, char in enumerate(text) if at == 0 or char not in joining]
    for first, stop in pairwise([*firsts, len(text)]):
        changed = text[first:stop]
        if not changed.isascii():
            changed = _compose(changed, language)
        if folded:
            changed = fold(changed, language)
        out.append(changed)
        starts += [kept[first]] * len(changed)
        ends += [kept[stop - 1] + 1] * len(changed)
    return Alignment("".join(out), starts, ends)


# Unicode blocks with characters that compose with the one before.
_BLOCKS = ((0, 0x10000), (0x10A00, 0x12000), (0x1D100, 0x1D200), (0x1E000, 0x1F000))


@cache
def _stacked() -> re.Pattern[str]:
    """Return the pattern of more than 30 marks, the limit of the stream-safe format (UAX #15)."""
    marks = "".join(re.escape(char) for char in _block_chars() if _is_mark(char))
    return re.compile(f"([{marks}]{{30}})[{marks}]+")


def _joins(char: str) -> bool:
    """Return whether a character belongs to the one before: a mark, or a syllable's later jamo."""
    if char.isascii() or not any(low <= ord(char) < high for low, high in _BLOCKS):
        return False
    first = unicodedata.normalize("NFKD", char)[0]
    return _is_mark(first) or "\u1160" <= first <= "\u11ff"


def _block_chars() -> list[str]:
    chars = map(chr, chain.from_iterable(range(*block) for block in _BLOCKS))
    return [char for char in chars if not "\ud800" <= char <= "\udfff"]


def _is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] == "M"
