"""What each mode does with the queries by which textbooks explain retrieval, on real text.

    python benchmarks/textbook.py FOLDER... [--most 100000] [--brief]

All passages of the FOLDERs' corpora (the first ones of each, up to --most) are put into one index
with all-MiniLM-L6-v2, cached in ``.eval``. A query has no judgments here: a pattern tells which
passages have what it asks for, in other words, too. Shown are how many of a mode's best 10 match
it. For a query and its opposite, shown is how many of the best 10 are the same.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from judged import HERE, collection_name
from rich.console import Console
from rich.progress import Progress

from twofold import Index, Retriever
from twofold.corpus import Corpus
from twofold.types import Mode, Passage

K = 10
MODES: tuple[Mode, ...] = ("lexical", "dense", "hybrid")


@dataclass(frozen=True, slots=True)
class Case:
    """A query, and a pattern of the passages that it asks for."""

    group: str
    query: str
    right: str


@dataclass(frozen=True, slots=True)
class Opposites:
    """Two queries that ask for opposite things."""

    group: str
    query: str
    other: str


CASES = [
    Case(
        "exact words",
        "Python pandas DataFrame merge",
        r"data ?frame.*(merg|join|concat)|(merg|join|concat).*data ?frame",
    ),
    Case("exact words", "CVE-2024-1234", r"\bCVEs?\b"),
    Case("exact words", "iPhone 15 Pro Max", r"\biphones?\b"),
    Case(
        "meaning",
        "affordable housing",
        r"(affordable|low-cost|social|cheap(er)?) hous|housing (cost|price|market)",
    ),
    Case("meaning", "what causes climate change", r"climate change|global warming|greenhouse"),
    Case(
        "meaning",
        "books like Harry Potter",
        r"harry potter|fantasy (novel|book|fiction)|hogwarts|wizard(ing|ry)",
    ),
    Case("meaning", "heart attack symptoms", r"heart attack|myocardial infarct|acute coronary"),
    Case("meaning", "hypertension treatment", r"hypertensi|blood[- ]pressure"),
    Case("short", "ML", r"\bML\b|machine[- ]learning"),
    Case("short", "hypertension", r"hypertensi|(high|raised) blood pressure"),
    Case("short", "weather", r"weather|meteorolog|forecast"),
    Case("typing error", "recieve", r"\breceiv"),
    Case("typing error", "machne lerning framework", r"machine[- ]learning"),
    Case("typing error", "myocardal infraction", r"myocardial infarct|heart attack"),
]
OPPOSITES = [
    Opposites("negation", "hotels without pools", "hotels with pools"),
    Opposites("negation", "works without a database", "works with a database"),
    Opposites("numbers", "apartments under $2000", "apartments over $2000"),
    Opposites("numbers", "supports Python 2", "supports Python 3"),
    Opposites("order", "convert JSON to CSV", "convert CSV to JSON"),
]


def read_passages(folders: list[Path], most: int) -> Iterator[Passage]:
    """Yield the first passages of each folder, with its name before their ids."""
    for folder in folders:
        for at, passage in enumerate(Corpus.from_path(folder)):
            if at == most:
                break
            yield replace(passage, id=f"{collection_name(folder)}/{passage.id}")


def print_matches(modes: dict[Mode, Retriever], passages: list[Passage], *, brief: bool) -> None:
    """Print how many of the best hits of each mode match the pattern of each case."""
    print(f"| | query | passages that match | {' | '.join(modes)} |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        pattern = re.compile(case.right, re.IGNORECASE)
        count = sum(bool(pattern.search(passage.content)) for passage in passages)
        found = {mode: modes[mode].retrieve(case.query).passages for mode in modes}
        counts = [
            str(sum(bool(pattern.search(passage.content)) for passage in found[mode]))
            for mode in modes
        ]
        print(f"| {case.group} | {case.query} | {count:,} | {' | '.join(counts)} |")
        if not brief:
            print_first(found)


def print_overlaps(modes: dict[Mode, Retriever], *, brief: bool) -> None:
    """Print how many of the best hits two opposite queries have in common."""
    print(f"| | query and its opposite | {' | '.join(modes)} |")
    print("|---|---|---|---|---|")
    for pair in OPPOSITES:
        found = {mode: retriever.retrieve(pair.query) for mode, retriever in modes.items()}
        counts = [
            str(len(set(found[mode].ids) & set(retriever.retrieve(pair.other).ids)))
            for mode, retriever in modes.items()
        ]
        print(f"| {pair.group} | {pair.query}; {pair.other} | {' | '.join(counts)} |")
        if not brief:
            print_first({mode: hits.passages for mode, hits in found.items()})


def print_first(found: Mapping[Mode, Sequence[Passage]]) -> None:
    """Print the beginning of each mode's first hit."""
    for mode, passages in found.items():
        print(f"      {mode}: {passages[0].content if passages else 'nothing':.140}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--most", type=int, default=100_000, help="passages of each folder")
    parser.add_argument("--brief", action="store_true", help="leave out the first hits")
    options = parser.parse_args()
    passages = list(read_passages(options.folders, options.most))
    with Index.open(HERE / ".eval" / "textbook", analyzer="english") as index:
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("encoding", total=len(passages))
            index.upsert(passages, progress=lambda done: bar.update(task, completed=done))
        modes = {mode: Retriever(index, mode=mode, k=K) for mode in MODES}
        print(f"{len(passages):,} passages; of the best {K}:")
        print_matches(modes, passages, brief=options.brief)
        print_overlaps(modes, brief=options.brief)


if __name__ == "__main__":
    main()
