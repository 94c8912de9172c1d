"""Synchronize an index with a folder: only new, changed and deleted texts are written.

    python examples/langchain_folder.py [FOLDER INDEX]

Without arguments, uses three notes in a temporary folder, changes one and deletes one. The records
are kept in a file next to the index; langchain-classic's SQLRecordManager keeps them in a database.
"""

import json
import sys
import tempfile
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index

from langchain_twofold import TwofoldIndex
from twofold import Index

NOTES = {
    "bread.txt": "Bread rises because yeast makes gas from sugar.",
    "soup.txt": "Soup is salted at the end.",
    "tea.txt": "Green tea is brewed at 80 degrees.",
}


def documents(folder: Path) -> list[Document]:
    """Return the paragraphs of all text files."""
    return [
        Document(page_content=part.strip(), metadata={"source": path.name})
        for path in sorted(folder.rglob("*.txt"))
        for part in path.read_text(encoding="utf-8").split("\n\n")
        if part.strip()
    ]


def synchronize(folder: Path, target: TwofoldIndex) -> dict[str, int]:
    """Synchronize an index with a folder; return how many were added, skipped and deleted."""
    path = target.index.path
    records = path.with_name(f"{path.name}.records.json")
    manager = InMemoryRecordManager("folder")
    if records.exists():
        manager.records = json.loads(records.read_text(encoding="utf-8"))
    result = index(
        documents(folder),
        manager,
        target,
        cleanup="full",
        source_id_key="source",
        key_encoder="sha256",
    )
    records.write_text(json.dumps(manager.records), encoding="utf-8")
    return {name: count for name, count in result.items() if isinstance(count, int)}


def main() -> None:
    with tempfile.TemporaryDirectory() as work:
        given = [Path(each) for each in sys.argv[1:3]]
        folder, path = given if len(given) == 2 else (Path(work, "notes"), Path(work, "index"))
        with Index.open(path) as opened:
            target = TwofoldIndex(index=opened, k=1)
            if len(given) == 2:
                print(synchronize(folder, target))
                return
            folder.mkdir()
            for name, text in NOTES.items():
                (folder / name).write_text(text, encoding="utf-8")
            print(synchronize(folder, target))
            (folder / "soup.txt").write_text("Soup is salted at the start.", encoding="utf-8")
            (folder / "tea.txt").unlink()
            print(synchronize(folder, target))
            print(target.invoke("when to salt soup")[0].page_content)
            print(sorted(each.text for each in opened))


if __name__ == "__main__":
    main()
