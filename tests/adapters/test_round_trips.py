"""What a search adds to a document isn't stored when the document is put back."""

import copy
import pickle
from inspect import signature

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumpd, load
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from langchain_twofold import TwofoldIndex, TwofoldReranker, TwofoldRetriever, TwofoldVectorStore
from llama_index_twofold import TwofoldReranker as NodeReranker
from llama_index_twofold import TwofoldRetriever as NodeRetriever
from llama_index_twofold import TwofoldVectorStore as NodeStore
from twofold import Index
from twofold.integrations import add_field, own_metadata

PASSAGES = [
    {"id": "plain", "text": "green tea"},
    {"id": "titled", "text": "black tea", "title": "Assam", "metadata": {"year": 2020}},
    {"id": "score", "text": "white tea", "metadata": {"score": 5, "explanation": "mine"}},
    {"id": "title", "text": "red tea", "title": "Rooibos", "metadata": {"title": "mine"}},
]
COPIES = [
    lambda document: document,
    copy.copy,
    copy.deepcopy,
    lambda document: document.model_copy(),
    lambda document: document.model_copy(deep=True),
    lambda document: pickle.loads(pickle.dumps(document)),
]


class Lengths:
    """A reranker that prefers short texts."""

    name, candidates, threshold = "lengths", 10, None

    def rerank(self, queries, passages, k=None):
        import numpy as np

        return [np.array([-float(len(text)) for text in texts]) for texts in passages]


@pytest.fixture
def index():
    with Index.open(None, encoder="hashing") as index:
        index.upsert(PASSAGES)
        yield index


@pytest.mark.parametrize("duplicate", COPIES)
@pytest.mark.parametrize("keys", [{}, {"score_key": "rank", "explanation_key": "explanation"}])
@pytest.mark.filterwarnings("ignore:the metadata field")
def test_retrieved_documents_are_put_back_unchanged(index, duplicate, keys):
    before = list(index)
    retriever = TwofoldRetriever(index=index, **keys)
    for _ in range(2):
        documents = [duplicate(document) for document in retriever.invoke("tea")]
        assert {document.id for document in documents} == {passage["id"] for passage in PASSAGES}
        found = {document.id: document.metadata for document in documents}
        assert isinstance(found["plain"][keys.get("score_key", "score")], float)
        assert found["titled"]["title"] == "Assam"
        assert found["score"]["score"] == 5
        assert found["title"]["title"] == "mine"
        TwofoldVectorStore(index).add_documents(documents)
        TwofoldIndex(index=index).upsert(documents)
        assert list(index) == before


@pytest.mark.filterwarnings("ignore:the metadata field")
def test_retrieved_documents_fill_another_index_without_scores(index):
    documents = TwofoldRetriever(index=index).invoke("tea")
    other = TwofoldVectorStore.from_documents(documents, "hashing").index
    assert sorted(other, key=str) == sorted(index, key=str)
    third = TwofoldRetriever.from_documents(documents, encoder="hashing").index
    assert sorted(third, key=str) == sorted(index, key=str)


@pytest.mark.filterwarnings("ignore:the metadata field")
def test_reranked_documents_are_put_back_unchanged(index):
    before = list(index)
    reranker = TwofoldReranker(reranker=Lengths(), score_key="year")  # one has that field
    documents = reranker.compress_documents(TwofoldRetriever(index=index).invoke("tea"), "tea")
    found = {document.id: document.metadata for document in documents}
    assert found["titled"]["year"] == -len("black tea")
    TwofoldVectorStore(index).add_documents(documents)
    assert list(index) == before


@pytest.mark.parametrize("value", [0.25, 0, None, "high", {"mine": 1}])
def test_a_score_that_the_user_sets_is_stored(index, value):
    (document,) = TwofoldRetriever(index=index, k=1, filter={"$id": "plain"}).invoke("tea")
    document.metadata["score"] = value
    document.metadata["new"] = 1
    TwofoldVectorStore(index).add_documents([document])
    assert index.get(["plain"])[0].metadata == {"score": value, "new": 1}


@pytest.mark.filterwarnings("ignore:The function `load` is in beta")
def test_a_document_that_is_made_anew_is_the_users(index):
    (document,) = TwofoldRetriever(index=index, k=1, filter={"$id": "plain"}).invoke("tea")
    limits = {"allowed_objects": "core"}  # which older versions don't have
    limits = {name: limits[name] for name in limits.keys() & signature(load).parameters.keys()}
    for made in (
        Document(document.page_content, id="new", metadata=document.metadata),
        load(dumpd(document), **limits),
    ):
        TwofoldVectorStore(index).add_documents([made])
        assert "score" in index.get([made.id])[0].metadata


@pytest.mark.parametrize("duplicate", COPIES[:-1])
def test_documents_and_nodes_with_added_fields_look_like_others(duplicate):
    plain = {"a": 1, "score": 0.5}
    shape = {"id_": "i", "text": "x"}
    for item, other in [
        (Document("x", metadata={"a": 1}), Document("x", metadata=plain)),
        (TextNode(**shape, metadata={"a": 1}), TextNode(**shape, metadata=plain)),
    ]:
        add_field(item, "score", 0.5)
        copied = duplicate(item)
        assert copied == other == item
        assert copied.model_dump() == other.model_dump()
        assert copied.model_dump_json() == other.model_dump_json()
        assert own_metadata(copied) == {"a": 1}
        assert own_metadata(other) == plain


def test_retrieved_nodes_are_put_back_unchanged():
    store = NodeStore(embed_model="hashing")
    store.add([TextNode(id_="a", text="green tea", metadata={"year": 1, "title": "mine"})])
    before = list(store.index)
    found = NodeRetriever(store.index).retrieve("tea")
    for key in ("score", "year"):
        reranked = NodeReranker(reranker=Lengths(), score_key=key).postprocess_nodes(
            found, QueryBundle("tea")
        )
        assert reranked[0].node.metadata[key] == found[0].score
        store.add([found.node for found in reranked])
        assert list(store.index) == before
    changed = reranked[0].node
    changed.metadata["year"] = 7
    store.add([changed])
    assert store.get_nodes()[0].metadata == {"year": 7, "title": "mine"}


def test_a_title_stays_a_title_through_llama_index(index):
    store = NodeStore(index=index)
    (node,) = store.get_nodes(["titled"])
    assert node.metadata == {"title": "Assam", "year": 2020}
    for _ in range(2):
        store.add([node])
        (passage,) = index.get(["titled"])
        assert (passage.title, passage.text) == ("Assam", "year: 2020\n\nblack tea")
        (node,) = store.get_nodes(["titled"])
        assert node.metadata == {"title": "Assam", "year": 2020}
        assert node.text == "black tea"
    assert isinstance(NodeWithScore(node=node, score=1.0).to_json(), str)
