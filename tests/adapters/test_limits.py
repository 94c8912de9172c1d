"""The limits hold in both adapters, and environment variables change them."""

import pytest
from langchain_core.documents import Document
from llama_index.core.schema import TextNode

import langchain_twofold
import llama_index_twofold
from twofold import HashingEncoder
from twofold.errors import FilterError, PassageError, QueryError


@pytest.fixture(scope="module", params=["langchain", "llama_index"])
def search(request):
    """A function that adds a text to an index by an adapter, and searches there."""
    if request.param == "langchain":
        documents = [Document("a red apple", metadata={"year": 1})]
        retriever = langchain_twofold.TwofoldRetriever.from_documents(
            documents, encoder=HashingEncoder()
        )

        def use(query, text="more", **options):
            retriever.index.upsert([text])
            return retriever.invoke(query, **options)

        yield use
        retriever.index.close()
        return
    store = llama_index_twofold.TwofoldRetriever.from_nodes(
        [TextNode(text="a red apple", metadata={"year": 1})], encoder=HashingEncoder()
    )

    def use_nodes(query, text="more", filter=None):  # noqa: A002  # as the stores name it
        store.index.upsert([text])
        options = {"filters": filter} if filter is not None else {"similarity_top_k": 5}
        with llama_index_twofold.query_options(**options):
            return store.retrieve(query)

    yield use_nodes
    store.index.close()


def test_adapters_have_the_limits_of_the_core(search, monkeypatch):
    clauses = {"$or": [{"year": {"$gt": number}} for number in range(1200)]}
    assert search("x " * 600, "y" * 1200, filter=clauses)
    for name in ("QUERY_CHARACTERS", "WORD_CHARACTERS", "FILTER_CONDITIONS"):
        monkeypatch.setenv(f"TWOFOLD_MAX_{name}", "1000")
    with pytest.raises(QueryError, match="TWOFOLD_MAX_QUERY_CHARACTERS"):
        search("x " * 600)
    with pytest.raises(PassageError, match="TWOFOLD_MAX_WORD_CHARACTERS"):
        search("apple", "y" * 1200)
    with pytest.raises(FilterError, match="TWOFOLD_MAX_FILTER_CONDITIONS"):
        search("apple", filter=clauses)
