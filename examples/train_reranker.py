"""Train a small cross-encoder on a corpus without labels, rerank with it, and see if that helps.

    python examples/train_reranker.py [--steps N] [--claims N] [--to FOLDER]    # some ten minutes

It never sees a judged claim: it learns which abstract a title or a sentence was taken from. Two
layers taught for minutes rank worse than both legs together (nDCG@10 .71 for .86), which is why
this measures before anything is switched on; a model trained on millions of pairs goes in alike.
"""

import argparse
from pathlib import Path

import ir_measures
import numpy as np
from numpy.typing import NDArray
from word_lessons import lessons, trained
from word_matcher import word_matcher

from twofold import Hits, Index, Retriever
from twofold.corpus import Corpus, read_qrels, read_queries
from twofold.rerank import CrossEncoderReranker

DATA = Path(__file__).parent / "data" / "scifact-1000"
Scored = dict[str, float]


def reranked(reranker: CrossEncoderReranker, queries: list[str], found: list[Hits]) -> list[Scored]:
    """Return {id: score} of each query's hits, scored anew."""
    texts = [[hit.passage.content for hit in hits] for hits in found]
    scores = reranker.rerank(queries, texts)
    return [scored(hits.ids, each) for hits, each in zip(found, scores, strict=True)]


def scored(ids: list[str], scores: NDArray[np.float64]) -> Scored:
    """Return {id: score}."""
    return dict(zip(ids, scores.tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--to", type=Path, help="where to save the model")
    parser.add_argument("--claims", type=int, default=300, help="how many to measure with")
    options = parser.parse_args()
    passages, model = list(Corpus.from_path(DATA)), word_matcher()
    qrels = read_qrels(DATA / "qrels/test.tsv")
    queries = dict(list(read_queries(DATA / "queries.jsonl").items())[: options.claims])
    with Index.open(None, encoder="all-MiniLM-L6-v2") as index:
        index.upsert(passages)
        trained(model, lessons(passages, Retriever(index, k=20)), options.steps, print)
        found = Retriever(index, k=20).retrieve_many(list(queries.values()))
        again = reranked(CrossEncoderReranker(model), list(queries.values()), found)
    if options.to is not None:
        model.save_pretrained(str(options.to))
    runs = [[scored(hits.ids, hits.scores) for hits in found], again]
    measured = [
        measure({each: qrels[each] for each in queries}, dict(zip(queries, run, strict=True)))
        for run in runs
    ]
    gains = np.array([measured[1][each] - measured[0][each] for each in measured[0]])
    draws = np.random.default_rng(0).integers(0, len(gains), (10_000, len(gains)))
    low, high = np.quantile(gains[draws].mean(axis=1), [0.025, 0.975])
    for name, values in zip(("hybrid", "hybrid and reranked"), measured, strict=True):
        print(f"{name}: nDCG@10 {np.mean(list(values.values())):.4f} on {len(values)} claims")
    print(f"gain {gains.mean():+.4f}, 95% interval {low:+.4f} to {high:+.4f},", end=" ")
    print(f"{(gains > 0).sum()} claims won, {(gains < 0).sum()} lost")


def measure(qrels: dict[str, dict[str, int]], run: dict[str, Scored]) -> Scored:
    """Return each judged query's nDCG@10."""
    values = ir_measures.iter_calc([ir_measures.nDCG @ 10], qrels, run)
    return {each.query_id: each.value for each in values}


if __name__ == "__main__":
    main()
