"""Wrong arguments of both adapters get errors of the library, and change nothing."""

import copy
import pickle
from decimal import Decimal

import numpy as np
import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters, VectorStoreQuery

import langchain_twofold
import llama_index_twofold
from twofold import HashingEncoder, Index, Retriever, TwofoldError
from twofold.corpus import Corpus, read_qrels, read_queries, read_run, write_qrels
from twofold.errors import FilterError, InputError, QueryError
from twofold.training import read_clicks, read_dpr, read_triples

NO_PATHS = ["nul\0inside", b"bytes", "", 3, 0.5, None, ["a list"], "\0"]
NO_LISTS = [0, 3.5, True, "ab", b"ab", {"a": 1, "b": 2}]


@pytest.fixture
def index():
    index = Index.open(None, encoder="hashing")
    index.upsert([{"id": "1", "text": "green tea"}, {"id": "2", "text": "black coffee"}])
    yield index
    index.close()


@pytest.fixture
def nodes():
    store = llama_index_twofold.TwofoldVectorStore(embed_model="hashing")
    store.add([TextNode(text=f"tea {n}", id_=str(n), metadata={"a": n % 2}) for n in range(6)])
    yield store
    store.index.close()


@pytest.mark.parametrize("path", NO_PATHS, ids=repr)
def test_what_is_no_path_is_named(path, index):
    readers = [read_qrels, read_queries, read_run, read_clicks, read_dpr, read_triples]
    calls = [
        *(lambda read=read: read(path) for read in readers),
        lambda: write_qrels(path, {}),
        lambda: Corpus.from_path(path),
        lambda: index.copy(path),
    ]
    if path is not None:  # a temporary index
        calls += [
            lambda: Index.open(path, encoder=None),
            lambda: langchain_twofold.TwofoldVectorStore.load_local(path),
            lambda: llama_index_twofold.TwofoldVectorStore(path=path),
        ]
    for call in calls:
        with pytest.raises((InputError, TypeError), match="path"):
            call()


@pytest.mark.parametrize("values", NO_LISTS, ids=repr)
def test_ids_and_metadata_must_be_lists(values, index):
    store = langchain_twofold.TwofoldVectorStore(index)
    for call in (
        lambda: store.add_texts(["a", "b"], ids=values),
        lambda: store.add_texts(["a", "b"], metadatas=values),
        lambda: langchain_twofold.TwofoldVectorStore.from_texts(["a", "b"], ids=values),
        lambda: store.delete(values),
        lambda: store.get_by_ids(values),
    ):
        with pytest.raises(InputError, match="must be a list"):
            call()
    assert len(index) == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"k": 0}, "k: input should be greater"),
        ({"k": "x"}, "k: .*got 'x'"),
        ({"k": None}, "k: .*got None"),
        ({"min_score": float("nan")}, "min_score must be a number"),
        ({"mode": "meaning"}, "mode: input should be 'hybrid'|mode must be one of"),
        ({"weights": "a"}, "dense_weight must be"),
        ({"preset": "other"}, "other"),
        ({"top": 3}, "unknown argument 'top'"),
        ({"score_key": 3}, "score_key: "),
        ({"retriever": 3, "index": None}, "pass index="),
    ],
)
def test_a_setting_that_langchain_can_not_take_is_an_input_error(settings, words, index):
    given = {"index": index, **settings}
    for call in (
        lambda: langchain_twofold.TwofoldRetriever(**given),
        lambda: langchain_twofold.TwofoldIndex(**given),
    ):
        with pytest.raises(InputError, match=words) as caught:
            call()
        assert "pydantic" not in str(caught.value)
        assert type(caught.value).__module__.startswith("twofold")


def test_the_error_of_a_filter_stays_one(index):
    with pytest.raises(FilterError, match=r"\$near"):
        langchain_twofold.TwofoldRetriever(index=index, filter={"a": {"$near": 1}})


@pytest.mark.parametrize("value", ["a", float("nan"), float("inf"), True, -1, 0.5, Decimal(2)])
def test_an_mmr_option_that_is_no_number_is_named(value, nodes):
    vector = HashingEncoder().encode_queries(["tea"])[0].tolist()
    query = VectorStoreQuery(query_embedding=vector, mode="mmr", similarity_top_k=1)
    with pytest.raises(QueryError, match="mmr_prefetch_factor must be a number"):
        nodes.query(query, mmr_prefetch_factor=value)
    with pytest.raises(QueryError, match="depth must be an integer"):
        nodes.query(query, mmr_prefetch_k=value)
    if value != 0.5:
        with pytest.raises(QueryError, match="mmr_threshold must be a number"):
            nodes.query(query, mmr_threshold=value)
    assert nodes.query(query, mmr_prefetch_factor=1e300).ids


@pytest.mark.parametrize("value", [None, "", 1.5, ["1"], b"1", {"a": 1}], ids=repr)
def test_a_document_is_deleted_by_its_id_alone(value, nodes):
    with pytest.raises(InputError, match="ref_doc_id"):
        nodes.delete(value)
    assert len(nodes.index) == 6


def test_llama_index_takes_integers_for_ids(nodes):
    assert [node.node_id for node in nodes.get_nodes([0, np.int64(1)])] == ["0", "1"]
    query = VectorStoreQuery(query_str="tea", node_ids=[2, 3], mode="sparse", similarity_top_k=9)
    assert sorted(nodes.query(query).ids) == ["2", "3"]
    nodes.delete_nodes([0, 5])
    assert [node.node_id for node in nodes.get_nodes()] == ["1", "2", "3", "4"]
    for call in (nodes.delete_nodes, nodes.get_nodes):
        with pytest.raises(InputError, match="must be a list of ids"):
            call("12")


@pytest.mark.parametrize("text", [None, "", "  "])
def test_a_filter_alone_selects_also_beside_a_blank_text(text, nodes):
    filters = MetadataFilters(filters=[MetadataFilter(key="a", value=1)])
    query = VectorStoreQuery(query_str=text, filters=filters, similarity_top_k=2)
    assert nodes.query(query).ids == ["1", "3"]


@pytest.mark.parametrize("encoder", [None, 0, 1.5, object()])
def test_embeddings_need_an_encoder(encoder):
    for make in (langchain_twofold.TwofoldEmbeddings, llama_index_twofold.TwofoldEmbedding):
        with pytest.raises(InputError, match="encoder must be"):
            make(encoder)


def test_hits_survive_pickle_without_their_index(index):
    hits = Retriever(index).retrieve("tea")
    restored = pickle.loads(pickle.dumps(hits))
    assert restored.ids == hits.ids == ["1", "2"]
    assert list(restored) == list(hits)
    assert restored.info == hits.info
    assert restored.context().text == hits.context().text
    for call in (
        restored.explain,
        lambda: restored.why_not("3"),
        lambda: restored.highlights(0),
        lambda: restored.term_matches(0),
    ):
        with pytest.raises(QueryError, match="search again"):
            call()
    assert str(copy.deepcopy(hits).explain()) == str(hits.explain())


@pytest.mark.parametrize("value", [np.True_, np.False_])
def test_numpy_booleans_are_options(value, index):
    hits = Retriever(index, exact=value, strict=value).retrieve("tea")
    assert hits.ids == ["1", "2"]
    with pytest.raises(TwofoldError, match="exact must be True or False, got 1"):
        Retriever(index, exact=1)
