"""What fine-tuning on ``qrels/train.tsv`` gives on ``qrels/test.tsv``, used once, at the end.

    python benchmarks/fine_tuning.py FOLDER [--epochs 3] [--length 128] [--batch 32] [--seed 0]
                                     [--rate 2e-5] [--bound .95 | --no-bound] [--remine]

FOLDER is in BEIR's layout. If the base stays, there is nothing to test; else all passages are
encoded by the model, in a copy of the index, and figures are split by whether a relevant passage of
a test query is relevant in training, too.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from judged import MEASURE, judged, title_of
from rich.console import Console

from twofold import Index
from twofold.corpus import read_qrels, read_queries
from twofold.training import EncoderPlan, Mining, TrainingSet, train_encoder
from twofold.training.acceptance import QueryMeasures, compute_gains
from twofold.training.search_quality import SearchQuality
from twofold.tuning.objective import active_profile

console = Console(width=140)


def values(index: Index, test: TrainingSet) -> QueryMeasures:
    """Return the measure of each test query by mode, as the index serves."""
    with index.view() as view:
        vectors = view.encode_queries([each.query for each in test])
        return SearchQuality(view, test, MEASURE, active_profile(view)).evaluate(vectors)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    for name, usual in (("epochs", 3), ("length", 128), ("batch", 32), ("seed", 0)):
        options.add_argument(f"--{name}", type=int, default=usual)
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
    with judged(given.folder) as found, tempfile.TemporaryDirectory() as work:
        queries = read_queries(next(path for path in sorted(given.folder.glob("queries.jsonl*"))))
        learned = TrainingSet.from_qrels(queries, read_qrels(given.folder / "qrels" / "train.tsv"))
        test = TrainingSet.from_qrels(found.texts, found.qrels)
        started = time.perf_counter()
        to = Path(work) / "model"
        tuned = train_encoder(found.index, learned, to, plan=plan, progress=console.print)
        console.print(f"{title_of(given.folder)}: {time.perf_counter() - started:.0f} s\n{tuned}")
        if tuned.folder is None:
            return
        before = values(found.index, test)
        found.index.copy(Path(work) / "index")
        with Index.open(Path(work) / "index") as copy:
            copy.reencode(str(tuned.folder))
            after = values(copy, test)
        unseen = np.array([learned.positives.isdisjoint(each.positives) for each in test], np.bool_)
        for each in compute_gains(before, after, unseen, confidence=0.95):
            console.print(f"test, {each.queries} {each.group}: {each}")


if __name__ == "__main__":
    main()
