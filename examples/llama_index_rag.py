"""A LlamaIndex query engine that answers with citations.

Set TWOFOLD_CHAT_MODEL to any LLM as ``package.module:Class:model``, for example
``llama_index.llms.ollama:Ollama:llama3.2``. Without one, the answer is made of quotations.
"""

import importlib
import os

from extractive import answer
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.llms import LLM
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


def chat_model() -> LLM | None:
    """Return the language model that the environment names."""
    if not (name := os.environ.get("TWOFOLD_CHAT_MODEL")):
        return None
    module, kind, model = name.split(":", 2)
    made: LLM = getattr(importlib.import_module(module), kind)(model=model)
    return made


def query_engine(retriever: TwofoldRetriever) -> BaseQueryEngine:
    """Return an engine that cites: by the model if there is one, else by quotation."""
    model = chat_model()
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
