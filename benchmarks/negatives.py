"""What each kind of negatives gives in fine-tuning: nDCG@10 of test queries that are used once.

    python benchmarks/negatives.py FOLDER [--train 500] [--test 300] [--passages 1000] [--epochs 3]
                                   [--length 64] [--batch 32] [--seeds 1] [--only NAME ...]

FOLDER is in BEIR's layout; with ``qrels/train.tsv`` that is learned from, else a part of the test
queries. All variants train as long, on the same pairs, and read ``length`` tokens when they learn
and when they are asked, the base too. The passages are those that answer, those that come near,
and a sample. Random negatives come first, as in ``train_encoder``; the mix from epoch 2 on.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from judged import MEASURE, judged, title_of
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


def sets(folder: Path, train: int, test: int) -> tuple[TrainingSet, TrainingSet]:
    """Return what is learned from and what is asked, at most so many queries of each."""
    queries = read_queries(next(path for path in sorted(folder.glob("queries.jsonl*"))))
    parts = {name: folder / "qrels" / f"{name}.tsv" for name in ("train", "test")}
    asked = TrainingSet.from_qrels(queries, read_qrels(parts["test"]))
    if parts["train"].exists():
        learned = TrainingSet.from_qrels(queries, read_qrels(parts["train"]))
    else:
        halves = split(asked, min(test / len(asked), 0.5), by="passage", seed=0)
        learned, asked = halves.train, halves.test
    return sampled(learned, train), sampled(asked, test)


def sampled(some: TrainingSet, most: int) -> TrainingSet:
    """Return at most so many examples, drawn by a fixed seed."""
    order = np.random.default_rng(0).permutation(len(some))[:most]
    return TrainingSet(tuple(some[place] for place in sorted(order.tolist())))


class Last(EncoderTask):
    """Is evaluated after the last epoch only, so that the test queries choose no epoch."""

    def __init__(
        self,
        index: Index,
        learned: TrainingSet,
        exam: DevEvaluator,
        plan: EncoderPlan,
        base: QueryMeasures,
    ) -> None:
        super().__init__(index, learned, exam, plan)
        self.measures = base
        self._epochs = plan.epochs
        self._number = 0

    def begin_epoch(self, number: int, state: RunState) -> None:
        """Mine, and remember the epoch."""
        super().begin_epoch(number, state)
        self._number = number

    def evaluate(self, *, base: bool = False) -> QueryMeasures:
        """Return the measures of the last epoch, and those of the base before it."""
        if self._number == self._epochs:
            self.measures = super().evaluate(base=base)
        return self.measures


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("folder", type=Path)
    for name, usual in (("train", 500), ("test", 300), ("passages", 1_000), ("epochs", 3)):
        options.add_argument(f"--{name}", type=int, default=usual)
    for name, usual in (("length", 64), ("batch", 32), ("seeds", 1)):
        options.add_argument(f"--{name}", type=int, default=usual)
    options.add_argument("--only", nargs="+", default=list(VARIANTS))
    given = options.parse_args()
    learned, asked = sets(given.folder, given.train, given.test)
    encoder = SentenceTransformerEncoder(MODEL, options=ModelOptions(max_length=given.length))
    table = Table("negatives", "seconds", "turnover", "dense", "gain", "hybrid", "gain", "unseen")
    with judged(given.folder) as found, Index.open(None, encoder=encoder) as index:
        # Chosen by the whole index, asked over what the smaller one holds.
        most = given.passages
        exam = DevEvaluator.from_index(found.index, asked, asked, learned, most, MEASURE)
        known = {each.id for each in exam.passages}
        answers = sorted({own for each in learned for own in each.positives} - known)
        index.upsert([*exam.passages, *found.index.get(answers)])
        exam = replace(exam, passages=tuple(index), control=None)
        base = exam.evaluate(encoder)
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
                task = Last(index, learned, exam, plan, base)
                with tempfile.TemporaryDirectory() as work:
                    state = RunState(Path(work) / "run", "benchmark")
                    everyone = np.ones(len(exam.held_out), np.bool_)
                    FineTuningRun(task, plan, state, everyone, None).run()
                seconds = time.perf_counter() - started
                gains = judged_by(base, task.measures, exam, learned)
                turnover = ", ".join(f"{each:.2f}" for each in state.turnover)
                table.add_row(f"{name}, seed {seed}", f"{seconds:.0f}", turnover, *cells(gains))
                console.print(
                    f"{name}, seed {seed}: {seconds:.0f} s;", *map(str, gains), sep="\n  "
                )
    console.print(f"{title_of(given.folder)}: {len(learned)} learned from, {len(asked)} asked")
    console.print(table)


def judged_by(
    base: QueryMeasures, after: QueryMeasures, exam: DevEvaluator, learned: TrainingSet
) -> list[Gain]:
    """Return the gains of the test queries after the last epoch."""
    unseen = np.array([learned.positives.isdisjoint(each.positives) for each in exam.held_out])
    return list(compute_gains(base, after, unseen, confidence=0.95))


def cells(gains: list[Gain]) -> list[str]:
    """Return the figures of a row: all queries by mode, and the unseen ones' hybrid gain."""
    out = []
    for mode in ("dense", "hybrid"):
        each = next(own for own in gains if (own.mode, own.group) == (mode, "all"))
        out += [f"{each.after:.4f}", said(each)]
    other = [own for own in gains if (own.mode, own.group) == ("hybrid", "unseen")]
    return [*out, f"{other[0].queries}: {other[0].after:.4f} {said(other[0])}" if other else ""]


def said(gain: Gain) -> str:
    """Return a gain with its interval."""
    each = gain.interval
    return f"{each.mean:+.4f} ({each.low:+.3f} to {each.high:+.3f})"


if __name__ == "__main__":
    main()
