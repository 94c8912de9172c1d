"""A failing system call raises an error of the library, and loses nothing."""

import pytest

from reliability.shim import run_worker
from reliability.workloads import REPEATABLE

GROUPS = [REPEATABLE[start::3] for start in range(3)]


def check(report, names, record_counts, least):
    record_counts(report)
    assert report["failures"] == []
    assert report["counts"]["failing calls"] >= least
    for name in names:
        assert report["counts"][f"failing calls of {name}"] > 0


def test_a_sample_of_failing_calls(shim_library, tmp_path, record_counts):
    report = run_worker(shim_library, tmp_path, "failures", "--share", 0.012, "--seed", 1)
    check(report, REPEATABLE, record_counts, 100)


def test_a_sample_of_failing_reads(shim_library, tmp_path, record_counts):
    report = run_worker(shim_library, tmp_path, "reads", "--share", 0.5, "--seed", 1)
    record_counts(report)
    assert report["failures"] == []
    assert report["counts"]["failing reads"] >= 40


@pytest.mark.torture
@pytest.mark.parametrize("names", GROUPS, ids=lambda names: "-".join(names))
def test_many_failing_calls(shim_library, tmp_path, record_counts, names):
    report = run_worker(shim_library, tmp_path, "failures", *names, "--share", 0.4, "--seed", 2)
    check(report, names, record_counts, 400)


@pytest.mark.torture
def test_all_failing_reads(shim_library, tmp_path, record_counts):
    report = run_worker(shim_library, tmp_path, "reads")
    record_counts(report)
    assert report["failures"] == []
    assert report["counts"]["failing reads"] >= 100
