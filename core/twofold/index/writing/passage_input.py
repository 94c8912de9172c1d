"""Validation of the passages passed to an upsert, before anything is written."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import xxhash

from twofold.errors import PassageError
from twofold.limits import MINIMUM, check_limit, read_limit
from twofold.metadata import encode_metadata
from twofold.types import Passage, PassageLike
from twofold.validation import as_passage

BATCH = 4096
"""Passages in one commit."""
ENCODED_BATCH = 256
"""Passages in one commit if they are encoded first, so that a stopped call loses little."""


class PassageValidator:
    """Checks the passages of one call, and gives ids to those without.

    A generated id is the hash of title, text and metadata. Passages of the same content are
    therefore one passage, in one call or in several.
    """

    def __init__(self) -> None:
        self._given: set[str] = set()

    def iterate_batches(
        self, items: Iterable[PassageLike], size: int
    ) -> Iterator[list[tuple[Passage, str]]]:
        """Yield batches of (passage, metadata as JSON); raise PassageError for invalid passages.

        A sequence is checked as a whole before the first batch, other iterables batch by batch.
        """
        checked: Iterator[tuple[Passage, str]] = map(self.validate, items)
        if isinstance(items, Sequence):
            checked = iter(list(checked))
        while batch := list(islice(checked, size)):
            yield batch

    def validate(self, item: PassageLike) -> tuple[Passage, str]:
        """Return a passage with its id, and its metadata as JSON; raise PassageError."""
        passage = as_passage(item)
        name = repr(passage.id) if passage.id else f"with text {passage.text!r:.40}"
        for field in ("id", "title", "text"):
            _check_text(name, field, getattr(passage, field))
        metadata = encode_metadata(passage.metadata, name)
        _check_size(name, "metadata", metadata)
        if not passage.id:
            return replace(passage, id=derive_id(passage, metadata)), metadata
        if passage.id in self._given:
            raise PassageError(f"passage id {passage.id!r} is given twice in one call")
        self._given.add(passage.id)
        return passage, metadata


def _check_text(name: str, field: str, value: object) -> None:
    """Raise PassageError unless a field is text within the limits."""
    if not isinstance(value, str):
        raise PassageError(
            f"passage {name}: {field} must be a string, got {type(value).__name__} {value!r:.40}"
        )
    try:
        _check_size(name, field, value)
    except UnicodeEncodeError as error:
        raise PassageError(
            f"passage {name}: {field} has half a surrogate pair at character {error.start}, "
            "which is not valid text: decode it with errors='replace'"
        ) from None
    if field != "id" and len(value) > MINIMUM and len(value) > read_limit("word_characters"):
        check_limit(
            "word_characters",
            max(map(len, value.split()), default=0),
            f"passage {name}: a word in its {field}",
            "characters without a blank",
            "put blanks into it, or leave it out",
            error=PassageError,
        )


def _check_size(name: str, field: str, value: str) -> None:
    """Raise PassageError if a field is too large, UnicodeEncodeError for half a surrogate pair."""
    size = len(value) if value.isascii() else len(value.encode())
    check_limit(
        "passage_bytes",
        size,
        f"passage {name}: {field}",
        "bytes of UTF-8",
        "split it into passages",
        error=PassageError,
    )


def derive_id(passage: Passage, metadata: str) -> str:
    """Return the id of a passage without one: the hash of title, text and metadata as JSON."""
    content = json.dumps([passage.title, passage.text, metadata])
    return xxhash.xxh3_128_hexdigest(content.encode())
