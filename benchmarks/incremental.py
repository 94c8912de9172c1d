"""Cost of additions compared with a build, and time to open an index; encoding isn't timed.

python benchmarks/incremental.py --corpus software-summaries/corpus.jsonl.gz --texts 100000
"""

import argparse
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sampling import sample_texts

from twofold import Index, Retriever

DIM = 384
ADDED = 100
ROUNDS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True, help="a .jsonl[.gz] file")
    parser.add_argument("--texts", type=int, default=100_000)
    options = parser.parse_args()
    texts = sample_texts(options.corpus, options.texts + ADDED * ROUNDS)
    vectors = np.random.default_rng(0).standard_normal((len(texts), DIM), dtype=np.float32)
    passages = [{"id": str(place), "text": text} for place, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as folder:
        with Index.open(Path(folder) / "index", dim=DIM) as index:
            started = time.perf_counter()
            index.upsert(passages[: options.texts], vectors=vectors[: options.texts])
            build = time.perf_counter() - started
            print(f"build of {options.texts:,} texts: {build:.2f} s")
            retriever = Retriever(index)
            retriever.retrieve(texts[0], vector=vectors[0])
            gc.collect()  # so that this script's 100,000 dictionaries don't affect the timing
            times: list[float] = []
            for turn in range(ROUNDS):
                some = slice(options.texts + turn * ADDED, options.texts + (turn + 1) * ADDED)
                started = time.perf_counter()
                index.upsert(passages[some], vectors=vectors[some])
                retriever.retrieve(texts[0], vector=vectors[0])
                times.append(time.perf_counter() - started)
            for name, value in (("median", statistics.median(times)), ("worst", max(times))):
                share = f"1/{build / value:.0f} of the build"
                print(f"{ADDED} more and a first query, {name}: {value * 1e3:.1f} ms, {share}")
        started = time.perf_counter()
        with Index.open(Path(folder) / "index", read_only=True) as index:
            Retriever(index, mode="lexical").retrieve(texts[0])
            print(f"opened and asked once by words: {time.perf_counter() - started:.2f} s")
            Retriever(index).retrieve(texts[0], vector=vectors[0])
            print(f"and once by both legs: {time.perf_counter() - started:.2f} s")
    times = []
    for _ in range(7):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import numpy"], check=True)
        base = time.perf_counter() - started
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import twofold"], check=True)
        times.append(time.perf_counter() - started - base)
    print(f"import twofold: {statistics.median(times):.2f} s more than import numpy")


if __name__ == "__main__":
    main()
