"""What callers hand in, checked before anything is written."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import xxhash

from twofold.errors import PassageError
from twofold.types import Passage, PassageLike, as_passage

BATCH = 4096
"""Passages in one commit."""
ENCODED_BATCH = 256
"""Passages in one commit where they are encoded first, so that little is lost when stopped."""
MAX_BYTES = 10_000_000
"""Longest text that is taken, in UTF-8 bytes."""


class PassageValidator:
    """Checks the passages of one call and gives ids to those without.

    Such an id is the hash of title, text and metadata, so that the same passages get the same
    ids when a call is run again; repeats within the call are numbered.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._seen: set[str] = set()
        self._repeats: dict[str, int] = {}

    def batches(
        self, items: Iterable[PassageLike], size: int
    ) -> Iterator[list[tuple[Passage, str]]]:
        """Yield runs of (passage, metadata as JSON); raise PassageError for what can't be stored.

        A list is checked as a whole before the first run is given out; what is only iterable is
        checked run by run.
        """
        checked: Iterator[tuple[Passage, str]] = map(self.checked, items)
        if isinstance(items, Sequence):
            checked = iter(list(checked))
        while batch := list(islice(checked, size)):
            yield batch

    def checked(self, item: PassageLike) -> tuple[Passage, str]:
        """Return a passage with its id, and its metadata as JSON."""
        passage = as_passage(item)
        name = repr(passage.id) if passage.id else f"with text {passage.text!r:.40}"
        for field in ("id", "title", "text"):
            value = getattr(passage, field)
            if not isinstance(value, str):
                kind = type(value).__name__
                raise PassageError(f"passage {name}: {field} is a string, not {kind} {value!r:.40}")
            try:
                size = len(value) if value.isascii() else len(value.encode())
            except UnicodeEncodeError as error:
                raise PassageError(
                    f"passage {name}: {field} has half a surrogate pair at character "
                    f"{error.start}, which is no text: decode it with errors='replace'"
                ) from None
            if size > self._max_bytes:
                raise PassageError(
                    f"passage {name}: {field} has {size:,} bytes, {self._max_bytes:,} are taken: "
                    "split it into passages"
                )
        metadata = _as_json(passage.metadata, name)
        if not passage.id:
            passage = replace(passage, id=self._new_id(passage, metadata))
        if passage.id in self._seen:
            raise PassageError(f"passage id {passage.id!r} is given twice in one call")
        self._seen.add(passage.id)
        return passage, metadata

    def _new_id(self, passage: Passage, metadata: str) -> str:
        content = json.dumps([passage.title, passage.text, metadata])
        base = xxhash.xxh3_128_hexdigest(content.encode())
        count = self._repeats.get(base, 0) + 1
        self._repeats[base] = count
        return base if count == 1 else f"{base}-{count}"


def refuse_single(items: object) -> None:
    """Raise PassageError for one passage given as if it were many."""
    if isinstance(items, str | bytes | Mapping | Passage):
        raise PassageError(
            f"upsert takes an iterable of passages, not one {type(items).__name__}: "
            "put it into a list"
        )


def _as_json(metadata: Any, name: str) -> str:
    """Return metadata as JSON that reads back equal."""
    if isinstance(metadata, dict) and not metadata:
        return "{}"
    if not isinstance(metadata, dict) or not _has_string_keys(metadata):
        raise PassageError(
            f"passage {name}: metadata is a dict with string keys, not {metadata!r:.60}"
        )
    try:
        text = json.dumps(metadata, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError) as error:
        raise PassageError(
            f"passage {name}: metadata can't be kept as JSON ({error}): use strings, finite "
            "numbers, booleans, None, lists and dicts"
        ) from None
    return text


def _has_string_keys(value: Any) -> bool:
    """Whether all keys, nested ones too, are strings; JSON would turn others into strings."""
    if isinstance(value, dict):
        return all(isinstance(k, str) and _has_string_keys(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(_has_string_keys(each) for each in value)
    return True
