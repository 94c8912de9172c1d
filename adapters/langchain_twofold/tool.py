"""A tool that lets an agent search, and say how many passages it wants and of which kind."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.prompts import BasePromptTemplate, format_document
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, BeforeValidator, Field, create_model

from langchain_twofold.faiss_filter import where_of_faiss
from langchain_twofold.retriever import TwofoldRetriever
from twofold.concurrency import in_thread
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
    document_prompt: BasePromptTemplate[str] | None = None,
) -> BaseTool:
    """Return a tool with the arguments ``query``, ``k`` and ``filter``.

    Its content are the passages, numbered, each with its id, or as ``document_prompt`` writes
    them; its artifact the documents with their scores. ``k`` is brought between 1 and ``most``,
    the retriever's own too. ``fields`` tells the agent which metadata there are, such as "year
    (int), topic (str)"; without it there is no ``filter``. Arguments that are wrong, a filter that
    can't be asked, and one on a field that no passage has, are told to the agent, which can ask
    again.
    """
    usual = min(retriever.k, most)
    number = Field(
        None,
        description=f"How many passages, up to {most}; {usual} if left out.",
        json_schema_extra={"minimum": 1, "maximum": most},
    )
    arguments: dict[str, Any] = {
        "query": (str, Field(description="What to look for, in words or as a question.")),
        "k": (int | None, number),
    }
    if fields is not None:
        told = f"{_CONDITIONS} The fields are: {fields}"
        conditions = Annotated[dict[str, Any] | None, BeforeValidator(_read)]
        arguments["filter"] = (conditions, Field(None, description=told))
    schema: type[BaseModel] = create_model(f"{name}_arguments", **arguments)

    def options(k: int | None, filter: dict[str, Any] | None) -> dict[str, Any]:  # noqa: A002  # the agent's name for it
        try:
            where = where_of_faiss(filter)
            _check_fields(retriever, where, fields)
        except FilterError as error:
            raise ToolException(str(error)) from error
        return {"k": usual if k is None else min(max(k, 1), most), "filter": where}

    def content(documents: list[Document]) -> str:
        if document_prompt is None:
            lines = [
                f"[{n}] ({each.id}) {each.page_content}" for n, each in enumerate(documents, 1)
            ]
        else:
            lines = [format_document(each, document_prompt) for each in documents]
        return "\n\n".join(lines) if lines else _NOTHING

    def search(
        query: str,
        k: int | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002
        callbacks: Callbacks = None,
    ) -> tuple[str, list[Document]]:
        asked = options(k, filter)
        try:
            found = retriever.invoke(query, {"callbacks": callbacks}, **asked)
        except (FilterError, QueryError) as error:
            raise ToolException(str(error)) from error
        return content(found), found

    async def asearch(
        query: str,
        k: int | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002
        callbacks: Callbacks = None,
    ) -> tuple[str, list[Document]]:
        asked = await in_thread(options, k, filter)
        try:
            found = await retriever.ainvoke(query, {"callbacks": callbacks}, **asked)
        except (FilterError, QueryError) as error:
            raise ToolException(str(error)) from error
        return content(found), found

    return StructuredTool.from_function(
        func=search,
        coroutine=asearch,
        name=name,
        description=description,
        args_schema=schema,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=_wrong,
    )


def _read(given: Any) -> Any:
    """Return a filter that came as JSON in a string, or as an empty list, as models write it."""
    if isinstance(given, str):
        given = json.loads(given) if given.strip() else None
    return given if given else None


def _wrong(error: Any) -> str:
    """Say what is wrong with the arguments, by pydantic's error of either version."""
    told = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return f"Wrong arguments: {'; '.join(told)}. Try again."


def _check_fields(retriever: TwofoldRetriever, where: Any, fields: str | None) -> None:
    """Raise FilterError for a field that no passage has, which models make up."""
    for name in dict.fromkeys(_named(where)):
        if not retriever.index.count({name: {"$exists": True}}):
            raise FilterError(f"no passage has a field {name!r}: the fields are: {fields}")


def _named(where: Any) -> Iterator[str]:
    """Yield the fields that a filter names."""
    for name, value in where.items() if isinstance(where, Mapping) else ():
        if name in ("$and", "$or"):
            for part in value if isinstance(value, list) else ():
                yield from _named(part)
        elif name == "$not":
            yield from _named(value)
        elif not name.startswith("$"):
            yield name
