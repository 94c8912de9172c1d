"""Speed, memory and opening time of the lexical leg compared with other BM25 libraries.

    python benchmarks/lexical.py --corpus software-summaries/corpus.jsonl.gz --texts 10000 100000

Queries are six words from one text, on one thread. "twofold, Retriever" searches an index on disk
in several segments, orders ties by id and fetches the passages. "twofold, PostingsIndex" returns no
texts, like the other libraries. twofold stems, and drops stop words from queries. bm25s drops stop
words from texts and queries, and doesn't stem. tantivy and rank-bm25 keep all words. With
``--keep-stop-words`` no library drops any. Systems take turns, so that noise affects all alike; a
single query therefore finds the CPU caches as the others left them.
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
from sampling import sample_texts

from twofold import Index, Retriever
from twofold.lexical import FunctionAnalyzer, LanguageAnalyzer, PostingsIndex
from twofold.protocols import Analyzer
from twofold.retriever import leg_search

K = 10
BATCHES, ROUND = 5, 50
RANK_BM25_UP_TO = 100_000
ADDED, ROUNDS = 100, 15


@dataclass(frozen=True)
class System:
    """A system: searches a batch of queries or a single one, and was built in this many seconds."""

    batch: Callable[[Sequence[str]], object]
    single: Callable[[str], object]
    built: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True, help="a .jsonl[.gz] file")
    parser.add_argument("--texts", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--keep-stop-words", action="store_true")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of twofold's batches: 1 or 2"
    )
    options = parser.parse_args()
    if options.threads == 1:
        leg_search.SPLIT = sys.maxsize
    all_texts = sample_texts(options.corpus, max(options.texts))
    for count in options.texts:
        compare(all_texts[:count], options.queries, keep=options.keep_stop_words)


def compare(texts: list[str], queries: int, *, keep: bool) -> None:
    """Build all systems over the same texts, and print a table."""
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
            "twofold, Retriever": build_durable(texts, path, analyzer),
            "twofold, PostingsIndex": build_in_memory(texts, analyzer),
            "bm25s, numba": build_bm25s(texts, "numba", keep=keep),
            "bm25s, numpy": build_bm25s(texts, "numpy", keep=keep),
            "tantivy": build_tantivy(texts),
        }
        if len(texts) <= RANK_BM25_UP_TO:
            systems["rank-bm25"] = build_rank_bm25(texts)
        rates, times = time_systems(systems, asked)
        ours = "twofold, Retriever"
        for name, system in systems.items():
            print(
                f"{name:24} {rates[name]:9,.0f} q/s {rates[name] / rates['bm25s, numba']:6.2f} x "
                f"bm25s-numba   single {times[name]:8.3f} ms "
                f"{times[name] / times['bm25s, numba']:6.2f} x   built in {system.built:6.1f} s "
                f"{system.built / systems['bm25s, numba'].built:5.2f} x"
            )
        time_additions(path, texts, systems[ours].built, analyzer)
    print()


def time_systems(
    systems: dict[str, System], asked: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return each system's best batched queries per second and median milliseconds of one query."""
    rates = dict.fromkeys(systems, 0.0)
    times: dict[str, list[float]] = {name: [] for name in systems}
    few = {"rank-bm25": asked[:10], "bm25s, numpy": asked[:100]}
    for system in systems.values():
        system.batch(asked[:5])
        system.single(asked[0])
    for _ in range(BATCHES):
        for name, system in systems.items():
            part = few.get(name, asked)
            started = time.perf_counter()
            system.batch(part)
            rates[name] = max(rates[name], len(part) / (time.perf_counter() - started))
    for start in range(0, len(asked), ROUND):
        for name, system in systems.items():
            for query in asked[start : start + (ROUND if name not in few else 2)]:
                started = time.perf_counter()
                system.single(query)
                times[name].append(time.perf_counter() - started)
    return rates, {name: statistics.median(each) * 1e3 for name, each in times.items()}


def build_durable(texts: list[str], path: Path, analyzer: Analyzer) -> System:
    """Build an index on disk, searched by a retriever that fetches the passages."""
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


def build_in_memory(texts: list[str], analyzer: Analyzer) -> System:
    """Build the inverted index alone, which returns row numbers."""
    ids = [str(place) for place in range(len(texts))]
    index = PostingsIndex(analyzer)
    started = time.perf_counter()
    for start in range(0, len(texts), 4096):
        part = slice(start, start + 4096)
        index.add(np.arange(start, start + len(ids[part])), ids[part], texts[part])
    built = time.perf_counter() - started
    arrays: dict[str, int] = {}
    for live in index.segments:
        for name, array in live.segment.arrays().items():
            arrays[name] = arrays.get(name, 0) + array.nbytes
    postings = sum(len(live.segment.post_doc) for live in index.segments)
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


def build_bm25s(texts: list[str], backend: str, *, keep: bool) -> System:
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


def build_tantivy(texts: list[str]) -> System:
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


def build_rank_bm25(texts: list[str]) -> System:
    words = re.compile(r"\w\w+")
    started = time.perf_counter()
    engine = BM25Okapi([words.findall(text.lower()) for text in texts])
    built = time.perf_counter() - started

    def ask(query: str) -> object:
        scores = engine.get_scores(words.findall(query.lower()))
        return np.argpartition(-scores, K)[:K]

    return System(lambda queries: [ask(query) for query in queries], ask, built)


def time_additions(path: Path, texts: list[str], built: float, analyzer: Analyzer) -> None:
    """Print the time of additions compared with the build."""
    times: list[float] = []
    with Index.open(path, analyzer=analyzer) as index:
        retriever = Retriever(index, mode="lexical", k=K)
        retriever.retrieve(texts[0])
        for turn in range(ROUNDS):
            part = [
                {"id": f"new {turn} {place}", "text": texts[(turn * ADDED + place) % len(texts)]}
                for place in range(ADDED)
            ]
            started = time.perf_counter()
            index.upsert(part)
            retriever.retrieve(texts[0])
            times.append(time.perf_counter() - started)
    for name, value in (("median", statistics.median(times)), ("worst", max(times))):
        share = f"1/{built / value:.0f} of the build"
        print(f"{ADDED} more and a first query, {name} of {ROUNDS}: {value * 1e3:.1f} ms, {share}")


if __name__ == "__main__":
    main()
