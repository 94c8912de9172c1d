"""Options of single queries: by a copy of the retriever, and from outside an engine."""

import asyncio

import numpy as np
import pytest
from llama_index.core.chat_engine import ContextChatEngine
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import QueryFusionRetriever
from llama_index.core.schema import QueryBundle, TextNode
from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters

from llama_index_twofold import TwofoldRetriever, query_options
from twofold import Retriever
from twofold.errors import QueryError

QUERY = "plants and food"
TEXTS = ("plants make food", "the market sells food", "a printing press", "food for plants")


def ids(found):
    return [each.node_id for each in found]


def years(operator, value):
    return MetadataFilters(
        filters=[MetadataFilter(key="year", operator=FilterOperator(operator), value=value)]
    )


class Backwards:
    """Prefers what comes last in the alphabet."""

    candidates, threshold, name = 10, None, "backwards"

    def rerank(self, queries, texts, progress=None):
        return [np.array([float(ord(text[0])) for text in each]) for each in texts]


@pytest.fixture
def retriever():
    nodes = [
        TextNode(id_=f"n{at}", text=text, metadata={"year": 2020 + at})
        for at, text in enumerate(TEXTS)
    ]
    made = TwofoldRetriever.from_nodes(
        [node.model_copy(update={"excluded_embed_metadata_keys": ["year"]}) for node in nodes],
        encoder="hashing",
        similarity_top_k=3,
    )
    yield made
    made.index.close()


OPTIONS = [
    ({"similarity_top_k": 1}, {"k": 1}),
    ({"filters": years(">", 2020)}, {"where": {"year": {"$gt": 2020}}}),
    ({"filters": {"year": {"$gt": 2020}}}, {"where": {"year": {"$gt": 2020}}}),
    ({"mode": "lexical"}, {"mode": "lexical"}),
    ({"weights": 0.1}, {"dense_weight": 0.1}),
    ({"weights": (1, 3)}, {"dense_weight": 0.25}),
    ({"min_score": 0.9}, {"min_score": 0.9}),
    ({"min_dense": 0.5}, {"min_dense": 0.5}),
    ({"min_lexical": 0.1}, {"min_lexical": 0.1}),
    ({"reranker": Backwards()}, {"reranker": Backwards()}),
    ({"preset": "llamaindex"}, {"preset": "llamaindex"}),
    ({"exact": True}, {"exact": True}),
]


@pytest.mark.parametrize(("given", "core"), OPTIONS)
def test_each_option_by_each_way(retriever, given, core):
    answer = Retriever(retriever.index, **{"k": 3, **core}).retrieve(QUERY)
    wanted = list(zip(answer.ids, answer.scores.tolist(), strict=True))
    assert wanted

    def told(found):
        return [(each.node_id, each.score) for each in found]

    made = TwofoldRetriever(retriever.index, **{"similarity_top_k": 3, **given})
    copied = retriever.with_options(**given)
    assert told(made.retrieve(QUERY)) == wanted
    assert told(copied.retrieve(QUERY)) == wanted
    assert told(asyncio.run(copied.aretrieve(QUERY))) == wanted
    with query_options(**given):
        assert told(retriever.retrieve(QUERY)) == wanted
        assert told(asyncio.run(retriever.aretrieve(QUERY))) == wanted
        assert told(retriever.retrieve_many([QUERY])[0]) == wanted
    assert len(retriever.retrieve(QUERY)) == 3
    assert retriever.retriever == Retriever(retriever.index, mode=None, k=3)


def test_they_reach_a_retriever_inside_engines(retriever):
    engine = RetrieverQueryEngine.from_args(retriever, llm=MockLLM())
    chat = ContextChatEngine.from_defaults(retriever=retriever, llm=MockLLM())
    fused = QueryFusionRetriever([retriever], llm=MockLLM(), num_queries=1)
    for year, wanted in ((2020, "n0"), (2021, "n1"), (2023, "n3")):
        with query_options(filters=years("==", year)):
            assert ids(engine.query(QUERY).source_nodes) == [wanted]
            assert ids(asyncio.run(engine.aquery(QUERY)).source_nodes) == [wanted]
            assert ids(chat.chat(QUERY).source_nodes) == [wanted]
            assert ids(fused.retrieve(QUERY)) == [wanted]


async def test_each_task_has_its_own(retriever):
    async def asked(year):
        with query_options(filters=years("==", year)):
            await asyncio.sleep(0)
            return ids(await retriever.aretrieve(QUERY))

    found = await asyncio.gather(*(asked(2020 + at) for at in range(4)))
    assert found == [[f"n{at}"] for at in range(4)]


def test_blocks_nest_and_end(retriever):
    with query_options(similarity_top_k=1):
        with query_options(mode="lexical"):
            assert len(retriever.retrieve(QUERY)) == 1
            with query_options(similarity_top_k=2):
                assert len(retriever.retrieve(QUERY)) == 2
        with pytest.raises(RuntimeError), query_options(similarity_top_k=3):
            raise RuntimeError
        assert len(retriever.retrieve(QUERY)) == 1
    assert len(retriever.retrieve(QUERY)) == 3


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"top_k": 3}, "did you mean 'similarity_top_k'"),
        ({"filter": {}}, "did you mean 'filters'"),
        ({"alpha": 0.5}, "did you mean 'weights'"),
        ({"depth": 5}, r"retriever=Retriever\(index, depth=...\)"),
    ],
)
def test_unknown_names_are_refused_with_the_near_one(retriever, given, message):
    for way in (
        retriever.with_options,
        query_options,
        lambda **options: TwofoldRetriever(retriever.index, **options),
    ):
        with pytest.raises(TypeError, match=message):
            way(**given).__enter__()


def test_wrong_values_say_what_is_wanted(retriever):
    with pytest.raises(QueryError, match="k must be an integer >= 1, got 0"):
        retriever.with_options(similarity_top_k=0)
    with pytest.raises(QueryError, match="mode must be one of"):
        retriever.with_options(mode="sparse")
    with pytest.raises(TypeError, match="filters must be MetadataFilters"):
        retriever.with_options(filters=[1])


def test_many_queries_are_one_call(retriever):
    vector = retriever.index.encode_queries(["press"])[0].tolist()
    queries = [
        "plants make food",
        QueryBundle("market"),
        QueryBundle("", embedding=vector),
        QueryBundle("food", custom_embedding_strs=["printing", "press"]),
        "",
    ]
    found = retriever.retrieve_many(queries)
    assert found == [retriever.retrieve(each) for each in queries]
    assert found == asyncio.run(retriever.aretrieve_many(queries))
    assert ids(found[2])[0] == "n2"
    assert found[4] == []
    assert retriever.retrieve_many([]) == []
