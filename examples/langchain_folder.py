"""A folder that changes, kept in step: only what is new, changed or gone is touched.

    python examples/langchain_folder.py [FOLDER INDEX]

Without arguments, on three notes in a temporary folder, of which one changes and one goes. What
was indexed is remembered beside the index; langchain-classic's SQLRecordManager does the same in a
database.
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


def synchronise(folder: Path, target: TwofoldIndex) -> dict[str, int]:
    """Bring an index in step with a folder; return how much was added, skipped and deleted."""
    place = target.index.path
    remembered = place.with_name(f"{place.name}.records.json")
    manager = InMemoryRecordManager("folder")
    if remembered.exists():
        manager.records = json.loads(remembered.read_text(encoding="utf-8"))
    done = index(
        documents(folder),
        manager,
        target,
        cleanup="full",
        source_id_key="source",
        key_encoder="sha256",
    )
    remembered.write_text(json.dumps(manager.records), encoding="utf-8")
    return {name: count for name, count in done.items() if isinstance(count, int)}


def main() -> None:
    with tempfile.TemporaryDirectory() as own:
        given = [Path(each) for each in sys.argv[1:3]]
        folder, place = given if len(given) == 2 else (Path(own, "notes"), Path(own, "index"))
        with Index.open(place) as opened:
            target = TwofoldIndex(index=opened, k=1)
            if len(given) == 2:
                print(synchronise(folder, target))
                return
            folder.mkdir()
            for name, text in NOTES.items():
                (folder / name).write_text(text, encoding="utf-8")
            print(synchronise(folder, target))
            (folder / "soup.txt").write_text("Soup is salted at the start.", encoding="utf-8")
            (folder / "tea.txt").unlink()
            print(synchronise(folder, target))
            print(target.invoke("when to salt soup")[0].page_content)
            print(sorted(each.text for each in opened))


if __name__ == "__main__":
    main()
