"""A LangChain chain that answers with citations.

Set TWOFOLD_CHAT_MODEL to any chat model as ``package.module:Class:model``, for example
``langchain_ollama:ChatOllama:llama3.2``. Without one, the answer is made of quotations.
"""

import importlib
import os

from extractive import answer
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough

from langchain_twofold import TwofoldRetriever

DOCUMENTS = [
    Document(
        id="leaf",
        page_content="Plants make their own food. In a process called photosynthesis, leaves turn "
        "sunlight, water and carbon dioxide into glucose.",
    ),
    Document(id="root", page_content="Roots take up water and minerals from the soil."),
    Document(id="garden", page_content="Grandmother's garden has plants and food for the birds."),
    Document(id="press", page_content="Gutenberg's press made books cheap in the 15th century."),
]
PROMPT = ChatPromptTemplate.from_template(
    "Answer from these passages alone, and cite their ids in brackets.\n\n{context}\n\n"
    "Question: {question}"
)


def chat_model() -> BaseChatModel | None:
    """Return the chat model that the environment names."""
    if not (name := os.environ.get("TWOFOLD_CHAT_MODEL")):
        return None
    module, kind, model = name.split(":", 2)
    made: BaseChatModel = getattr(importlib.import_module(module), kind)(model=model)
    return made


def cited(documents: list[Document]) -> str:
    """Return passages with their ids."""
    return "\n".join(f"[{each.id}] {each.page_content}" for each in documents)


def chain(retriever: TwofoldRetriever) -> Runnable[str, str]:
    """Return question -> answer."""
    model = chat_model()
    if model is None:
        return RunnableLambda(
            lambda question: answer(
                question,
                [(str(each.id), each.page_content) for each in retriever.invoke(question)],
                retriever.index.encoder,
            )
        )
    context = retriever | RunnableLambda(cited)
    inputs = {"context": context, "question": RunnablePassthrough()}
    return inputs | PROMPT | model | StrOutputParser()


def main() -> None:
    retriever = TwofoldRetriever.from_documents(DOCUMENTS, k=3)
    question = "How do plants make food?"
    for document in retriever.invoke(question):
        print(f"{document.metadata['score']:.3f}  {document.id}")
    print(chain(retriever).invoke(question))


if __name__ == "__main__":
    main()
