"""Plans the storing of a batch on a server: what differs, and which terms and vectors it needs."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from twofold.dense import PassageVectors
from twofold.index.passage_encoding import EncodedTexts
from twofold.index.writing.upsert import differs
from twofold.protocols import Analyzer
from twofold.similarity import Metric
from twofold.storage import IndexSettings, StoredPassage, VectorSetRecord
from twofold.types import Passage, Vectors

Batch = Sequence[tuple[Passage, str]]
"""Valid passages, each with its metadata as JSON."""
GivenVectors = Sequence[PassageVectors | None]
"""The vectors of each passage of a batch as stored, None where the metric can't compare them."""
FirstVectors = tuple[IndexSettings, VectorSetRecord]
"""The settings with the first vectors' metric and dimensions, and the record of their encoder."""
TermCounts = tuple[dict[str, int], int]
"""How often each term occurs in a passage, and the sum."""
VectorReader = Callable[[Sequence[int]], Mapping[int, PassageVectors]]
"""Returns the stored vectors of passages by their rows; those without one are left out."""


class RemoteState(Protocol):
    """The settings that a server stores, and the record of its vectors' encoder."""

    @property
    def settings(self) -> IndexSettings:
        """The settings."""

    @property
    def vector_set(self) -> VectorSetRecord | None:
        """The vector set, None before the first vectors."""


