"""Saved settings side by side, on judged queries."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twofold.backend import SearchProfile
from twofold.encoders import QueryAdapter
from twofold.errors import CorruptIndexError
from twofold.evaluation import Interval, bootstrap_interval
from twofold.index import DEFAULT, Index, IndexView
from twofold.tuning.objective import TuningObjective, defaults, in_use
from twofold.types import Vectors


@dataclass(frozen=True, slots=True)
class Compared:
    """A setting by its name, its mean, and its difference from the one in use."""

    name: str
    profile: SearchProfile
    mean: float
    gain: Interval


def compare_profiles(
    index: Index,
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    *,
    measure: str = "nDCG@10",
    vectors: Vectors | None = None,
) -> tuple[Compared, ...]:
    """Measure the defaults and every saved setting on the same queries; nothing is written.

    Each is measured as it would serve: with the query vectors of its own adapter, and as the
    library's defaults where that can't be had. A gain has its paired bootstrap interval; on queries
    that a setting was tuned or trained on, it is too good to be true. ``vectors`` (n, dim) are the
    encoder's, before any adapter. Takes and raises what ``tune`` does.
    """
    saved, adapters = dict(index.profiles), index.query_adapters
    with index.view() as view:
        usual = defaults(view)
        settings = {DEFAULT: usual, **saved}
        served = {
            name: each if _usable(each, adapters) else usual for name, each in settings.items()
        }
        names = {each.query_adapter for each in (*served.values(), in_use(view))}
        if vectors is None and names != {None}:
            vectors = _encoded(view, queries, qrels)
        benches = {}
        for name in names:
            own = adapters[name](np.asarray(vectors, np.float32)) if name is not None else vectors
            benches[name] = TuningObjective.of(view, queries, qrels, measure, own)
        now = benches[in_use(view).query_adapter].values(in_use(view))
        values = {name: benches[each.query_adapter].values(each) for name, each in served.items()}
    return tuple(
        Compared(name, settings[name], float(own.mean()), bootstrap_interval(own - now))
        for name, own in values.items()
    )


def _usable(profile: SearchProfile, adapters: Mapping[str, QueryAdapter]) -> bool:
    """Whether a setting needs no adapter, or has one whose file is as written."""
    if profile.query_adapter is None:
        return True
    try:
        adapters[profile.query_adapter]
    except (CorruptIndexError, KeyError):
        return False
    return True


def _encoded(
    view: IndexView, queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, int]]
) -> Vectors:
    """Return the encoder's vectors (queries, dim), zeros for those that are not measured."""
    pairs = enumerate(queries.items())
    asked = [place for place, (own, text) in pairs if qrels.get(own) and text.strip()]
    texts = list(queries.values())
    out = np.zeros((len(texts), view.snapshot.settings.dim or 0), np.float32)
    if asked:
        out[asked] = view.encode_queries([texts[place] for place in asked], adapted=False)
    return out
