"""Checks of what is saved beside the passages: profiles, query adapters, segments."""

from collections.abc import Iterator
from typing import Any

from twofold.diagnosis.finding import Finding, percent
from twofold.diagnosis.sample import IndexSample, find_reciprocal_ranks, is_clearly_less

_CLEAR = 0.1
"""A loss of mean reciprocal rank that users notice."""
_SHALLOW = 10
"""Passages of a leg from which a profile considers enough."""
_DEAD = 0.3
"""The share of deleted rows from which segments are due for a merge."""


def check_saved(index: Any, sample: IndexSample) -> Iterator[Finding]:
    """Find profiles and query adapters that can't be used, or that were made for other vectors."""
    yield from _check_adapters(index)
    yield from _check_adapter_effect(sample)
    yield from _check_calibration(sample)
    yield from _check_profile(sample)
    yield from _check_segments(index)


def _check_adapters(index: Any) -> Iterator[Finding]:
    saved, profiles = getattr(index, "query_adapters", None), getattr(index, "profiles", None)
    if saved is None or profiles is None:
        return
    with index.open_search() as scope:
        used = scope.query_adapter is not None
        identity = scope.identity
    active = profiles.active
    name = profiles[active].query_adapter if active is not None else None
    if name is not None and not used:
        yield Finding(
            "stale-adapter",
            "error",
            f"the active profile {active!r} names the query adapter {name!r}, which is missing, "
            "damaged or of another model: searches use the library's defaults",
            "train it again with `twofold train`, or activate another profile",
        )
    for other in saved:
        if other == name and not used:
            continue
        try:
            adapter = saved[other]
        except OSError as error:
            yield Finding(
                "damaged-adapter",
                "warning",
                f"the query adapter {other!r} can't be read",
                "train it again, or drop it",
                evidence=(str(error),),
            )
            continue
        stale = adapter.dim != index.dim or bool(
            identity is not None and adapter.model and adapter.model != identity.fingerprint
        )
        if stale:
            yield Finding(
                "stale-adapter",
                "error" if other == name else "warning",
                f"the query adapter {other!r} was trained for another model than the index's",
                "train it again with `twofold train`, or drop it",
            )


def _check_adapter_effect(sample: IndexSample) -> Iterator[Finding]:
    """Find a query adapter with which sentences find their passage less often."""
    vectors = sample.encoding.vectors
    if sample.scope.query_adapter is None or vectors is None:
        return
    keys = sample.scan.keys[sample.probes].tolist()
    before = find_reciprocal_ranks(sample.search_dense(vectors), keys)
    after = find_reciprocal_ranks(sample.dense_hits, keys)
    if not is_clearly_less(before, after, _CLEAR):
        return
    yield Finding(
        "harmful-adapter",
        "error",
        "the active query adapter makes searches by meaning worse",
        "activate another profile (`twofold profiles DIR --use default`), and train again",
        evidence=(
            f"sentences find their own passage with a mean reciprocal rank of {after.mean():.2f} "
            f"with it and {before.mean():.2f} without",
        ),
    )


def _check_calibration(sample: IndexSample) -> Iterator[Finding]:
    """Find a calibration that was learned with other settings."""
    profile = sample.scope.profile
    calibration = profile.calibration if profile is not None else None
    if profile is None or calibration is None:
        return
    if calibration.settings == sample.scope.describe_settings(profile, calibration.mode):
        return
    yield Finding(
        "stale-calibration",
        "warning",
        "the active profile's calibration was learned with another model or other settings: hits "
        "have no confidence, and searches with abstain= are refused",
        "calibrate again with `twofold calibrate`",
    )


def _check_profile(sample: IndexSample) -> Iterator[Finding]:
    """Find a profile with which hardly any passages of a leg are considered."""
    profile = sample.scope.profile
    if profile is None:
        return
    if profile.depth < _SHALLOW:
        yield Finding(
            "shallow-profile",
            "warning",
            f"the active profile considers {profile.depth} passages of each leg, and finds no more "
            "that one leg ranks lower",
            "save a profile with a larger depth, such as 100, or tune with `twofold tune`",
        )
    weight = profile.fusion.dense_weight
    if weight in (0, 1) and len(sample.scope.capabilities.modes) > 1:
        leg = "dense" if weight == 0 else "lexical"
        yield Finding(
            "leg-without-weight",
            "note",
            f"the active profile gives the {leg} leg no weight: hybrid searches don't rank by it",
            "leave it, if it was tuned so; otherwise tune again, or activate another profile",
        )


def _check_segments(index: Any) -> Iterator[Finding]:
    """Find an index in a folder of which much is deleted rows."""
    if not hasattr(index, "view"):
        return
    with index.view() as view:
        dead, live = len(view.snapshot.dead), view.corpus.passages
    share = dead / max(dead + live, 1)
    if dead < 1_000 or share < _DEAD:
        return
    yield Finding(
        "deleted-rows",
        "note",
        f"{dead:,} rows ({percent(share)}) belong to deleted or replaced passages",
        "later writes merge them away; Index.copy leaves them out at once",
        share=share,
    )
