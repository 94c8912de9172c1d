"""Writes, reads, copies and replaces an index for minutes, and checks every answer.

    python tests/reliability/soak.py --minutes 30 --readers 8

Passages carry the turn in which they were written, so an answer that mixes two generations is
seen. Prints a summary as JSON, and exits with 1 after a wrong answer or an error.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

from twofold import HashingEncoder, Index, Retriever
from twofold.errors import InputError
from twofold.storage import exchange_paths

SENTINELS = 24
"""Passages that every turn replaces, all in one commit."""
EVERY = 0.5
"""Seconds between two measurements of a process."""


def sentinels(turn):
    """Return the passages of a turn."""
    return [
        {
            "id": f"s{n:02}",
            "text": f"sentinel turn{turn} word{n}",
            "metadata": {"turn": turn, "n": n},
        }
        for n in range(SENTINELS)
    ]


def fill(index, turn):
    """Write a turn, and some passages that come and go."""
    index.upsert(sentinels(turn))
    index.upsert([{"id": f"x{n}", "text": f"passing {turn} {n}"} for n in range(turn % 7)])
    index.delete([f"x{n}" for n in range(turn % 5)])


def check_answers(index, rng):
    """Ask an index in one of several ways; return the turn that the answer shows."""
    way = rng.randrange(5)
    if way == 0:
        found = [p for p in index if p.id.startswith("s")]
    elif way == 1:
        found = index.get([f"s{n:02}" for n in range(SENTINELS)])
    else:
        mode = ("hybrid", "dense", "lexical")[way - 2]
        hits = Retriever(index, mode=mode, k=60).retrieve("sentinel", where={"n": {"$gte": 0}})
        found = [hit.passage for hit in hits]
    turns = {passage.metadata["turn"] for passage in found}
    words = {passage.text.split()[1] for passage in found}
    if len(found) != SENTINELS or len(turns) != 1:
        raise AssertionError(f"way {way}: {len(found)} sentinels of the turns {sorted(turns)}")
    (turn,) = turns
    if words != {f"turn{turn}"}:
        raise AssertionError(f"way {way}: metadata of turn {turn}, texts of {sorted(words)}")
    return turn


def measure():
    """Return resident bytes and the number of open handles of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))


