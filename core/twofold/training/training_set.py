"""What there is to learn from: examples, and passages that came along with them."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

from twofold.catalog import content_hash
from twofold.errors import InputError
from twofold.evaluation.judged import check_judgments, judged_queries
from twofold.training.example import Example
from twofold.types import Passage


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
