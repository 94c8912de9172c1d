"""What a query adapter learned from ``qrels/train.tsv`` gives on ``qrels/test.tsv``, used once.

    python benchmarks/training.py [FOLDER] [--seeds 1] [--temperatures 0.05]

FOLDER is in BEIR's layout. Figures are split by whether a relevant passage of the query is relevant
in training, too. Encoded vectors are kept in ``.eval``; the seconds are those of training alone.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from judged import MEASURE, judged, title_of
from rich.console import Console
from rich.table import Table

from twofold.corpus import read_qrels, read_queries
from twofold.training import AdapterPlan, TrainedAdapter, TrainingSet, train_adapter
from twofold.training.acceptance import Gain, compute_gains
from twofold.training.search_quality import SearchQuality
from twofold.tuning.objective import active_profile
from twofold.types import Vectors

console = Console(width=140)


def tested(
    served: SearchQuality, trained: TrainedAdapter, vectors: Vectors, seen: frozenset[str]
) -> list[Gain]:
    """Return the gains of test queries by mode and group."""
    assert trained.adapter is not None
    assert trained.profile is not None
    unseen = np.array([seen.isdisjoint(each.positives) for each in served.training_set], np.bool_)
    before = served.evaluate(vectors)
    after = replace(served, profile=trained.profile).evaluate(trained.adapter(vectors))
    return list(compute_gains(before, after, unseen, confidence=0.95))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--temperatures", type=float, nargs="+", default=[0.05])
    given = options.parse_args()
    table = Table(
        "seed", "temperature", "seconds", "kept", "mode", "queries", "base", "trained", "gain"
    )
    with judged(given.folder) as found:
        queries = read_queries(next(path for path in sorted(given.folder.glob("queries.jsonl*"))))
        qrels = read_qrels(given.folder / "qrels" / "train.tsv")
        learned = TrainingSet.from_qrels({each: queries[each] for each in qrels}, qrels)
        test = TrainingSet.from_qrels(found.texts, found.qrels)
        own = found.index.encode_queries([each.query for each in learned])
        vectors = found.index.encode_queries([each.query for each in test])
        for seed in range(given.seeds):
            for temperature in given.temperatures:
                plan = AdapterPlan(seed=seed, temperature=temperature, measure=MEASURE)
                started = time.perf_counter()
                trained = train_adapter(found.index, learned, plan=plan, vectors=own)
                seconds = time.perf_counter() - started
                console.print(f"{title_of(given.folder)}, seed {seed}:\n{trained}")
                with found.index.view() as view:
                    served = SearchQuality(view, test, MEASURE, active_profile(view))
                    gains = tested(served, trained, vectors, learned.positives)
                for each in gains:
                    table.add_row(
                        str(seed),
                        f"{temperature:g}",
                        f"{seconds:.0f}",
                        str(trained.accepted),
                        each.mode,
                        f"{each.queries} {each.group}",
                        f"{each.before:.4f}",
                        f"{each.after:.4f}",
                        f"{each.interval.mean:+.4f} ({each.interval.low:+.3f} to "
                        f"{each.interval.high:+.3f})",
                    )
    console.print(table)


if __name__ == "__main__":
    main()
