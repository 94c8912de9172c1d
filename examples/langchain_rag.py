"""A LangChain chain that answers with citations; chat_models.py chooses the model."""

from chat_models import chat_model
from extractive import answer
from langchain_core.documents import Document
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


def format_context(documents: list[Document]) -> str:
    """Return the passages with their ids, as a context for the model."""
    return "\n".join(f"[{each.id}] {each.page_content}" for each in documents)


def build_chain(retriever: TwofoldRetriever) -> Runnable[str, str]:
    """Return a chain from a question to an answer."""
    model = chat_model()
    if model is None:
        return RunnableLambda(
            lambda question: answer(
                question,
                [(str(each.id), each.page_content) for each in retriever.invoke(question)],
                retriever.index.encoder,
            )
        )
    context = retriever | RunnableLambda(format_context)
    inputs = {"context": context, "question": RunnablePassthrough()}
    return inputs | PROMPT | model | StrOutputParser()


def main() -> None:
    retriever = TwofoldRetriever.from_documents(DOCUMENTS, k=3)
    question = "How do plants make food?"
    for document in retriever.invoke(question):
        print(f"{document.metadata['score']:.3f}  {document.id}")
    print(build_chain(retriever).invoke(question))


if __name__ == "__main__":
    main()
