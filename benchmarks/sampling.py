"""Texts for the benchmarks: a seeded sample of a corpus file."""

import random
from pathlib import Path

from twofold.corpus import Corpus


def sampled_texts(path: str, count: int) -> list[str]:
    """Return ``count`` texts with their titles, the same for the same file."""
    texts = [passage.content for passage in Corpus.at(Path(path))]
    random.Random(0).shuffle(texts)
    return texts[:count]
