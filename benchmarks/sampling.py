"""Seeded samples of texts and queries, with vectors, for the benchmarks."""

import random
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from vectors import draw_clustered_vectors

from twofold.corpus import Corpus
from twofold.encoders import DEFAULT_ENCODER, encoder_from_name

DIM = 384
_ENCODED = 4096  # texts per call of the encoder


@dataclass(frozen=True)
class Task:
    """Texts and queries with unit vectors."""

    texts: list[str]
    vectors: NDArray[np.float32]
    queries: list[str]
    query_vectors: NDArray[np.float32]


def sample_texts(path: str, count: int) -> list[str]:
    """Return a seeded sample of ``count`` texts with their titles."""
    texts = [passage.content for passage in Corpus.from_path(Path(path))]
    random.Random(0).shuffle(texts)
    return texts[:count]


def sample_task(path: str, count: int, queries: int, encoded: str | None) -> Task:
    """Sample texts, and queries of six words from one text each.

    ``encoded`` is a .npy file of the default encoder's vectors, created if it is missing. Without
    it, vectors are drawn in clusters, and a query's vector lies near that of its text.
    """
    texts = sample_texts(path, count)
    chosen = random.Random(1).sample(range(len(texts)), queries)
    words = [re.findall(r"\w+", texts[place].lower()) for place in chosen]
    sampled_queries = [" ".join(random.Random(2).sample(each, min(6, len(each)))) for each in words]
    if encoded is not None:
        encoder = encoder_from_name(DEFAULT_ENCODER)
        if not Path(encoded).exists():
            parts = [texts[at : at + _ENCODED] for at in range(0, len(texts), _ENCODED)]
            np.save(encoded, np.concatenate([encoder.encode_passages(part) for part in parts]))
        vectors = np.load(encoded)[:count]
        return Task(texts, vectors, sampled_queries, encoder.encode_queries(sampled_queries))
    vectors = np.concatenate(list(draw_clustered_vectors(len(texts), DIM, block=100_000)))
    noise = np.random.default_rng(0).standard_normal((queries, DIM), dtype=np.float32)
    query_vectors = vectors[chosen] + 0.02 * noise
    return Task(
        texts,
        vectors,
        sampled_queries,
        query_vectors / np.linalg.norm(query_vectors, axis=1, keepdims=True),
    )
