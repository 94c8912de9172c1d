"""One example to learn from: a query, what answers it, and what doesn't."""

import math
from dataclasses import dataclass

from twofold.errors import InputError


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
