"""nDCG@10 of fine-tuning by kind of negatives, on test queries that are used once.

    python benchmarks/negatives.py FOLDER [--train 500] [--test 300] [--passages 1000] [--epochs 3]
                                   [--length 64] [--batch 32] [--seeds 1] [--only NAME ...]

FOLDER is in BEIR's layout. Trains on ``qrels/train.tsv``, or on a part of the test queries without
it. All variants train on the same pairs for the same number of epochs, and truncate texts to
``length`` tokens in training and evaluation, as does the base. The index holds relevant passages,
the nearest ones, and a sample. As in ``train_encoder``, epoch 1 uses random negatives.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from judged import MEASURE, collection_name, open_collection
from rich.console import Console
from rich.table import Table

from twofold import Index, SentenceTransformerEncoder
from twofold.corpus import read_qrels, read_queries
from twofold.encoders import ModelOptions
from twofold.training import EncoderPlan, Mining, TrainingSet, split
from twofold.training.acceptance import Gain, QueryMeasures, compute_gains
from twofold.training.finetuning.dev_evaluation import DevEvaluator
from twofold.training.finetuning.encoder import EncoderTask
from twofold.training.finetuning.loop import FineTuningRun, RunState

console = Console(width=150)
MODEL = "all-MiniLM-L6-v2"
SELF = Mining({"dense": 1})
BOTH = Mining({"lexical": 1, "dense": 1})
VARIANTS: dict[str, EncoderPlan] = {
    "in-batch only": EncoderPlan(mining=None),
    "+ random": EncoderPlan(mining=Mining({"random": 1})),
    "+ BM25": EncoderPlan(mining=Mining({"lexical": 1})),
    "+ self-mined": EncoderPlan(mining=SELF),
    # Only known positives are filtered out.
    "+ self-mined, not filtered": EncoderPlan(mining=replace(SELF, share=None)),
    "+ self-mined, re-mined": EncoderPlan(mining=SELF, remine=True),
    "+ BM25 and self-mined, re-mined": EncoderPlan(mining=BOTH, remine=True),
}


def load_sets(folder: Path, train: int, test: int) -> tuple[TrainingSet, TrainingSet]:
    """Return a training and a test set of at most this many queries."""
    queries = read_queries(next(path for path in sorted(folder.glob("queries.jsonl*"))))
    parts = {name: folder / "qrels" / f"{name}.tsv" for name in ("train", "test")}
    test_set = TrainingSet.from_qrels(queries, read_qrels(parts["test"]))
    if parts["train"].exists():
        train_set = TrainingSet.from_qrels(queries, read_qrels(parts["train"]))
    else:
        halves = split(test_set, min(test / len(test_set), 0.5), by="passage", seed=0)
        train_set, test_set = halves.train, halves.test
    return sample_examples(train_set, train), sample_examples(test_set, test)


def sample_examples(some: TrainingSet, most: int) -> TrainingSet:
    """Return a seeded sample of at most this many examples."""
    order = np.random.default_rng(0).permutation(len(some))[:most]
    return TrainingSet(tuple(some[place] for place in sorted(order.tolist())))


class LastEpochTask(EncoderTask):
    """Evaluates after the last epoch only, so that the test queries choose no epoch."""

    def __init__(
        self,
        index: Index,
        train_set: TrainingSet,
        evaluator: DevEvaluator,
        plan: EncoderPlan,
        base: QueryMeasures,
    ) -> None:
        encoder = index.encoder
        assert isinstance(encoder, SentenceTransformerEncoder)
        super().__init__(index, encoder, train_set, evaluator, plan)
        self.measures = base
        self._epochs = plan.epochs
        self._number = 0

    def begin_epoch(self, number: int, state: RunState) -> None:
        """Mine negatives, and store the epoch's number."""
        super().begin_epoch(number, state)
        self._number = number

    def evaluate(self, *, base: bool = False) -> QueryMeasures:
        """Return the measures of the last epoch; before it, those of the base."""
        if self._number == self._epochs:
            self.measures = super().evaluate(base=base)
        return self.measures


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    for name, default in (("train", 500), ("test", 300), ("passages", 1_000), ("epochs", 3)):
        options.add_argument(f"--{name}", type=int, default=default)
    for name, default in (("length", 64), ("batch", 32), ("seeds", 1)):
        options.add_argument(f"--{name}", type=int, default=default)
    options.add_argument("--only", nargs="+", default=list(VARIANTS))
    given = options.parse_args()
    train_set, test_set = load_sets(given.folder, given.train, given.test)
    encoder = SentenceTransformerEncoder(MODEL, options=ModelOptions(max_length=given.length))
    table = Table("negatives", "seconds", "turnover", "dense", "gain", "hybrid", "gain", "unseen")
    with open_collection(given.folder) as collection, Index.open(None, encoder=encoder) as index:
        # Passages are chosen by the whole index, and searched in the smaller one.
        most = given.passages
        evaluator = DevEvaluator.from_index(
            collection.index, test_set, test_set, train_set, most, MEASURE
        )
        known = {each.id for each in evaluator.passages}
        answers = sorted(
            {positive for example in train_set for positive in example.positives} - known
        )
        index.upsert([*evaluator.passages, *collection.index.get(answers)])
        evaluator = replace(evaluator, passages=tuple(index), control=None)
        base = evaluator.evaluate(encoder)
        for name in given.only:
            for seed in range(given.seeds):
                plan = replace(
                    VARIANTS[name],
                    epochs=given.epochs,
                    patience=given.epochs,
                    batch=given.batch,
                    seed=seed,
                )
                started = time.perf_counter()
                task = LastEpochTask(index, train_set, evaluator, plan, base)
                with tempfile.TemporaryDirectory() as work:
                    state = RunState(Path(work) / "run", "benchmark")
                    all_queries = np.ones(len(evaluator.held_out), np.bool_)
                    FineTuningRun(task, plan, state, all_queries, None).run()
                seconds = time.perf_counter() - started
                gains = compute_test_gains(base, task.measures, evaluator, train_set)
                turnover = ", ".join(f"{each:.2f}" for each in state.turnover)
                table.add_row(
                    f"{name}, seed {seed}", f"{seconds:.0f}", turnover, *gain_cells(gains)
                )
                console.print(
                    f"{name}, seed {seed}: {seconds:.0f} s;", *map(str, gains), sep="\n  "
                )
    console.print(
        f"{collection_name(given.folder)}: {len(train_set)} training queries, {len(test_set)} test "
        "queries"
    )
    console.print(table)


def compute_test_gains(
    base: QueryMeasures, after: QueryMeasures, evaluator: DevEvaluator, train_set: TrainingSet
) -> list[Gain]:
    """Return the gains of the test queries after the last epoch."""
    unseen = np.array(
        [train_set.positives.isdisjoint(each.positives) for each in evaluator.held_out]
    )
    return list(compute_gains(base, after, unseen, confidence=0.95))


def gain_cells(gains: list[Gain]) -> list[str]:
    """Return the cells of a row: all queries by mode, and the hybrid gain of unseen ones."""
    out = []
    for mode in ("dense", "hybrid"):
        gain = next(g for g in gains if (g.mode, g.group) == (mode, "all"))
        out += [f"{gain.after:.4f}", format_gain(gain)]
    unseen = [g for g in gains if (g.mode, g.group) == ("hybrid", "unseen")]
    cell = f"{unseen[0].queries}: {unseen[0].after:.4f} {format_gain(unseen[0])}" if unseen else ""
    return [*out, cell]


def format_gain(gain: Gain) -> str:
    """Return a gain with its interval."""
    interval = gain.interval
    return f"{interval.mean:+.4f} ({interval.low:+.3f} to {interval.high:+.3f})"


if __name__ == "__main__":
    main()
