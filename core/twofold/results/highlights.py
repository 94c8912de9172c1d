"""The spans of a query's terms in a passage, for marking them."""

from collections.abc import Iterable
from dataclasses import dataclass

from twofold.types import Passage, TermSpan

Span = tuple[int, int]
"""Character offsets (start, end) in a text; the end is exclusive."""


@dataclass(frozen=True, slots=True)
class Highlights:
    """The matching spans of a passage's title and text, ascending and without overlap.

    ``window`` is the part of a long text with the best dense score, from which excerpts are taken.
    """

    passage: Passage
    title: tuple[Span, ...]
    text: tuple[Span, ...]
    window: Span | None = None

    def marked(self, before: str = "**", after: str = "**") -> str:
        """Return the text with every match between two marks."""
        return mark(self.passage.text, self.text, before, after)

    def marked_title(self, before: str = "**", after: str = "**") -> str:
        """Return the title with every match between two marks."""
        return mark(self.passage.title, self.title, before, after)

    def snippet(self, length: int = 160, before: str = "**", after: str = "**") -> str:
        """Return the excerpt of about ``length`` characters with the most matches, marked.

        Of a long passage, it is an excerpt of the best window.
        """
        return mark(*self.excerpt(length), before, after)

    def excerpt(self, length: int = 160) -> tuple[str, tuple[Span, ...]]:
        """Return the excerpt of about ``length`` characters with most matches, and their spans."""
        text = self.passage.text
        if len(text) <= length:
            return text, self.text
        first, last = self.window if self.window is not None else (0, len(text))
        inside = tuple(span for span in self.text if first <= span[0] < last)
        start = max(first, _densest(inside, length) - length // 8)  # with some words before it
        if start > 0 and not text[start - 1].isspace():  # begin at a word
            start = text.find(" ", start, start + length // 8) + 1 or start
        end = min(start + length, len(text))
        lead, tail = "... " if start else "", " ..." if end < len(text) else ""
        shift = len(lead) - start
        spans = tuple((a + shift, min(b, end) + shift) for a, b in self.text if start <= a < end)
        return f"{lead}{text[start:end]}{tail}", spans


def mark(text: str, spans: Iterable[Span], before: str, after: str) -> str:
    """Return ``text`` with each of the ascending ``spans`` between two marks."""
    parts: list[str] = []
    at = 0
    for start, end in spans:
        parts += [text[at:start], before, text[start:end], after]
        at = end
    return "".join([*parts, text[at:]])


def merge_spans(spans: Iterable[TermSpan]) -> tuple[Span, ...]:
    """Return ascending spans; spans that touch, as of an identifier's parts, are merged."""
    merged: list[Span] = []
    for start, end in sorted((span.start, span.end) for span in spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((start, end))
    return tuple(merged)


def _densest(spans: tuple[Span, ...], length: int) -> int:
    """Return the start of the first window of ``length`` characters that holds the most spans."""
    best, most = 0, 0
    last = 0
    for first, (start, _) in enumerate(spans):
        last = max(last, first + 1)  # the first span counts, however long
        while last < len(spans) and spans[last][1] <= start + length * 3 // 4:
            last += 1
        if last - first > most:
            best, most = start, last - first
    return best
