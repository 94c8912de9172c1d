"""LangChain's own standard suites, nothing overridden."""

import pytest
from langchain_core.documents import Document
from langchain_tests.integration_tests import (
    EmbeddingsIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.integration_tests.indexer import (
    AsyncDocumentIndexTestSuite,
    DocumentIndexerTestSuite,
)
from langchain_tests.unit_tests import EmbeddingsUnitTests

from langchain_twofold import (
    TwofoldEmbeddings,
    TwofoldIndex,
    TwofoldRetriever,
    TwofoldVectorStore,
)
from twofold import Index

TEXTS = ["an apple a day", "apple pie", "green apple tree", "pear and plum", "apple and pear juice"]


@pytest.fixture(scope="module", autouse=True)
def opened(tmp_path_factory):
    with Index.open(tmp_path_factory.mktemp("standard") / "index", encoder="hashing") as index:
        index.upsert(TEXTS)
        TestOverAnIndex.index = index
        yield


class TestOverAnIndex(RetrieversIntegrationTests):
    index: Index

    @property
    def retriever_constructor(self):
        return TwofoldRetriever

    @property
    def retriever_constructor_params(self):
        return {"index": self.index}

    @property
    def retriever_query_example(self):
        return "apple"


class TestFromDocuments(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self):
        return TwofoldRetriever.from_documents

    @property
    def retriever_constructor_params(self):
        documents = [Document(page_content=text) for text in TEXTS]
        return {"documents": documents, "encoder": "hashing"}

    @property
    def retriever_query_example(self):
        return "apple"


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self):
        with TwofoldVectorStore.from_texts([], self.get_embeddings()).index as index:
            yield TwofoldVectorStore(index)


class TestDocumentIndex(DocumentIndexerTestSuite):
    @pytest.fixture
    def index(self):
        with Index.open(None, encoder="hashing") as index:
            yield TwofoldIndex(index=index)


class TestDocumentIndexAsync(AsyncDocumentIndexTestSuite):
    @pytest.fixture
    async def index(self):
        with Index.open(None, encoder="hashing") as index:
            yield TwofoldIndex(index=index)


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self):
        return TwofoldEmbeddings

    @property
    def embedding_model_params(self):
        return {"encoder": "hashing"}


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self):
        return TwofoldEmbeddings

    @property
    def embedding_model_params(self):
        return {"encoder": "hashing"}
