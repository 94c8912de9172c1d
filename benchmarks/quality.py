"""nDCG@10 of each leg and of hybrid, with nothing tuned, on collections in BEIR's layout.

    python benchmarks/quality.py [FOLDER ...]

Without a folder: the 1,000 abstracts that the project carries. Encoded vectors are kept in
``.eval``, so that a second run is quick.
"""

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from twofold import Index, ReciprocalRank, Retriever
from twofold.corpus import Corpus, read_qrels, read_queries
from twofold.evaluation import evaluate

HERE = Path(__file__).parent.parent
DEFAULT = HERE / "examples" / "data" / "scifact-1000"
MEASURE = "nDCG@10"
console = Console()


def measured(folder: Path) -> dict[str, float]:
    """Index a collection and return nDCG@10 by system."""
    name = "-".join(folder.resolve().parts[-2:])
    with Index.open(HERE / ".eval" / name) as index:
        passages = list(Corpus.at(folder))
        with Progress(console=console, transient=True) as bar:
            task = bar.add_task(f"encoding {name}", total=len(passages))
            index.upsert(passages, progress=lambda done: bar.update(task, completed=done))
        index.reanalyze("english")  # the vectors may be of an earlier run
        queries = next(path for path in sorted(folder.glob("queries.jsonl*")))
        texts, qrels = read_queries(queries), read_qrels(folder / "qrels" / "test.tsv")
        systems = {
            "dense": Retriever(index, mode="dense"),
            "lexical": Retriever(index, mode="lexical"),
            "hybrid": Retriever(index),
            "RRF 60": Retriever(index, fusion=ReciprocalRank()),
        }
        return {
            name: evaluate(retriever, texts, qrels, [MEASURE]).measures[MEASURE]
            for name, retriever in systems.items()
        }


def main() -> None:
    folders = [Path(name) for name in sys.argv[1:]] or [DEFAULT]
    table = Table("collection", "dense", "lexical", "hybrid", "RRF 60", "hybrid - better leg")
    for folder in folders:
        values = measured(folder)
        gain = values["hybrid"] - max(values["dense"], values["lexical"])
        cells = [f"{value:.4f}" for value in values.values()]
        table.add_row("/".join(folder.resolve().parts[-2:]), *cells, f"{gain:+.4f}")
    console.print(table)


if __name__ == "__main__":
    main()
