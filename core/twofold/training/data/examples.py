"""What there is to learn from: examples, and passages that came along with them."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from twofold.errors import InputError
from twofold.evaluation.measures import check_judgments, judged_queries
from twofold.storage import content_hash
from twofold.types import Passage


@dataclass(frozen=True, slots=True)
class Example:
    """A query with the ids of passages that answer it, and of some that don't.

    ``grades`` say how well each of the ``positives`` answers, whole numbers above 0; 1 each if left
    out. ``weight`` multiplies the example's part in the loss. ``source`` names where it comes from,
    such as ``"qrels"``, ``"clicks"`` or ``"title"``. Without a ``query_id``, the query is its own.
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
                f"an example (query id {self.query_id!r:.80}) has the query {self.query!r:.80}: "
                "words are wanted"
            )
        for name in ("positives", "negatives"):
            ids = getattr(self, name)
            if not isinstance(ids, tuple) or not all(isinstance(each, str) for each in ids):
                raise InputError(f"{name} of {self.query!r:.80} is a tuple of ids, not {ids!r:.80}")
        if not self.positives:
            raise InputError(f"the example {self.query!r:.80} has no positives: one is wanted")
        both = set(self.positives) & set(self.negatives)
        if both:
            raise InputError(
                f"passage {min(both)!r} is a positive and a negative of {self.query!r:.80}"
            )
        if not math.isfinite(self.weight) or self.weight <= 0:
            raise InputError(
                f"the weight of {self.query!r:.80} is {self.weight!r}: a number above 0 is wanted"
            )
        if not self.grades:
            object.__setattr__(self, "grades", (1,) * len(self.positives))
        if len(self.grades) != len(self.positives) or min(self.grades) < 1:
            raise InputError(
                f"grades of {self.query!r:.80} are {self.grades!r:.80}: one above 0 for each of "
                f"{len(self.positives)} positives is wanted"
            )
        if not self.query_id:
            object.__setattr__(self, "query_id", self.query)


@dataclass(frozen=True, slots=True)
class TrainingSet(Sequence[Example]):
    """Examples with different query ids; ``passages`` are those that a source brought along.

    Raises InputError where two examples share a query id.
    """

    examples: tuple[Example, ...]
    passages: tuple[Passage, ...] = ()

    def __post_init__(self) -> None:
        for query_id, count in Counter(each.query_id for each in self.examples).most_common(1):
            if count > 1:
                raise InputError(
                    f"the query id {query_id!r:.80} is there {count} times: put what belongs to "
                    "one query into one example"
                )

    @classmethod
    def of_qrels(
        cls, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
    ) -> "TrainingSet":
        """Return an example for each query with a passage of grade 1 or more.

        Passages of grade 0 or less are its negatives. Blank queries are left out. Warns
        (DegradedWarning) of judged queries without a text; raises InputError for judgments that
        can't be used, and if nothing is left.
        """
        check_judgments(qrels)
        examples = []
        for query_id, text in judged_queries(queries, qrels, stacklevel=2).items():
            good = {own: grade for own, grade in qrels[query_id].items() if grade > 0}
            if good and text.strip():
                bad = tuple(own for own, grade in qrels[query_id].items() if grade <= 0)
                examples.append(
                    Example(
                        text,
                        tuple(good),
                        bad,
                        query_id=query_id,
                        grades=tuple(int(each) for each in good.values()),
                    )
                )
        if not examples:
            raise InputError("no query has a passage of grade 1 or more: nothing can be learned")
        return cls(tuple(examples))

    @property
    def queries(self) -> dict[str, str]:
        """Query id to text."""
        return {each.query_id: each.query for each in self.examples}

    @property
    def qrels(self) -> dict[str, dict[str, int]]:
        """Query id to passage id to grade; negatives are of grade 0."""
        return {
            each.query_id: {
                **dict.fromkeys(each.negatives, 0),
                **dict(zip(each.positives, each.grades, strict=True)),
            }
            for each in self.examples
        }

    @property
    def positives(self) -> frozenset[str]:
        """The ids of all passages that answer any of the queries."""
        return frozenset(own for each in self.examples for own in each.positives)

    @property
    def digest(self) -> str:
        """A hash of all examples in any order, 32 hexadecimal digits: the same data, the same."""
        rows = sorted(
            json.dumps(
                [
                    each.query_id,
                    each.query,
                    sorted(zip(each.positives, each.grades, strict=True)),
                    sorted(each.negatives),
                    each.weight,
                    each.source,
                ]
            )
            for each in self.examples
        )
        return content_hash("\n".join(rows).encode()).hex()

    def having(self, query_ids: Iterable[str]) -> "TrainingSet":
        """Return the examples of these queries, in the order of this set."""
        wanted = set(query_ids)
        chosen = tuple(each for each in self.examples if each.query_id in wanted)
        return TrainingSet(chosen, self.passages)

    def joined(self, *others: "TrainingSet") -> "TrainingSet":
        """Return the examples of all sets; raise InputError where two share a query id."""
        sets = (self, *others)
        passages = {each.id: each for own in sets for each in own.passages}
        examples = tuple(each for own in sets for each in own.examples)
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
