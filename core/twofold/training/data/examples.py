"""Training examples and the sets that hold them."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from twofold.errors import InputError
from twofold.evaluation.measures import check_qrels, judged_queries
from twofold.storage import content_hash
from twofold.types import Passage
from twofold.validation import is_number


@dataclass(frozen=True, slots=True)
class Example:
    """A query with the ids of its relevant passages, and of some irrelevant ones.

    Args:
        query: The query's text.
        positives: Ids of relevant passages, at least one.
        negatives: Ids of irrelevant passages.
        weight: Factor of the example's loss.
        source: Where the example comes from, such as ``"qrels"``, ``"clicks"`` or ``"title"``.
        query_id: Id of the query. Default: its text.
        grades: Relevance of each positive, integers >= 1. Default: 1 each.

    Raises:
        InputError: A value is invalid, or a passage is both a positive and a negative.
    """

    query: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...] = ()
    weight: float = 1.0
    source: str = "qrels"
    query_id: str = ""
    grades: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.query, str) or not self.query.strip():
            raise InputError(
                f"query must be text that isn't blank, got {self.query!r:.80} "
                f"(query id {self.query_id!r:.80})"
            )
        name = f"of the example {self.query!r:.80}"
        for field, ids in (("positives", self.positives), ("negatives", self.negatives)):
            if not isinstance(ids, tuple) or not all(isinstance(id_, str) for id_ in ids):
                raise InputError(f"{field} {name} must be a tuple of ids, got {ids!r:.80}")
        if not self.positives:
            raise InputError(f"positives {name} must have at least one id")
        both = set(self.positives) & set(self.negatives)
        if both:
            raise InputError(
                f"passage {min(both)!r} is a positive and a negative {name}: leave one of them out"
            )
        if not is_number(self.weight) or self.weight <= 0:
            raise InputError(f"weight {name} must be a number > 0, got {self.weight!r}")
        if not self.grades:
            object.__setattr__(self, "grades", (1,) * len(self.positives))
        if len(self.grades) != len(self.positives) or min(self.grades) < 1:
            raise InputError(
                f"grades {name} must be one integer >= 1 for each of {len(self.positives)} "
                f"positives, got {self.grades!r:.80}"
            )
        if not self.query_id:
            object.__setattr__(self, "query_id", self.query)


@dataclass(frozen=True, slots=True)
class TrainingSet(Sequence[Example]):
    """A sequence of examples with distinct query ids, and passages that were read with them.

    Raises InputError if two examples share a query id.
    """

    examples: tuple[Example, ...]
    passages: tuple[Passage, ...] = ()

    def __post_init__(self) -> None:
        counts = Counter(example.query_id for example in self.examples)
        for query_id, count in counts.most_common(1):
            if count > 1:
                raise InputError(
                    f"query ids must be distinct, but {count} examples have {query_id!r:.80}: "
                    "merge them into one example"
                )

    @classmethod
    def from_qrels(
        cls, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
    ) -> "TrainingSet":
        """Return an example for each query with a passage of grade >= 1.

        Passages of grade 0 or less become negatives. Blank queries are skipped. Judged queries
        without a text are skipped with a DegradedWarning. Raises InputError if the judgments are
        malformed or no example is left.
        """
        check_qrels(qrels)
        examples = []
        for query_id, text in judged_queries(queries, qrels, stacklevel=2).items():
            relevant = {id_: int(grade) for id_, grade in qrels[query_id].items() if grade > 0}
            if not relevant or not text.strip():
                continue
            ids, grades = tuple(relevant), tuple(relevant.values())
            negatives = tuple(id_ for id_, grade in qrels[query_id].items() if grade <= 0)
            examples.append(Example(text, ids, negatives, query_id=query_id, grades=grades))
        if not examples:
            raise InputError("no query has a passage of grade 1 or more: check the judgments")
        return cls(tuple(examples))

    @property
    def queries(self) -> dict[str, str]:
        """Query id to text."""
        return {example.query_id: example.query for example in self.examples}

    @property
    def qrels(self) -> dict[str, dict[str, int]]:
        """Query id to passage id to grade; negatives have grade 0."""
        return {
            example.query_id: {
                **dict.fromkeys(example.negatives, 0),
                **dict(zip(example.positives, example.grades, strict=True)),
            }
            for example in self.examples
        }

    @property
    def positives(self) -> frozenset[str]:
        """Ids of all positives."""
        return frozenset(id_ for example in self.examples for id_ in example.positives)

    @property
    def digest(self) -> str:
        """Hash of the examples, in any order, as 32 hexadecimal digits."""
        rows: list[str] = []
        for example in self.examples:
            positives = sorted(zip(example.positives, example.grades, strict=True))
            row = [example.query_id, example.query, positives, sorted(example.negatives)]
            rows.append(json.dumps([*row, example.weight, example.source]))
        return content_hash("\n".join(sorted(rows)).encode()).hex()

    def select(self, query_ids: Iterable[str]) -> "TrainingSet":
        """Return the examples with these query ids, in the order of this set."""
        wanted = set(query_ids)
        chosen = tuple(example for example in self.examples if example.query_id in wanted)
        return TrainingSet(chosen, self.passages)

    def join(self, *others: "TrainingSet") -> "TrainingSet":
        """Return this set and the others as one; raise InputError if two share a query id."""
        sets = (self, *others)
        passages = {passage.id: passage for part in sets for passage in part.passages}
        examples = tuple(example for part in sets for example in part.examples)
        return TrainingSet(examples, tuple(passages.values()))

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Example, ...]: ...
    def __getitem__(self, place: int | slice) -> Example | tuple[Example, ...]:
        return self.examples[place]

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def __len__(self) -> int:
        return len(self.examples)