@dataclass(slots=True)
class Preparation:
    """The terms and vectors that storing a batch needs, computed while no transaction is open.

    Attributes:
        terms: The terms of passages, by position in the batch.
        vectors: The vectors of texts by content hash, None where the metric can't compare them.
        vector_set: The settings and the vector set for the first vectors.
        truncated: How many texts are longer than the encoder reads, and have no windows.
        windowed: How many texts have windows.
    """

    terms: dict[int, TermCounts] = field(default_factory=dict)
    vectors: dict[bytes, PassageVectors | None] = field(default_factory=dict)
    vector_set: FirstVectors | None = None
    truncated: int = 0
    windowed: int = 0

    def lacks(self, plan: "BatchPlan", state: "RemoteState", *, given: bool) -> bool:
        """Return whether storing a plan needs more; ``given``: the caller passed vectors."""
        if (
            not set(plan.changed) <= self.terms.keys()
            or not plan.texts.keys() <= self.vectors.keys()
        ):
            return True
        if not state.settings.dense or not (plan.texts or given):
            return False
        return (state.vector_set is None) != (self.vector_set is not None)

    def add(self, texts: dict[bytes, str], encoded: EncodedTexts) -> None:
        """Add the vectors of texts, by content hash."""
        self.vectors |= dict(zip(texts, encoded.vectors, strict=True))
        self.truncated += encoded.truncated
        self.windowed += encoded.windowed


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The passages of a batch to store, and the rows to delete for them.

    Attributes:
        changed: Positions of the new and changed passages.
        replaced: The passage that each of them replaces, by position.
        retained: The vectors of those whose text is unchanged, by position.
        texts: The texts to encode, by content hash.
    """

    changed: Sequence[int]
    replaced: dict[int, StoredPassage]
    retained: dict[int, PassageVectors]
    texts: dict[bytes, str]


def plan_batch(
    batch: Batch,
    given: GivenVectors | None,
    stored: Mapping[str, StoredPassage],
    read_vectors: VectorReader,
    *,
    dense: bool,
) -> BatchPlan:
    """Find the passages of a batch that differ from what is stored; of equal ids, the last.

    Args:
        batch: The passages.
        given: Their vectors, if the caller passed them.
        stored: The passages that are stored under their ids, by id.
        read_vectors: Reads the stored vectors of some of them.
        dense: Whether there is a dense leg.
    """
    last = {passage.id: position for position, (passage, _) in enumerate(batch)}
    changed = [
        position for name, position in last.items() if differs(stored.get(name), *batch[position])
    ]
    if given is not None:
        same = sorted(set(last.values()) - set(changed))
        rows = {position: stored[batch[position][0].id].row for position in same}
        vectors = read_vectors(sorted(rows.values())) if rows else {}
        changed += [
            position
            for position, row in rows.items()
            if not _same_vectors(vectors.get(row), given[position])
        ]
        changed.sort()
    among = set(changed)
    replaced = {
        position: stored[name]
        for name, position in last.items()
        if name in stored and position in among
    }
    if not dense or given is not None:
        return BatchPlan(changed, replaced, {}, {})
    retained = _read_retained(batch, replaced, read_vectors)
    texts: dict[bytes, str] = {}
    for position in changed:
        row = StoredPassage.from_passage(0, *batch[position])
        if position not in retained and row.encoded_text:
            texts[row.content] = row.encoded_text
    return BatchPlan(changed, replaced, retained, texts)


def _read_retained(
    batch: Batch, replaced: Mapping[int, StoredPassage], read_vectors: VectorReader
) -> dict[int, PassageVectors]:
    """Return the vectors of replaced passages whose title and text are unchanged, by position."""
    rows: dict[int, int] = {}
    for position, before in replaced.items():
        passage = batch[position][0]
        if (passage.title, passage.text) == (before.title, before.text):
            rows[position] = before.row
    by_row = read_vectors(sorted(rows.values())) if rows else {}
    return {position: by_row[row] for position, row in rows.items() if row in by_row}


def select_vectors(
    batch: Batch, plan: BatchPlan, prepared: Preparation, given: GivenVectors | None
) -> dict[int, PassageVectors]:
    """Return the vectors of the changed passages by position; those without one are left out."""
    found: dict[int, PassageVectors] = {}
    for position in plan.changed:
        vectors = plan.retained.get(position)
        if given is not None:
            vectors = given[position]
        elif vectors is None:
            content = StoredPassage.from_passage(0, *batch[position]).content
            vectors = prepared.vectors.get(content)
        if vectors is not None:
            found[position] = vectors
    return found


def count_stored(
    batch: Batch, plan: BatchPlan, with_vector: Collection[int], *, given: bool, dense: bool
) -> "StoredBatch":
    """Return the changes of a batch; ``with_vector`` has the positions of those with a vector."""
    without = [batch[at][0] for at in plan.changed if at not in with_vector]
    return StoredBatch(
        len(plan.changed) - len(plan.replaced),
        len(plan.replaced),
        sum(not passage.content for passage in without),
        sum(bool(passage.content) or given for passage in without) if dense else 0,
    )


def _same_vectors(first: PassageVectors | None, second: PassageVectors | None) -> bool:
    if first is None or second is None:
        return first is second
    return np.array_equal(first.vectors, second.vectors) and np.array_equal(
        first.filled_spans, second.filled_spans
    )


def as_stored(metric: Metric, vectors: Vectors) -> list[PassageVectors | None]:
    """Return vectors (n, dim) passed by a caller in the metric's stored form."""
    usable = metric.can_compare(vectors)
    prepared = iter(metric.prepare(vectors[usable]))
    row = np.zeros(1, np.int64)
    return [
        PassageVectors(row, next(prepared)[None, :]) if use else None for use in usable.tolist()
    ]


def count_terms(analyzer: Analyzer, passage: Passage, title_weight: int) -> TermCounts:
    """Return how often each term occurs in a passage, with the weight of its title's terms."""
    terms = analyzer.passage_terms(passage.text)
    if passage.title:
        terms = analyzer.passage_terms(passage.title) * title_weight + terms
    return dict(Counter(terms)), len(terms)


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """The changes of a stored batch.

    Attributes:
        added: Passages that are new.
        updated: Passages that replaced one.
        empty: Passages without words and without a vector.
        zero_vectors: Passages whose vector the metric can't compare.
    """

    added: int
    updated: int
    empty: int
    zero_vectors: int
