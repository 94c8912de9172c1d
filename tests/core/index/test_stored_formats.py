"""Folders, archives and exports that were written before still give the answers of then.

`python tests/core/index/test_stored_formats.py` writes those of the present format. Whoever raises
a format number runs it, commits the new files, and leaves the older ones, which must go on to open.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.short_reader import ShortReader

from twofold import HashingEncoder, Index, Retriever, SearchProfile, WeightedSum
from twofold.encoders import QueryAdapter
from twofold.index.export import EXPORT_FORMAT
from twofold.storage import FORMAT
from twofold.storage.archive import ARCHIVE_FORMAT

STORED = Path(__file__).parent / "stored"
QUERIES = ("green tea", "Ärzte im Garten", "CVE-2024-1234", "winter")
TEXTS = (
    "Green tea grows in the shade of tall trees.",
    "Die Ärzte trinken Tee im Garten.",
    "The patch for CVE-2024-1234 was released in winter.",
    "Coffee is roasted; tea is steamed.",
)


class HashingReader(ShortReader):
    """The encoder "hashing", but for passages of more than 12 words, which get windows."""

    name = HashingEncoder.name
    identity = HashingEncoder().identity


def answers(index):
    """Return the stored passages, the ids and scores of all modes, and the windows of one query."""
    found = {}
    for mode in ("hybrid", "dense", "lexical"):
        for query in QUERIES:
            hits = Retriever(index, mode=mode, k=5).retrieve(query, where={"n": {"$lt": 40}})
            found[f"{mode} {query}"] = [hits.ids, hits.scores.tolist()]
    return {
        "passages": [[p.id, p.title, p.text, dict(p.metadata)] for p in index],
        "found": found,
        "profiles": list(index.profiles),
        "adapters": list(index.query_adapters),
        "kind": str(index.index_type),
        "windows": [
            each.window.tokens if each.window is not None else None
            for each in Retriever(index, k=70).retrieve("snow").explain().hits
        ],
    }


def check(index, expected):
    now = json.loads(json.dumps(answers(index)))
    windows = expected.pop("windows", [])  # format 5 has none
    assert [each for each in now.pop("windows") if each] == [each for each in windows if each]
    assert {name: now[name] for name in now if name != "found"} == {
        name: expected[name] for name in expected if name != "found"
    }
    assert len(expected["found"]) == 12
    for name, (ids, scores) in expected["found"].items():
        assert now["found"][name][0] == ids, name
        np.testing.assert_allclose(now["found"][name][1], scores, rtol=1e-5)
    assert index.verify(deep=True).problems == ()


def write(folder):
    """Write the present formats into a new folder."""
    folder.mkdir()
    path = folder / f"index-{FORMAT}"
    with Index.open(path, encoder=HashingReader(), windows=8) as index:
        long = " ".join(f"{TEXTS[n]} The winter has snow {n}." for n in range(4))
        index.upsert([{"id": "long", "title": "Winter", "text": long}])
        index.upsert(
            {
                "id": f"p{n}",
                "title": "Tea" * (n % 2),
                "text": f"{TEXTS[n % 4]} {n}",
                "metadata": {"n": n, "even": n % 2 == 0},
            }
            for n in range(60)
        )
        index.delete(["p3", "p17"])
        index.upsert([{"id": "p5", "text": "Changed: winter tea", "metadata": {"n": 5}}])
        index.reindex("hnsw")
        index.query_adapters.save("identity", QueryAdapter(np.eye(index.dim, dtype=np.float32)))
        index.profiles.save("words", SearchProfile(WeightedSum(dense_weight=0.3), 50, None, 1))
        expected = answers(index)
        index.backup(folder / f"archive-{ARCHIVE_FORMAT}.tar")
        index.export(folder / f"export-{EXPORT_FORMAT}")
    (path / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False))
    for name in (f"archive-{ARCHIVE_FORMAT}", f"export-{EXPORT_FORMAT}"):
        shutil.copyfile(path / "expected.json", folder / f"{name}.json")
        if (STORED / f"{name}.json").exists():  # a format that is older than this one of an index
            (folder / f"{name}.json").unlink()
            (folder / f"{name}.tar").unlink()


@pytest.mark.parametrize("path", sorted(STORED.glob("index-*")), ids=lambda path: path.name)
def test_an_index_of_this_format_opens_and_is_written(path, tmp_path):
    copied = shutil.copytree(path, tmp_path / "index")
    with Index.open(copied, create=False, read_only=True) as index:
        check(index, json.loads((path / "expected.json").read_text()))
    with Index.open(copied, create=False) as index:
        index.upsert([{"id": "new", "text": "A cup of green tea"}])
        assert "new" in Retriever(index).retrieve("cup of green tea").ids
        assert index.verify(deep=True).ok


@pytest.mark.parametrize("path", sorted(STORED.glob("archive-*.tar")), ids=lambda path: path.name)
def test_an_archive_of_this_format_is_restored(path, tmp_path):
    with Index.from_backup(path, tmp_path / "index") as index:
        check(index, json.loads(path.with_suffix(".json").read_text()))


@pytest.mark.parametrize("name", [f"export-{n}" for n in range(1, EXPORT_FORMAT + 1)])
def test_an_export_of_this_format_is_imported(name, tmp_path):
    with Index.from_export(STORED / name, tmp_path / "index") as index:
        check(index, json.loads((STORED / f"{name}.json").read_text()))


def test_all_formats_are_stored():
    folders = {path.name for path in STORED.glob("index-*")}
    assert folders == {f"index-{number}" for number in range(5, FORMAT + 1)}
    archives = {path.name for path in STORED.glob("archive-*.tar")}
    assert archives == {f"archive-{number}.tar" for number in range(1, ARCHIVE_FORMAT + 1)}


if __name__ == "__main__":
    written = Path("/tmp/stored")  # an index has its path in it
    write(written)
    shutil.copytree(written, STORED, dirs_exist_ok=True)
    shutil.rmtree(written)
