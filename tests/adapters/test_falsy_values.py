"""Values that are false, such as 0 and "", are values: they aren't taken for missing ones."""

import numpy as np
import pytest
from langchain_core.documents import Document
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import MetadataFilters

from langchain_twofold import TwofoldIndex, TwofoldRetriever, TwofoldVectorStore, where_of_faiss
from llama_index_twofold import TwofoldRetriever as NodeRetriever
from llama_index_twofold import TwofoldVectorStore as NodeStore
from twofold import Index, Retriever
from twofold.errors import InputError, PassageError, QueryError

TEXTS = ["green tea", "black coffee", "red wine"]
EMPTY = ["", 0, 0.0, False, [], {}]


@pytest.fixture(scope="module")
def store():
    return TwofoldVectorStore.from_texts(
        TEXTS, "hashing", [{"n": n} for n in range(3)], ids=range(3)
    )


@pytest.mark.parametrize("ids", [range(3), [0, 1, 2], np.arange(3), ["0", "1", "2"]])
def test_ids_that_are_numbers_are_ids(ids):
    store = TwofoldVectorStore.from_texts(TEXTS, "hashing", ids=ids)
    assert store.add_texts(TEXTS, ids=ids) == ["0", "1", "2"]
    assert store.add_documents([Document(text) for text in TEXTS], ids=ids) == ["0", "1", "2"]
    assert len(store.index) == 3
    assert [document.id for document in store.get_by_ids(ids)] == ["0", "1", "2"]
    documents = TwofoldIndex(index=store.index)
    assert documents.get(ids[:1])[0].page_content == "green tea"
    assert documents.delete(ids[:1])["succeeded"] == ["0"]
    assert store.delete(ids[1:2])
    assert [passage.id for passage in store.index] == ["2"]


def test_an_empty_id_is_derived_like_a_missing_one():
    store = TwofoldVectorStore.from_texts(["tea"], "hashing", ids=[""])
    assert store.add_texts(["tea"], ids=[None]) == store.add_documents([Document("tea", id="")])
    assert len(store.index) == 1


@pytest.mark.parametrize("value", [0.0, False, [], {}])
def test_other_empty_ids_are_refused(value):
    with pytest.raises(PassageError, match="id must be a string"):
        TwofoldVectorStore.from_texts(["tea"], "hashing", ids=[value])


@pytest.mark.parametrize("value", [value for value in EMPTY if value != {}])
def test_metadata_that_is_no_dict_is_refused(value):
    with pytest.raises(PassageError, match="metadata must be a dict"):
        TwofoldVectorStore.from_texts(["tea"], "hashing", [value])
    with (
        Index.open(None, encoder=None) as index,
        pytest.raises(PassageError, match="must be a dict"),
    ):
        index.upsert([{"text": "tea", "metadata": value}])


@pytest.mark.parametrize("name", ["ids", "metadatas"])
def test_an_empty_list_is_too_short(name):
    with pytest.raises(InputError, match=f"0 {name} for 1 texts"):
        TwofoldVectorStore.from_texts(["tea"], "hashing", **{name: []})


@pytest.mark.parametrize("value", [value for value in EMPTY if value != []])
def test_arguments_that_are_no_list_are_refused(value, store):
    for call in (
        lambda: TwofoldVectorStore.from_texts(value, "hashing"),
        lambda: store.add_texts(value),
        lambda: store.add_documents(value),
        lambda: store.index.upsert(value),
        lambda: store.delete(value),
        lambda: store.get_by_ids(value),
        lambda: TwofoldIndex(index=store.index).delete(value),
        lambda: TwofoldIndex(index=store.index).get(value),
        lambda: NodeStore(index=store.index).get_nodes(value),
        lambda: NodeStore(index=store.index).delete_nodes(value),
        lambda: store.index.delete(value),
        lambda: store.index.get(value),
    ):
        with pytest.raises(InputError, match=r"iterable|list of ids"):
            call()
    assert len(store.index) == 3


def test_empty_lists_do_nothing(store):
    assert store.add_texts([]) == store.add_documents([]) == store.add_embeddings([]) == []
    assert store.delete([]) is True
    assert store.get_by_ids([]) == NodeStore(index=store.index).get_nodes([]) == []
    NodeStore(index=store.index).delete_nodes([])
    assert store.index.delete([]) == store.index.delete([], where={}) == 0
    assert len(store.index) == 3
    assert len(TwofoldVectorStore.from_texts([], "hashing").index) == 0
    assert len(TwofoldVectorStore.from_embeddings([], None).index) == 0
    assert Retriever(store.index).retrieve_many([]) == []


