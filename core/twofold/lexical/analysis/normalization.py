"""One form for all the ways to write a word: Unicode NFKC, casefold, and marks folded away."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

from twofold.lexical.analysis.languages import Language

_APOSTROPHES = str.maketrans({"\u2019": "'", "\u02bc": "'", "\uff07": "'"})
_DOTLESS = str.maketrans({"I": "\u0131", "\u0130": "i"})
# Persian is often typed on Arabic keyboards.
_PERSIAN = str.maketrans({"\u064a": "\u06cc", "\u0643": "\u06a9"})
# Ligatures and strokes, which Unicode doesn't take apart.
_STROKES = str.maketrans(
    {"\u0153": "oe", "\u00e6": "ae", "\u00f8": "o", "\u0142": "l", "\u0111": "d", "\u00f0": "d"}
)
_LETTERS = "a-z\u03b1-\u03c9"  # Latin and Greek; marks of other scripts carry meaning
_MARKS = "\u0300-\u036f"


def compatible(text: str, language: Language) -> str:
    """Return ``text`` in NFKC with plain apostrophes and decimal digits, its case kept."""
    if text.isascii():
        return text
    # More marks on a character than any language puts there take normalising quadratic time.
    text = _stacked().sub(r"\1", text)
    text = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES)
    if language.code == "fa":
        text = text.translate(_PERSIAN)
    return _OTHER_DIGIT.sub(lambda found: str(unicodedata.digit(found[0])), text)


def fold(text: str, language: Language) -> str:
    """Return what ``compatible`` gave in one case, and without marks that readers don't type."""
    if language.dotless:
        text = text.translate(_DOTLESS)
    if text.isascii():
        return text.lower()
    text = text.casefold()
    if language.folds:
        text = unicodedata.normalize("NFD", text).translate(_STROKES)
        text = _foldable(language.letters).sub("", text)
    return unicodedata.normalize("NFC", text)


# Decimal digits of any script but ASCII's own.
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")


@cache
def _foldable(letters: str) -> re.Pattern[str]:
    """Match the marks of a letter, but for those of the ``letters`` that keep theirs."""
    kept = "".join(
        rf"(?!(?<={each[0]}){each[1]})"
        for each in (unicodedata.normalize("NFD", letter) for letter in letters)
    )
    return re.compile(rf"(?<=[{_LETTERS}]){kept}[{_MARKS}]+")


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where the characters of a changed text come from: [starts[i], ends[i]) in the original."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the original's span of this text's characters from ``start`` to ``end``."""
        return self.starts[start], self.ends[end - 1]


def align(text: str, language: Language, *, folded: bool) -> Alignment:
    """Return ``compatible`` of ``text``, or ``folded`` of that, with the way back.

    Each character is changed together with the marks that follow it, since normalisation never
    reaches across such clusters.
    """
    if text.isascii():
        changed = fold(compatible(text, language), language) if folded else text
        return Alignment(changed, range(len(text)), range(1, len(text) + 1))
    out: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    for found in _cluster().finditer(text):
        changed = compatible(found[0], language)
        if folded:
            changed = fold(changed, language)
        out.append(changed)
        starts += [found.start()] * len(changed)
        ends += [found.end()] * len(changed)
    return Alignment("".join(out), starts, ends)


# The blocks that have characters which compose with the one before.
_BLOCKS = ((0, 0x10000), (0x10A00, 0x12000), (0x1D100, 0x1D200), (0x1E000, 0x1F000))


@cache
def _stacked() -> re.Pattern[str]:
    """Match a run of more than 30 marks, as Unicode's stream-safe format (UAX #15) counts."""
    marks = "".join(re.escape(char) for char in _block_chars() if _is_mark(char))
    return re.compile(f"([{marks}]{{30}})[{marks}]+")


@cache
def _cluster() -> re.Pattern[str]:
    """Match one character and what composes with it: marks, and the later jamo of a syllable."""
    joining = "".join(
        re.escape(char) for char in _block_chars() if _joins(unicodedata.normalize("NFKD", char)[0])
    )
    return re.compile(rf".[{joining}]*", re.DOTALL)


def _block_chars() -> list[str]:
    chars = map(chr, chain.from_iterable(range(*block) for block in _BLOCKS))
    return [char for char in chars if not "\ud800" <= char <= "\udfff"]


def _is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] == "M"


def _joins(char: str) -> bool:
    return _is_mark(char) or "\u1160" <= char <= "\u11ff"
