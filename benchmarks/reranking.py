"""Pairs per second of CrossEncoderReranker and of CrossEncoder.predict with its defaults.

    python benchmarks/reranking.py CORPUS [--queries N] [--candidates N] [--rounds N] [--model NAME]

CORPUS is a folder in BEIR's layout. Each query is paired with a seeded sample of passages and bare
titles, so that lengths vary. Both systems take turns with the same model and the same pairs, and
the best round counts. The default model is MiniLM with a random head, as fast as a trained one.
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from twofold.corpus import Corpus, read_queries
from twofold.encoders.batching import TokenCounter
from twofold.encoders.model_spec import DEFAULT_ENCODER, resolve_model_source
from twofold.rerank import CrossEncoderReranker


def main() -> None:
    import torch
    from sentence_transformers import CrossEncoder

    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default=None)
    options = parser.parse_args()
    rng = random.Random(0)
    queries = list(read_queries(next(options.corpus.glob("queries.jsonl*"))).values())
    sampled_queries = rng.sample(queries, min(options.queries, len(queries)))
    passages = list(Corpus.from_path(options.corpus))
    texts = [
        [rng.choice([p.content, p.title]) for p in rng.sample(passages, count)]
        for count in [min(options.candidates, len(passages))] * len(sampled_queries)
    ]
    source = options.model if options.model is not None else resolve_model_source(DEFAULT_ENCODER)
    peer = CrossEncoder(source, num_labels=1, device="cpu")
    ours = CrossEncoderReranker(peer)
    pairs = [
        (query, text) for query, part in zip(sampled_queries, texts, strict=True) for text in part
    ]
    lengths = TokenCounter(peer.tokenizer).count([text for _, text in pairs])
    best = {"CrossEncoder.predict": np.inf, "twofold": np.inf}
    largest_difference = 0.0
    for _ in range(options.rounds):
        started = time.perf_counter()
        theirs = peer.predict(pairs)
        best["CrossEncoder.predict"] = min(
            best["CrossEncoder.predict"], time.perf_counter() - started
        )
        started = time.perf_counter()
        found = np.concatenate(ours.rerank(sampled_queries, texts))
        best["twofold"] = min(best["twofold"], time.perf_counter() - started)
        largest_difference = max(largest_difference, float(np.abs(found - theirs).max()))
    console = Console(width=120)
    console.print(
        f"{len(pairs):,} pairs, passages of {lengths.min()} to {lengths.max()} tokens, mean "
        f"{lengths.mean():.0f}, {torch.get_num_threads()} threads, best of {options.rounds} "
        f"rounds; scores differ by at most {largest_difference:.1e}"
    )
    table = Table("", "pairs/s", "of predict")
    for name, seconds in best.items():
        ratio = best["CrossEncoder.predict"] / seconds
        table.add_row(name, f"{len(pairs) / seconds:,.1f}", f"{ratio:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