@pytest.mark.parametrize("value", EMPTY)
def test_an_empty_path_is_refused(value):
    for call in (
        lambda: Index.open(value, encoder=None),
        lambda: TwofoldVectorStore.from_texts(["tea"], "hashing", path=value),
        lambda: TwofoldRetriever.from_documents([], encoder=None, path=value),
        lambda: NodeStore(path=value),
        lambda: NodeRetriever.from_nodes([], encoder=None, path=value),
    ):
        with pytest.raises(InputError, match="path must be a folder"):
            call()


@pytest.mark.parametrize("value", EMPTY)
@pytest.mark.parametrize("name", ["k", "mode", "reranker", "preset", "fetch_k"])
def test_options_that_need_a_value_refuse_empty_ones(store, name, value):
    with pytest.raises((InputError, TypeError)):
        store.similarity_search("tea", **{name: value})
    if name != "fetch_k":
        with pytest.raises((InputError, TypeError)):
            TwofoldRetriever(index=store.index).invoke("tea", **{name: value})


@pytest.mark.parametrize("zero", [0, 0.0])
def test_zero_is_a_setting(store, zero):
    lexical = [hit.id for hit in Retriever(store.index, mode="lexical").retrieve("tea wine")]
    retriever = TwofoldRetriever(index=store.index, weights=zero, min_score=1e-9)
    assert sorted(doc.id for doc in retriever.invoke("tea wine")) == sorted(lexical)
    assert retriever.invoke("tea", weights=1, min_score=zero)
    assert all(doc.metadata["score"] >= 0 for doc in retriever.invoke("tea", min_score=zero))
    assert store.similarity_search("tea", lambda_mult=zero, fetch_k=3, k=3)
    nodes = NodeRetriever(store.index, weights=0.9).with_options(weights=zero, min_score=1e-9)
    assert nodes.retriever.dense_weight == 0
    assert sorted(found.node_id for found in nodes.retrieve("tea wine")) == sorted(lexical)


@pytest.mark.parametrize("value", ["", 0, [], {}])
def test_flags_are_booleans(store, value):
    for name in ("exact", "strict"):
        with pytest.raises(QueryError, match=f"{name} must be True or False"):
            Retriever(store.index, **{name: value})


def test_an_empty_filter_replaces_the_retrievers_filter(store):
    documents = TwofoldRetriever(index=store.index, filter={"n": 0})
    nodes = NodeRetriever(store.index, filters={"n": 0})
    assert len(documents.invoke("tea")) == len(nodes.retrieve("tea")) == 1
    assert len(documents.invoke("tea", filter={})) == 3
    for empty in ({}, MetadataFilters(filters=[])):
        assert len(nodes.with_options(filters=empty).retrieve("tea")) == 3
    assert len(nodes.with_options(filters=None).retrieve("tea")) == 1


@pytest.mark.parametrize("value", ["", 0, 0.0, False, None, []])
def test_values_that_are_false_can_be_filtered_by(value):
    metadatas = [{"f": value, "n": 0}, {"f": "other", "n": 1}]
    store = TwofoldVectorStore.from_texts(TEXTS[:2], "hashing", metadatas)
    found = NodeStore(index=store.index).get_nodes(filters={"f": value})
    assert [node.metadata["n"] for node in found] == [0]
    if value != []:  # in FAISS's dialect a list is any of its values
        assert [
            doc.metadata["n"] for doc in store.similarity_search("tea", filter={"f": value})
        ] == [0]


@pytest.mark.parametrize("empty", [[], (), set()])
@pytest.mark.parametrize(
    ("operator", "wraps", "found"),
    [
        ("$and", lambda part: part, 3),
        ("$or", lambda part: part, 0),
        ("$and", lambda part: {"$not": part}, 0),
        ("$or", lambda part: {"$not": part}, 3),
        ("$and", lambda part: {"$or": [part, {"n": 0}]}, 3),
        ("$or", lambda part: {"$or": [part, {"n": 0}]}, 1),
        ("$or", lambda part: {"$and": [part, {"n": 0}]}, 0),
    ],
)
def test_faiss_filters_of_no_parts(store, empty, operator, wraps, found):
    where = wraps({operator: empty})
    assert len(store.similarity_search("tea", k=9, filter=where)) == found
    assert store.index.count(where_of_faiss(where)) == found


def test_a_node_without_an_id_is_refused():
    with pytest.raises(PassageError, match="id must be a string that isn't empty"):
        NodeStore(embed_model="hashing").add([TextNode(id_="", text="tea")])
