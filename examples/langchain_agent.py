"""An agent that chooses how many passages to retrieve, and of which years.

It works with any chat model with tool calls (see chat_models.py). Without one, a rule reads "since
YEAR" in the question, calls the tool once, and quotes the result.
"""

import re

from chat_models import chat_model
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool

from langchain_twofold import TwofoldRetriever, retriever_tool

DOCUMENTS = [
    Document(
        id="battery-2012",
        page_content="Lithium-ion cells stored 150 watt-hours a kilogram.",
        metadata={"year": 2012},
    ),
    Document(
        id="battery-2021",
        page_content="Lithium-ion cells stored 270 watt-hours a kilogram.",
        metadata={"year": 2021},
    ),
    Document(
        id="battery-2023",
        page_content="A condensed lithium-ion cell reached 500 watt-hours a kilogram.",
        metadata={"year": 2023},
    ),
    Document(
        id="wind-2020",
        page_content="Wind turbines at sea reached 12 megawatts.",
        metadata={"year": 2020},
    ),
]
_STEPS = 5


def run(tool: BaseTool, question: str) -> list[BaseMessage]:
    """Return the messages of an agent with one tool, the answer last."""
    model = chat_model()
    messages: list[BaseMessage] = [HumanMessage(question)]
    for _ in range(_STEPS):
        reply = (
            reply_by_rule(messages) if model is None else model.bind_tools([tool]).invoke(messages)
        )
        messages.append(reply)
        calls = reply.tool_calls if isinstance(reply, AIMessage) else []
        if not calls:
            break
        messages += [tool.invoke(call) for call in calls]
    return messages


def reply_by_rule(messages: list[BaseMessage]) -> AIMessage:
    """Call the tool once, then quote its result."""
    question, last = messages[0].text, messages[-1]
    if not isinstance(last, ToolMessage):
        since = re.search(r"since (\d{4})", question)
        filters = {"filter": {"year": {"$gte": int(since.group(1))}}} if since else {}
        call = {"name": "energy", "args": {"query": question, "k": 2, **filters}, "id": "1"}
        return AIMessage("", tool_calls=[{**call, "type": "tool_call"}])
    lines = [f"{each.page_content} [{each.id}]" for each in last.artifact]
    return AIMessage("\n".join(lines) or "Nothing was found.")


def main() -> None:
    retriever = TwofoldRetriever.from_documents(DOCUMENTS, k=3)
    tool = retriever_tool(retriever, "energy", "Knows energy technology.", fields="year (int)")
    for message in run(tool, "How much do lithium-ion cells store since 2020?"):
        calls = [call["args"] for call in getattr(message, "tool_calls", [])]
        print(f"{message.type}: {calls or message.text}")


if __name__ == "__main__":
    main()
