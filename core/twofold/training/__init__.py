"""Training of query adapters, encoders and cross-encoders, kept if held-out queries gain."""

from twofold.training.acceptance import Gain
from twofold.training.adapter.fit import Epoch
from twofold.training.adapter.plan import AdapterPlan
from twofold.training.adapter.result import TrainedAdapter, keep
from twofold.training.adapter.trainer import (
    SweepPoint,
    TrainingProgress,
    sweep_temperatures,
    train_adapter,
)
from twofold.training.data.clicks import (
    ClickPlan,
    Session,
    estimate_propensities,
    examples_from_clicks,
    read_clicks,
)
from twofold.training.data.examples import Example, TrainingSet
from twofold.training.data.readers import read_dpr, read_id_triples, read_triples
from twofold.training.data.splitting import Split, split, split_folds, unseen_queries
from twofold.training.data.synthetic import (
    FirstSentences,
    Generated,
    Headings,
    Keyphrases,
    QueryGenerator,
    RoundTrip,
    Titles,
    filter_round_trip,
    generate_examples,
)
from twofold.training.finetuning.encoder import train_encoder
from twofold.training.finetuning.loop import FineTunedModel
from twofold.training.finetuning.plans import EncoderPlan, RerankerPlan
from twofold.training.finetuning.reranker import train_reranker
from twofold.training.negatives import MinedNegatives, Mining, Negative, mine, turnover
from twofold.training.reporting import plot_curves, plot_sweep, training_report

__all__ = [
    "AdapterPlan",
    "ClickPlan",
    "EncoderPlan",
    "Epoch",
    "Example",
    "FineTunedModel",
    "FirstSentences",
    "Gain",
    "Generated",
    "Headings",
    "Keyphrases",
    "MinedNegatives",
    "Mining",
    "Negative",
    "QueryGenerator",
    "RerankerPlan",
    "RoundTrip",
    "Session",
    "Split",
    "SweepPoint",
    "Titles",
    "TrainedAdapter",
    "TrainingProgress",
    "TrainingSet",
    "estimate_propensities",
    "examples_from_clicks",
    "filter_round_trip",
    "generate_examples",
    "keep",
    "mine",
    "plot_curves",
    "plot_sweep",
    "read_clicks",
    "read_dpr",
    "read_id_triples",
    "read_triples",
    "split",
    "split_folds",
    "sweep_temperatures",
    "train_adapter",
    "train_encoder",
    "train_reranker",
    "training_report",
    "turnover",
    "unseen_queries",
]
