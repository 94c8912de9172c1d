"""Simulates hybrid search over shards: when does sharding change the answers?

Usage: python benchmarks/sharding.py INDEX COLLECTION

The passages of INDEX, made of COLLECTION (a BEIR folder), are divided among shards, at random or by
topic (k-means of their vectors). Each shard is an index of its own. Two ways to answer are
compared with the one index of all passages:

- fused: each shard ranks and fuses by itself, and the rankings are merged by score;
- merged: each leg's lists of all shards are merged, with the statistics of words of each shard,
  and fused once. With the statistics of all shards, these would be the lists of one index.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import faiss
import numpy as np

from twofold import EncodedBackend, Index, Retriever
from twofold.backend import Capabilities, CompletedScores, Completion, CorpusInfo, Fetched, Keys
from twofold.corpus import read_qrels, read_queries
from twofold.evaluation import evaluate_run
from twofold.filters import Filter
from twofold.index.view import IndexView
from twofold.protocols import Scorer
from twofold.types import LegHits, Mask, Moments, Passage, Vectors

SHARDS = (2, 8, 32)
DEPTH = 10


@dataclass
class Shard:
    """An index of some of the passages, and the row of each in the index of all."""

    index: Index
    rows: Keys


class ShardedSession:
    """Searches all shards, and merges each leg's lists. Keys are rows of the index of all."""

    def __init__(self, whole: IndexView, shards: Sequence[tuple[IndexView, Keys]]) -> None:
        self._whole, self._shards = whole, shards
        self._places = {
            row: (number, at)
            for number, (_, rows) in enumerate(shards)
            for at, row in enumerate(rows.tolist())
        }

    @property
    def corpus(self) -> CorpusInfo:
        """Return the corpus of all shards."""
        return self._whole.corpus

    def search_dense(
        self, vectors: Vectors, k: int, where: Filter | None, effort: float
    ) -> list[LegHits]:
        """Return the nearest passages of all shards."""
        return self._merge(
            [view.search_dense(vectors, k, where, effort) for view, _ in self._shards], k
        )

    def search_lexical(
        self, texts: Sequence[str], k: int, where: Filter | None, scorer: Scorer | None
    ) -> list[LegHits]:
        """Return the best passages of all shards, each scored in its own."""
        return self._merge(
            [view.search_lexical(texts, k, where, scorer) for view, _ in self._shards], k
        )

    def _merge(self, found: list[list[LegHits]], k: int) -> list[LegHits]:
        merged = []
        for lists in zip(*found, strict=True):
            pairs = zip(self._shards, lists, strict=True)
            keys = np.concatenate([rows[hits.keys] for (_, rows), hits in pairs])
            scores = np.concatenate([hits.scores for hits in lists])
            order = np.argsort(-scores, kind="stable")[:k]
            merged.append(LegHits(keys[order], scores[order]))
        return merged

    def complete(self, wanted: Sequence[Completion]) -> list[CompletedScores]:
        """Return the scores of passages, each in its shard."""
        completed = self._whole.complete(wanted)
        out = []
        for query, scores in zip(wanted, completed, strict=True):
            lexical = scores.lexical.copy()
            for at, row in enumerate(query.lexical_keys.tolist()):
                number, place = self._places[row]
                keys = np.array([place], np.int64)
                none = np.empty(0, np.int64)
                asked = Completion(query.text, None, none, keys, query.scorer)
                lexical[at] = self._shards[number][0].complete([asked])[0].lexical[0]
            out.append(CompletedScores(scores.dense, lexical))
        return out

    def fetch(
        self,
        keys: Keys | None = None,
        *,
        ids: Sequence[str] | None = None,
        texts: bool = True,
        vectors: bool = False,
    ) -> Fetched:
        """Return passages."""
        return self._whole.fetch(keys, ids=ids, texts=texts, vectors=vectors)

    def matches(self, where: Filter, keys: Keys) -> Mask:
        """Return which passages match."""
        return self._whole.matches(where, keys)

    # Of all passages, so that words alone differ.

    @property
    def leg_agreement(self) -> float | None:
        """The agreement of both legs over all passages."""
        return self._whole.leg_agreement

    def dense_moments(self, vector: Vectors) -> Moments:
        """Return the moments of all passages' dense scores."""
        return self._whole.dense_moments(vector)

    def lexical_moments(self, text: str, scorer: Scorer | None) -> Moments:
        """Return the moments of all passages' lexical scores."""
        return self._whole.lexical_moments(text, scorer)

    def least_dense_score(self, vector: Vectors) -> float:
        """Return a lower bound of every dense score."""
        return self._whole.least_dense_score(vector)

    def term_coverage(self, text: str) -> float:
        """Return the share of the terms that any passage has."""
        return self._whole.term_coverage(text)


