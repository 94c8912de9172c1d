"""Gain of a query adapter trained on ``qrels/train.tsv``, measured once on ``qrels/test.tsv``.

    python benchmarks/training.py [FOLDER] [--seeds 1] [--temperatures 0.05]

FOLDER is in BEIR's layout. Gains are also given by whether a relevant passage of a test query is
relevant in training. Vectors are cached in ``.eval``; the seconds are those of training alone.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from judged import MEASURE, collection_name, open_collection
from rich.console import Console
from rich.table import Table

from twofold.corpus import read_qrels, read_queries
from twofold.training import AdapterPlan, TrainedAdapter, TrainingSet, train_adapter
from twofold.training.acceptance import Gain, compute_gains
from twofold.training.search_quality import SearchQuality
from twofold.tuning.objective import active_profile
from twofold.types import Vectors

console = Console(width=140)


def compute_test_gains(
    quality: SearchQuality, trained: TrainedAdapter, vectors: Vectors, seen: frozenset[str]
) -> list[Gain]:
    """Return the gains of test queries by mode and group."""
    assert trained.adapter is not None
    assert trained.profile is not None
    unseen = np.array([seen.isdisjoint(each.positives) for each in quality.training_set], np.bool_)
    before = quality.evaluate(vectors)
    after = replace(quality, profile=trained.profile).evaluate(trained.adapter(vectors))
    return list(compute_gains(before, after, unseen, confidence=0.95))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--temperatures", type=float, nargs="+", default=[0.05])
    given = options.parse_args()
    table = Table(
        "seed", "temperature", "seconds", "accepted", "mode", "queries", "base", "trained", "gain"
    )
    with open_collection(given.folder) as collection:
        queries = read_queries(next(path for path in sorted(given.folder.glob("queries.jsonl*"))))
        qrels = read_qrels(given.folder / "qrels" / "train.tsv")
        train = TrainingSet.from_qrels({each: queries[each] for each in qrels}, qrels)
        test = TrainingSet.from_qrels(collection.texts, collection.qrels)
        train_vectors = collection.index.encode_queries([each.query for each in train])
        vectors = collection.index.encode_queries([each.query for each in test])
        for seed in range(given.seeds):
            for temperature in given.temperatures:
                plan = AdapterPlan(seed=seed, temperature=temperature, measure=MEASURE)
                started = time.perf_counter()
                trained = train_adapter(collection.index, train, plan=plan, vectors=train_vectors)
                seconds = time.perf_counter() - started
                console.print(f"{collection_name(given.folder)}, seed {seed}:\n{trained}")
                with collection.index.open_search() as scope:
                    quality = SearchQuality(scope, test, MEASURE, active_profile(scope))
                    gains = compute_test_gains(quality, trained, vectors, train.positives)
                for gain in gains:
                    table.add_row(
                        str(seed),
                        f"{temperature:g}",
                        f"{seconds:.0f}",
                        str(trained.accepted),
                        gain.mode,
                        f"{gain.queries} {gain.group}",
                        f"{gain.before:.4f}",
                        f"{gain.after:.4f}",
                        f"{gain.interval.mean:+.4f} ({gain.interval.low:+.3f} to "
                        f"{gain.interval.high:+.3f})",
                    )
    console.print(table)


if __name__ == "__main__":
    main()
