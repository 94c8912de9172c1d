"""A search tool for LangChain agents."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import Document
from langchain_core.prompts import BasePromptTemplate, format_document
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, BeforeValidator, Field, create_model

from langchain_twofold.filters import where_of_faiss
from langchain_twofold.retriever import TwofoldRetriever
from twofold.concurrency import run_in_thread
from twofold.errors import FilterError, QueryError

_FILTER_SYNTAX = (
    "Conditions on metadata, or nothing: a value, or $eq, $ne, $gt, $gte, $lt, $lte, $in, $nin "
    'with one, such as {"year": {"$gte": 2020}}; combined by $and, $or, $not.'
)


def retriever_tool(
    retriever: TwofoldRetriever,
    name: str,
    description: str,
    *,
    fields: str | None = None,
    most: int = 50,
    document_prompt: BasePromptTemplate[str] | None = None,
) -> BaseTool:
    """Create a tool whose arguments are ``query``, ``k`` and ``filter``.

    The tool message's content is the numbered passages with their ids; its artifact is the
    documents with scores. Invalid arguments, and filters on fields that no passage has, are
    reported to the agent, which can try again.

    Args:
        retriever: The retriever to search with.
        name: The tool's name.
        description: The tool's description for the model.
        fields: The metadata fields to filter by, such as ``"year (int), topic (str)"``. With None,
            the tool has no ``filter``.
        most: The upper limit of ``k``; larger values, and the retriever's own k, are reduced to it.
        document_prompt: Formats each document.

    Example:
        >>> documents = [Document("green tea", metadata={"year": 2020})]
        >>> retriever = TwofoldRetriever.from_documents(documents, encoder="hashing")
        >>> tool = retriever_tool(retriever, "tea", "Knows tea.", fields="year (int)")
        >>> tool.invoke({"query": "tea", "filter": {"year": {"$lt": 2020}}})
        'No passage was found.'
    """
    default_k = min(retriever.k, most)
    k_field = Field(
        None,
        description=f"How many passages, up to {most}; {default_k} if left out.",
        json_schema_extra={"minimum": 1, "maximum": most},
    )
    arguments: dict[str, Any] = {
        "query": (str, Field(description="What to look for, in words or as a question.")),
        "k": (int | None, k_field),
    }
    if fields is not None:
        filter_type = Annotated[dict[str, Any] | None, BeforeValidator(_parse_filter)]
        filter_help = f"{_FILTER_SYNTAX} The fields are: {fields}"
        arguments["filter"] = (filter_type, Field(None, description=filter_help))
    schema: type[BaseModel] = create_model(f"{name}_arguments", **arguments)

    def build_options(k: int | None, filter: dict[str, Any] | None) -> dict[str, Any]:  # noqa: A002  # the agent's name for it
        try:
            where = where_of_faiss(filter)
            _check_fields(retriever, where, fields)
        except FilterError as error:
            raise ToolException(str(error)) from error
        return {"k": default_k if k is None else min(max(k, 1), most), "filter": where}

    def format_content(documents: list[Document]) -> str:
        if not documents:
            return "No passage was found."
        if document_prompt is not None:
            return "\n\n".join(format_document(doc, document_prompt) for doc in documents)
        return "\n\n".join(
            f"[{number}] ({doc.id}) {doc.page_content}" for number, doc in enumerate(documents, 1)
        )

    def search(
        query: str,
        k: int | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002
        callbacks: Callbacks = None,
    ) -> tuple[str, list[Document]]:
        options = build_options(k, filter)
        try:
            documents = retriever.invoke(query, {"callbacks": callbacks}, **options)
        except (FilterError, QueryError) as error:
            raise ToolException(str(error)) from error
        return format_content(documents), documents

    async def asearch(
        query: str,
        k: int | None = None,
        filter: dict[str, Any] | None = None,  # noqa: A002
        callbacks: Callbacks = None,
    ) -> tuple[str, list[Document]]:
        options = await run_in_thread(build_options, k, filter)
        try:
            documents = await retriever.ainvoke(query, {"callbacks": callbacks}, **options)
        except (FilterError, QueryError) as error:
            raise ToolException(str(error)) from error
        return format_content(documents), documents

    return StructuredTool.from_function(
        func=search,
        coroutine=asearch,
        name=name,
        description=description,
        args_schema=schema,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=_format_validation_error,
    )


def _parse_filter(value: Any) -> Any:
    """Return a filter that a model wrote: JSON strings are parsed, empty values become None."""
    if isinstance(value, str):
        value = json.loads(value) if value.strip() else None
    return value if value else None


def _format_validation_error(error: Any) -> str:
    """Return a message on invalid arguments from a ValidationError of pydantic 1 or 2."""
    problems = [
        f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()
    ]
    return f"Wrong arguments: {'; '.join(problems)}. Try again."


def _check_fields(retriever: TwofoldRetriever, where: Any, fields: str | None) -> None:
    """Raise FilterError if ``where`` uses a field that no passage has, as models invent some."""
    for name in dict.fromkeys(_iterate_fields(where)):
        if not retriever.index.count({name: {"$exists": True}}):
            raise FilterError(f"no passage has a field {name!r}: the fields are: {fields}")


def _iterate_fields(where: Any) -> Iterator[str]:
    """Yield the metadata fields that a filter uses."""
    for name, value in where.items() if isinstance(where, Mapping) else ():
        if name in ("$and", "$or"):
            for operand in value if isinstance(value, list) else ():
                yield from _iterate_fields(operand)
        elif name == "$not":
            yield from _iterate_fields(value)
        elif not name.startswith("$"):
            yield name
