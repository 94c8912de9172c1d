"""What was asked, kept with the hits so that they can be asked about it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twofold.explain import WhyNot
from twofold.protocols import Scorer, View
from twofold.retriever.pool import Question, Rules
from twofold.types import Mask, Vectors

if TYPE_CHECKING:
    from twofold.hits import Hits
    from twofold.retriever.retriever import Retriever


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One query over one generation, with the settings that answered it."""

    view: View
    retriever: "Retriever"
    rules: Rules
    question: Question
    allowed: Mask | None

    @property
    def scorer(self) -> Scorer | None:
        """The scoring function of words, None for the store's own."""
        return self.question.scorer

    @property
    def vector(self) -> Vectors | None:
        """The query vector (dim,), None where no dense leg was asked."""
        return self.question.vector

    def why_not(self, passage_id: str, hits: "Hits") -> WhyNot:
        """Return what kept a passage from being one of these hits; raise QueryError."""
        from twofold.retriever.why_not import why_not  # drafting makes inquiries

        return why_not(self, passage_id, hits)
