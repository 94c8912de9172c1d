"""What fine-tuning gave, and whether it is worth keeping."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twofold.training.fitting import Epoch
from twofold.training.gain import Gain, Group, gain_of, in_words
from twofold.types import Mode


@dataclass(frozen=True, slots=True)
class FineTuned:
    """The outcome of training an encoder or a cross-encoder; the index is as it was.

    ``folder`` has the model if it is ``kept``, and None stands for the base otherwise; ``reason``
    says why. ``gains`` are those of held-out queries over ``passages`` passages, ``forgotten`` what
    became of queries of another kind. ``curve`` is nDCG of the held-out queries by epoch, ``epoch``
    the best one's number, and ``turnover`` the share of negatives that each later epoch replaced.
    ``index.reencode(str(folder))`` uses an encoder, ``CrossEncoderReranker(folder)`` the other.
    """

    folder: Path | None
    kept: bool
    reason: str
    queries: int
    passages: int = 0
    gains: tuple[Gain, ...] = ()
    forgotten: Gain | None = None
    curve: tuple[Epoch, ...] = ()
    epoch: int = 0
    turnover: tuple[float, ...] = ()
    needed: int | None = None
    card: Mapping[str, Any] | None = None

    def gain(self, mode: Mode, group: Group = "all") -> Gain | None:
        """Return one of the gains, None if there is none such."""
        return gain_of(self.gains, mode, group)

    def __str__(self) -> str:
        return "\n".join(in_words(self.reason, self.gains, self.forgotten))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "kept": self.kept,
            "reason": self.reason,
            "folder": str(self.folder) if self.folder is not None else None,
            "queries": self.queries,
            "passages": self.passages,
            "gains": [each.to_dict() for each in self.gains],
            "forgotten": self.forgotten.to_dict() if self.forgotten is not None else None,
            "epoch": self.epoch,
            "turnover": list(self.turnover),
            "queries_needed": self.needed,
            "card": dict(self.card) if self.card is not None else None,
            "curve": [{"epoch": e.number, "loss": e.loss, "nDCG": e.ndcg} for e in self.curve],
        }


def written_card(folder: Path, tuned: FineTuned) -> None:
    """Write beside a model what it was made of and what it gave."""
    text = json.dumps(dict(tuned.card or {}), indent=2, ensure_ascii=False)
    (folder / "twofold.json").write_text(text, encoding="utf-8")
