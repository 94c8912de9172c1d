"""A tool that lets an agent search, and say how many passages it wants and of which kind."""

from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field, create_model

from langchain_twofold.retriever import TwofoldRetriever
from twofold.errors import FilterError, QueryError

_CONDITIONS = (
    "Conditions on metadata, or nothing: a value, or $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin "
    'with one, such as {"year": {"$gte": 2020}}; combined by $and, $or, $not.'
)
_NOTHING = "No passage was found."


def retriever_tool(
    retriever: TwofoldRetriever,
    name: str,
    description: str,
    *,
    fields: str | None = None,
    most: int = 50,
) -> BaseTool:
    """Return a tool with the arguments ``query``, ``k`` (up to ``most``) and ``filter``.

    Its content are the passages, numbered, each with its id; its artifact the documents with their
    scores. ``fields`` tells the agent which metadata there are, such as "year (int), topic (str)";
    without it there is no ``filter``. A filter that can't be asked is told to the agent, which can
    ask again.
    """
    arguments: dict[str, Any] = {
        "query": (str, Field(description="What to look for, in words or as a question.")),
        "k": (
            int | None,
            Field(
                None, ge=1, le=most, description=f"How many passages, {retriever.k} if left out."
            ),
        ),
    }
    if fields is not None:
        told = f"{_CONDITIONS} The fields are: {fields}"
        arguments["filter"] = (dict[str, Any] | None, Field(None, description=told))
    schema: type[BaseModel] = create_model(f"{name}_arguments", **arguments)

    def search(
        query: str,
        k: int | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002  # the agent's name for it
        callbacks: Callbacks = None,
    ) -> tuple[str, list[Document]]:
        try:
            found = retriever.invoke(query, {"callbacks": callbacks}, k=k, filter=filter)
        except (FilterError, QueryError) as error:
            raise ToolException(str(error)) from error
        return _content(found), found

    async def asearch(
        query: str,
        k: int | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002
        callbacks: Callbacks = None,
    ) -> tuple[str, list[Document]]:
        try:
            found = await retriever.ainvoke(query, {"callbacks": callbacks}, k=k, filter=filter)
        except (FilterError, QueryError) as error:
            raise ToolException(str(error)) from error
        return _content(found), found

    return StructuredTool.from_function(
        func=search,
        coroutine=asearch,
        name=name,
        description=description,
        args_schema=schema,
        response_format="content_and_artifact",
        handle_tool_error=True,
    )


def _content(documents: list[Document]) -> str:
    """Return the passages as a model reads them."""
    lines = [f"[{at}] ({each.id}) {each.page_content}" for at, each in enumerate(documents, 1)]
    return "\n\n".join(lines) if lines else _NOTHING
