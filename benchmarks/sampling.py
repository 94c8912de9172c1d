"""Texts, queries and their vectors for the benchmarks: the same for the same file."""

import random
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vectors import clustered

from twofold.corpus import Corpus
from twofold.encoders import DEFAULT_ENCODER, encoder_from_name

DIM = 384
_ENCODED = 4096  # texts at a time


@dataclass(frozen=True)
class Task:
    """Texts and queries with their vectors, of unit length."""

    texts: list[str]
    vectors: NDArray[np.float32]
    queries: list[str]
    query_vectors: NDArray[np.float32]


def sampled_texts(path: str, count: int) -> list[str]:
    """Return ``count`` texts with their titles."""
    texts = [passage.content for passage in Corpus.from_path(Path(path))]
    random.Random(0).shuffle(texts)
    return texts[:count]


def sampled_task(path: str, count: int, queries: int, encoded: str | None) -> Task:
    """Draw texts, and queries of six words of one text each.

    Vectors lie in seeded clusters, a query's near its text's; or they are real: ``encoded`` is a
    .npy file of the texts' by the default encoder, made here if it is missing.
    """
    texts = sampled_texts(path, count)
    chosen = random.Random(1).sample(range(len(texts)), queries)
    words = [re.findall(r"\w+", texts[place].lower()) for place in chosen]
    asked = [" ".join(random.Random(2).sample(each, min(6, len(each)))) for each in words]
    if encoded is not None:
        encoder = encoder_from_name(DEFAULT_ENCODER)
        if not Path(encoded).exists():
            parts = [texts[at : at + _ENCODED] for at in range(0, len(texts), _ENCODED)]
            np.save(encoded, np.concatenate([encoder.encode_passages(part) for part in parts]))
        vectors = np.load(encoded)[:count]
        return Task(texts, vectors, asked, encoder.encode_queries(asked))
    vectors = np.concatenate(list(clustered(len(texts), DIM, block=100_000)))
    noise = np.random.default_rng(0).standard_normal((queries, DIM), dtype=np.float32)
    near = vectors[chosen] + 0.02 * noise
    return Task(texts, vectors, asked, near / np.linalg.norm(near, axis=1, keepdims=True))
