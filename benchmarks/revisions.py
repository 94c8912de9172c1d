"""Compares queries and writes of the working tree with those of another commit.

    python benchmarks/revisions.py COMMIT [--rounds 9]

Both versions take turns, each round in a process of its own. Prints the median CPU time of each
task, and the ratio of the two, with the smallest and the largest ratio of a round.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TASKS = """
import gc, json, sys, time
from pathlib import Path
from twofold import Index, Retriever

folder, times = Path(sys.argv[1]), {}
words = [f"word{n * n % 997}" for n in range(3000)]
passages = [
    {"id": f"{n}", "text": " ".join(words[n % 900 : n % 900 + 40]), "metadata": {"n": n}}
    for n in range(2000)
]

def measure(name, task, repeats):
    task()
    gc.collect()  # a full collection takes as long as many writes
    gc.disable()
    started = time.process_time()
    for _ in range(repeats):
        task()
    times[name] = (time.process_time() - started) / repeats
    gc.enable()

def small_writes():
    for n in range(20):
        index.upsert([{"id": f"s{n}", "text": f"small {time.perf_counter_ns()}"}])

with Index.open(folder / "index", encoder="hashing") as index:
    started = time.process_time()
    index.upsert(passages)
    times["upsert of 2,000"] = time.process_time() - started
    measure("20 small upserts", small_writes, 5)
    for mode in ("hybrid", "dense", "lexical"):
        retriever = Retriever(index, mode=mode, k=10)
        measure(f"query, {mode}", lambda: retriever.retrieve("word4 word9 word16"), 400)
    retriever = Retriever(index, k=10, where={"n": {"$lt": 500}})
    measure("query, filtered", lambda: retriever.retrieve("word4 word9 word16"), 400)
    measure("get of 10 ids", lambda: index.get([f"{n}" for n in range(10)]), 400)
    measure("delete and upsert", lambda: (index.delete(["7"]), index.upsert([passages[7]])), 10)

def open_index():
    with Index.open(folder / "index", read_only=True) as index:
        assert len(index) > 2000

measure("open and count", open_index, 100)
print(json.dumps(times))
"""


def run_tasks(root: Path) -> dict[str, float]:
    """Return the CPU seconds of each task with the library below ``root``."""
    folder = tempfile.mkdtemp(prefix="revisions-")
    try:
        done = subprocess.run(  # noqa: S603  # of this repository
            [sys.executable, "-c", TASKS, folder],
            env=os.environ | {"PYTHONPATH": str(root / "core")},
            stdout=subprocess.PIPE,
            check=True,
        )
    finally:
        shutil.rmtree(folder)
    times: dict[str, float] = json.loads(done.stdout)
    return times


def main() -> None:
    """Measure both versions and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="revisions-")) / "base"
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(base), options.commit], check=True)  # noqa: S603
    try:
        for root in (base, ROOT):
            run_tasks(root)  # compiles the kernels
        rounds = [(run_tasks(base), run_tasks(ROOT)) for _ in range(options.rounds)]
    finally:
        subprocess.run([*git, "remove", "--force", str(base)], check=True)  # noqa: S603
    print(f"{'CPU time':20} {'before, ms':>11} {'now, ms':>9} {'ratio':>6}  least to largest")
    for name in rounds[0][0]:
        before = statistics.median(first[name] for first, _ in rounds)
        now = statistics.median(second[name] for _, second in rounds)
        ratios = [second[name] / first[name] for first, second in rounds]
        print(
            f"{name:20} {before * 1e3:11.3f} {now * 1e3:9.3f} {statistics.median(ratios):6.3f}  "
            f"{min(ratios):.3f} to {max(ratios):.3f}"
        )


if __name__ == "__main__":
    main()
