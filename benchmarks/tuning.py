"""Gain of tuning on held-out test queries of a collection in BEIR's layout.

    python benchmarks/tuning.py FOLDER

Tunes on ``qrels/train.tsv``, then measures the default profile, the one that tuning chose, and the
one that it found on ``qrels/test.tsv``. Vectors are cached in ``.eval``.
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


def tune_collection(folder: Path) -> None:
    """Tune on a collection, and print the gain on its test queries."""
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
        result = tune(
            index, queries, train, progress=lambda done: bar.update(tuning, completed=done)
        )
        console.print(f"on {result.queries:,} train queries: {result}")
        test_queries = {each: text for each, text in queries.items() if each in test}
        with index.open_search() as scope:
            vectors = scope.encode_queries(list(test_queries.values()))
            objective = TuningObjective(scope, test_queries, test, vectors, MEASURE)
            compare(objective, result.before, {"in use": result.profile, "found": result.found})


def compare(
    objective: TuningObjective, before: SearchProfile, others: dict[str, SearchProfile]
) -> None:
    """Print the measure of the default profile, and the differences of the others from it."""
    values = objective.values(before)
    console.print(f"on {len(values):,} test queries, {MEASURE}:")
    console.print(f"  default {values.mean():.4f}  {describe_profile(before)}")
    for name, profile in others.items():
        after = objective.values(profile)
        gain = bootstrap_interval(after - values)
        console.print(
            f"  {name} {after.mean():.4f}, {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]  "
            f"{describe_profile(profile)}",
            markup=False,
        )


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    tune_collection(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
