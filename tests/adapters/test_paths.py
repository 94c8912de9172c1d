"""Retrievers that open an index by its path, and that add and delete."""

import pickle

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import IndexNode, NodeRelationship, RelatedNodeInfo, TextNode

import langchain_twofold as lc
import llama_index_twofold as li
from hashed_models import Hashed, HashedNodes
from twofold import Index, Retriever
from twofold.errors import EncoderNotFoundError, IndexNotFoundError, InputError, TwofoldError


@pytest.fixture
def path(tmp_path):
    with Index.open(tmp_path / "tea", encoder="hashing") as index:
        index.upsert([{"id": "g", "text": "green tea"}, {"id": "c", "text": "black coffee"}])
    return tmp_path / "tea"


def test_a_path_is_opened(path):
    chain = lc.TwofoldRetriever(path=path, k=1)
    assert chain.invoke("a cup of tea")[0].id == "g"
    assert chain.k == 1
    nodes = li.TwofoldRetriever(path=str(path), similarity_top_k=1)
    assert nodes.retrieve("coffee")[0].node_id == "c"
    target = lc.TwofoldIndex(path=path)
    assert target.upsert([Document("white tea", id="w")])["succeeded"] == ["w"]
    assert pickle.loads(pickle.dumps(chain)).invoke("white")[0].id == "w"
    assert pickle.loads(pickle.dumps(nodes)).retrieve("white")[0].node_id == "w"


def test_embeddings_without_a_name_are_passed(tmp_path):
    documents = [Document("green tea", id="g"), Document("black coffee", id="c")]
    lc.TwofoldRetriever.from_documents(documents, encoder=Hashed(), path=tmp_path / "lc")
    opened = lc.TwofoldRetriever(path=tmp_path / "lc", encoder=Hashed(), mode="dense", k=1)
    assert opened.invoke("tea")[0].id == "g"
    nodes = [TextNode(id_="g", text="green tea"), TextNode(id_="c", text="black coffee")]
    li.TwofoldRetriever.from_nodes(nodes, encoder=HashedNodes(), path=tmp_path / "li")
    found = li.TwofoldRetriever(path=tmp_path / "li", encoder=HashedNodes(), mode="dense")
    assert found.retrieve("coffee")[0].node_id == "c"


@pytest.mark.parametrize("retriever", [lc.TwofoldRetriever, li.TwofoldRetriever])
def test_one_source_is_needed_and_it_must_exist(path, tmp_path, retriever):
    with pytest.raises(IndexNotFoundError, match="there is no index at"):
        retriever(path=tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with Index.open(path) as index:
        for both in ({"index": index, "path": path}, {"retriever": Retriever(index), "path": path}):
            with pytest.raises((InputError, ValueError), match="path="):
                retriever(**both)
        with pytest.raises((InputError, ValueError), match="encoder= needs path="):
            retriever(index=index, encoder="hashing")
    with pytest.raises((TwofoldError, ValueError), match="pass index="):
        retriever()


def test_a_llama_index_retriever_adds_and_deletes_nodes(path):
    retriever = li.TwofoldRetriever(path=path, similarity_top_k=5)
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc")}
    nodes = [
        TextNode(id_="w", text="white tea", relationships=source),
        TextNode(id_="m", text="mint tea", relationships=source),
        IndexNode(id_="i", index_id="i", text="ginger", obj=TextNode(id_="o", text="of ginger")),
    ]
    assert retriever.add_nodes(nodes) == ["w", "m", "i"]
    assert {found.node_id for found in retriever.retrieve("tea white")} >= {"w", "m", "g"}
    assert retriever.retrieve("ginger")[0].node.get_content() == "of ginger"
    assert retriever.add_nodes([TextNode(id_="m", text="mint tea, cold")]) == ["m"]
    assert retriever.delete_nodes(["m", "unknown"]) == 1
    assert retriever.delete_nodes(ref_doc_id="doc") == 1
    assert sorted(passage.id for passage in retriever.index) == ["c", "g", "i"]
    with pytest.raises(InputError):
        retriever.delete_nodes()
    assert len(retriever.index) == 3


def test_an_embedding_model_in_place_of_an_encoder_names_its_wrapper(tmp_path):
    for model, wrapper in (
        (Hashed(), lc.EmbeddingsEncoder),
        (HashedNodes(), li.EmbeddingEncoder),
    ):
        name = f"{wrapper.__module__.partition('.')[0]}.{wrapper.__name__}"
        with pytest.raises(InputError, match=f"pass {name}\\(...\\) around it"):
            Index.open(tmp_path / "i", encoder=model)
        with Index.open(None, encoder=wrapper(model)) as index:
            assert index.upsert(["green tea"]).added == 1
    assert not (tmp_path / "i").exists()


def test_an_unknown_model_fails_at_once_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EncoderNotFoundError, match="named 'openai:text-embedding-3-small' or"):
        Index.open(tmp_path / "i", encoder="text-embedding-3-small")
    assert not (tmp_path / "i").exists()
