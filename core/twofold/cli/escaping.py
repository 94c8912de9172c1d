"""Escapes the characters of data that a terminal would obey instead of showing them."""

import re
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.segment import Segment

# C0 and C1 controls, marks and overrides of text direction, line separators, and half surrogate
# pairs, as which Python reads the bytes of file names that aren't UTF-8.
_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LINE_BREAKS = re.compile(r"\r\n|[\r\n]")


def escape_controls(text: str) -> str:
    r"""Return text with its control characters as escapes, such as ``\x1b`` and ``\u202e``."""
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], text)


def escape_lines(text: str) -> str:
    """Return text with its control characters escaped, except line breaks."""
    return "\n".join(map(escape_controls, _LINE_BREAKS.split(text)))


def escape_json(text: str) -> str:
    """Return JSON that parses to the same value, with control characters in strings escaped."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


@dataclass(frozen=True, slots=True)
class Escaped:
    """A table or another renderable of rich, printed with its control characters escaped."""

    renderable: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the renderable's segments."""
        for segment in console.render(self.renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(escape_lines(segment.text), segment.style)
