"""Tests of a vector store in a VectorStoreIndex and an IngestionPipeline."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.schema import IndexNode
from llama_index.core.storage.docstore import SimpleDocumentStore

from llama_index_twofold.embedding import TwofoldEmbedding
from llama_index_twofold.testing.vector_store import Store, StoreSuite, ids, query_store
from twofold import HashingEncoder

STRATEGIES = list(DocstoreStrategy)


def documents(*texts: str) -> list[Document]:
    """Return documents with the ids d0, d1, ..."""
    return [Document(text=text, id_=f"d{number}") for number, text in enumerate(texts)]


class PipelineSuite(StoreSuite):
    """Tests a store in an index and a pipeline, also after saving and loading."""

    def load_store(self, folder: Path) -> Store:
        """Return the store that ``StorageContext.persist`` saved in a folder."""
        raise NotImplementedError(f"override load_store to load your store from {folder}")

    @pytest.fixture
    def model(self) -> TwofoldEmbedding:
        """An embedding in which texts that share words are similar."""
        return TwofoldEmbedding(HashingEncoder())

    @pytest.fixture
    def index(self, store: Store, model: TwofoldEmbedding) -> VectorStoreIndex:
        """An index of three documents over the store."""
        context = StorageContext.from_defaults(vector_store=store)
        texts = ("plants make food", "printing presses", "a market with food")
        return VectorStoreIndex.from_documents(
            documents(*texts), storage_context=context, embed_model=model
        )

    def find_texts(self, index: VectorStoreIndex, query: str, count: int = 2) -> list[str]:
        """Return the texts of the best ``count`` nodes for a query."""
        retriever = index.as_retriever(similarity_top_k=count)
        return [found.text for found in retriever.retrieve(query)]

    def test_an_index_finds_inserts_and_deletes(self, index: VectorStoreIndex) -> None:
        assert self.find_texts(index, "printing presses", 1) == ["printing presses"]
        index.insert(Document(text="food for birds", id_="new"))
        assert self.find_texts(index, "food for birds", 1) == ["food for birds"]
        index.delete_ref_doc("new")
        index.delete_ref_doc("d0")
        assert sorted(self.find_texts(index, "food", 9)) == [
            "a market with food",
            "printing presses",
        ]

    def test_a_changed_document_replaces_the_old_one(self, index: VectorStoreIndex) -> None:
        index.update_ref_doc(Document(text="plants make sugar", id_="d0"))
        texts = self.find_texts(index, "plants", 9)
        assert "plants make sugar" in texts
        assert "plants make food" not in texts
        assert len(texts) == 3

    def test_a_retriever_sees_later_nodes(self, index: VectorStoreIndex) -> None:
        retriever = index.as_retriever(similarity_top_k=1)
        index.insert(Document(text="food for birds", id_="new"))
        assert [found.text for found in retriever.retrieve("food for birds")] == ["food for birds"]

    def test_one_index_node_hides_no_text_nodes(self, index: VectorStoreIndex) -> None:
        index.insert_nodes([IndexNode(id_="ref", text="a reference", index_id="other")])
        assert sorted(self.find_texts(index, "food", 9)) == [
            "a market with food",
            "a reference",
            "plants make food",
            "printing presses",
        ]

    def test_an_index_opens_from_the_store_alone(
        self, index: VectorStoreIndex, store: Store, model: TwofoldEmbedding
    ) -> None:
        again = VectorStoreIndex.from_vector_store(store, embed_model=model)
        assert self.find_texts(again, "food", 9) == self.find_texts(index, "food", 9)

    def test_a_saved_index_answers_the_same(
        self, index: VectorStoreIndex, model: TwofoldEmbedding, tmp_path: Path
    ) -> None:
        before = self.find_texts(index, "food", 9)
        for _ in range(2):
            index.storage_context.persist(str(tmp_path))
        store = self.load_store(tmp_path)
        context = StorageContext.from_defaults(persist_dir=str(tmp_path), vector_store=store)
        again: Any = load_index_from_storage(context, embed_model=model)
        assert self.find_texts(again, "food", 9) == before

    @pytest.mark.parametrize("strategy", STRATEGIES)
    @pytest.mark.parametrize("run", ["sync", "async"])
    def test_a_pipeline_keeps_the_store_up_to_date(
        self, store: Store, model: TwofoldEmbedding, strategy: DocstoreStrategy, run: str
    ) -> None:
        pipeline = IngestionPipeline(
            transformations=[TokenTextSplitter(chunk_size=12, chunk_overlap=0), model],
            vector_store=store,
            docstore=SimpleDocumentStore(),
            docstore_strategy=strategy,
        )

        def ingest(*texts: str) -> int:  # returns the number of nodes in the store
            if run == "async":
                asyncio.run(pipeline.arun(documents=documents(*texts)))
            else:
                pipeline.run(documents=documents(*texts))
            vector = model.get_query_embedding("word")
            return len(ids(query_store(store, query_embedding=vector, similarity_top_k=99)))

        long = "One two three four. " * 6
        chunks = ingest(long, "short")
        assert chunks > 3
        assert ingest(long, "short") == chunks
        replaces = strategy is not DocstoreStrategy.DUPLICATES_ONLY
        assert ingest(long, "another") == (chunks if replaces else chunks + 1)
        deletes = strategy is DocstoreStrategy.UPSERTS_AND_DELETE
        assert ingest(long) == (chunks - 1 if deletes else chunks + (0 if replaces else 1))
