"""Training on one's own data that never makes retrieval worse."""

from twofold.training.adapter_plan import AdapterPlan
from twofold.training.adapting import Step, train_adapter
from twofold.training.audit import (
    Verdict,
    Verdicts,
    read_audit,
    suspected_share,
    with_verdicts,
    write_audit,
)
from twofold.training.clicks import (
    ClickPlan,
    Session,
    estimated_propensities,
    from_clicks,
    read_clicks,
)
from twofold.training.curves import plot_curves
from twofold.training.dpr import read_dpr
from twofold.training.encoder_plan import EncoderPlan
from twofold.training.encoder_training import train_encoder
from twofold.training.example import Example
from twofold.training.fine_tuned import FineTuned
from twofold.training.fitting import Epoch
from twofold.training.gain import Gain
from twofold.training.keeping import keep
from twofold.training.mining import Miner, Mining, mine
from twofold.training.negative import MinedNegatives, Negative, Suspect, turnover
from twofold.training.report import training_report
from twofold.training.reranker_plan import RerankerPlan
from twofold.training.reranker_training import train_reranker
from twofold.training.splitting import Split, folds, split, unseen
from twofold.training.sweep import Swept, plot_sweep, sweep_temperatures
from twofold.training.synthetic import (
    FirstSentences,
    Generated,
    Headings,
    Keyphrases,
    Maker,
    RoundTrip,
    Titles,
    round_trip,
    synthetic,
)
from twofold.training.trained import Trained
from twofold.training.training_set import TrainingSet
from twofold.training.triples import read_id_triples, read_triples

__all__ = [
    "AdapterPlan",
    "ClickPlan",
    "EncoderPlan",
    "Epoch",
    "Example",
    "FineTuned",
    "FirstSentences",
    "Gain",
    "Generated",
    "Headings",
    "Keyphrases",
    "Maker",
    "MinedNegatives",
    "Miner",
    "Mining",
    "Negative",
    "RerankerPlan",
    "RoundTrip",
    "Session",
    "Split",
    "Step",
    "Suspect",
    "Swept",
    "Titles",
    "Trained",
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
