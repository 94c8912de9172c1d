"""What was asked, kept with the hits so that they can be asked about it."""

import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from twofold.backend import Store, View
from twofold.errors import QueryError
from twofold.protocols import Scorer
from twofold.results import WhyNot
from twofold.retriever.search_plan import QueryInput, SearchPlan
from twofold.types import Mask, Vectors

if TYPE_CHECKING:
    from twofold.results.hits import Hits
    from twofold.retriever.retriever import Retriever


@dataclass(frozen=True, slots=True)
class QueryContext:
    """One query over one generation, with the settings that answered it.

    ``limit`` is how many passages each leg was asked for in the end. The index is held weakly: hits
    that are kept must not keep its write lock.
    """

    view: View
    store: "weakref.ref[Store]"
    settings: Mapping[str, Any]
    rules: SearchPlan
    question: QueryInput
    allowed: Mask | None
    limit: int

    @property
    def retriever(self) -> "Retriever":
        """The retriever that was asked; raise QueryError if its index is gone."""
        from twofold.retriever.retriever import Retriever

        store = self.store()
        if store is None:
            raise QueryError("the index of these hits is gone: keep it to ask what they lack")
        return Retriever(store, **self.settings)

    @property
    def scorer(self) -> Scorer | None:
        """The scoring function of words, None for the store's own."""
        return self.question.scorer

    @property
    def given(self) -> Vectors | None:
        """The vector (dim,) that came with the query, None where its text was encoded."""
        return self.question.vector if self.question.given else None

    def why_not(self, passage_id: str, hits: "Hits") -> WhyNot:
        """Return what kept a passage from being one of these hits; raise QueryError."""
        from twofold.retriever.why_not.analysis import why_not

        return why_not(self, passage_id, hits)
