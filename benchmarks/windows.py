"""Long passages in windows against truncated ones: quality, storage, time to index and to search.

    python benchmarks/windows.py [--markdown] [FOLDER ...]

Default: the bundled sample of SciFact. Both indexes use all-MiniLM-L6-v2 and are cached in
``.eval``, where indexing times are measured only once. A search is one of the dense leg, k=10.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from judged import DEFAULT, HERE, MEASURE, collection_name
from rich.console import Console
from rich.table import Table

from twofold import Index, Retriever
from twofold.corpus import Corpus, read_qrels, read_queries
from twofold.evaluation import evaluate

HEADINGS = (
    "collection",
    "passages",
    "long",
    "dense",
    "hybrid",
    "vectors",
    "MB",
    "index s",
    "search ms",
)
console = Console(width=None if sys.stdout.isatty() else 160)


def measure(folder: Path, *, windows: bool) -> dict[str, float]:
    """Return the measures of an index of a collection, by heading."""
    name = collection_name(folder).replace("/", "-")
    path = HERE / ".eval" / f"{name}-{'windows' if windows else 'truncated'}"
    facts = path.with_suffix(".json")
    if not facts.exists():
        started = time.perf_counter()
        with Index.open(path, windows=windows) as index:
            result = index.upsert(list(Corpus.from_path(folder)))
        long = result.windowed if windows else result.truncated
        facts.write_text(json.dumps({"index s": time.perf_counter() - started, "long": long}))
    found: dict[str, float] = json.loads(facts.read_text())
    queries = read_queries(next(iter(sorted(folder.glob("queries.jsonl*")))))
    qrels = read_qrels(folder / "qrels" / "test.tsv")
    texts = {query_id: queries[query_id] for query_id in queries if query_id in qrels}
    with Index.open(path, create=False, read_only=True) as index:
        retrievers = {"dense": Retriever(index, mode="dense"), "hybrid": Retriever(index)}
        for heading, searched in retrievers.items():
            measured = evaluate(searched, texts, qrels, [MEASURE])
            found[heading] = measured.measures[MEASURE]
        some = list(texts.values())[:100]
        vectors = index.encode_queries(some)
        retriever = Retriever(index, mode="dense", k=10)
        retriever.retrieve(vector=vectors[0])
        best = min(
            measure_seconds(lambda: [retriever.retrieve(vector=v) for v in vectors])
            for _ in range(5)
        )
        files = (file for file in path.rglob("*") if file.is_file())
        return found | {
            "passages": len(index),
            "vectors": index.verify().vectors,
            "MB": sum(file.stat().st_size for file in files) / 1e6,
            "search ms": best * 1e3 / len(vectors),
        }


def measure_seconds(action: Callable[[], object]) -> float:
    """Return how long an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def format_pair(heading: str, truncated: float, windowed: float) -> str:
    """Return both values of a measure; counts that are equal once."""
    digits = {"dense": 3, "hybrid": 3, "search ms": 2, "index s": 0, "MB": 1}.get(heading, 0)
    before, after = f"{truncated:,.{digits}f}", f"{windowed:,.{digits}f}"
    return after if heading in ("passages", "long") else f"{before} to {after}"


def main() -> None:
    """Print a table of all collections."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[DEFAULT])
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    table = Table(*HEADINGS, title=f"{MEASURE} and costs, truncated to windows")
    for folder in options.folders:
        truncated, windowed = (measure(folder, windows=each) for each in (False, True))
        values = [format_pair(each, truncated[each], windowed[each]) for each in HEADINGS[1:]]
        row = [collection_name(folder), *values]
        table.add_row(*row)
        if options.markdown:
            print(f"| {' | '.join(row)} |", flush=True)
    if not options.markdown:
        console.print(table)


if __name__ == "__main__":
    main()
