"""Long passages in both adapters: found by their windows, returned once, whole."""

import pytest
from langchain_core.documents import Document
from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from tests.short_reader import ShortReader

import langchain_twofold
import llama_index_twofold
from twofold.errors import IndexMismatchError, InputError

LONG = "tea " * 80 + "zebra quagga okapi giraffe " + "rain " * 80
SHORT = "zebra tea"
QUERY = "zebra quagga okapi giraffe"
ENCODER = ShortReader()


def langchain_retriever(path, windows):
    documents = [Document(LONG, id="long"), Document(SHORT, id="short")]
    made = langchain_twofold.TwofoldRetriever.from_documents(
        documents, encoder=ENCODER, path=path, windows=windows
    )
    return made.index, [each.id for each in made.invoke(QUERY, mode="dense")]


def langchain_store(path, windows):
    made = langchain_twofold.TwofoldVectorStore.from_texts(
        [LONG, SHORT], ENCODER, ids=["long", "short"], path=path, windows=windows
    )
    return made.index, [each.id for each in made.similarity_search(QUERY, k=2, mode="dense")]


def llama_retriever(path, windows):
    nodes = [TextNode(text=LONG, id_="long"), TextNode(text=SHORT, id_="short")]
    made = llama_index_twofold.TwofoldRetriever.from_nodes(
        nodes, encoder=ENCODER, path=path, windows=windows, mode="dense"
    )
    return made.index, [each.node.node_id for each in made.retrieve(QUERY)]


def llama_store(path, windows):
    made = llama_index_twofold.TwofoldVectorStore(path=path, embed_model=ENCODER, windows=windows)
    made.add([TextNode(text=LONG, id_="long"), TextNode(text=SHORT, id_="short")])
    (embedding,) = ENCODER.encode_queries([QUERY])
    query = VectorStoreQuery(
        query_embedding=embedding.tolist(),
        query_str=QUERY,
        similarity_top_k=2,
        mode=VectorStoreQueryMode.DEFAULT,
    )
    return made.retriever.index, made.query(query).ids


MAKERS = [langchain_retriever, langchain_store, llama_retriever, llama_store]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_a_long_passage_is_found_by_its_best_window(make, tmp_path):
    index, ids = make(tmp_path / "i", 8)
    assert ids == ["long", "short"]
    assert index.windows == 8
    plain, ids = make(tmp_path / "plain", False)
    assert ids == ["short", "long"]
    assert plain.windows is False


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_other_windows_are_refused(make, tmp_path):
    index, _ = make(tmp_path / "i", 8)
    index.close()
    with pytest.raises(IndexMismatchError, match="windows=8 and opened with windows=9"):
        make(tmp_path / "i", 9)
    with pytest.raises(InputError, match="windows must be"):
        make(tmp_path / "other", -1)
    assert not (tmp_path / "other").exists()


def test_a_node_that_comes_with_its_embedding_keeps_that_vector(tmp_path):
    store = llama_index_twofold.TwofoldVectorStore(path=tmp_path / "i", windows=8)
    VectorStoreIndex(
        [TextNode(text=LONG, id_="long")],
        storage_context=StorageContext.from_defaults(vector_store=store),
        embed_model=llama_index_twofold.TwofoldEmbedding(ENCODER),
    )
    assert store.retriever.index.verify().vectors == 1
