"""Lines of text files, plain or gzipped, with the line's number for errors."""

import gzip
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from twofold.errors import CorpusError, InputError

FilePath = str | os.PathLike[str]
"""A file's path, as callers give it."""


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end) of each that isn't blank.

    Raises CorpusError.
    """
    try:
        with opened(path, "rt") as file:
            text: str = file.read()
    except FileNotFoundError:
        raise CorpusError(f"there is no file {path}") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise CorpusError(f"{path} can't be read: {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


def opened(path: Path, mode: Literal["rb", "rt", "wt"]) -> Any:
    """Open a file, through gzip if its name ends in .gz; text is UTF-8, read without its mark."""
    encoding = {"rb": None, "rt": "utf-8-sig", "wt": "utf-8"}[mode]
    if path.suffix == ".gz":
        return gzip.open(path, mode, encoding=encoding)
    return path.open(mode, encoding=encoding)


def check_column(what: str, value: str) -> None:
    """Raise InputError for a value that can't stand between blanks in a TREC file."""
    if not value or any(char.isspace() for char in value):
        raise InputError(
            f"the {what} {value!r} is empty or holds a blank, and TREC's files part columns by "
            "blanks: give it another one"
        )
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise InputError(f"the {what} {value!r} has half a surrogate pair, which is no text")
