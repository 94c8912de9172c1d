"""Retrieve small chunks, and replace them by their section if most of it was found.

LlamaIndex's AutoMergingRetriever over twofold's vector store, which keeps the relationships of
nodes. Needs ``pip install '.[minilm,llama-index]'``.
"""

from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.node_parser import HierarchicalNodeParser, TokenTextSplitter, get_leaf_nodes
from llama_index.core.retrievers import AutoMergingRetriever, VectorIndexRetriever

from llama_index_twofold import TwofoldEmbedding, TwofoldVectorStore

TEXT = (
    "A honey bee that has found flowers dances in the hive. The angle of its waggle run tells the "
    "direction to the sun. The length of the waggle run tells the distance to the flowers. "
    "In winter honey bees form a cluster around the queen. They shiver with their flight muscles. "
    "So the middle of the cluster stays warm. "
    "Wasps die in autumn. Young wasp queens sleep under bark until spring. "
    "Then they build a nest of chewed wood."
)
SIZES = {"large": 64, "small": 16}


def build_retriever(text: str) -> AutoMergingRetriever:
    """Return a retriever that merges small chunks into large ones."""
    parser = HierarchicalNodeParser.from_defaults(
        node_parser_ids=list(SIZES),
        node_parser_map={
            name: TokenTextSplitter(chunk_size=size, chunk_overlap=0, include_metadata=False)
            for name, size in SIZES.items()
        },
    )
    nodes = parser.get_nodes_from_documents([Document(text=text)])
    context = StorageContext.from_defaults(vector_store=TwofoldVectorStore())
    context.docstore.add_documents(nodes)
    index = VectorStoreIndex(
        get_leaf_nodes(nodes),
        storage_context=context,
        embed_model=TwofoldEmbedding("all-MiniLM-L6-v2"),
    )
    chunks = index.as_retriever(vector_store_query_mode="hybrid", similarity_top_k=4)
    assert isinstance(chunks, VectorIndexRetriever)
    return AutoMergingRetriever(chunks, context, simple_ratio_thresh=0.5)


def main() -> None:
    retriever = build_retriever(TEXT)
    for found in retriever.retrieve("How does a honey bee's dance tell where the flowers are?"):
        kind = "section" if found.node.child_nodes else "part"
        print(f"{kind}: {found.text}")


if __name__ == "__main__":
    main()
