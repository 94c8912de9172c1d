"""Counts the Python calls, files and folder changes of one warm hybrid query.

Builds an index of 500 short passages with the hashing encoder, warms it, and profiles one query
with k=5 by ``sys.setprofile``. Counts calls into the library only, without comprehensions.

    python benchmarks/query_path.py [--list]
"""

import argparse
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from types import FrameType

import numpy as np

from twofold import HashingEncoder, Index, Passage, Retriever

PASSAGES = 500
SKIPPED = {"<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>", "<module>"}


def sample_passages() -> list[Passage]:
    """Return passages of 30 words each, drawn from 2,000 with Zipf's frequencies."""
    rng = np.random.default_rng(0)
    drawn = rng.zipf(1.3, size=(PASSAGES, 30)) % 2000
    return [
        Passage(id=str(number), text=" ".join(f"word{word}" for word in words))
        for number, words in enumerate(drawn)
    ]


def trace_query(retriever: Retriever, query: str) -> list[tuple[str, str]]:
    """Return the file and the function of every call into the library, in order."""
    root = str(Path(sys.modules["twofold"].__file__ or "").parent)
    calls: list[tuple[str, str]] = []

    def record(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(root) and code.co_name not in SKIPPED:
            calls.append((code.co_filename[len(root) + 1 :], code.co_name))

    sys.setprofile(record)
    try:
        hits = retriever.retrieve(query)
    finally:
        sys.setprofile(None)
    assert len(hits) == retriever.k
    return calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="list the calls in order")
    arguments = parser.parse_args()
    with Index.open(None, encoder=HashingEncoder()) as index:
        index.upsert(sample_passages())
        retriever = Retriever(index, k=5)
        for _ in range(3):
            retriever.retrieve("word3 word17 word60")
        calls = trace_query(retriever, "word3 word17 word60")
    folders = [str(Path(file).parent) for file, _ in calls]
    changes = sum(before != after for before, after in pairwise(folders))
    print(
        f"{len(calls)} calls, {len({file for file, _ in calls})} files, {changes} changes of folder"
    )
    if arguments.list:
        for file, function in calls:
            print(f"  {file}: {function}")
        for (file, function), count in Counter(calls).most_common(15):
            print(f"{count:>5} {file}: {function}")


if __name__ == "__main__":
    main()
