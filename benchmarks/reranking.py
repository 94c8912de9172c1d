"""Pairs a second by CrossEncoderReranker and by CrossEncoder.predict with its defaults.

    python benchmarks/reranking.py CORPUS [--queries N] [--candidates N] [--rounds N] [--model NAME]

CORPUS is a folder in BEIR's layout. Each query meets passages drawn with a seed, titles of their
own among them, so that lengths differ as they do in a corpus of notes and articles. Both take
turns with the same model and the same pairs, and the best round counts. Without ``--model`` it is
MiniLM with a random head: as fast as a trained one of its size.
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
    draw = random.Random(0)
    queries = list(read_queries(next(options.corpus.glob("queries.jsonl*"))).values())
    asked = draw.sample(queries, min(options.queries, len(queries)))
    passages = list(Corpus.from_path(options.corpus))
    texts = [
        [draw.choice([each.content, each.title]) for each in draw.sample(passages, count)]
        for count in [min(options.candidates, len(passages))] * len(asked)
    ]
    source = options.model if options.model is not None else resolve_model_source(DEFAULT_ENCODER)
    peer = CrossEncoder(source, num_labels=1, device="cpu")
    ours = CrossEncoderReranker(peer)
    pairs = [(query, text) for query, each in zip(asked, texts, strict=True) for text in each]
    lengths = TokenCounter(peer.tokenizer).count([text for _, text in pairs])
    best = {"CrossEncoder.predict": np.inf, "twofold": np.inf}
    far = 0.0
    for _ in range(options.rounds):
        started = time.perf_counter()
        theirs = peer.predict(pairs)
        best["CrossEncoder.predict"] = min(
            best["CrossEncoder.predict"], time.perf_counter() - started
        )
        started = time.perf_counter()
        found = np.concatenate(ours.rerank(asked, texts))
        best["twofold"] = min(best["twofold"], time.perf_counter() - started)
        far = max(far, float(np.abs(found - theirs).max()))
    console = Console(width=120)
    console.print(
        f"{len(pairs):,} pairs, passages of {lengths.min()} to {lengths.max()} tokens, mean "
        f"{lengths.mean():.0f}, {torch.get_num_threads()} threads, best of {options.rounds} "
        f"rounds; scores differ by at most {far:.1e}"
    )
    table = Table("", "pairs/s", "of predict")
    for name, seconds in best.items():
        ratio = best["CrossEncoder.predict"] / seconds
        table.add_row(name, f"{len(pairs) / seconds:,.1f}", f"{ratio:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
