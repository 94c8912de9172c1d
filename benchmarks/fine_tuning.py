"""Gain of encoder fine-tuning on ``qrels/train.tsv``, measured once on ``qrels/test.tsv``.

    python benchmarks/fine_tuning.py FOLDER [--epochs 3] [--length 128] [--batch 32] [--seed 0]
                                     [--rate 2e-5] [--bound .95 | --no-bound] [--remine]

FOLDER is in BEIR's layout. If the model is accepted, it encodes all passages anew in a copy of the
index. Gains are also given by whether a relevant passage of a test query is relevant in training.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from judged import MEASURE, collection_name, open_collection
from rich.console import Console

from twofold import Index
from twofold.corpus import read_qrels, read_queries
from twofold.training import EncoderPlan, Mining, TrainingSet, train_encoder
from twofold.training.acceptance import QueryMeasures, compute_gains
from twofold.training.search_quality import SearchQuality
from twofold.tuning.objective import active_profile

console = Console(width=140)


def measure_queries(index: Index, test: TrainingSet) -> QueryMeasures:
    """Return the measure of each test query by mode, under the active profile."""
    with index.open_search() as scope:
        vectors = scope.encode_queries([each.query for each in test])
        return SearchQuality(scope, test, MEASURE, active_profile(scope)).evaluate(vectors)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    for name, default in (("epochs", 3), ("length", 128), ("batch", 32), ("seed", 0)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--rate", type=float, default=2e-5)
    options.add_argument("--bound", type=float, default=0.95)
    options.add_argument("--no-bound", dest="bound", action="store_const", const=None)
    options.add_argument("--remine", action="store_true")
    given = options.parse_args()
    mining = Mining({"lexical": 1, "dense": 1}, share=given.bound)
    plan = EncoderPlan(
        epochs=given.epochs,
        max_length=given.length,
        batch=given.batch,
        learning_rate=given.rate,
        mining=mining,
        remine=given.remine,
        measure=MEASURE,
        seed=given.seed,
    )
    with open_collection(given.folder) as collection, tempfile.TemporaryDirectory() as work:
        queries = read_queries(next(path for path in sorted(given.folder.glob("queries.jsonl*"))))
        train = TrainingSet.from_qrels(queries, read_qrels(given.folder / "qrels" / "train.tsv"))
        test = TrainingSet.from_qrels(collection.texts, collection.qrels)
        started = time.perf_counter()
        target = Path(work) / "model"
        tuned = train_encoder(collection.index, train, target, plan=plan, progress=console.print)
        console.print(
            f"{collection_name(given.folder)}: {time.perf_counter() - started:.0f} s\n{tuned}"
        )
        if tuned.folder is None:
            return
        before = measure_queries(collection.index, test)
        collection.index.copy(Path(work) / "index")
        with Index.open(Path(work) / "index") as copy:
            copy.reencode(str(tuned.folder))
            after = measure_queries(copy, test)
        unseen = np.array(
            [train.positives.isdisjoint(example.positives) for example in test], np.bool_
        )
        for gain in compute_gains(before, after, unseen, confidence=0.95):
            console.print(f"test, {gain.queries} {gain.group}: {gain}")


if __name__ == "__main__":
    main()
