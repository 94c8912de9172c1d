"""A twofold index as a component of a Haystack pipeline, with Haystack's filters.

Needs ``pip install haystack-ai`` besides twofold.
"""

from typing import Any

from haystack import Document, Pipeline, component
from haystack.components.builders import PromptBuilder

from twofold import Index, Retriever

PASSAGES: list[dict[str, Any]] = [
    {"id": "kettle", "text": "Descale the kettle with vinegar.", "metadata": {"year": 2021}},
    {"id": "toaster", "text": "The toaster has a crumb tray.", "metadata": {"year": 2023}},
    {"id": "new-kettle", "text": "The new kettle descales itself.", "metadata": {"year": 2024}},
]
THEIRS = ("==", "!=", ">", ">=", "<", "<=", "in", "not in")
OURS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin")
OPERATORS = dict(zip(THEIRS, OURS, strict=True))
PROMPT = "{% for d in documents %}[{{ d.id }}] {{ d.content }}\n{% endfor %}{{ question }}"


def as_where(filters: dict[str, Any]) -> dict[str, Any]:
    """Convert Haystack's filters to twofold's."""
    if "conditions" not in filters:
        field = filters["field"].removeprefix("meta.")
        condition = {OPERATORS[filters["operator"]]: filters["value"]}
        return {"$id" if field == "id" else field: condition}
    parts = [as_where(part) for part in filters["conditions"]]
    if filters["operator"] == "NOT":
        return {"$not": {"$and": parts}}
    return {"$or" if filters["operator"] == "OR" else "$and": parts}


@component
class TwofoldComponent:
    """Retrieves documents from a twofold index."""

    def __init__(self, retriever: Retriever) -> None:
        self.retriever = retriever

    @component.output_types(documents=list[Document])  # type: ignore[untyped-decorator]  # no types
    def run(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Return the best documents with their scores."""
        hits = self.retriever.retrieve(query, k=top_k, where=as_where(filters) if filters else None)
        return {
            "documents": [
                Document(id=hit.id, content=hit.text, meta=dict(hit.metadata), score=float(score))
                for hit, score in zip(hits.passages, hits.scores, strict=True)
            ]
        }


def main() -> None:
    with Index.open(None, encoder="hashing") as index:
        index.upsert(PASSAGES)
        pipeline = Pipeline()
        pipeline.add_component("retriever", TwofoldComponent(Retriever(index, k=2)))
        pipeline.add_component("prompt", PromptBuilder(template=PROMPT))
        pipeline.connect("retriever.documents", "prompt.documents")
        question = "how do I descale the kettle?"
        since = {"field": "meta.year", "operator": ">=", "value": 2022}
        for filters in (None, since):
            inputs = {"query": question, "filters": filters}
            result = pipeline.run({"retriever": inputs, "prompt": {"question": question}})
            print(result["prompt"]["prompt"])


if __name__ == "__main__":
    main()
