"""Training on one's own data that never makes retrieval worse."""

from twofold.training.acceptance import Gain
from twofold.training.adapter.fit import Epoch
from twofold.training.adapter.plan import AdapterPlan
from twofold.training.adapter.result import TrainedAdapter, keep
from twofold.training.adapter.temperature_sweep import SweepPoint, plot_sweep, sweep_temperatures
from twofold.training.adapter.trainer import Step, train_adapter
from twofold.training.data.clicks import (
    ClickPlan,
    Session,
    estimated_propensities,
    from_clicks,
    read_clicks,
)
from twofold.training.data.examples import Example, TrainingSet
from twofold.training.data.readers import read_dpr, read_id_triples, read_triples
from twofold.training.data.splitting import Split, folds, split, unseen
from twofold.training.data.synthetic import (
    FirstSentences,
    Generated,
    Headings,
    Keyphrases,
    QueryGenerator,
    RoundTrip,
    Titles,
    round_trip,
    synthetic,
)
from twofold.training.finetuning.encoder import train_encoder
from twofold.training.finetuning.plans import EncoderPlan, RerankerPlan
from twofold.training.finetuning.reranker import train_reranker
from twofold.training.finetuning.result import FineTunedModel
from twofold.training.negatives.audit import (
    Verdict,
    Verdicts,
    read_audit,
    suspected_share,
    with_verdicts,
    write_audit,
)
from twofold.training.negatives.candidates import MinedNegatives, Negative, Suspect, turnover
from twofold.training.negatives.mining import Miner, Mining, mine
from twofold.training.reporting import plot_curves, training_report

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
    "Miner",
    "Mining",
    "Negative",
    "QueryGenerator",
    "RerankerPlan",
    "RoundTrip",
    "Session",
    "Split",
    "Step",
    "Suspect",
    "SweepPoint",
    "Titles",
    "TrainedAdapter",
    "TrainingSet",
    "Verdict",
    "Verdicts",
    "estimated_propensities",
    "folds",
    "from_clicks",
    "keep",
    "mine",
    "plot_curves",
    "plot_sweep",
    "read_audit",
    "read_clicks",
    "read_dpr",
    "read_id_triples",
    "read_triples",
    "round_trip",
    "split",
    "suspected_share",
    "sweep_temperatures",
    "synthetic",
    "train_adapter",
    "train_encoder",
    "train_reranker",
    "training_report",
    "turnover",
    "unseen",
    "with_verdicts",
    "write_audit",
]
