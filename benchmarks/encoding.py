"""Speed and quality of the encoders on this machine's cores.

    python benchmarks/encoding.py CORPUS [--texts N] [--rounds N] [--quality] [--exports FOLDER]

CORPUS is a folder in BEIR's layout, with judgments for ``--quality``. Encoders take turns in every
round, and the best round of each counts. The baseline is ``SentenceTransformer.encode`` with its
defaults. A static model is distilled to ``--exports`` (default: ``.eval``) if missing. numpy's
float32 matrix product, timed in the same rounds, is for comparison.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from sampling import sample_texts

from twofold import Index, Retriever
from twofold.corpus import Corpus, read_qrels, read_queries
from twofold.encoders import ModelEncoder, SentenceTransformerEncoder, distill
from twofold.encoders.batching import TokenCounter
from twofold.encoders.model_spec import resolve_model_source
from twofold.evaluation import evaluate
from twofold.protocols import Encoder
from twofold.types import Vectors

HERE = Path(__file__).parent.parent
MODEL = "all-MiniLM-L6-v2"
MEASURE = "nDCG@10"
FLOP_PER_TOKEN = 21e6  # two per weight of MiniLM-L6's layers, which have 10.6 million
BASELINE = "SentenceTransformer.encode"
PRODUCT = "matrix product"
SIDE = 2048
console = Console(width=120)


def load_encoders(folder: Path) -> dict[str, Encoder]:
    """Return the encoders to compare, and distill the static one if it is missing."""
    found: dict[str, Encoder] = {
        "twofold, torch": SentenceTransformerEncoder(MODEL, device="cpu"),
        "twofold, default": ModelEncoder(MODEL),
        "twofold, onnx-int8": ModelEncoder(MODEL, backend="onnx-int8"),
    }
    target = folder / "minilm-static"
    if not target.exists():
        distill(MODEL, target)
    found["twofold, static"] = SentenceTransformerEncoder(str(target))
    return found


def time_runs(
    runs: dict[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Return the best seconds and the last result of each run; in every round all take turns."""
    best: dict[str, float] = {}
    results: dict[str, Any] = {}
    for _ in range(rounds):
        for name, run in runs.items():
            started = time.perf_counter()
            results[name] = run()
            seconds = time.perf_counter() - started
            best[name] = min(best.get(name, seconds), seconds)
    return best, results


def measure_quality(corpus: Path, encoder: Encoder) -> float:
    """Return nDCG@10 of dense retrieval, long passages truncated, on the test queries."""
    queries = next(path for path in sorted(corpus.glob("queries.jsonl*")))
    with Index.open(None, encoder=encoder, analyzer=None, windows=False) as index:
        index.upsert(Corpus.from_path(corpus))
        qrels = read_qrels(corpus / "qrels" / "test.tsv")
        found = evaluate(Retriever(index, mode="dense"), read_queries(queries), qrels, [MEASURE])
        return found.measures[MEASURE]


def main() -> None:
    import torch
    from sentence_transformers import SentenceTransformer

    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--texts", type=int, default=512, help="a seeded sample; 0 for all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--exports", type=Path, default=HERE / ".eval")
    options = parser.parse_args()
    texts = sample_texts(str(options.corpus), options.texts or 10**9)
    peer = SentenceTransformer(resolve_model_source(MODEL), device="cpu")
    lengths = np.minimum(TokenCounter(peer.tokenizer).count(texts), peer.max_seq_length or 10**9)
    flop = float(lengths.sum()) * FLOP_PER_TOKEN
    square = np.ones((SIDE, SIDE), np.float32)
    compared = load_encoders(options.exports)
    runs: dict[str, Callable[[], Any]] = {
        PRODUCT: lambda: [square @ square for _ in range(20)][-1],
        BASELINE: lambda: peer.encode(texts),
        **{name: partial(encoder.encode_passages, texts) for name, encoder in compared.items()},
    }
    for encoder in compared.values():  # loads the models before the timing
        encoder.encode_passages(texts[:4])
    best, results = time_runs(runs, options.rounds)
    product = 20 * 2 * SIDE**3 / best[PRODUCT]
    console.print(
        f"{len(texts):,} texts of {lengths.mean():.0f} tokens, {torch.get_num_threads()} threads, "
        f"numpy's product {product / 1e9:.0f} GFLOP/s, best of {options.rounds} rounds"
    )
    table = Table(
        "", "texts/s", "of default", "GFLOP/s", "of product", "cosine min", "mean", MEASURE
    )
    reference: Vectors = results["twofold, torch"]
    for name in list(runs)[1:]:
        rate = flop / best[name]
        static = "static" in name
        row = [
            name,
            f"{len(texts) / best[name]:,.1f}",
            f"{best[BASELINE] / best[name]:.2f}",
            "" if static else f"{rate / 1e9:.0f}",
            "" if static else f"{rate / product:.0%}",
        ]
        cosines = np.einsum("ij,ij->i", results[name], reference) if not static else np.empty(0)
        row += [f"{cosines.min():.5f}", f"{cosines.mean():.5f}"] if len(cosines) else ["", ""]
        with_quality = options.quality and name in compared
        row += [f"{measure_quality(options.corpus, compared[name]):.4f}" if with_quality else ""]
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()
