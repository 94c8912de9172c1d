"""Judged collections in BEIR's layout, indexed once and cached in ``.eval``."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from twofold import Index
from twofold.corpus import Corpus, read_qrels, read_queries

HERE = Path(__file__).parent.parent
DEFAULT = HERE / "examples" / "data" / "scifact-1000"
MEASURE = "nDCG@10"


@dataclass(frozen=True)
class Collection:
    """An index of a collection, with query id to text and the qrels."""

    index: Index
    texts: dict[str, str]
    qrels: dict[str, dict[str, int]]


def collection_name(folder: Path) -> str:
    """Return the last two names of a folder's path."""
    return "/".join(folder.resolve().parts[-2:])


@contextmanager
def open_collection(
    folder: Path, analyzer: str = "english", max_queries: int | None = None, split: str = "test"
) -> Iterator[Collection]:
    """Open a collection's index, and create or complete it first with all-MiniLM-L6-v2.

    Of more than ``max_queries`` judged queries, a seeded sample is used.
    """
    name = collection_name(folder).replace("/", "-")
    with Index.open(HERE / ".eval" / f"{name}-{analyzer}", analyzer=analyzer) as index:
        passages = list(Corpus.from_path(folder))
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(f"encoding {name}", total=len(passages))
            index.upsert(passages, progress=lambda done: bar.update(task, completed=done))
        queries = read_queries(next(path for path in sorted(folder.glob("queries.jsonl*"))))
        qrels = read_qrels(folder / "qrels" / f"{split}.tsv")
        judged = [query_id for query_id in queries if query_id in qrels]
        if max_queries is not None and len(judged) > max_queries:
            judged = random.Random(0).sample(sorted(judged), max_queries)
        yield Collection(
            index,
            {query_id: queries[query_id] for query_id in judged},
            {query_id: qrels[query_id] for query_id in judged},
        )
