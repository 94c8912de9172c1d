"""Limits of what is accepted, so that no input takes unexpected time or memory.

Each limit has a default and an environment variable that changes it, which is read at each use:
``TWOFOLD_MAX_LINE_BYTES=1000000000`` accepts longer lines. Environment variables reach the command
line, the adapters and the processes that they start.
"""

import os
from dataclasses import dataclass, fields

from twofold.errors import InputError, TwofoldError

MINIMUM = 1000
"""The smallest value of a limit. What is this small is accepted without reading a limit."""
_PREFIX = "TWOFOLD_MAX_"


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits in use. ``docs/limits.md`` says what each one prevents.

    Attributes:
        query_characters: Characters of a query's text.
        filter_conditions: Conditions of a filter, those in ``$and``, ``$or`` and ``$not`` included.
        filter_values: Values in one list of a filter, such as that of ``$in``.
        passage_bytes: UTF-8 bytes of a passage's id, title, text or metadata, each of them.
        word_characters: Characters without a blank in a passage's title or text.
        line_bytes: Bytes of one line of a file of passages, queries or judgments, decompressed.
        file_bytes: Bytes of a file in a folder of files, and of what a DOCX, PPTX or EPUB file
            unpacks to.

    Example:
        >>> from twofold.limits import Limits
        >>> Limits().line_bytes
        67108864
    """

    query_characters: int = 100_000
    filter_conditions: int = 10_000
    filter_values: int = 1_000_000
    passage_bytes: int = 10_000_000
    word_characters: int = 1_000_000
    line_bytes: int = 1 << 26
    file_bytes: int = 1 << 28

    @classmethod
    def from_environment(cls) -> "Limits":
        """Return the limits that the environment variables set, and defaults for the others.

        Raises:
            InputError: A variable is not an integer from 1,000 on.
        """
        return cls(**{field.name: read_limit(field.name) for field in fields(cls)})


_DEFAULTS = Limits()


def limit_variable(name: str) -> str:
    """Return the environment variable of a limit: ``TWOFOLD_MAX_`` and its name in capitals."""
    return _PREFIX + name.upper()


def read_limit(name: str) -> int:
    """Return the value in use of a limit, a field of `Limits`.

    Raises:
        InputError: Its environment variable is not an integer from 1,000 on.
    """
    text = os.environ.get(_PREFIX + name.upper())
    if text is None:
        return int(getattr(_DEFAULTS, name))
    digits = text.strip().replace("_", "")
    value = int(digits) if digits.isdecimal() and len(digits) < 19 else 0
    if value < MINIMUM:
        raise InputError(
            f"{limit_variable(name)} must be an integer >= {MINIMUM:,}, got {text!r:.80}"
        )
    return value


def check_limit(
    name: str,
    value: int,
    subject: str,
    unit: str,
    advice: str,
    *,
    error: type[TwofoldError] = InputError,
) -> None:
    """Raise ``error`` if ``value`` exceeds a limit; the message says how to change it.

    Args:
        name: The limit, a field of `Limits`.
        value: The number that is limited.
        subject: What has this number, such as ``"a query"``.
        unit: What is counted, such as ``"characters"``.
        advice: What to do instead of changing the limit.
        error: The class of the error.

    Raises:
        InputError: ``value`` is greater than the limit, or the limit's variable is not valid.
    """
    if value > MINIMUM and value > (limit := read_limit(name)):
        raise error(limit_message(name, limit, subject, unit, f"{value:,}", advice))


def limit_message(name: str, limit: int, subject: str, unit: str, given: str, advice: str) -> str:
    """Return the message for what exceeds a limit; ``given`` is its number as text."""
    return (
        f"{subject} must have at most {limit:,} {unit} (limit {name}), got {given}: {advice}, or "
        f"set {limit_variable(name)} to a larger number"
    )
