"""Share of questions whose relevant passage is inside the prompt context.

    python benchmarks/context.py FOLDER[:ANALYZER] ... [--queries 1000]

FOLDER is in BEIR's layout, with one relevant passage per question (SQuAD2, JaQuAD). Default: the
bundled sample of SciFact. Vectors are by all-MiniLM-L6-v2 and cached in ``.eval``.
"""

import argparse
from pathlib import Path

from judged import DEFAULT, collection_name, open_collection
from rich.console import Console
from rich.table import Table

from twofold import Retriever
from twofold.types import MODES

BUDGETS = (1000, 2000, 4000)
K = 50
console = Console()


def measure_coverage(
    folder: Path, analyzer: str, max_queries: int
) -> tuple[int, dict[str, list[float]]]:
    """Return the number of questions, and by mode the share covered by each token budget."""
    with open_collection(folder, analyzer, max_queries) as collection:
        index, texts, qrels = collection.index, collection.texts, collection.qrels
        query_ids = list(texts)
        shares: dict[str, list[float]] = {}
        for mode in MODES:
            found = Retriever(index, mode=mode, k=K).retrieve_many(
                [texts[each] for each in query_ids]
            )
            shares[mode] = []
            for budget in BUDGETS:
                inside = 0
                for query_id, hits in zip(query_ids, found, strict=True):
                    relevant = {each for each, grade in qrels[query_id].items() if grade > 0}
                    cited = {each.id for each in hits.context(max_tokens=budget).citations}
                    inside += bool(relevant & cited)
                shares[mode].append(inside / len(query_ids))
        return len(query_ids), shares


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folders", nargs="*", default=[str(DEFAULT)])
    options.add_argument("--queries", type=int, default=1000)
    given = options.parse_args()
    table = Table("collection", "questions", "mode", *(f"{each:,} tokens" for each in BUDGETS))
    for argument in given.folders:
        name, _, analyzer = argument.partition(":")
        folder = Path(name)
        count, shares = measure_coverage(folder, analyzer if analyzer else "english", given.queries)
        for mode, values in shares.items():
            cells = [f"{value:.3f}" for value in values]
            table.add_row(collection_name(folder), f"{count:,}", mode, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
