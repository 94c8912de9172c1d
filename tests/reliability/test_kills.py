"""A process killed before, in or after any file operation leaves a whole index."""

import pytest

from reliability.shim import run_worker
from reliability.workloads import WORKLOADS

GROUPS = [list(WORKLOADS)[start::3] for start in range(3)]


def check(report, names, record_counts, least):
    record_counts(report)
    assert report["failures"] == []
    assert report["counts"]["kills"] >= least
    for name in names:
        assert report["counts"][f"kills of {name}"] > 0


def test_a_sample_of_kills(shim_library, tmp_path, record_counts):
    report = run_worker(shim_library, tmp_path, "kills", "--share", 0.02, "--seed", 1)
    check(report, WORKLOADS, record_counts, 100)


@pytest.mark.torture
@pytest.mark.parametrize("names", GROUPS, ids=lambda names: "-".join(names))
def test_kills_at_all_operations(shim_library, tmp_path, record_counts, names):
    report = run_worker(shim_library, tmp_path, "kills", *names)
    check(report, names, record_counts, 500)
