"""What training gave, and whether it is worth keeping."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from twofold.backend import SearchProfile
from twofold.encoders import QueryAdapter
from twofold.errors import InputError
from twofold.index import Index, profile_as_dict
from twofold.index.saved.names import free_name
from twofold.training.acceptance import Gain, Group, find_gain, in_words
from twofold.training.adapter.fit import Epoch
from twofold.training.adapter.plan import AdapterPlan
from twofold.tuning import TuningResult, setting_in_words
from twofold.types import Mode


@dataclass(frozen=True, slots=True)
class TrainedAdapter:
    """The outcome of training a query adapter; nothing was written.

    ``adapter`` is what all queries together taught, None where there were too few. It is worth
    keeping if ``kept``; ``reason`` says why or why not. ``gains`` are held-out queries', by the
    fusion that was in use, so that they are the adapter's alone. ``setting`` goes with it: what
    ``tuned`` found for the adapted queries if that is a sure gain of its own, else the one in use.
    ``vector_set`` is the number of the index's vectors that it was learned beside.
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
    profile: SearchProfile | None = None
    tuned: TuningResult | None = None
    needed: int | None = None
    card: Mapping[str, Any] | None = None
    vector_set: int | None = None

    @property
    def measure(self) -> str:
        """What the gains are of, in ir_measures' grammar."""
        return self.plan.measure

    def gain(self, mode: Mode, group: Group = "all") -> Gain | None:
        """Return one of the gains, None if there is none such."""
        return find_gain(self.gains, mode, group)

    def __str__(self) -> str:
        lines = in_words(self.reason, self.gains, self.forgotten)
        if self.kept and self.profile is not None:
            lines.append(f"with {setting_in_words(self.profile)}")
        if self.tuned is not None:
            lines.append(f"the fusion, tuned to it: {self.tuned}")
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
            "setting": profile_as_dict(self.profile) if self.profile is not None else None,
            "tuned": self.tuned.to_dict() if self.tuned is not None else None,
            "queries_needed": self.needed,
            "card": dict(self.card) if self.card is not None else None,
            "curves": [
                [{"epoch": e.number, "loss": e.loss, "nDCG@10": e.ndcg} for e in curve]
                for curve in self.curves
            ],
        }


def new_name(index: Index) -> str:
    """Return the first of trained, trained-2 ... that neither an adapter nor a setting has."""
    return free_name("trained", {*index.query_adapters, *index.profiles})


def keep(
    index: Index, trained: TrainedAdapter, *, name: str | None = None, use: bool = True
) -> str:
    """Save an adapter with its setting, and put both to use; return the name that both have.

    ``name`` is the first free of trained, trained-2 ... if left out. To go back:
    ``index.profiles.use(...)`` with the name of before, or None for the library's defaults, or
    delete the adapter's file. Raises InputError for a name that is taken, and where there is
    nothing to keep, IndexLockedError, ReadOnlyError.
    """
    if trained.adapter is None or trained.profile is None:
        raise InputError(f"there is no adapter to keep: {trained.reason}")
    with index.view() as view:
        now = view.snapshot.vector_set
    if now is None or now.number != trained.vector_set:
        raise InputError(
            "the index has other vectors than those that the adapter was learned beside: it was "
            "encoded anew since; train again"
        )
    if name is None:
        name = new_name(index)
    # What is taken is refused before anything is written.
    index.profiles.new_name(name)
    index.query_adapters.new_name(name)
    index.query_adapters.save(name, trained.adapter)
    index.profiles.save(name, replace(trained.profile, adapter=name), use=use)
    return name
