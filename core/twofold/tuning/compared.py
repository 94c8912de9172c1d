"""Saved settings side by side, on judged queries."""

from collections.abc import Mapping
from dataclasses import dataclass

from twofold.evaluation import Interval, bootstrap_interval
from twofold.index import DEFAULT, Index
from twofold.protocols import Setting
from twofold.tuning.bench import Bench
from twofold.tuning.defaults import defaults, in_use
from twofold.types import Vectors


@dataclass(frozen=True, slots=True)
class Compared:
    """A setting by its name, its mean, and its difference from the one in use."""

    name: str
    setting: Setting
    mean: float
    gain: Interval


def compare_settings(
    index: Index,
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    measure: str = "nDCG@10",
    vectors: Vectors | None = None,
) -> tuple[Compared, ...]:
    """Measure the defaults and every saved setting on the same queries; nothing is written.

    A gain has its paired bootstrap interval; on queries that a setting was tuned on, it is too good
    to be true. Takes and raises what ``tune`` does.
    """
    saved = dict(index.settings)
    with index.view() as view:
        bench = Bench.of(view, queries, qrels, measure, vectors)
        now = bench.values(in_use(view))
        settings = {DEFAULT: defaults(view), **saved}
        values = {name: bench.values(each) for name, each in settings.items()}
    return tuple(
        Compared(name, settings[name], float(own.mean()), bootstrap_interval(own - now))
        for name, own in values.items()
    )
