"""Segments with right hashes over wrong arrays: nothing crashes, and what loads can be verified."""

import json
import random
import shutil
import sqlite3
import subprocess
import sys
import warnings
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from twofold import Index, Retriever
from twofold.errors import RebuildWarning, TwofoldError
from twofold.filters import ColumnSegment
from twofold.storage import content_hash, pack_arrays, unpack_arrays
from twofold.storage.records import SegmentRecord, field_values

WORDS = ["tea", "coffee", "plant", "light", "water", "garden", "winter", "na\u00efve", "stone"]
COLUMNS = "number, leg, first, last, rows, file, blob, size, hash"


def build(path):
    """Make an index with small and long postings, titles, metadata and deleted rows."""
    source = random.Random(5)
    passages = [
        {
            "id": f"p{n}",
            "text": " ".join(source.choices(WORDS, k=12)) + f" unique{n}",
            "metadata": {"n": n, "tags": source.sample(WORDS, 2), "deep": {"x": None}},
        }
        for n in range(300)
    ]
    with Index.open(path, encoder=None) as index:
        index.upsert(passages)
        index.delete([f"p{n}" for n in range(3, 300, 50)])


def mutations(array, source):
    """Yield arrays that differ from ``array``: values, length, order, shape and type."""
    flat = array.reshape(-1)
    if len(flat):
        for place in {0, len(flat) - 1, source.randrange(len(flat))}:
            for value in {0, 1, len(flat), 255, 65535, 2**31 - 1, 2**32 - 1, 2**63 - 1}:
                changed = flat.copy()
                info = np.iinfo(array.dtype) if array.dtype.kind in "ui" else None
                changed[place] = min(value, info.max) if info is not None else value
                if not np.array_equal(changed, flat):
                    yield changed.reshape(array.shape)
        for changed in (flat[:-1], np.append(flat, flat[-1]), flat[::-1], np.roll(flat, 1)):
            yield np.ascontiguousarray(changed)
    yield array.astype(np.int8)
    yield array.astype(np.float32)
    yield flat[:0]
    yield flat.reshape(1, -1)
    yield np.zeros((2, 2), array.dtype)


def rewrite(path, number, arrays):
    """Store arrays as the content of a segment, with the hashes that belong to them."""
    with sqlite3.connect(path / "catalog.sqlite") as database:
        query = f"SELECT {COLUMNS} FROM segments WHERE number = ?"
        record = SegmentRecord(*database.execute(query, (number,)).fetchone())
        data = pack_arrays(arrays)
        record = replace(record, blob=data, size=len(data), hash=content_hash(data))
        values = (*field_values(record), record.checksum)
        database.execute("DELETE FROM segments WHERE number = ?", (number,))
        marks = ",".join("?" * len(values))
        database.execute(f"INSERT INTO segments VALUES ({marks})", values)
    database.close()


def answers(index):
    retriever = Retriever(index, mode="lexical", k=20)
    found = [retriever.retrieve(text).ids for text in ("tea light", "unique150", "winter")]
    found.append(retriever.retrieve("tea", where={"n": {"$gte": 100}, "tags": "plant"}).ids)
    found.append(retriever.retrieve("stone", where={"tags": {"$contains": "water"}}).ids)
    found += [
        [p.id for p in index.get(["p1", "p7"])],
        [str(index.count({"deep.x": {"$exists": True}}))],
    ]
    str(retriever.retrieve("garden").explain())
    return found


def attack(path, step):
    """Try each ``step``-th mutation; return how many were tried, and how they were seen."""
    with Index.open(path) as index:
        right = answers(index)
    source, counts = random.Random(7), {"tried": 0, "rebuilt": 0, "verified": 0, "equal": 0}
    with sqlite3.connect(path / "catalog.sqlite") as database:
        blobs = database.execute("SELECT number, blob FROM segments").fetchall()
    database.close()
    for number, blob in blobs:
        arrays = unpack_arrays(blob)
        for name, array in arrays.items():
            for changed in islice(mutations(array, source), source.randrange(step), None, step):
                copy = path.with_name("copy")
                shutil.copytree(path, copy)
                rewrite(copy, number, {**arrays, name: changed})
                counts["tried"] += 1
                sys.stderr.write(f"{number} {name} {changed.dtype} {changed.shape}\n")
                seen = outcome(copy, right)
                counts[seen] += 1
                sys.stderr.write(f"  {seen}\n")
                shutil.rmtree(copy)
    return counts


def outcome(path, right):
    """Return how a crafted index was noticed; raise if it was not."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Index.open(path) as index:
            try:
                found = answers(index)
            except TwofoldError:
                found = None
            rebuilt = any(issubclass(each.category, RebuildWarning) for each in caught)
            if rebuilt:
                assert found == right
                return "rebuilt"
            try:
                is_ok = index.verify(deep=True).ok
            except TwofoldError:
                is_ok = False
            if not is_ok:
                return "verified"
    assert found == right
    return "equal"  # deleted rows alone differ


def test_a_segment_without_rows_is_rebuilt(tmp_path):
    build(tmp_path / "index")
    with Index.open(tmp_path / "index") as index:
        right = answers(index)
    with sqlite3.connect(tmp_path / "index" / "catalog.sqlite") as database:
        numbers = dict(database.execute("SELECT leg, number FROM segments").fetchall())
    database.close()
    empty = ColumnSegment.build(np.empty(0, np.int64), [], [])
    rewrite(tmp_path / "index", numbers["columns"], empty.arrays())
    assert outcome(tmp_path / "index", right) == "rebuilt"


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.slow)])
def test_wrong_arrays_with_right_hashes_crash_nothing_and_are_seen(tmp_path, step):
    build(tmp_path / "index")
    command = [sys.executable, __file__, str(tmp_path / "index"), str(step)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    counts = json.loads(ended.stdout)
    assert counts["tried"] > 800 / step
    assert counts["rebuilt"] > counts["tried"] / 2
    assert counts["equal"] < counts["tried"] / 20, counts


if __name__ == "__main__":
    sys.stdout.write(json.dumps(attack(Path(sys.argv[1]), int(sys.argv[2]))))
