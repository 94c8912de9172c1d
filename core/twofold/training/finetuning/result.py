"""The result of fine-tuning."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twofold.training.acceptance import TrainingResult
from twofold.training.adapter.fit import Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTunedModel(TrainingResult):
    """Outcome of ``train_encoder`` or ``train_reranker``; the index stays as it is.

    ``index.reencode(str(folder))`` puts an encoder to use, ``CrossEncoderReranker(folder)`` a
    cross-encoder.

    Attributes:
        folder: Folder of the model; None if it is rejected.
        passages: Number of passages that it was evaluated on.
        measure: Measure of the gains and the curve, in ir_measures' syntax.
        curve: Epochs with the measure of the validation queries.
        epoch: Number of the best epoch; 0 is the base.
        turnover: Share of the negatives that each epoch after the first replaced.
    """

    folder: Path | None = None
    passages: int = 0
    measure: str = "nDCG@10"
    curve: tuple[Epoch, ...] = ()
    epoch: int = 0
    turnover: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        curve = [{"epoch": e.number, "loss": e.loss, self.measure: e.ndcg} for e in self.curve]
        return {
            **TrainingResult.to_dict(self),
            "folder": str(self.folder) if self.folder is not None else None,
            "passages": self.passages,
            "epoch": self.epoch,
            "turnover": list(self.turnover),
            "curve": curve,
        }
