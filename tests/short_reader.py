"""An encoder that reads the first words of a text alone, and locates its words."""

import re

import numpy as np

from twofold import HashingEncoder, Metric
from twofold.types import EncoderIdentity

_WORD = re.compile(r"\S+")


class ShortReader(HashingEncoder):
    """Hashes the first ``reads`` words of a text, scaled for metrics that regard the length.

    ``encoded`` lists all passages that it has encoded.
    """

    name = "./short-reader"  # no such folder: it can't be looked up

    def __init__(self, reads=12, metric=Metric.COSINE, stop_after=10**9):
        self.reads = reads
        self.metric = metric
        self.stop_after = stop_after
        self.encoded = []

    @property
    def identity(self):
        return EncoderIdentity(self.name, self.dim, self.metric, f"short-reader-{self.reads}")

    @property
    def max_tokens(self):
        return self.reads

    def token_spans(self, texts):
        found = [[match.span() for match in _WORD.finditer(text)] for text in texts]
        return [np.array(spans) if len(spans) > self.reads else None for spans in found]

    def vectors(self, texts):
        heads = [" ".join(_WORD.findall(text)[: self.reads]) for text in texts]
        sizes = [1 + len(head) % 5 / 4 for head in heads]
        vectors = HashingEncoder.encode_passages(HashingEncoder(), heads)
        return vectors if self.metric is Metric.COSINE else vectors * np.float32(sizes)[:, None]

    def encode_queries(self, texts):
        return self.vectors(texts)

    def encode_passages(self, texts):
        if len(self.encoded) > self.stop_after:
            raise KeyboardInterrupt
        self.encoded += texts
        return self.vectors(texts)
