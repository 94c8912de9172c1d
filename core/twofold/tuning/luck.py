"""How likely the best of many settings is to look this good by luck alone."""

import math

import numpy as np

from twofold.types import Scores

SAMPLES = 2_000
"""Draws of signs; a multiple of the smallest p that matters."""
_BLOCK = 1 << 22  # numbers drawn at a time


def luck(differences: Scores, chosen: Scores, *, seed: int = 0) -> float:
    """Return how often the best of all settings would look as good as the chosen one by luck.

    ``differences`` (settings, queries) are those of every setting that was tried from the one in
    use, ``chosen`` (queries,) those of the one that was found. If no setting were better, each
    query's differences might have had the other sign, those of all settings together. So this is
    the share of draws of signs in which any setting has as large a mean, in standard errors: the
    adjusted p of Westfall and Young, Resampling-Based Multiple Testing (1993). Held-out queries
    alone don't show this: where all folds choose the same setting, what they measure is what they
    chose by.
    """
    own = math.sqrt(float((chosen * chosen).sum()))
    if own == 0:
        return 1.0
    reached = float(chosen.sum()) / own
    lengths = np.sqrt((differences * differences).sum(axis=1))
    scaled = (differences[lengths > 0] / lengths[lengths > 0, None]).astype(np.float32)
    rng = np.random.default_rng(seed)
    step = max(1, min(SAMPLES, _BLOCK // max(scaled.shape)))
    count = 0
    for start in range(0, SAMPLES, step):
        size = min(step, SAMPLES - start)
        signs = rng.integers(0, 2, size=(scaled.shape[1], size)).astype(np.float32) * 2 - 1
        # Sums that are equal on paper differ in their last bits.
        count += int(((scaled @ signs).max(axis=0) >= reached - 1e-5).sum())
    return (count + 1) / (SAMPLES + 1)
