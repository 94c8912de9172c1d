"""Batched queries compared with single ones, encoding included.

    python benchmarks/batches.py --corpus software-summaries/corpus.jsonl.gz --encoded FILE.npy

FILE.npy has the texts' vectors by all-MiniLM-L6-v2, and is created if missing. The same model
encodes the queries. Hits may differ only where rounding in the encoder swaps two passages with
equal scores.
"""

import argparse
import tempfile
import time

from sampling import sample_task

from twofold import Index, Retriever
from twofold.encoders import DEFAULT_ENCODER


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True, help="a .jsonl[.gz] file")
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--encoded", required=True, help="a .npy file, made if missing")
    options = parser.parse_args()
    task = sample_task(options.corpus, options.texts, options.queries, options.encoded)
    with tempfile.TemporaryDirectory() as folder:
        index = Index.open(folder, encoder=DEFAULT_ENCODER)
        index.upsert(
            [{"id": str(place), "text": text} for place, text in enumerate(task.texts)],
            vectors=task.vectors,
        )
        index.warm()
        for mode in index.modes:
            retriever = Retriever(index, mode=mode)
            retriever.retrieve_many(task.queries[:10])
            started = time.perf_counter()
            together = retriever.retrieve_many(task.queries)
            between = time.perf_counter()
            alone = [retriever.retrieve(query) for query in task.queries]
            ended = time.perf_counter()
            equal = sum(a.ids == b.ids for a, b in zip(together, alone, strict=True))
            ratio = (ended - between) / (between - started)
            print(
                f"{mode:8} together {between - started:6.2f} s, one by one "
                f"{ended - between:6.2f} s: {ratio:.1f} times as fast, "
                f"{equal:,} of {len(alone):,} with equal hits"
            )


if __name__ == "__main__":
    main()
