"""After a loss of power at any operation, an index is whole and has all that was acknowledged."""

import pytest

from reliability.shim import run_worker
from reliability.workloads import WORKLOADS

GROUPS = [list(WORKLOADS)[start::3] for start in range(3)]


def check(report, names, record_counts, least):
    record_counts(report)
    assert report["failures"] == []
    counts = report["counts"]
    assert counts["states"] >= least
    assert counts["states before"] > 0
    assert counts["states after"] > 0
    for kind in ("applied", "synced", "names", "contents", "zeroed", "torn", "drawn"):
        assert counts[f"states {kind}"] > 0
    for name in names:
        assert counts[f"states of {name}"] > 0


def test_a_sample_of_states_after_a_power_loss(shim_library, tmp_path, record_counts):
    report = run_worker(shim_library, tmp_path, "crashes", "--share", 0.025, "--seed", 1)
    check(report, WORKLOADS, record_counts, 250)


@pytest.mark.torture
@pytest.mark.parametrize("names", GROUPS, ids=lambda names: "-".join(names))
def test_all_states_after_a_power_loss(shim_library, tmp_path, record_counts, names):
    options = ["--draws", 12, "--every", 1, "--seed", 2]
    report = run_worker(shim_library, tmp_path, "crashes", *names, *options)
    check(report, names, record_counts, 3600)