class ShardedBackend:
    """Shards in place of one index."""

    capabilities = Capabilities(("hybrid", "dense", "lexical"), statistics=True)

    def __init__(self, whole: Index, shards: Sequence[Shard]) -> None:
        self._whole, self._shards = whole, shards

    @contextmanager
    def session(self) -> Iterator[ShardedSession]:
        """Open a session over all shards."""
        with ExitStack() as stack:
            whole = stack.enter_context(self._whole.view())
            views = [stack.enter_context(shard.index.view()) for shard in self._shards]
            rows = [shard.rows for shard in self._shards]
            yield ShardedSession(whole, list(zip(views, rows, strict=True)))


def open_index(source: Index, passages: Sequence[Passage], vectors: Vectors) -> Index:
    """Return an index of passages with their vectors, in memory."""
    index = Index.open(None, dim=vectors.shape[1], metric=source.metric, analyzer="english")
    index.upsert(passages, vectors=vectors)
    return index


def divide(vectors: Vectors, count: int, kind: str) -> list[Keys]:
    """Return the rows of each shard."""
    if kind == "random":
        labels = np.random.default_rng(0).integers(0, count, len(vectors))
    else:
        kmeans = faiss.Kmeans(vectors.shape[1], count, seed=1, niter=20)
        kmeans.train(vectors)
        labels = kmeans.index.search(vectors, 1)[1][:, 0]
    parts = [np.flatnonzero(labels == number) for number in range(count)]
    return [rows.astype(np.int64) for rows in parts if len(rows)]


def overlap(first: dict[str, float], second: dict[str, float]) -> float:
    """Return the share of the first ranking's ids that the second one has."""
    return len(set(first) & set(second)) / max(len(first), 1)


def main() -> None:
    folder, collection = sys.argv[1:]
    queries = read_queries(f"{collection}/queries.jsonl")
    qrels = read_qrels(f"{collection}/qrels/test.tsv")
    names = [name for name in qrels if name in queries]
    source = Index.open(folder, create=False, read_only=True)
    with source.view() as view:
        fetched = view.fetch(view.list_keys(), vectors=True)
    assert fetched.vectors is not None
    passages, vectors = list(fetched.passages), np.asarray(fetched.vectors)
    encoder = source.encoder
    assert encoder is not None
    asked = encoder.encode_queries([queries[name] for name in names])
    whole = open_index(source, passages, vectors)

    def rank(target: Index | EncodedBackend, mode: str) -> dict[str, dict[str, float]]:
        retriever = Retriever(target, mode=mode, k=DEPTH)  # type: ignore[arg-type]  # a mode
        return {
            name: dict(zip(hits.ids, hits.scores, strict=True))
            for name, vector in zip(names, asked, strict=True)
            for hits in [retriever.retrieve(queries[name], vector=vector)]
        }

    def show(label: str, mode: str, run: dict[str, dict[str, float]]) -> None:
        mean = evaluate_run(run, qrels, ["nDCG@10"], name=label).measures["nDCG@10"]
        shared = np.mean([overlap(reference[mode][name], run[name]) for name in names])
        print(f"{label:28} {mode:8} nDCG@10 {mean:.4f}  top {DEPTH} shared {100 * shared:5.1f} %")

    reference = {mode: rank(whole, mode) for mode in ("lexical", "hybrid")}
    for mode in reference:
        show("one index", mode, reference[mode])
    for kind in ("random", "by topic"):
        for count in SHARDS:
            parts = divide(vectors, count, kind)
            shards = [
                Shard(open_index(source, [passages[row] for row in rows], vectors[rows]), rows)
                for rows in parts
            ]
            for mode in reference:
                fused: dict[str, dict[str, float]] = {name: {} for name in names}
                for shard in shards:
                    for name, scores in rank(shard.index, mode).items():
                        fused[name] |= scores
                best = {
                    name: dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:DEPTH])
                    for name, found in fused.items()
                }
                show(f"{count} shards {kind}, fused", mode, best)
                merged = EncodedBackend(ShardedBackend(whole, shards))
                show(f"{count} shards {kind}, merged", mode, rank(merged, mode))
            for shard in shards:
                shard.index.close()


if __name__ == "__main__":
    main()
