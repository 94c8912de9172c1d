"""The share of questions whose answer's passage is inside the context that a generator gets.

    python benchmarks/context.py FOLDER[:ANALYZER] ... [--queries 1000]

FOLDER is in BEIR's layout, with one passage judged a question (SQuAD2, JaQuAD); vectors by
all-MiniLM-L6-v2, kept in ``.eval``. Without a folder: the 1,000 abstracts that the project carries.
"""

import argparse
from pathlib import Path

from judged import DEFAULT, judged, title_of
from rich.console import Console
from rich.table import Table

from twofold import Retriever
from twofold.types import MODES

BUDGETS = (1000, 2000, 4000)
K = 50
console = Console()


def covered(folder: Path, analyzer: str, most: int) -> tuple[int, dict[str, list[float]]]:
    """Return how many questions were asked, and by mode the share answered in each budget."""
    with judged(folder, analyzer, most) as collection:
        index, texts, qrels = collection.index, collection.texts, collection.qrels
        asked = list(texts)
        shares: dict[str, list[float]] = {}
        for mode in MODES:
            found = Retriever(index, mode=mode, k=K).retrieve_many([texts[each] for each in asked])
            shares[mode] = []
            for budget in BUDGETS:
                inside = 0
                for query_id, hits in zip(asked, found, strict=True):
                    relevant = {each for each, grade in qrels[query_id].items() if grade > 0}
                    cited = {each.id for each in hits.context(max_tokens=budget).citations}
                    inside += bool(relevant & cited)
                shares[mode].append(inside / len(asked))
        return len(asked), shares


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folders", nargs="*", default=[str(DEFAULT)])
    options.add_argument("--queries", type=int, default=1000)
    given = options.parse_args()
    table = Table("collection", "questions", "mode", *(f"{each:,} tokens" for each in BUDGETS))
    for argument in given.folders:
        name, _, analyzer = argument.partition(":")
        folder = Path(name)
        count, shares = covered(folder, analyzer if analyzer else "english", given.queries)
        for mode, values in shares.items():
            cells = [f"{value:.3f}" for value in values]
            table.add_row(title_of(folder), f"{count:,}", mode, *cells)
    console.print(table)


if __name__ == "__main__":
    main()
