"""nDCG@10 of each leg and of hybrid with the defaults, on collections in BEIR's layout.

    python benchmarks/quality.py [--markdown] [FOLDER ...]

Default: the bundled sample of SciFact. Every mean has its 95% bootstrap interval over the queries,
and so has the gain of hybrid over the better leg. Vectors are cached in ``.eval``.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from judged import DEFAULT, MEASURE, collection_name, open_collection
from rich.console import Console
from rich.table import Table

from twofold import ReciprocalRank, Retriever
from twofold.evaluation import Comparison, Interval, compare, evaluate

SYSTEMS = ("hybrid", "dense", "lexical", "RRF 60")
console = Console(width=None if sys.stdout.isatty() else 160)


def compare_systems(folder: Path) -> Comparison:
    """Compare hybrid with the other systems on a collection."""
    with open_collection(folder) as found:
        systems = (
            Retriever(found.index),
            Retriever(found.index, mode="dense"),
            Retriever(found.index, mode="lexical"),
            Retriever(found.index, fusion=ReciprocalRank()),
        )
        return compare(
            [
                evaluate(retriever, found.texts, found.qrels, [MEASURE], name=name)
                for name, retriever in zip(SYSTEMS, systems, strict=True)
            ]
        )


def comparison_cells(found: Comparison) -> list[str]:
    """Return a collection's cells: the systems, and hybrid minus the better leg."""
    hybrid, dense, lexical, ranked = (each.interval(MEASURE) for each in found.evaluations)
    # The better leg is chosen on the same queries, which can only understate the gain.
    gain = max(found.differences[:2], key=lambda each: each.other.measures[MEASURE])
    cells = [format_interval(each) for each in (dense, lexical, hybrid, ranked)]
    return [f"{found.subject.queries:,}", *cells, format_interval(gain.interval, signed=True)]


def format_interval(interval: Interval, *, signed: bool = False) -> str:
    """Return a mean and its interval without zeros before the decimal point."""
    form = "+.3f" if signed else ".3f"
    values = (interval.mean, interval.low, interval.high)
    mean, low, high = (f"{each:{form}}".replace("0.", ".", 1) for each in values)
    return f"{mean} ({low} to {high})"


def average_cells(found: Sequence[Comparison]) -> list[str]:
    """Return the macro averages over the collections."""
    values = np.array([[each.measures[MEASURE] for each in one.evaluations] for one in found])
    hybrid, dense, lexical, ranked = values.mean(axis=0)
    gain = (values[:, 0] - values[:, 1:3].max(axis=1)).mean()
    cells = [f"{each:.3f}".replace("0.", ".", 1) for each in (dense, lexical, hybrid, ranked)]
    return ["", *cells, f"{gain:+.3f}".replace("0.", ".", 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--markdown", action="store_true", help="print a table for a README")
    options = parser.parse_args()
    folders: list[Path] = options.folders if options.folders else [DEFAULT]
    head = ["collection", "queries", "dense", "lexical", "hybrid", "RRF 60", "hybrid - better leg"]
    found = [compare_systems(folder) for folder in folders]
    rows = [
        [collection_name(folder), *comparison_cells(each)]
        for folder, each in zip(folders, found, strict=True)
    ]
    if len(rows) > 1:
        rows.append(["mean", *average_cells(found)])
    if options.markdown:
        lines = [head, ["---"] * len(head), *rows]
        print("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
        return
    table = Table(*head, title=f"{MEASURE}, 95% intervals")
    for cells in rows:
        table.add_row(*(cell.replace(" (", "\n(") for cell in cells))
    console.print(table)


if __name__ == "__main__":
    main()
