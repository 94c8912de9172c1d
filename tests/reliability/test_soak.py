"""A short form of the soak test; see soak.py."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.torture
def test_twenty_seconds_of_writing_reading_copying_and_replacing(record_counts):
    script = Path(__file__).with_name("soak.py")
    command = [sys.executable, "-W", "error", str(script), "--minutes", "0.33", "--readers", "4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    summary = json.loads(done.stdout)
    record_counts(summary)
    assert summary["problems"] == []
    assert [one["errors"] for one in summary["participants"] if one["errors"]] == []
    assert done.returncode == 0, done.stderr
    counts = {one["role"]: one["counts"] for one in summary["participants"]}
    assert len(counts) == 5
    assert counts["writer"]["done"] > 20
    assert counts["writer"]["replaced"] > 0
    assert all(one["done"] > 5 for one in counts.values())
    assert sum(one.get("turns seen", 0) for one in counts.values()) > 20
    assert counts["copier"]["backups restored"] > 0
    assert summary["left"] == ["b.tar", "copy", "index", "restored"]
