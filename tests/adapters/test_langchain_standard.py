"""LangChain's own standard suite, nothing overridden."""

import pytest
from langchain_core.documents import Document
from langchain_tests.integration_tests import RetrieversIntegrationTests

from langchain_twofold import TwofoldRetriever
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
