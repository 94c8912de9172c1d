"""`make demo`: search 1,000 abstracts of SciFact, and explain why each passage was found."""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from twofold import Index, Retriever
from twofold.corpus import Corpus, read_qrels, read_queries
from twofold.evaluation import evaluate

HERE = Path(__file__).parent
DATA = HERE / "data" / "scifact-1000"
STORED = HERE.parent / ".demo" / "scifact.twofold"
QUERIES = (
    "how does malaria escape the immune system?",
    "CX3CR1 on the Th2 cells promotes airway inflammation.",
    "do statins lower the risk of stroke?",
)
TEXTBOOK = {
    "1": "Photosynthesis is the process by which plants convert light energy into chemical energy.",
    "2": "Plants use sunlight to make glucose.",
    "3": "My grandmother loves to make food from her garden.",
}
console = Console()


def textbook() -> None:
    """Show the textbook example with the model's actual scores."""
    console.rule("The textbook: How do plants make food?")
    with Index.open(None, encoder="all-MiniLM-L6-v2") as index:
        index.upsert({"id": key, "text": text} for key, text in TEXTBOOK.items())
        show(index, "How do plants make food?", 3)
    console.print("Dense search ranks grandmother above photosynthesis: similar isn't relevant.\n")


def show(index: Index, query: str, k: int) -> None:
    """Print the best passages with their rank in each mode."""
    ranks = {
        mode: {hit.id: hit.rank for hit in Retriever(index, mode=mode, k=100).retrieve(query)}
        for mode in ("dense", "lexical")
    }
    table = Table(box=box.SIMPLE_HEAD, title=query, title_justify="left", title_style="bold")
    for name in ("hybrid", "dense", "lexical", "score"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("passage, and why it was found")
    for explanation in Retriever(index, k=k).retrieve(query).explain(meaning=False).hits:
        hit = explanation.hit
        places = [str(ranks[mode].get(hit.id, "-")) for mode in ("dense", "lexical")]
        text = hit.passage.title if hit.passage.title else hit.passage.text
        table.add_row(
            str(hit.rank),
            *places,
            f"{hit.score:.3f}",
            f"{escape(text)}\n[dim]{escape(explanation.reason)}",
        )
    console.print(table)


def main() -> None:
    passages = list(Corpus.from_path(DATA))
    with Index.open(STORED, encoder="all-MiniLM-L6-v2") as index:
        with Progress(console=console) as bar:
            task = bar.add_task("encoding and indexing 1,000 abstracts", total=len(passages))
            index.upsert(passages, progress=lambda done: bar.update(task, completed=done))
        textbook()
        console.rule("1,000 abstracts of SciFact")
        for query in QUERIES:
            show(index, query, 4)
        queries, qrels = read_queries(DATA / "queries.jsonl"), read_qrels(DATA / "qrels/test.tsv")
        for mode in index.modes:
            found = evaluate(Retriever(index, mode=mode), queries, qrels, ["nDCG@10"])
            console.print(f"{mode}: {dict(found.measures)} on {found.queries} claims")


if __name__ == "__main__":
    main()