class Participant:
    """Runs a task again and again until the end, and measures its process."""

    def __init__(self, role, end):
        self.role, self.end = role, end
        self.counts, self.errors, self.samples = Counter(), [], []
        self._next = 0.0

    def work(self, task):
        """Call ``task`` until the end; keep the first errors."""
        while time.time() < self.end and len(self.errors) < 3:
            try:
                task()
                self.counts["done"] += 1
            except Exception as error:  # noqa: BLE001  # all of them are reported
                self.errors.append("".join(traceback.format_exception(error)[-4:])[-1500:])
            if time.time() >= self._next:
                self.samples.append(measure())
                self._next = time.time() + EVERY

    def summary(self):
        """Return counts, errors, and the growth from the first quarter to the last."""
        steady = self.samples[len(self.samples) // 10 :]  # after a warm-up
        quarter = max(1, len(steady) // 4)
        first, last = steady[:quarter], steady[-quarter:]
        memory = [sum(sample[0] for sample in part) / len(part) for part in (first, last)]
        handles = [sum(sample[1] for sample in part) / len(part) for part in (first, last)]
        return {
            "role": self.role,
            "counts": self.counts,
            "errors": self.errors,
            "samples": len(self.samples),
            "megabytes": round(memory[1] / 1e6, 1),
            "megabytes grown": round((memory[1] - memory[0]) / 1e6, 2),
            "handles": round(handles[1], 1),
            "handles grown": round(handles[1] - handles[0], 2),
            "handles at most": max(sample[1] for sample in self.samples),
        }


def run_writer(path, end, queue, seed):
    """Write turn after turn; replace the whole folder now and then."""
    participant = Participant("writer", end)
    rng, turn = random.Random(seed), 0
    index = Index.open(path, encoder=HashingEncoder())

    def write():
        nonlocal turn
        turn += 1
        if rng.random() < 0.05:
            replace_folder(path, turn)
            participant.counts["replaced"] += 1
        else:
            fill(index, turn)
        seen = check_answers(index, rng)
        if seen != turn:
            raise AssertionError(f"the writer reads turn {seen} after turn {turn}")

    participant.work(write)
    index.close()
    queue.put(participant.summary())


def replace_folder(path, turn):
    """Exchange the folder with that of a new index, which is at this turn."""
    other = path.with_name(f"{path.name}.new")
    with Index.open(other, encoder=HashingEncoder()) as index:
        fill(index, turn)
    if not exchange_paths(path, other):
        raise AssertionError("folders can't be exchanged here")
    shutil.rmtree(other)


def run_reader(path, end, queue, seed, threads):
    """Read with one index in several threads; open it anew now and then."""
    participant = Participant(f"reader {seed}", end)
    indexes = {"shared": Index.open(path, read_only=True)}
    lock = threading.Lock()

    def loop(number):
        rng, latest = random.Random(seed * 100 + number), 0

        def read():
            nonlocal latest
            if threads == 1 and rng.random() < 0.02:
                before, indexes["shared"] = indexes["shared"], Index.open(path, read_only=True)
                before.close()
                participant.counts["opened"] += 1
            turn = check_answers(indexes["shared"], rng)
            if turn < latest:
                raise AssertionError(f"turn {turn} after turn {latest}")
            with lock:
                participant.counts["turns seen"] += turn > latest
            latest = turn

        participant.work(read)

    workers = [threading.Thread(target=loop, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    indexes["shared"].close()
    queue.put(participant.summary())


def run_copier(path, end, queue, seed):
    """Copy the index over an earlier copy, or restore a backup of it, and check what comes."""
    participant = Participant("copier", end)
    rng, target, archive = random.Random(seed), path.with_name("copy"), path.with_name("b.tar")
    index = Index.open(path, read_only=True)

    def back_up():
        try:
            index.backup(archive)
        except InputError:  # it has the backups of an index that was replaced
            archive.unlink()
            index.backup(archive)
        restored = archive.with_name("restored")
        with Index.from_backup(archive, restored, overwrite=restored.exists()) as other:
            check_answers(other, rng)
        participant.counts["backups restored"] += 1

    def copy():
        if rng.random() < 0.3:
            back_up()
        index.copy(target, overwrite=target.exists())
        with Index.open(target, create=False) as other:
            check_answers(other, rng)
            problems = other.verify(deep=rng.random() < 0.2).problems
            if problems:
                raise AssertionError(f"the copy is damaged: {problems}")

    participant.work(copy)
    index.close()
    queue.put(participant.summary())


def soak(folder, minutes, readers, seed=0):
    """Run all participants; return the summary."""
    path = Path(folder) / "index"
    with Index.open(path, encoder=HashingEncoder()) as index:
        fill(index, 0)
    end = time.time() + 60 * minutes
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    threaded = readers // 2
    tasks = [(run_writer, (path, end, queue, seed)), (run_copier, (path, end, queue, seed + 1))]
    tasks += [(run_reader, (path, end, queue, n, 1)) for n in range(1, readers - threaded + 1)]
    if threaded:
        tasks.append((run_reader, (path, end, queue, 99, threaded)))
    processes = [context.Process(target=task, args=arguments) for task, arguments in tasks]
    for process in processes:
        process.start()
    summaries = [queue.get(timeout=60 * minutes + 120) for _ in processes]
    for process in processes:
        process.join()
    with Index.open(path, create=False) as index:
        problems = list(index.verify(deep=True).problems)
    return {
        "minutes": minutes,
        "participants": sorted(summaries, key=lambda summary: summary["role"]),
        "problems": problems,
        "left": sorted(entry.name for entry in Path(folder).iterdir()),
        "ok": not problems and not any(summary["errors"] for summary in summaries),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument(
        "--readers", type=int, default=8, help="half of them threads of one process"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        summary = soak(folder, options.minutes, options.readers, options.seed)
    print(json.dumps(summary, indent=1))  # noqa: T201  # what a script is for
    sys.exit(0 if summary["ok"] else 1)


if __name__ == "__main__":
    main()
