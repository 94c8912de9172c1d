"""The tool for agents, by LangChain's suites and our own."""

import pytest
from langchain_core.documents import Document
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from langchain_twofold import TwofoldRetriever, retriever_tool

DOCUMENTS = [
    Document(id=str(n), page_content=text, metadata={"year": 2000 + n})
    for n, text in enumerate(["apple pie", "apple tree", "green apple", "pear tree", "apple juice"])
]


@pytest.fixture(scope="module", autouse=True)
def fruit():
    retriever = TwofoldRetriever.from_documents(DOCUMENTS, encoder="hashing", k=3)
    made = retriever_tool(retriever, "fruit", "Knows fruit.", fields="year (int)", most=4)
    TestToolUnit.tool = TestTool.tool = made
    yield made
    retriever.index.close()


class TestToolUnit(ToolsUnitTests):
    @property
    def tool_constructor(self):
        return self.tool

    @property
    def tool_invoke_params_example(self):
        return {"query": "apple", "k": 2, "filter": {"year": {"$gt": 2001}}}


class TestTool(ToolsIntegrationTests):
    @property
    def tool_constructor(self):
        return self.tool

    @property
    def tool_invoke_params_example(self):
        return {"query": "apple", "k": 2}


def call(**arguments):
    return {"name": "fruit", "args": arguments, "id": "1", "type": "tool_call"}


async def test_an_agent_gets_passages_and_scores(fruit):
    told = fruit.invoke(call(query="apple juice", k=2))
    assert told.content.startswith("[1] (4) apple juice\n\n[2] (")
    assert told.artifact[0].id == "4"
    assert all(type(each.metadata["score"]) is float for each in told.artifact)
    assert len(told.artifact) == 2
    again = await fruit.ainvoke(call(query="apple juice", k=2))
    assert (again.content, again.artifact) == (told.content, told.artifact)
    assert len(fruit.invoke(call(query="apple")).artifact) == 3
    some = fruit.invoke(call(query="apple", filter={"year": {"$in": [2001, 2003]}}))
    assert sorted(each.id for each in some.artifact) == ["1", "3"]
    none = fruit.invoke(call(query="apple", filter={"year": 1900}))
    assert (none.content, none.artifact) == ("No passage was found.", [])


async def test_what_an_agent_gets_wrong_is_told(fruit):
    wrong = call(query="apple", filter={"year": {"$near": 2000}})
    for told in (fruit.invoke(wrong), await fruit.ainvoke(wrong)):
        assert told.status == "error"
        assert "unknown operator '$near' on field 'year'" in told.content
    with pytest.raises(ValueError, match="less than or equal to 4"):
        fruit.invoke(call(query="apple", k=5))


def test_arguments_are_described(fruit):
    schema = fruit.tool_call_schema.model_json_schema()["properties"]
    assert set(schema) == {"query", "k", "filter"}
    assert "year (int)" in schema["filter"]["description"]
    plain = retriever_tool(TwofoldRetriever.from_documents([], encoder="hashing"), "it", "Is.")
    assert set(plain.tool_call_schema.model_json_schema()["properties"]) == {"query", "k"}
