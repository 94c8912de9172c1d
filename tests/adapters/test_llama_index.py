import asyncio

import numpy as np
import pytest
from llama_index.core import MockEmbedding, get_response_synthesizer
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.base_selector import BaseSelector, MultiSelection, SingleSelection
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import ResponseMode
from llama_index.core.retrievers import RouterRetriever
from llama_index.core.schema import (
    IndexNode,
    NodeRelationship,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.tools import RetrieverTool
from llama_index.core.vector_stores import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from llama_index_twofold import TwofoldRetriever, as_where
from twofold import BM25, Retriever
from twofold.errors import QueryError

NODES = [
    TextNode(id_="1", text="Plants make food by photosynthesis", metadata={"year": 2020}),
    TextNode(id_="2", text="The market sells food and plants", metadata={"year": 2021}),
    TextNode(
        id_="3",
        text="A history of the printing press",
        metadata={"year": 2022, "secret": "aardvark"},
        excluded_embed_metadata_keys=["secret"],
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc3")},
    ),
]


@pytest.fixture
def retriever():
    made = TwofoldRetriever.from_nodes(NODES, encoder="hashing", similarity_top_k=2)
    yield made
    made.index.close()


def ids(nodes):
    return [each.node.node_id for each in nodes]


def test_a_configured_retriever_keeps_all_its_settings(retriever):
    core = Retriever(retriever.index, exact=True, effort=2.0, depth=7, strict=True)
    assert TwofoldRetriever(retriever=core).retriever == core


async def test_it_is_a_real_retriever_sync_and_async(retriever):
    assert isinstance(retriever, BaseRetriever)
    found = retriever.retrieve("how do plants make food")
    assert ids(found) == ["1", "2"]
    assert all(type(each.score) is float for each in found)
    assert [each.score for each in found] == sorted((e.score for e in found), reverse=True)
    assert ids(await retriever.aretrieve("how do plants make food")) == ids(found)
    assert ids(retriever.retrieve(QueryBundle("press"))) == ids(retriever.retrieve(" press\n\n"))


def test_nodes_come_back_whole_and_fresh(retriever):
    found = retriever.retrieve("printing press")[0]
    assert found.node.text == "A history of the printing press"
    assert found.node.metadata == {"year": 2022, "secret": "aardvark"}
    assert found.node.excluded_embed_metadata_keys == ["secret"]
    assert found.node.ref_doc_id == "doc3"
    assert found.node.hash == NODES[2].hash
    found.score = 99.0
    found.node.metadata["year"] = 0
    again = retriever.retrieve("printing press")[0]
    assert again.score != 99.0
    assert again.node.metadata["year"] == 2022
    # What a node keeps from embeddings is not searched either.
    lexical = TwofoldRetriever(retriever.index, mode="lexical")
    assert lexical.retrieve("aardvark") == []


def test_a_bundle_is_used_and_never_changed(retriever):
    vector = retriever.index.encode_queries(["printing press"])[0].tolist()
    bundle = QueryBundle("", embedding=vector)
    assert ids(retriever.retrieve(QueryBundle("market", embedding=vector)))[0] == "3"
    assert bundle.embedding == vector
    custom = QueryBundle("press", custom_embedding_strs=["printing", "press history"])
    assert ids(retriever.retrieve(custom))[0] == "3"
    assert custom.embedding is None
    assert retriever.retrieve(QueryBundle("")) == []
    with pytest.raises(QueryError, match=r"\(1, 3\)"):
        retriever.retrieve(QueryBundle("press", embedding=[1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ([("year", ">", 2020)], {"2", "3"}),
        ([("year", "==", 2020)], {"1"}),
        ([("year", "!=", 2020)], {"2", "3"}),
        ([("year", "in", [2020, 2022])], {"1", "3"}),
        ([("year", "nin", [2020, 2022])], {"2"}),
        ([("secret", "is_empty", None)], {"1", "2"}),
        ([("secret", "text_match", "vark")], {"3"}),
        ([("secret", "text_match_insensitive", "AARD")], {"3"}),
        ([("ref_doc_id", "==", "doc3")], {"3"}),
        ([], {"1", "2", "3"}),
    ],
)
def test_filters(retriever, filters, wanted):
    made = MetadataFilters(
        filters=[MetadataFilter(key=k, operator=FilterOperator(o), value=v) for k, o, v in filters]
    )
    filtered = TwofoldRetriever(retriever.index, filters=made, similarity_top_k=9)
    assert set(ids(filtered.retrieve("plants press food"))) == wanted


def test_filters_nest():
    def year(operator, value):
        return MetadataFilter(key="year", operator=operator, value=value)

    nested = MetadataFilters(
        filters=[
            MetadataFilters(
                filters=[year(FilterOperator.LT, 2021), year(FilterOperator.GT, 2021)],
                condition=FilterCondition.OR,
            ),
            MetadataFilters(filters=[year(FilterOperator.EQ, 2022)], condition=FilterCondition.NOT),
        ]
    )
    made = TwofoldRetriever.from_nodes(NODES, encoder="hashing", filters=nested)
    assert ids(made.retrieve("plants press food")) == ["1"]
    made.index.close()
    assert as_where(None) is None


def test_inside_a_query_engine(retriever):
    synthesizer = get_response_synthesizer(MockLLM(), response_mode=ResponseMode.COMPACT)
    engine = RetrieverQueryEngine(retriever, response_synthesizer=synthesizer)
    assert ids(engine.query("how do plants make food").source_nodes) == ["1", "2"]
    answer = asyncio.run(engine.aquery("how do plants make food"))
    assert ids(answer.source_nodes) == ["1", "2"]


class Last(BaseSelector):
    """Chooses the last tool; a selector by a language model would choose by its description."""

    def _get_prompts(self):
        return {}

    def _update_prompts(self, prompts):
        pass

    def _select(self, choices, query):
        last = SingleSelection(index=len(choices) - 1, reason="last")
        return MultiSelection(selections=[last])

    async def _aselect(self, choices, query):
        return self._select(choices, query)


def test_inside_a_router_and_a_tool(retriever):
    lexical = TwofoldRetriever(retriever.index, mode="lexical")
    tools = [
        RetrieverTool.from_defaults(retriever, description="hybrid"),
        RetrieverTool.from_defaults(lexical, description="words"),
    ]
    router = RouterRetriever(selector=Last(), retriever_tools=tools, llm=MockLLM())
    assert ids(router.retrieve("printing")) == ["3"]
    assert "printing press" in str(tools[1]("printing"))
    assert "printing press" in str(asyncio.run(tools[1].acall("printing")))


async def test_inside_the_evaluator(retriever):
    evaluator = RetrieverEvaluator.from_metric_names(["hit_rate", "mrr"], retriever=retriever)
    result = await evaluator.aevaluate(query="printing press", expected_ids=["3"])
    assert result.metric_vals_dict == {"hit_rate": 1.0, "mrr": 1.0}


def test_index_nodes_lead_to_their_objects(retriever):
    outer = TwofoldRetriever.from_nodes(
        [IndexNode(id_="n", text="all about printing", index_id="inner")],
        encoder="hashing",
        objects=[IndexNode(text="", index_id="inner", obj=retriever)],
    )
    assert ids(outer.retrieve("printing"))[0] == "3"
    outer.index.close()


def test_over_what_exists(index):
    index.upsert([{"id": "p", "title": "A title", "text": "some text", "metadata": {"x": 1}}])
    found = TwofoldRetriever(index).retrieve("text")
    assert found[0].node.metadata == {"x": 1, "title": "A title"}
    core = Retriever(index, mode="dense", k=1, where={"x": 1})
    over = TwofoldRetriever(retriever=core)
    assert over.retriever == core
    for arguments in ({}, {"index": index, "retriever": core}):
        with pytest.raises(ValueError, match="pass index="):
            TwofoldRetriever(**arguments)


def test_llama_index_embeddings_as_encoder():
    made = TwofoldRetriever.from_nodes(NODES, encoder=MockEmbedding(embed_dim=8))
    assert made.index.dim == 8
    assert np.isfinite([each.score for each in made.retrieve("press")]).all()
    made.index.close()


def test_live_objects_of_index_nodes_are_found_too(retriever):
    inner = IndexNode(id_="n", text="all about printing", index_id="inner", obj=retriever)
    outer = TwofoldRetriever.from_nodes([inner], encoder="hashing")
    assert ids(outer.retrieve("printing"))[0] == "3"
    assert inner.obj is retriever
    outer.index.close()


def test_wrong_settings_are_refused_before_anything_is_indexed(tmp_path):
    with pytest.raises(TypeError, match="top_k"):
        TwofoldRetriever.from_nodes(NODES, path=tmp_path / "i", encoder="hashing", top_k=3)
    with pytest.raises(TypeError, match="expected a node, got str"):
        TwofoldRetriever.from_nodes(["text"], path=tmp_path / "i", encoder="hashing")
    assert not (tmp_path / "i").exists()


def test_a_bundle_with_a_vector_and_no_text(retriever):
    vector = retriever.index.encode_queries(["printing press"])[0].tolist()
    assert ids(retriever.retrieve(QueryBundle("", embedding=vector)))[0] == "3"


def test_analyzer_and_scoring_function_reach_the_lexical_leg():
    nodes = [TextNode(id_="1", text="Die H\u00e4user der Stadt")]
    made = TwofoldRetriever.from_nodes(nodes, encoder=None, analyzer="de", mode="lexical")
    (plain,) = made.retrieve("Haus")
    core = Retriever(made.index, mode="lexical", scorer=BM25(k1=0.1))
    (other,) = TwofoldRetriever(retriever=core).retrieve("Haus")
    assert plain.score != other.score
    assert other.score == core.retrieve("Haus")[0].score
    made.index.close()
