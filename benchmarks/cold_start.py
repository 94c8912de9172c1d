"""Seconds of a whole ``twofold search`` process, cold, and of the first query of a fresh cache.

    python benchmarks/cold_start.py [--passages N] [--runs N]

An index of abstracts from examples/data is made in a temporary folder. "First" is a process without
cached graphs and compiled kernels; "cold" is each later process. The peer imports
sentence-transformers, loads the same model and encodes the query, and does nothing else.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from twofold import Index
from twofold.corpus import Corpus
from twofold.encoders.model_spec import DEFAULT_ENCODER, resolve_model_source

DATA = Path(__file__).parent.parent / "examples" / "data" / "scifact-1000"
QUERY = "how does malaria escape the immune system?"
PEER = (
    "from sentence_transformers import SentenceTransformer\n"
    f"model = SentenceTransformer({resolve_model_source(DEFAULT_ENCODER)!r}, device='cpu')\n"
    f"model.encode([{QUERY!r}])\n"
)


def time_process(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Return the seconds of a process, and its seconds of CPU time."""
    before = os.times()
    started = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)  # noqa: S603  # of this file
    seconds, after = time.perf_counter() - started, os.times()
    used = after.children_user + after.children_system
    return seconds, used - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--passages", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "index")
        with Index.open(path, encoder=DEFAULT_ENCODER) as index:
            index.upsert(islice(Corpus.from_path(DATA), options.passages))
        fresh = {"TWOFOLD_CACHE": f"{folder}/graphs", "NUMBA_CACHE_DIR": f"{folder}/kernels"}
        environment = {**os.environ, **fresh}
        search = [sys.executable, "-m", "twofold", "search", path, QUERY]
        print("seconds of the process, and of the CPU")
        print("first: {:.2f} {:.2f}".format(*time_process(search, environment)))
        for name, command in [("cold", search), ("peer", [sys.executable, "-c", PEER])]:
            runs = [time_process(command, environment) for _ in range(options.runs)]
            middle = [statistics.median(values) for values in zip(*runs, strict=True)]
            print("{}: {:.2f} {:.2f}, median of {}".format(name, *middle, options.runs))


if __name__ == "__main__":
    main()
