"""Trains a query adapter at each of several temperatures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from twofold.backend import Searchable
from twofold.errors import InputError
from twofold.training.acceptance import Gain
from twofold.training.adapter.plan import AdapterPlan
from twofold.training.adapter.result import TrainedAdapter
from twofold.training.adapter.trainer import ProgressCallback, train_adapter
from twofold.training.data.examples import TrainingSet
from twofold.types import Vectors
from twofold.validation import check_temperature

TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """A temperature and the adapter trained at it."""

    temperature: float
    trained: TrainedAdapter

    @property
    def gain(self) -> Gain:
        """The gain of all held-out queries, in the index's own mode."""
        return self.trained.gains[0]

    def __str__(self) -> str:
        return f"temperature {self.temperature:g}: {self.gain}"


def sweep_temperatures(
    index: Searchable,
    training_set: TrainingSet,
    temperatures: Sequence[float] = TEMPERATURES,
    *,
    plan: AdapterPlan | None = None,
    vectors: Vectors | None = None,
    progress: ProgressCallback | None = None,
) -> tuple[SweepPoint, ...]:
    """Train an adapter at each temperature; nothing is written.

    The best gain of several is biased upward: train anew at the chosen temperature with another
    seed for an honest one. Arguments are as for ``train_adapter``.

    Raises:
        InputError: A temperature is out of range, or there are too few queries.
    """
    if not temperatures:
        raise InputError("temperatures must not be empty: pass some, such as (0.02, 0.05)")
    for temperature in temperatures:
        check_temperature(temperature)
    plan = plan if plan is not None else AdapterPlan()
    points: list[SweepPoint] = []
    for temperature in temperatures:
        given = replace(plan, temperature=temperature)
        trained = train_adapter(index, training_set, plan=given, vectors=vectors, progress=progress)
        if not trained.gains:
            raise InputError(trained.reason)
        points.append(SweepPoint(temperature, trained))
    return tuple(points)
