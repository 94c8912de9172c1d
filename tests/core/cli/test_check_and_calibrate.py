"""The commands ``check`` and ``calibrate``: exit codes, files, bad input."""

import json
import re

import pytest

from commands import command
from twofold import HashingEncoder, Index

WORDS = ["tea", "coffee", "water", "milk", "juice", "soda", "rum", "gin", "ale", "cider"]


@pytest.fixture
def judged(tmp_path):
    """An index of 60 passages, and a query for each."""
    path = tmp_path / "index"
    names = [f"{word}{at}" for word in WORDS for at in range(6)]
    with Index.open(path, encoder=HashingEncoder()) as index:
        index.upsert({"id": name, "text": f"a cup of {name} in town"} for name in names)
    (tmp_path / "q.tsv").write_text("".join(f"q{name}\tcup {name}\n" for name in names))
    lines = "".join(f"q{name}\t{name}\t1\n" for name in names)
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    return path, ("--queries", tmp_path / "q.tsv", "--qrels", tmp_path / "qrels.tsv")


def test_a_fall_beyond_chance_is_found(judged, tmp_path):
    folder, files = judged
    base = ("--baseline", tmp_path / "base.json")
    missing = command("check", folder, *files, *base)
    assert missing.returncode == 2
    assert "write one with `twofold check ... --save`" in missing.stderr
    saved = command("check", folder, *files, *base, "--save", "--measure", "RR@10")
    assert (saved.returncode, "60 queries, RR@10 1.0000" in saved.stdout) == (0, True)
    same = command("check", folder, *files, *base)
    assert same.returncode == 0
    assert "has not fallen beyond chance" in same.stdout
    with Index.open(folder) as index:
        index.delete([f"tea{at}" for at in range(6)] + [f"rum{at}" for at in range(6)])
    fallen = command("check", folder, *files, *base)
    assert fallen.returncode == 1
    assert "has fallen" in fallen.stdout
    assert "qtea0" in fallen.stdout
    size = re.search(r"60 queries show a change of (0\.\d+) or more", fallen.stdout)
    assert 0.05 < float(size[1]) < 0.3
    value = json.loads(command("check", folder, *files, *base, "--json").stdout)[0]
    assert value["has_fallen"] is True
    assert value["now"] == pytest.approx(0.8, abs=0.03)
    assert len(value["worst"]) == 10


def test_a_small_fall_is_chance(judged, tmp_path):
    folder, files = judged
    base = ("--baseline", tmp_path / "base.json")
    command("check", folder, *files, *base, "--save")
    with Index.open(folder) as index:
        index.delete(["tea0"])
    done = command("check", folder, *files, *base)
    assert (done.returncode, "has not fallen beyond chance" in done.stdout) == (0, True)
    (tmp_path / "base.json").write_text("{}")
    broken = command("check", folder, *files, *base)
    assert broken.returncode == 2
    assert "is no baseline" in broken.stderr


def test_a_calibration_is_saved_and_used(judged):
    folder, files = judged
    dry = command("calibrate", folder, *files, "--dry-run", "--json")
    assert json.loads(dry.stdout)["saved"] is None
    assert command("search", folder, "cup tea3", "--abstain", "0.2").returncode == 2
    done = command("calibrate", folder, *files, "--mode", "lexical")
    assert done.returncode == 0, done.stderr
    assert "60 queries, 18 without an answer" in done.stdout
    assert "saved with the profile 'calibrated', in use" in done.stdout
    found = command("search", folder, "cup tea3", "--mode", "lexical", "--json")
    value = json.loads(found.stdout)
    assert 0 <= value["confidence"] <= 1
    assert value["abstained"] is False
    odd = command("search", folder, "cup of zyx", "--mode", "lexical", "--abstain", "0.01")
    assert "no answer was given (abstain=0.01)" in odd.stderr
    both = command("calibrate", folder, *files, "--unanswerable", files[1])
    assert both.returncode == 2
    assert "is in both files of queries" in both.stderr
    bad = command("calibrate", folder, *files, "--left-out", "1")
    assert bad.returncode == 2
    assert "left_out must be below 1" in bad.stderr
