"""What fine-tuning gave, and whether it is worth keeping."""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twofold.training.acceptance import Gain, Group, find_gain, in_words
from twofold.training.adapter.fit import Epoch
from twofold.training.finetuning.loop import RunState
from twofold.types import Mode


@dataclass(frozen=True, slots=True)
class FineTunedModel:
    """The outcome of training an encoder or a cross-encoder; the index is as it was.

    ``folder`` has the model if it is ``kept``, and None stands for the base otherwise; ``reason``
    says why. ``gains`` are those of held-out queries over ``passages`` passages, ``forgotten`` what
    became of queries of another kind. ``curve`` is the ``measure`` of the queries that choose by
    epoch, ``epoch`` the best one's number, and ``turnover`` the share of negatives that each later
    epoch replaced.
    ``index.reencode(str(folder))`` uses an encoder, ``CrossEncoderReranker(folder)`` the other.
    """

    folder: Path | None
    kept: bool
    reason: str
    queries: int
    passages: int = 0
    measure: str = "nDCG@10"
    gains: tuple[Gain, ...] = ()
    forgotten: Gain | None = None
    curve: tuple[Epoch, ...] = ()
    epoch: int = 0
    turnover: tuple[float, ...] = ()
    needed: int | None = None
    card: Mapping[str, Any] | None = None

    def gain(self, mode: Mode, group: Group = "all") -> Gain | None:
        """Return one of the gains, None if there is none such."""
        return find_gain(self.gains, mode, group)

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
            "curve": [
                {"epoch": e.number, "loss": e.loss, self.measure: e.ndcg} for e in self.curve
            ],
        }


def finalize_model(
    done: FineTunedModel, record: RunState, model: Path, folder: Path
) -> FineTunedModel:
    """Put the model into its folder with a card beside it, if it is kept; delete all the rest."""
    if done.kept:
        shutil.copytree(model, folder, dirs_exist_ok=True)
        text = json.dumps(dict(done.card or {}), indent=2, ensure_ascii=False)
        (folder / "twofold.json").write_text(text, encoding="utf-8")
        done = replace(done, folder=folder)
    record.delete()
    if not done.kept:
        with suppress(OSError):  # something else came into the folder, which stays
            folder.rmdir()
    return done
