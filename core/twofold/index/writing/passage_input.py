"""Validation of the passages passed to an upsert, before anything is written."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import xxhash

from twofold.errors import PassageError
from twofold.metadata import encode_metadata
from twofold.types import Passage, PassageLike
from twofold.validation import as_passage

BATCH = 4096
"""Passages in one commit."""
ENCODED_BATCH = 256
"""Passages in one commit if they are encoded first, so that a stopped call loses little."""
MAX_BYTES = 10_000_000
"""The largest text that is accepted, in UTF-8 bytes."""


class PassageValidator:
    """Checks the passages of one call, and gives ids to those without.

    A generated id is the hash of title, text and metadata. Passages of the same content are
    therefore one passage, in one call or in several.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
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
            self._check_text(name, field, getattr(passage, field))
        metadata = encode_metadata(passage.metadata, name)
        if not passage.id:
            return replace(passage, id=derive_id(passage, metadata)), metadata
        if passage.id in self._given:
            raise PassageError(f"passage id {passage.id!r} is given twice in one call")
        self._given.add(passage.id)
        return passage, metadata

    def _check_text(self, name: str, field: str, value: object) -> None:
        if not isinstance(value, str):
            raise PassageError(
                f"passage {name}: {field} must be a string, got {type(value).__name__} "
                f"{value!r:.40}"
            )
        try:
            size = len(value) if value.isascii() else len(value.encode())
        except UnicodeEncodeError as error:
            raise PassageError(
                f"passage {name}: {field} has half a surrogate pair at character {error.start}, "
                "which is not valid text: decode it with errors='replace'"
            ) from None
        if size > self._max_bytes:
            raise PassageError(
                f"passage {name}: {field} must have at most {self._max_bytes:,} bytes, got "
                f"{size:,}: split it into passages"
            )


def derive_id(passage: Passage, metadata: str) -> str:
    """Return the id of a passage without one: the hash of title, text and metadata as JSON."""
    content = json.dumps([passage.title, passage.text, metadata])
    return xxhash.xxh3_128_hexdigest(content.encode())
