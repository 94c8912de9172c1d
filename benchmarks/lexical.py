"""The lexical leg beside its peers: speed, memory and opening, in one run and on one thread.

    python benchmarks/lexical.py --corpus software-summaries/corpus.jsonl.gz --texts 10000 100000

Queries are six words drawn from one text. twofold is asked through ``Retriever``: an index on
disk, several segments, ties by id, and the passages fetched; beside it ``PostingsIndex``, which
like the peers gives no texts, over several segments. twofold stems and drops stop words from
queries; bm25s drops its own from texts and queries and does not stem; tantivy and rank-bm25 keep
all words. With ``--keep-stop-words`` nobody drops any. All timings are taken by turns, so that a
noisy moment strikes all alike; so a single query finds the caches as others left them.
"""

import argparse
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import tantivy
from rank_bm25 import BM25Okapi
from sampling import sampled_texts

import twofold.retriever
from twofold import Index, Retriever
from twofold.lexical import FunctionAnalyzer, LanguageAnalyzer, PostingsIndex
from twofold.protocols import Analyzer

K = 10
BATCHES, ROUND = 5, 50
RANK_BM25_UP_TO = 100_000
ADDED, ROUNDS = 100, 15


@dataclass(frozen=True)
class System:
    """One of those compared: a batch of queries, one query, and the seconds to build it."""

    batch: Callable[[Sequence[str]], object]
    single: Callable[[str], object]
    built: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True, help="a .jsonl[.gz] file")
    parser.add_argument("--texts", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--keep-stop-words", action="store_true")
    parser.add_argument("--threads", type=int, default=1, help="of twofold's batches: 1 or 2")
    options = parser.parse_args()
    if options.threads == 1:
        twofold.retriever.SPLIT = sys.maxsize
    every = sampled_texts(options.corpus, max(options.texts))
    for count in options.texts:
        compare(every[:count], options.queries, keep=options.keep_stop_words)


def compare(texts: list[str], queries: int, *, keep: bool) -> None:
    """Build everything over the same texts, and print a table."""
    rng = random.Random(1)
    words = [re.findall(r"\w+", text.lower()) for text in rng.sample(texts, queries)]
    asked = [" ".join(rng.sample(each, min(6, len(each)))) for each in words]
    print(f"{len(texts):,} texts, {queries} queries" + (", stop words kept" if keep else ""))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index"
        analyzer: Analyzer = LanguageAnalyzer()
        if keep:
            analyzer = FunctionAnalyzer(analyzer.passage_terms, "benchmark:all_terms")
        systems = {
            "twofold, Retriever": durable(texts, path, analyzer),
            "twofold, PostingsIndex": in_memory(texts, analyzer),
            "bm25s, numba": with_bm25s(texts, "numba", keep=keep),
            "bm25s, numpy": with_bm25s(texts, "numpy", keep=keep),
            "tantivy": with_tantivy(texts),
        }
        if len(texts) <= RANK_BM25_UP_TO:
            systems["rank-bm25"] = with_rank_bm25(texts)
        rates, times = measured(systems, asked)
        ours = "twofold, Retriever"
        for name, system in systems.items():
            print(
                f"{name:24} {rates[name]:9,.0f} q/s {rates[name] / rates['bm25s, numba']:6.2f} x "
                f"bm25s-numba   single {times[name]:8.3f} ms "
                f"{times[name] / times['bm25s, numba']:6.2f} x   built in {system.built:6.1f} s "
                f"{system.built / systems['bm25s, numba'].built:5.2f} x"
            )
        upkeep(path, texts, systems[ours].built, analyzer)
    print()


def measured(
    systems: dict[str, System], asked: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the best queries a second in a batch, and the median milliseconds of one alone."""
    rates = dict.fromkeys(systems, 0.0)
    times: dict[str, list[float]] = {name: [] for name in systems}
    few = {"rank-bm25": asked[:10], "bm25s, numpy": asked[:100]}
    for system in systems.values():
        system.batch(asked[:5])
        system.single(asked[0])
    for _ in range(BATCHES):
        for name, system in systems.items():
            some = few.get(name, asked)
            started = time.perf_counter()
            system.batch(some)
            rates[name] = max(rates[name], len(some) / (time.perf_counter() - started))
    for start in range(0, len(asked), ROUND):
        for name, system in systems.items():
            for query in asked[start : start + (ROUND if name not in few else 2)]:
                started = time.perf_counter()
                system.single(query)
                times[name].append(time.perf_counter() - started)
    return rates, {name: statistics.median(each) * 1e3 for name, each in times.items()}


def durable(texts: list[str], path: Path, analyzer: Analyzer) -> System:
    """An index on disk, asked through a retriever; the passages come with the hits."""
    passages = [{"id": str(place), "text": text} for place, text in enumerate(texts)]
    started = time.perf_counter()
    with Index.open(path, encoder=None, analyzer=analyzer) as index:
        index.upsert(passages)
    built = time.perf_counter() - started
    started = time.perf_counter()
    index = Index.open(path, read_only=True, analyzer=analyzer)
    retriever = Retriever(index, mode="lexical", k=K)
    len(index)
    opened = time.perf_counter() - started
    retriever.retrieve(texts[0])
    first = time.perf_counter() - started
    print(f"opened in {opened:.2f} s, first query after {first:.2f} s")
    return System(retriever.retrieve_many, retriever.retrieve, built)


def in_memory(texts: list[str], analyzer: Analyzer) -> System:
    """The engine alone: terms in, row numbers out."""
    ids = [str(place) for place in range(len(texts))]
    index = PostingsIndex(analyzer)
    started = time.perf_counter()
    for start in range(0, len(texts), 4096):
        some = slice(start, start + 4096)
        index.add(np.arange(start, start + len(ids[some])), ids[some], texts[some])
    built = time.perf_counter() - started
    arrays: dict[str, int] = {}
    for each in index.segments:
        for name, array in each.segment.arrays().items():
            arrays[name] = arrays.get(name, 0) + array.nbytes
    postings = sum(len(each.segment.post_doc) for each in index.segments)
    inverted = sum(arrays[name] for name in arrays if name.startswith(("post", "long", "bound")))
    forward = sum(arrays[name] for name in arrays if name.startswith(("fwd", "pair")))
    words = sum(arrays[name] for name in arrays if name.startswith("term"))
    print(
        f"{postings:,} postings in {len(index.segments)} segments: {inverted / postings:.2f} bytes "
        f"each, {(inverted + forward) / postings:.2f} with the forward index; vocabulary "
        f"{words / 1e6:.1f} MB"
    )
    return System(
        lambda queries: index.search_many(queries, K), lambda query: index.search(query, K), built
    )


def with_bm25s(texts: list[str], backend: str, *, keep: bool) -> System:
    stopwords = [] if keep else "en"
    started = time.perf_counter()
    corpus = bm25s.tokenize(texts, stopwords=stopwords, show_progress=False)
    engine = bm25s.BM25(backend=backend)
    engine.index(corpus, show_progress=False)
    built = time.perf_counter() - started

    def ask(queries: Any) -> object:
        tokens = bm25s.tokenize(queries, stopwords=stopwords, show_progress=False)
        found: object = engine.retrieve(tokens, k=K, show_progress=False, n_threads=1)
        return found

    return System(ask, lambda query: ask([query]), built)


def with_tantivy(texts: list[str]) -> System:
    schema = tantivy.SchemaBuilder()
    schema.add_text_field("body", stored=False)
    schema.add_integer_field("id", stored=True)
    index = tantivy.Index(schema.build())
    started = time.perf_counter()
    writer = index.writer(heap_size=500_000_000, num_threads=1)
    for place, text in enumerate(texts):
        writer.add_document(tantivy.Document(body=text, id=place))
    writer.commit()
    writer.wait_merging_threads()
    built = time.perf_counter() - started
    index.reload()
    searcher = index.searcher()

    def ask(query: str) -> object:
        found: object = searcher.search(index.parse_query(query, ["body"]), K).hits
        return found

    return System(lambda queries: [ask(query) for query in queries], ask, built)


def with_rank_bm25(texts: list[str]) -> System:
    words = re.compile(r"\w\w+")
    started = time.perf_counter()
    engine = BM25Okapi([words.findall(text.lower()) for text in texts])
    built = time.perf_counter() - started

    def ask(query: str) -> object:
        scores = engine.get_scores(words.findall(query.lower()))
        return np.argpartition(-scores, K)[:K]

    return System(lambda queries: [ask(query) for query in queries], ask, built)


def upkeep(path: Path, texts: list[str], built: float, analyzer: Analyzer) -> None:
    """Print what adding some texts costs beside the build."""
    times: list[float] = []
    with Index.open(path, analyzer=analyzer) as index:
        retriever = Retriever(index, mode="lexical", k=K)
        retriever.retrieve(texts[0])
        for turn in range(ROUNDS):
            some = [
                {"id": f"new {turn} {place}", "text": texts[(turn * ADDED + place) % len(texts)]}
                for place in range(ADDED)
            ]
            started = time.perf_counter()
            index.upsert(some)
            retriever.retrieve(texts[0])
            times.append(time.perf_counter() - started)
    for name, value in (("median", statistics.median(times)), ("worst", max(times))):
        share = f"1/{built / value:.0f} of the build"
        print(f"{ADDED} more and a first query, {name} of {ROUNDS}: {value * 1e3:.1f} ms, {share}")


if __name__ == "__main__":
    main()
