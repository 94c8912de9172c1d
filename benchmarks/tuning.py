"""What tuning gains on queries that it never saw, on a collection in BEIR's layout.

    python benchmarks/tuning.py FOLDER

Tunes on ``qrels/train.tsv`` alone and then measures ``qrels/test.tsv``, with the default setting
and with the one that tuning left in use. Encoded vectors are kept in ``.eval``.
"""

import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from twofold import Index
from twofold.backend import SearchProfile
from twofold.corpus import Corpus, read_qrels, read_queries
from twofold.evaluation import bootstrap_interval
from twofold.tuning import TuningObjective, describe_profile, tune

HERE = Path(__file__).parent.parent
MEASURE = "nDCG@10"
console = Console(width=160, highlight=False)


def measured(folder: Path) -> None:
    """Index a collection, tune, and print what that gives on the test queries."""
    passages = list(Corpus.from_path(folder))
    queries = read_queries(next(path for path in sorted(folder.glob("queries.jsonl*"))))
    train, test = (read_qrels(folder / "qrels" / f"{part}.tsv") for part in ("train", "test"))
    with (
        Index.open(HERE / ".eval" / f"tuning-{folder.resolve().name}") as index,
        Progress(console=console, transient=True) as bar,
    ):
        encoding = bar.add_task("encoding", total=len(passages))
        index.upsert(passages, progress=lambda done: bar.update(encoding, completed=done))
        index.profiles.use(None)
        tuning = bar.add_task("tuning", total=100)
        tuned = tune(
            index, queries, train, progress=lambda done: bar.update(tuning, completed=done)
        )
        console.print(f"on {tuned.queries:,} train queries: {tuned}")
        asked = {each: text for each, text in queries.items() if each in test}
        with index.view() as view:
            vectors = view.encode_queries(list(asked.values()))
            bench = TuningObjective(view, asked, test, vectors, MEASURE)
            compare(bench, tuned.before, {"in use": tuned.profile, "found": tuned.found})


def compare(
    bench: TuningObjective, before: SearchProfile, others: dict[str, SearchProfile]
) -> None:
    """Print a measure of the default setting, and of the others the difference from it."""
    values = bench.values(before)
    console.print(f"on {len(values):,} test queries, {MEASURE}:")
    console.print(f"  default {values.mean():.4f}  {describe_profile(before)}")
    for name, setting in others.items():
        own = bench.values(setting)
        gain = bootstrap_interval(own - values)
        console.print(
            f"  {name} {own.mean():.4f}, {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]  "
            f"{describe_profile(setting)}",
            markup=False,
        )


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    measured(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
