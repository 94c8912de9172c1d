"""The result of query adapter training, and saving it to an index."""

from dataclasses import dataclass, replace
from typing import Any

from twofold.backend import SearchProfile
from twofold.backends.remote_index import StoredIndex
from twofold.encoders import QueryAdapter
from twofold.errors import InputError
from twofold.index import profile_as_dict
from twofold.index.saved.collection import free_name
from twofold.training.acceptance import TrainingResult
from twofold.training.adapter.fit import Epoch
from twofold.training.adapter.plan import AdapterPlan
from twofold.tuning import TuningResult, describe_profile


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedAdapter(TrainingResult):
    """Result of ``train_adapter``, which writes nothing: ``keep`` saves it to the index.

    Attributes:
        adapter: The adapter fitted on all queries; None with too few queries.
        plan: The hyperparameters of the training.
        interpolation: Weight of the learned matrix in the adapter; the identity has the rest.
        epochs: Epochs of the final fit.
        curves: Epochs of each fold's fit.
        profile: Search profile to use with the adapter: ``tuned.profile``, or the active one if
            unseen queries lose by that. ``gains`` are measured with the active one.
        tuned: Result of tuning the fusion to the adapted queries; None without a lexical leg.
        vector_set: Number of the index's vector set; it changes when the index is reencoded.
    """

    adapter: QueryAdapter | None
    plan: AdapterPlan
    interpolation: float = 1.0
    epochs: int = 0
    curves: tuple[tuple[Epoch, ...], ...] = ()
    profile: SearchProfile | None = None
    tuned: TuningResult | None = None
    vector_set: int | None = None

    @property
    def measure(self) -> str:
        """The measure of the gains, in ir_measures' syntax."""
        return self.plan.measure

    def __str__(self) -> str:
        lines = [TrainingResult.__str__(self)]
        if self.accepted and self.profile is not None:
            lines.append(f"with {describe_profile(self.profile)}")
        if self.tuned is not None:
            lines.append(f"fusion tuned to the adapter: {self.tuned}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values, without the adapter's matrix and the plan."""
        return {
            **TrainingResult.to_dict(self),
            "interpolation": self.interpolation,
            "epochs": self.epochs,
            "profile": profile_as_dict(self.profile) if self.profile is not None else None,
            "tuned": self.tuned.to_dict() if self.tuned is not None else None,
            "curves": [
                [{"epoch": e.number, "loss": e.loss, "nDCG@10": e.ndcg} for e in curve]
                for curve in self.curves
            ],
        }


def choose_name(index: StoredIndex) -> str:
    """Return the first of trained, trained-2 ... that no adapter or profile of the index has."""
    return free_name("trained", {*index.query_adapters, *index.profiles})


def keep(
    index: StoredIndex, trained: TrainedAdapter, *, name: str | None = None, use: bool = True
) -> str:
    """Save a trained adapter and its search profile under one name, and return the name.

    To deactivate both, activate another profile: ``index.profiles.use(name_or_none)``.

    Args:
        index: The index that the adapter was trained on.
        trained: Result of ``train_adapter``.
        name: Name of adapter and profile. Default: the first free one of trained, trained-2 ...
        use: Whether to activate the profile, and with it the adapter.

    Raises:
        InputError: The name is taken, there is no adapter, or the index was reencoded since.
        IndexLockedError: Another process writes to the index.
        ReadOnlyError: The index is open for reading only.
    """
    if trained.adapter is None or trained.profile is None:
        raise InputError(f"there is no adapter to keep: {trained.reason}")
    with index.open_search() as scope:
        active = scope.session.corpus.vector_set
    if active != trained.vector_set:
        raise InputError(
            "the adapter was trained on other vectors than the index has now, since the index was "
            "reencoded: train again"
        )
    name = name if name is not None else choose_name(index)
    # Both names are checked before anything is written.
    index.profiles.new_name(name)
    index.query_adapters.new_name(name)
    index.query_adapters.save(name, trained.adapter)
    index.profiles.save(name, replace(trained.profile, query_adapter=name), use=use)
    return name
