"""Checks that several fusions share."""

import math

import numpy as np

from twofold.errors import InputError


def check_weight(
    value: float, name: str = "dense_weight", low: float = 0.0, high: float = 1.0
) -> None:
    """Raise InputError if a parameter is not a finite number in its range."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and low <= value <= high):
        wanted = f"between {low:g} and {high:g}" if math.isfinite(high) else f"of at least {low:g}"
        raise InputError(f"{name} is {value!r}: a number {wanted} is wanted")
