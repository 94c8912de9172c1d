"""Splits a passage into sentences, and a query into words."""

import re
import unicodedata

from twofold.lexical.analysis.tokenizer import is_run, word_pattern

# A full stop ends a sentence before a space; those of scripts without spaces need none.
_END = re.compile(r"(?<=[.!?])[\"'”’)\]]*\s+|(?<=[。！？｡।])[」』”’）]*\s*|\n\s*\n")  # noqa: RUF001
_ABBREVIATION = re.compile(
    r"(?:^|\W)(?:[A-Za-z]|e\.g|i\.e|cf|vs|al|Fig|No|Dr|Mr|Mrs|Ms|Prof|St)\.$"
)

Span = tuple[int, int]
"""Character offsets (start, end) in a text; the end is exclusive."""


def sentences(text: str) -> list[str]:
    """Return the sentences of a text in order, stripped.

    A sentence ends at ``.``, ``!`` or ``?`` before a space, unless a single letter or a common
    abbreviation precedes it; at an empty line; at the stops of Chinese, Japanese and Hindi.

    Example:
        >>> sentences("Dr. Fox jumps. It rains!")
        ['Dr. Fox jumps.', 'It rains!']
    """
    found: list[str] = []
    start = 0
    for end in _END.finditer(text):
        part = text[start : end.end()].strip()
        if "\n" not in end[0] and _ABBREVIATION.search(text[start : end.start()]):
            continue
        if part:
            found.append(part)
        start = end.end()
    rest = text[start:].strip()
    return [*found, rest] if rest else found


def sentences_around(text: str, start: int, end: int) -> list[str]:
    """Return the sentences of a text that overlap the characters from ``start`` to ``end``."""
    first, last = 0, len(text)
    for stop in _END.finditer(text):
        if stop.end() <= start:
            first = stop.end()
        elif stop.end() >= end:
            last = stop.end()
            break
    return sentences(text[first:last])


def query_words(query: str) -> list[Span]:
    """Return the spans of a query's words; of characters in scripts without spaces.

    Returns:
        Positions (start, end) of each word in the query, ascending.

    Example:
        >>> query_words("red apple")
        [(0, 3), (4, 9)]
    """
    found: list[Span] = []
    for word in word_pattern(splits=False, elides=False).finditer(query):
        if not is_run(word[0]):
            found.append(word.span())
            continue
        for at in range(word.start(), word.end()):
            if unicodedata.category(query[at])[0] == "M" and at > word.start():
                found[-1] = found[-1][0], at + 1  # a mark belongs to the character before it
            else:
                found.append((at, at + 1))
    return found
