"""`make demo`: where words fail, where vectors fail, and what both together find."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from twofold import Index, Retriever
from twofold.corpus import Corpus, read_qrels, read_queries
from twofold.evaluation import Evaluation, evaluate
from twofold.types import Mode

HERE = Path(__file__).parent
DATA = HERE / "data" / "scifact-1000"
STORED = HERE.parent / ".demo" / "scifact.twofold"
MODES: dict[Mode, str] = {"lexical": "words (BM25)", "dense": "vectors", "hybrid": "both (hybrid)"}


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the id of the abstract that answers it, and what it shows."""

    text: str
    answer: str
    lesson: str


QUESTIONS = (
    Question(
        "can a cell's waste disposal keep an old liver working?",
        "1084345",
        "Words alone fail: the answer says 'autophagy', and another abstract says 'waste'.",
    ),
    Question(
        "what does MDA5 sense?",
        "31272411",
        "Vectors alone fail: the model doesn't know the name MDA5.",
    ),
    Question(
        "Autophagy declines in aged organisms.",
        "1084345",
        "Each alone prefers another abstract. Both together put the right one first.",
    ),
)
TEXTBOOK = {
    "photosynthesis": "Photosynthesis is the process by which plants convert light energy into "
    "chemical energy.",
    "glucose": "Plants use sunlight to make glucose.",
    "grandmother": "My grandmother loves to make food from her garden.",
}
console = Console(width=max(100, Console().width) if not sys.stdout.isatty() else None)


def open_demo_index() -> Index:
    """Index 1,000 abstracts, at the first run in half a minute."""
    passages = list(Corpus.from_path(DATA))
    index = Index.open(STORED, encoder="all-MiniLM-L6-v2", windows=False)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("encoding and indexing 1,000 abstracts", total=len(passages))
        index.upsert(passages, progress=lambda done: bar.update(task, completed=done))
    return index


def show_question(index: Index, question: Question) -> None:
    """Print the best hit of each mode, and the place of the right one."""
    table = Table(box=box.SIMPLE_HEAD, title=f"“{question.text}”", title_justify="left")
    table.add_column("searched by", no_wrap=True)
    table.add_column("its first hit")
    table.add_column("right one at", justify="right", no_wrap=True)
    for mode, name in MODES.items():
        hits = Retriever(index, mode=mode, k=100).retrieve(question.text)
        place = hits.ids.index(question.answer) + 1 if question.answer in hits.ids else None
        mark = "[green]✓[/green]" if place == 1 else "[red]✗[/red]"
        rank = f"{place}" if place is not None else "not in 100"
        table.add_row(name, f"{mark} {escape(hits[0].passage.title)}", rank)
    console.print(table)
    console.print(f"{question.lesson}\n")


def show_explanation(index: Index, question: Question) -> None:
    """Print why hybrid search found the first hit of a question."""
    hits = Retriever(index, k=1).retrieve(question.text)
    explained = hits.explain(meaning=False).hits[0]
    console.print(f"Why is it first? hits.explain() says: {explained.reason}", style="italic")
    for line in explained.shares:
        console.print(f"  {line}", style="dim")
    console.print(
        f"  The contributions sum to the score, {explained.hit.score:.4f}.\n", style="dim"
    )


def show_gain(results: Mapping[Mode, Evaluation]) -> None:
    """Print how much better hybrid search is on claims that experts judged."""
    count = results["hybrid"].queries
    ndcg = {mode: result.measures["nDCG@10"] for mode, result in results.items()}
    table = Table(box=box.SIMPLE_HEAD, title=f"{count} claims judged by experts")
    table.add_column("searched by")
    table.add_column("right abstract first", justify="right")
    table.add_column("nDCG@10", justify="right")
    for mode, name in MODES.items():
        firsts = round(results[mode].measures["Success@1"] * count)
        table.add_row(name, f"{firsts} of {count}", f"{ndcg[mode]:.3f}")
    console.print(table)
    gain = ndcg["hybrid"] - max(ndcg["dense"], ndcg["lexical"])
    console.print(
        f"Hybrid search gains {gain:.3f} nDCG@10 over the better of the two: that is the quality "
        "of the first ten hits, 1 if the right abstracts are always on top, less the lower they "
        "stand.\n"
    )


def show_textbook() -> None:
    """Show an example on which hybrid search is wrong, why, and what helps."""
    query = "How do plants make food?"
    with Index.open(None, encoder="all-MiniLM-L6-v2") as index:
        index.upsert({"id": key, "text": text} for key, text in TEXTBOOK.items())
        orders = {
            "words (BM25)": Retriever(index, mode="lexical"),
            "vectors": Retriever(index, mode="dense"),
            "both (hybrid)": Retriever(index),
            "both, dense_weight=0.95": Retriever(index, dense_weight=0.95),
        }
        table = Table(box=box.SIMPLE_HEAD, title=f"The textbook: “{query}”", title_justify="left")
        table.add_column("searched by", no_wrap=True)
        table.add_column("order of the three sentences")
        for name, retriever in orders.items():
            table.add_row(name, " > ".join(retriever.retrieve(query).ids))
        console.print(table)
    for name, text in TEXTBOOK.items():
        console.print(f"  {name}: {text}", style="dim")
    console.print(
        "The grandmother shares 'make food' with the question, and photosynthesis shares only "
        "'plants': similar isn't relevant. Among three sentences, BM25 can't know that 'make' and "
        "'food' are common words. A larger dense_weight puts the glucose first. A reranker, which "
        "reads question and passage together, may mend the rest. `twofold tune` finds the weight "
        "that your own judged questions prefer.\n"
    )


def show_next_steps() -> None:
    """Print commands to try on the index of the demo."""
    program = Path(sys.executable).with_name("twofold")
    name = str(program.relative_to(Path.cwd())) if program.is_relative_to(Path.cwd()) else "twofold"
    index = STORED.relative_to(Path.cwd()) if STORED.is_relative_to(Path.cwd()) else STORED
    commands = (
        (name, "search", str(index), "do statins lower the risk of stroke?", "--explain"),
        (name, "search", str(index), "what does MDA5 sense?", "--why-not", "1084345"),
        (name, "index", "YOUR-FOLDER", "--to", "mine.twofold"),
    )
    console.rule("Next")
    for command in commands:
        console.print(f"  {shlex.join(command)}", soft_wrap=True, highlight=False)


def main() -> None:
    with open_demo_index() as index:
        console.rule(f"{len(index):,} abstracts, three questions")
        for question in QUESTIONS:
            show_question(index, question)
        show_explanation(index, QUESTIONS[-1])
        queries, qrels = read_queries(DATA / "queries.jsonl"), read_qrels(DATA / "qrels/test.tsv")
        results = {
            mode: evaluate(Retriever(index, mode=mode), queries, qrels, ["nDCG@10", "Success@1"])
            for mode in index.modes
        }
        show_gain(results)
    show_textbook()
    show_next_steps()


if __name__ == "__main__":
    main()
