"""Judged collections in BEIR's layout, indexed once and kept in ``.eval``."""

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
class Judged:
    """An index of a collection, its judged queries by id, and their judgments."""

    index: Index
    texts: dict[str, str]
    qrels: dict[str, dict[str, int]]


def title_of(folder: Path) -> str:
    """Return the last two names of a folder's path."""
    return "/".join(folder.resolve().parts[-2:])


@contextmanager
def judged(
    folder: Path, analyzer: str = "english", most: int | None = None, split: str = "test"
) -> Iterator[Judged]:
    """Open a collection's index, made or completed first; of more than ``most`` queries, a sample.

    The sample is seeded; vectors are by all-MiniLM-L6-v2.
    """
    name = title_of(folder).replace("/", "-")
    with Index.open(HERE / ".eval" / f"{name}-{analyzer}", analyzer=analyzer) as index:
        passages = list(Corpus.from_path(folder))
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(f"encoding {name}", total=len(passages))
            index.upsert(passages, progress=lambda done: bar.update(task, completed=done))
        queries = read_queries(next(path for path in sorted(folder.glob("queries.jsonl*"))))
        qrels = read_qrels(folder / "qrels" / f"{split}.tsv")
        asked = [query_id for query_id in queries if query_id in qrels]
        if most is not None and len(asked) > most:
            asked = random.Random(0).sample(sorted(asked), most)
        yield Judged(
            index,
            {query_id: queries[query_id] for query_id in asked},
            {query_id: qrels[query_id] for query_id in asked},
        )
