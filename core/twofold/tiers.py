"""When immutable segments merge: neighbours of about the same size, four at a time."""

from collections.abc import Sequence

FACTOR = 4


def due(sizes: Sequence[int]) -> slice | None:
    """Return the run of neighbouring segments to merge now, or None.

    A segment of n rows is of tier floor(log4 n). Four neighbours, none of a higher tier than the
    last, are merged; so each row is copied about log4 N times, and about 3 log4 N segments stay.
    Tiered merging as in log-structured merge trees (O'Neil et al., Acta Informatica 33, 1996).
    """
    if not sizes:
        return None
    tiers = [_tier(size) for size in sizes]
    start = len(sizes) - 1
    while start > 0 and tiers[start - 1] <= tiers[-1]:
        start -= 1
    alike = sum(tier == tiers[-1] for tier in tiers[start:])
    return slice(start, len(sizes)) if alike >= FACTOR else None


def _tier(size: int) -> int:
    """Return floor(log4 size), 0 for sizes below 4."""
    return max(size.bit_length() - 1, 0) // 2
