"""A conversation about documents, with follow-up questions.

A chat model (see chat_models.py) rewrites a follow-up as a standalone question. Without one, the
previous question is prepended.
"""

from chat_models import chat_model
from extractive import answer
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_rag import format_context

from langchain_twofold import TwofoldRetriever

DOCUMENTS = [
    Document(
        id="bees-dance",
        page_content="A honey bee that has found flowers dances in the hive: the angle of its "
        "waggle run tells the direction to the sun, and its length the distance.",
    ),
    Document(
        id="bees-winter",
        page_content="In winter honey bees form a cluster around the queen and shiver with their "
        "flight muscles to keep it warm.",
    ),
    Document(id="wasps-winter", page_content="Wasps die in autumn; young queens sleep."),
]
REWRITE = "Rewrite the last question so that it can be understood alone. Do not answer it."
ANSWER = "Answer from these passages alone, and cite their ids.\n\n{context}"
QUESTIONS = ("How do honey bees tell where flowers are?", "How do they keep warm in winter?")


def prompt(system: str) -> ChatPromptTemplate:
    """Return a prompt of the instruction, the history and the question."""
    history = MessagesPlaceholder("history")
    return ChatPromptTemplate.from_messages([("system", system), history, ("human", "{question}")])


class Conversation:
    """Keeps the history, and retrieves passages for standalone questions."""

    def __init__(self, retriever: TwofoldRetriever) -> None:
        self.retriever = retriever
        self.history: list[BaseMessage] = []
        self.model = chat_model()

    def rewrite(self, question: str) -> str:
        """Return the question in a form that needs no history."""
        if not self.history:
            return question
        if self.model is None:
            return f"{self.history[-2].text} {question}"  # the last message is an answer
        inputs = {"history": self.history, "question": question}
        return (prompt(REWRITE) | self.model | StrOutputParser()).invoke(inputs)

    def ask(self, question: str) -> str:
        """Return an answer with the ids of its passages."""
        standalone = self.rewrite(question)
        found = self.retriever.invoke(standalone)
        if self.model is None:
            best = [(str(each.id), each.page_content) for each in found[:1]]
            reply = answer(standalone, best, self.retriever.index.encoder)
        else:
            context = format_context(found)
            inputs = {"context": context, "history": self.history, "question": question}
            reply = (prompt(ANSWER) | self.model | StrOutputParser()).invoke(inputs)
        self.history += [HumanMessage(question), AIMessage(reply)]
        return reply


def main() -> None:
    conversation = Conversation(TwofoldRetriever.from_documents(DOCUMENTS, k=2))
    for question in QUESTIONS:
        print(f"> {question}\n{conversation.ask(question)}")


if __name__ == "__main__":
    main()
