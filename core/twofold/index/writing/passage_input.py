"""Validation of the passages passed to an upsert, before anything is written."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import xxhash

from twofold.errors import PassageError
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

    A generated id is the hash of title, text and metadata, so a repeated call generates the same
    ids. Equal passages within a call get numbered ids.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._seen: set[str] = set()
        self._repeats: dict[str, int] = {}

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
        metadata = _metadata_to_json(passage.metadata, name)
        if not passage.id:
            passage = replace(passage, id=self._generate_id(passage, metadata))
        if passage.id in self._seen:
            raise PassageError(f"passage id {passage.id!r} is given twice in one call")
        self._seen.add(passage.id)
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

    def _generate_id(self, passage: Passage, metadata: str) -> str:
        content = json.dumps([passage.title, passage.text, metadata])
        base = xxhash.xxh3_128_hexdigest(content.encode())
        count = self._repeats.get(base, 0) + 1
        self._repeats[base] = count
        return base if count == 1 else f"{base}-{count}"


def check_iterable(items: object) -> None:
    """Raise PassageError if a single passage is passed instead of an iterable."""
    if isinstance(items, str | bytes | Mapping | Passage):
        raise PassageError(
            f"upsert takes an iterable of passages, got one {type(items).__name__}: put it into "
            "a list"
        )


def _metadata_to_json(metadata: Any, name: str) -> str:
    """Return metadata as JSON that decodes to an equal value."""
    if isinstance(metadata, dict) and not metadata:
        return "{}"
    if not isinstance(metadata, dict) or not _has_string_keys(metadata):
        raise PassageError(
            f"passage {name}: metadata must be a dict with string keys, got {metadata!r:.60}"
        )
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError) as error:
        raise PassageError(
            f"passage {name}: metadata can't be stored as JSON ({error}): use strings, finite "
            "numbers, booleans, None, lists and dicts"
        ) from None
    return text


def _has_string_keys(value: Any) -> bool:
    """Return whether all keys, nested ones too, are strings; JSON would convert other keys."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and _has_string_keys(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(_has_string_keys(item) for item in value)
    return True
