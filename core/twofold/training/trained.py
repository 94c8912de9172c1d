"""What training gave, and whether it is worth keeping."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twofold.encoders import QueryAdapter
from twofold.index import setting_as_dict
from twofold.protocols import Setting
from twofold.training.adapter_plan import AdapterPlan
from twofold.training.fitting import Epoch
from twofold.training.gain import Gain, Group
from twofold.tuning import Tuned, setting_in_words
from twofold.types import Mode


@dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of training a query adapter; nothing was written.

    ``adapter`` is what all queries together taught, None where there were too few. It is worth
    keeping if ``kept``; ``reason`` says why or why not. ``gains`` are held-out queries', with the
    ``setting`` that goes with the adapter, which ``tuned`` found or which was in use before.
    ``forgotten`` is what became of queries of another kind. ``curves`` are the epochs of each fold,
    and ``epochs`` how many the final one had. ``needed`` is how many queries would settle a gain of
    this size. To keep it, give the trained to ``keep``.
    """

    adapter: QueryAdapter | None
    kept: bool
    reason: str
    plan: AdapterPlan
    queries: int
    gains: tuple[Gain, ...] = ()
    forgotten: Gain | None = None
    blend: float = 1.0
    epochs: int = 0
    curves: tuple[tuple[Epoch, ...], ...] = ()
    setting: Setting | None = None
    tuned: Tuned | None = None
    needed: int | None = None
    card: Mapping[str, Any] | None = None

    def gain(self, mode: Mode, group: Group = "all") -> Gain | None:
        """Return one of the gains, None if there is none such."""
        return next((g for g in self.gains if (g.mode, g.group) == (mode, group)), None)

    def __str__(self) -> str:
        lines = [self.reason]
        for each in self.gains:
            what = "held-out queries" if each.group == "all" else f"{each.group} passages"
            lines.append(f"{each} on {each.queries:,} ({what})")
        if self.forgotten is not None:
            other = self.forgotten
            lines.append(f"{other} on {other.queries:,} (queries of another kind)")
        if self.kept and self.setting is not None:
            lines.append(f"with {setting_in_words(self.setting)}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the matrix as JSON values."""
        return {
            "kept": self.kept,
            "reason": self.reason,
            "queries": self.queries,
            "gains": [each.to_dict() for each in self.gains],
            "forgotten": self.forgotten.to_dict() if self.forgotten is not None else None,
            "blend": self.blend,
            "epochs": self.epochs,
            "setting": setting_as_dict(self.setting) if self.setting is not None else None,
            "tuned": self.tuned.to_dict() if self.tuned is not None else None,
            "queries_needed": self.needed,
            "card": dict(self.card) if self.card is not None else None,
            "curves": [
                [{"epoch": e.number, "loss": e.loss, "nDCG@10": e.ndcg} for e in curve]
                for curve in self.curves
            ],
        }
