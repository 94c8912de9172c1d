"""The tool for agents, by LangChain's suites and our own."""

import warnings

import pytest
from langchain_core._api import LangChainBetaWarning
from langchain_core.documents import Document
from langchain_core.prompts import PromptTemplate
from langchain_core.tools import create_retriever_tool
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
    for arguments, words in [
        ({"k": "three"}, "k: Input should be a valid integer"),
        ({"filter": [1]}, "filter: Input should be a valid dictionary"),
        ({"filter": "{year"}, "filter: Value error"),
        ({"filter": {"yaer": 2001}}, "no passage has a field 'yaer': the fields are: year (int)"),
        ({"filter": {"$or": [{"year": 1}, {"$not": {"colour": 1}}]}}, "no field 'colour'"),
        ({"filter": {"$and": 3}}, "$and takes a list"),
    ]:
        wrong = call(query="apple", **arguments)
        for told in (fruit.invoke(wrong), await fruit.ainvoke(wrong)):
            assert told.status == "error"
            assert words.replace("no field", "no passage has a field") in told.content


@pytest.mark.parametrize(("k", "count"), [(100, 4), (0, 1), (-3, 1), ("2", 2), (2.0, 2)])
def test_a_number_is_brought_between_1_and_most(fruit, k, count):
    assert len(fruit.invoke(call(query="apple", k=k)).artifact) == count


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ('{"year": {"$gte": 2003}}', "34"),
        ({"year": [2000, 2002]}, "02"),
        ({"year": {"$neq": 2000, "$lte": 2002}}, "12"),
        ([], "01234"), ({}, "01234"), ("", "01234"), ("null", "01234"), (None, "01234"),
    ],
)  # fmt: skip
def test_filters_as_models_write_them(fruit, given, wanted):
    found = fruit.invoke(call(query="apple tree", k=4, filter=given)).artifact
    assert {each.id for each in found} <= set(wanted)
    assert len(found) == min(4, len(wanted))


async def test_a_prompt_for_documents_and_the_retriever_s_own_k(fruit):
    retriever = TwofoldRetriever.from_documents(DOCUMENTS, encoder="hashing", k=5)
    prompt = PromptTemplate.from_template("{year}: {page_content}")
    made = retriever_tool(retriever, "it", "Is.", most=2, document_prompt=prompt)
    for told in (made.invoke(call(query="juice")), await made.ainvoke(call(query="juice"))):
        assert len(told.artifact) == 2
        assert told.content.startswith("2004: apple juice\n\n20")
    retriever.index.close()


def test_langchain_s_own_tools_take_the_retriever():
    """They give a model the query alone, and only ours its scores: docs/langchain.md."""
    retriever = TwofoldRetriever.from_documents(DOCUMENTS, encoder="hashing", k=2)
    plain = create_retriever_tool(retriever, "it", "Is.")
    assert set(plain.tool_call_schema.model_json_schema()["properties"]) == {"query"}
    assert plain.invoke({"query": "apple juice"}).startswith("apple juice\n\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LangChainBetaWarning)
        made = retriever.as_tool(name="it", description="Is.")
    assert [each.id for each in made.invoke("apple juice")] == [
        each.id for each in retriever.invoke("apple juice")
    ]
    retriever.index.close()


def test_arguments_are_described(fruit):
    schema = fruit.tool_call_schema.model_json_schema()["properties"]
    assert set(schema) == {"query", "k", "filter"}
    assert "year (int)" in schema["filter"]["description"]
    plain = retriever_tool(TwofoldRetriever.from_documents([], encoder="hashing"), "it", "Is.")
    assert set(plain.tool_call_schema.model_json_schema()["properties"]) == {"query", "k"}
