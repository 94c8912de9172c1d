"""Compares saved search profiles on judged queries."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from twofold.backend import SearchProfile, SearchScope
from twofold.backends.remote_index import StoredIndex
from twofold.encoders import QueryAdapter
from twofold.errors import CorruptIndexError
from twofold.evaluation import Interval, bootstrap_interval
from twofold.evaluation.measures import Qrels
from twofold.index import DEFAULT
from twofold.tuning.objective import TuningObjective, active_profile, default_profile
from twofold.types import Vectors


@dataclass(frozen=True, slots=True)
class ProfileComparison:
    """A profile with its mean measure, and its mean gain over the active profile."""

    name: str
    profile: SearchProfile
    mean: float
    gain: Interval


def compare_profiles(
    index: StoredIndex,
    queries: Mapping[str, str],
    qrels: Qrels,
    *,
    measure: str = "nDCG@10",
    vectors: Vectors | None = None,
) -> tuple[ProfileComparison, ...]:
    """Measure the default profile and every saved one on the same queries; nothing is written.

    Each profile is measured with its query adapter, or as the default profile if the adapter can't
    be read. A gain on queries that a profile was tuned or trained on is biased upward. Arguments
    and errors are those of ``tune`` and its plan.
    """
    saved, adapters = dict(index.profiles), index.query_adapters
    with index.open_search() as scope:
        defaults, active = default_profile(scope), active_profile(scope)
        profiles = {DEFAULT: defaults, **saved}
        served = {
            name: profile if _has_readable_adapter(profile, adapters) else defaults
            for name, profile in profiles.items()
        }
        adapter_names = {profile.query_adapter for profile in (*served.values(), active)}
        if vectors is None and adapter_names != {None}:
            vectors = _encode_judged(scope, queries, qrels)
        objectives = {}
        for name in adapter_names:
            adapted = vectors
            if name is not None:
                adapted = adapters[name](np.asarray(vectors, np.float32))
            objectives[name] = TuningObjective.from_qrels(scope, queries, qrels, measure, adapted)
        baseline = objectives[active.query_adapter].values(active)
        values = {
            name: objectives[profile.query_adapter].values(profile)
            for name, profile in served.items()
        }
    return tuple(
        ProfileComparison(
            name, profiles[name], float(row.mean()), bootstrap_interval(row - baseline)
        )
        for name, row in values.items()
    )


def _has_readable_adapter(profile: SearchProfile, adapters: Mapping[str, QueryAdapter]) -> bool:
    """Return whether a profile needs no query adapter, or has one that can be read."""
    if profile.query_adapter is None:
        return True
    try:
        adapters[profile.query_adapter]
    except (CorruptIndexError, KeyError):
        return False
    return True


def _encode_judged(scope: SearchScope, queries: Mapping[str, str], qrels: Qrels) -> Vectors:
    """Return the encoder's vectors (queries, dim); zeros for blank or unjudged queries."""
    texts = list(queries.values())
    judged = [
        at for at, (id_, text) in enumerate(queries.items()) if qrels.get(id_) and text.strip()
    ]
    vectors = np.zeros((len(texts), scope.session.corpus.dim or 0), np.float32)
    if judged:
        vectors[judged] = scope.encode_queries([texts[at] for at in judged], adapt=False)
    return vectors
