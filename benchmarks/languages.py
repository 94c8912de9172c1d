"""nDCG@10 of the lexical leg with the analyzer of each collection's language.

    python benchmarks/languages.py FOLDER[:ANALYZER] ...

FOLDER is in BEIR's layout. Without ANALYZER, a folder named by a language code ("xquad/th") uses
that language, and any other folder English. Compared with the analyzers "multilingual" (no
stemming) and "english", and with title weight 2.
"""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from twofold import Index, Retriever
from twofold.corpus import Corpus, read_qrels, read_queries
from twofold.errors import InputError
from twofold.evaluation import evaluate
from twofold.lexical import language_from_name

DEFAULT = Path(__file__).parent.parent / "examples" / "data" / "scifact-1000"
MEASURE = "nDCG@10"
console = Console()


def language_from_folder(folder: Path) -> str:
    """Return the language whose code is the folder's name, or English."""
    try:
        return language_from_name(folder.name).name
    except InputError:
        return "english"


def main() -> None:
    table = Table("collection", "analyzer", MEASURE, "multilingual", "english", "titles twice")
    for given in sys.argv[1:] or [str(DEFAULT)]:
        name, _, chosen = given.partition(":")
        folder = Path(name).resolve()
        analyzer = chosen if chosen else language_from_folder(folder)
        queries = next(path for path in sorted(folder.glob("queries.jsonl*")))
        texts, qrels = read_queries(queries), read_qrels(folder / "qrels" / "test.tsv")
        passages = list(Corpus.from_path(folder))
        values: list[str] = []
        with Index.open(None, encoder=None, analyzer=analyzer) as index:
            index.upsert(passages)
            for again, weight in (
                (analyzer, 1),
                ("multilingual", 1),
                ("english", 1),
                (analyzer, 2),
            ):
                index.reanalyze(again, title_weight=weight)
                result = evaluate(Retriever(index, mode="lexical"), texts, qrels, [MEASURE])
                values.append(f"{result.measures[MEASURE]:.4f}")
        table.add_row("/".join(folder.parts[-2:]), analyzer, *values)
    console.print(table)


if __name__ == "__main__":
    main()
