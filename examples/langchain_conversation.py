"""A conversation about documents: what a follow-up question means is in what was said before.

A chat model (chat_models.py says which) turns a follow-up into a question of its own; without one,
the words of the question before are added to it.
"""

from chat_models import chat_model
from extractive import answer
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_rag import cited

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
ALONE = "Rewrite the last question so that it can be understood alone. Do not answer it."
ANSWER = "Answer from these passages alone, and cite their ids.\n\n{context}"
QUESTIONS = ("How do honey bees tell where flowers are?", "How do they keep warm in winter?")


def prompt(system: str) -> ChatPromptTemplate:
    """Return an instruction, what was said before, and the question."""
    history = MessagesPlaceholder("history")
    return ChatPromptTemplate.from_messages([("system", system), history, ("human", "{question}")])


class Conversation:
    """Remembers what was said, and looks for what each question means."""

    def __init__(self, retriever: TwofoldRetriever) -> None:
        self.retriever = retriever
        self.history: list[BaseMessage] = []
        self.model = chat_model()

    def alone(self, question: str) -> str:
        """Return a question that can be understood without what was said before."""
        if not self.history:
            return question
        if self.model is None:
            before = [each for each in self.history if isinstance(each, HumanMessage)]
            return f"{before[-1].text} {question}"
        given = {"history": self.history, "question": question}
        return (prompt(ALONE) | self.model | StrOutputParser()).invoke(given)

    def ask(self, question: str) -> str:
        """Return an answer with the ids of its passages."""
        alone = self.alone(question)
        found = self.retriever.invoke(alone)
        if self.model is None:
            passages = [(str(each.id), each.page_content) for each in found[:1]]
            said = answer(alone, passages, self.retriever.index.encoder)
        else:
            given = {"context": cited(found), "history": self.history, "question": question}
            said = (prompt(ANSWER) | self.model | StrOutputParser()).invoke(given)
        self.history += [HumanMessage(question), AIMessage(said)]
        return said


def main() -> None:
    conversation = Conversation(TwofoldRetriever.from_documents(DOCUMENTS, k=2))
    for question in QUESTIONS:
        print(f"> {question}\n{conversation.ask(question)}")


if __name__ == "__main__":
    main()
