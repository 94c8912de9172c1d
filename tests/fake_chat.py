"""A chat model for the examples' tests: it calls the tool that it has, and tells what it read."""

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult


class Reader(BaseChatModel):
    """Answers with all that it was told, or calls its tool once."""

    model: str

    @property
    def _llm_type(self) -> str:
        return "reader"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tool=tools[0].name, **kwargs)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any):
        tool = kwargs.get("tool")
        if tool is not None and not isinstance(messages[-1], ToolMessage):
            arguments = {"query": messages[-1].text, "k": 9, "filter": '{"year": {"$gt": 2021}}'}
            call = {"name": tool, "args": arguments, "id": "1", "type": "tool_call"}
            said = AIMessage("", tool_calls=[call])
        else:
            read = " | ".join(each.text.replace("\n", " ") for each in messages)
            said = AIMessage(f"{self.model} read: {read}")
        return ChatResult(generations=[ChatGeneration(message=said)])
