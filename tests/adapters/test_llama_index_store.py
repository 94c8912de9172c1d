"""The vector store, where it does more than its conformance suite asks."""

import asyncio
import json
import pickle
import random

import numpy as np
import pytest
from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.schema import (
    ImageNode,
    IndexNode,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from llama_index_twofold import TwofoldEmbedding, TwofoldVectorStore
from twofold import HashingEncoder, Index, Retriever
from twofold.errors import (
    EncoderMismatchError,
    FilterError,
    IndexNotFoundError,
    InputError,
    QueryError,
    VectorError,
)

TEXTS = ("apples and pears", "cars and trains", "cherries", "hammers and apples")
VECTORS = ([1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-1.0, 0.2])


def nodes(**changes):
    return [
        TextNode(id_=f"n{at}", text=text, embedding=vector, metadata={"n": at}, **changes)
        for at, (text, vector) in enumerate(zip(TEXTS, VECTORS, strict=True))
    ]


@pytest.fixture
def store(tmp_path):
    made = TwofoldVectorStore(path=tmp_path / "store")
    made.add(nodes())
    yield made
    made.index.close()


def ask(store, mode="default", arguments=None, **fields):
    given = {"query_embedding": [1.0, 0.1], "query_str": "apples", "similarity_top_k": 9, **fields}
    query = VectorStoreQuery(mode=VectorStoreQueryMode(mode), **given)
    return store.query(query, **(arguments or {}))


def test_modes_ask_the_legs_that_they_are_called_by(store):
    core = Retriever(store.index, k=9)
    vector = np.array([1.0, 0.1], np.float32)
    for mode, wanted in {
        "default": core.retrieve(vector=vector, mode="dense"),
        "sparse": core.retrieve("apples", mode="lexical"),
        "text_search": core.retrieve("apples", mode="lexical"),
        "hybrid": core.retrieve("apples", vector=vector),
    }.items():
        found = ask(store, mode)
        assert found.ids == wanted.ids
        assert found.similarities == wanted.scores.tolist()
    assert sorted(ask(store, "sparse").ids) == ["n0", "n3"]
    assert ask(store, "sparse", query_embedding=None).ids == ask(store, "sparse").ids


def test_alpha_is_the_dense_legs_share(store):
    dense, words = ask(store).ids, ask(store, "sparse").ids
    assert ask(store, "hybrid", alpha=1.0).ids == dense
    assert ask(store, "hybrid", alpha=0.0).ids[: len(words)] == words
    half = Retriever(store.index, k=9, dense_weight=0.5)
    wanted = half.retrieve("apples", vector=np.array([1.0, 0.1], np.float32))
    assert ask(store, "hybrid", alpha=0.5).similarities == wanted.scores.tolist()
    with pytest.raises(InputError, match="a number >= 0 and <= 1, got"):
        ask(store, "hybrid", alpha=2.0)


def test_counts_are_those_of_the_mode(store):
    assert len(ask(store, "hybrid", similarity_top_k=3).ids) == 3
    assert len(ask(store, "hybrid", similarity_top_k=3, hybrid_top_k=1).ids) == 1
    assert len(ask(store, "sparse", similarity_top_k=9, sparse_top_k=1).ids) == 1
    assert len(ask(store, "sparse", similarity_top_k=1).ids) == 1
    with pytest.raises(QueryError, match="k must be an integer >= 1, got 0"):
        ask(store, similarity_top_k=0)


def test_mmr_takes_its_threshold_as_an_argument_before_the_field(store):
    twins = [TextNode(id_=f"t{n}", text="twin", embedding=[1.0, 0.01 * n]) for n in range(3)]
    store.add(twins)
    plain = ask(store, similarity_top_k=2).ids
    assert ask(store, "mmr", similarity_top_k=2, mmr_threshold=1.0).ids == plain
    diverse = ask(store, "mmr", similarity_top_k=2, mmr_threshold=0.0).ids
    assert diverse == [plain[0], "n3"]
    argument = {"mmr_threshold": 1.0}
    both = ask(store, "mmr", argument, similarity_top_k=2, mmr_threshold=0.0).ids
    assert both == plain
    zero = {"mmr_threshold": 0}
    assert ask(store, "mmr", zero, similarity_top_k=2, mmr_threshold=1.0).ids == diverse
    near = {"mmr_threshold": 0.0, "mmr_prefetch_k": 3}
    assert set(ask(store, "mmr", near, similarity_top_k=2).ids) < set(ask(store).ids[:3])
    with pytest.raises(TypeError, match="did you mean 'mmr_threshold'"):
        ask(store, "mmr", {"mmr_treshold": 1})


def test_each_candidate_is_compared_with_all_that_were_picked(store):
    """LlamaIndex's own MMR compares with the last one alone, and so repeats the first."""
    store.clear()
    store.add(
        [
            TextNode(id_="a", text="a", embedding=[1.0, 0.05]),
            TextNode(id_="b", text="b", embedding=[0.6, 0.8]),
            TextNode(id_="c", text="c", embedding=[1.0, 0.06]),
            TextNode(id_="d", text="d", embedding=[0.6, -0.8]),
        ]
    )
    found = ask(store, "mmr", query_embedding=[1.0, 0.0], similarity_top_k=3, mmr_threshold=0.3)
    assert sorted(found.ids) == ["a", "b", "d"]


def test_modes_that_arent_served_say_so(store):
    for mode in ("svm", "logistic_regression"):
        with pytest.raises(NotImplementedError, match=f"{mode}.*is not supported: .* default, mmr"):
            ask(store, mode)


def test_node_ids_of_a_retrievers_snapshot_restrict_nothing(store):
    store.add([IndexNode(id_="ref", text="apples", index_id="x", embedding=[1.0, 0.0])])
    store.add([ImageNode(id_="image", text="apples", embedding=[1.0, 0.0])])
    everything = ask(store).ids
    assert len(everything) == 6
    for snapshot in ([], ["ref"], ["ref", "image"]):
        assert ask(store, node_ids=snapshot).ids == everything
    assert sorted(ask(store, node_ids=["ref", "n1"]).ids) == ["n1", "ref"]
    strict = TwofoldVectorStore(store.index, strict_node_ids=True)
    assert ask(strict, node_ids=["ref"]).ids == ["ref"]
    assert ask(store, node_ids=["unknown"]).ids == []
    assert ask(store, doc_ids=[]).ids == []


def test_vectors_are_the_nodes_own_or_the_models(tmp_path):
    model = TwofoldEmbedding(HashingEncoder())
    store = TwofoldVectorStore(path=tmp_path / "s", embed_model=model)
    given = model.get_text_embedding("given")
    store.add([TextNode(id_="a", text="made here"), TextNode(id_="b", text="x", embedding=given)])
    wanted = model.get_text_embedding("made here")
    found = ask(store, query_embedding=wanted)
    assert found.ids[0] == "a"
    assert found.similarities[0] == pytest.approx(1.0)
    assert ask(store, query_embedding=None, query_str="made here").ids[0] == "a"
    store.index.close()
    other = MockEmbedding(embed_dim=256)
    with pytest.raises(EncoderMismatchError, match="another model"):
        TwofoldVectorStore.from_persist_path(str(tmp_path / "s"), embed_model=other)


def test_bad_nodes_are_refused_before_anything_is_written(store):
    before = ask(store).ids
    for bad, message in (
        (TextNode(id_="x", text="x"), "no embedding, and the store has no model"),
        (TextNode(id_="x", text="x", embedding=[1.0]), "encode all by one model|dimensions"),
        (TextNode(id_="x", text="x", embedding=[float("nan"), 1.0]), "finite|NaN"),
    ):
        with pytest.raises(VectorError, match=message):
            store.add([TextNode(id_="new", text="new", embedding=[1.0, 0.0]), bad])
        assert ask(store).ids == before
    with pytest.raises(TypeError, match="expected a node, got str"):
        store.add([TextNode(id_="new", text="new", embedding=[1.0, 0.0]), "text"])
    with pytest.raises(QueryError, match=r"\(1, 3\)"):
        ask(store, query_embedding=[1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="delete_nodes|delete takes ids="):
        store.delete_nodes()
    with pytest.raises(TypeError, match="unknown argument 'batch_size'"):
        store.add([], batch_size=3)
    assert ask(store).ids == before


def test_an_index_without_one_leg_serves_the_other(tmp_path):
    with Index.open(tmp_path / "words", encoder=None) as index:
        store = TwofoldVectorStore(index)
        assert store.add([TextNode(id_="a", text="apples"), nodes()[1]]) == ["a", "n1"]
        assert ask(store, "sparse").ids == ["a"]
        with pytest.raises(QueryError, match="lacks a leg"):
            ask(store)


def test_it_is_pickled_by_its_folder(store):
    again = pickle.loads(pickle.dumps(store))
    assert ask(again).ids == ask(store).ids
    assert TwofoldVectorStore.from_dict(store.to_dict()).path == str(store.index.path)
    json.dumps(store.to_dict())


def test_what_was_persisted_is_a_whole_copy(store, tmp_path):
    place = tmp_path / "deep" / "copy"
    store.persist(str(place))
    store.add([TextNode(id_="later", text="later", embedding=[1.0, 0.1])])
    copied = TwofoldVectorStore.from_persist_path(str(place))
    assert sorted(each.node_id for each in copied.get_nodes()) == ["n0", "n1", "n2", "n3"]
    assert copied.index.verify(deep=True).ok
    copied.index.close()
    store.persist(str(place))
    again = TwofoldVectorStore.from_persist_path(str(place))
    assert ask(again).ids == ask(store).ids
    assert again.get_nodes(["n0"])[0] == store.get_nodes(["n0"])[0]
    again.index.close()
    store.persist(str(store.index.path))  # where it lives anyway
    assert sorted(each.name for each in place.parent.iterdir()) == ["copy"]
    with pytest.raises(IndexNotFoundError, match="no index at"):
        TwofoldVectorStore.from_persist_path(str(tmp_path / "nothing"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not an index: pass the path of a new"):
        store.persist(str(tmp_path / "full"))
    with pytest.raises(ValueError, match="a local file system"):
        store.persist(str(place), fs=object())


def test_one_of_three_ways_to_make_it(store):
    with pytest.raises(ValueError, match="pass only one of"):
        TwofoldVectorStore(store.index, path="x")
    over = TwofoldVectorStore(retriever=Retriever(store.index, min_dense=0.9))
    assert ask(over).ids == ["n0"]


def test_documents_come_and_go_by_their_ids(store):
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="d")}
    store.add(nodes(relationships=source))
    store.add([TextNode(id_="lone", text="no document", embedding=[1.0, 0.0])])
    store.delete("None")
    assert len(ask(store).ids) == 5
    store.delete("d")
    assert ask(store).ids == ["lone"]


async def test_async_twins_dont_block_the_loop(store):
    beats = []

    async def beat():
        while True:
            await asyncio.sleep(0)
            beats.append(1)

    heart = asyncio.create_task(beat())
    await store.async_add(
        [TextNode(id_=f"a{n}", text="a", embedding=[1.0, 0.0]) for n in range(50)]
    )
    assert len(beats) > 1
    assert len(await store.aget_nodes(["a1", "a2"])) == 2
    heart.cancel()


def test_an_index_over_it_takes_modes_and_filters(tmp_path):
    model = TwofoldEmbedding(HashingEncoder())
    context = StorageContext.from_defaults(vector_store=TwofoldVectorStore(path=tmp_path / "s"))
    index = VectorStoreIndex(nodes=[], storage_context=context, embed_model=model)
    index.insert_nodes(
        [TextNode(id_=f"n{at}", text=text, metadata={"n": at}) for at, text in enumerate(TEXTS)]
    )
    filters = MetadataFilters(
        filters=[MetadataFilter(key="n", operator=FilterOperator.GT, value=0)]
    )
    found = index.as_retriever(
        vector_store_query_mode="hybrid", alpha=0.3, filters=filters, similarity_top_k=1
    ).retrieve("apples")
    assert [each.node_id for each in found] == ["n3"]
    mmr = index.as_retriever(
        vector_store_query_mode="mmr", vector_store_kwargs={"mmr_threshold": 0.2}
    )
    assert len(mmr.retrieve("apples")) == 2
    words = index.as_retriever(vector_store_query_mode="text_search")
    assert {each.node_id for each in words.retrieve("apples")} == {"n0", "n3"}


def random_filters(draw, depth=0):
    """Return filters that LlamaIndex's own store takes: not nested, and of one type a field."""
    leaves = [
        ("x", draw.choice(["==", "!=", ">", ">=", "<", "<="]), draw.randint(0, 3)),
        ("s", draw.choice(["==", "!="]), draw.choice("ab")),
        ("s", draw.choice(["in", "nin"]), draw.sample("abc", 2)),
        ("s", draw.choice(["text_match", "text_match_insensitive"]), draw.choice("aB")),
        ("l", "contains", draw.choice("ab")),
        ("l", draw.choice(["any", "all"]), draw.sample("abc", 2)),
        (draw.choice("sl"), "is_empty", None),
    ]
    chosen = [
        MetadataFilter(key=key, operator=FilterOperator(operator), value=value)
        for key, operator, value in draw.sample(leaves, draw.randint(1, 3))
    ]
    return MetadataFilters(filters=chosen, condition=draw.choice(list(FilterCondition)))


def differing(draw, store, rounds):
    """Compare the store with LlamaIndex's own on random node sets, filters and k."""
    for _ in range(rounds):
        made = []
        for at in range(draw.randint(1, 9)):
            metadata = {"x": draw.randint(0, 3), "s": draw.choice(["a", "b", "ab", ""])}
            metadata["l"] = draw.sample("abc", draw.randint(0, 2))
            vector = [draw.gauss(0, 1) for _ in range(4)]
            made.append(TextNode(id_=f"n{at}", text=f"t{at}", embedding=vector, metadata=metadata))
        theirs = SimpleVectorStore()
        theirs.add(made)
        store.clear()
        store.add(made)
        if len(made) > 3:
            gone = [made[0].node_id, made[2].node_id]
            theirs.delete_nodes(gone)
            store.delete_nodes(gone)
        query = VectorStoreQuery(
            query_embedding=[draw.gauss(0, 1) for _ in range(4)],
            similarity_top_k=draw.randint(1, 9),
            filters=random_filters(draw) if draw.random() < 0.8 else None,
            node_ids=draw.sample([each.node_id for each in made], 1)
            if draw.random() < 0.1
            else None,
        )
        wanted, found = theirs.query(query), store.query(query)
        assert found.ids == wanted.ids
        np.testing.assert_allclose(found.similarities, wanted.similarities, atol=1e-6)


def test_it_finds_what_the_simple_store_finds():
    differing(random.Random(1), TwofoldVectorStore(), 100)


@pytest.mark.slow
def test_it_finds_what_the_simple_store_finds_two_thousand_times():
    differing(random.Random(2), TwofoldVectorStore(), 2000)


def test_a_filter_of_another_type_is_told(store):
    with pytest.raises(TypeError, match="filters must be MetadataFilters"):
        store.get_nodes(filters=["n"])
    with pytest.raises(FilterError, match=r"\$in on field"):
        ask(
            store,
            filters=MetadataFilters(
                filters=[MetadataFilter(key="n", operator=FilterOperator.IN, value="a")]
            ),
        )
