"""No damaged byte changes an answer unnoticed, raises another error or ends the process."""

import pytest

from reliability.flips import VARIANTS
from reliability.shim import run_worker


def check(report, names, record_counts, least):
    record_counts(report)
    assert report["failures"] == []
    counts = report["counts"]
    assert counts["damages flip"] >= least
    assert counts["noticed"] > 0
    assert counts["equal"] > 0  # in bytes that are not used
    for name in names:
        assert counts[f"flip of {name}"] > 0
    for kind in ("zeros", "cut", "longer"):
        assert counts[f"damages {kind}"] > 0


def test_a_sample_of_damaged_bytes(shim_library, tmp_path, record_counts):
    report = run_worker(shim_library, tmp_path, "flips", "--share", 0.005, "--seed", 1)
    check(report, VARIANTS, record_counts, 1500)
    for suffix in ("sqlite", "wal", "HEAD", "f32", "columns", "lexical", "dense", "adapter"):
        assert report["counts"][f"damages in {suffix}"] > 0


@pytest.mark.torture
@pytest.mark.parametrize("name", VARIANTS)
def test_every_damaged_byte(shim_library, tmp_path, record_counts, name):
    report = run_worker(shim_library, tmp_path, "flips", name)
    check(report, [name], record_counts, report["counts"][f"bytes of {name}"])
