"""Runs under the shim: crash states, kills, failing calls. Prints a report as JSON."""

import argparse
import errno
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path

from reliability.crash_states import Disk, iterate_states, state_key, write_state
from reliability.flips import VARIANTS, check_variant
from reliability.shim import (
    CHANGES,
    CLOSE,
    FAIL,
    FAIL_ON,
    KILL_AFTER,
    KILL_BEFORE,
    KILL_HALF,
    MARK,
    OPEN,
    OPENS,
    READS,
    SHORT,
    SYNCS,
    Shim,
    read_log,
)
from reliability.workloads import (
    REPEATABLE,
    WORKLOADS,
    answers_of,
    check_root,
    open_index,
)
from twofold.dense import Flat
from twofold.errors import DegradedWarning, InputError, RebuildWarning, TwofoldError, TwofoldWarning

FOUND = 20  # failures that a report describes


class Report:
    """Counts of what was tried, and the failures found."""

    def __init__(self):
        self.counts = Counter()
        self.failures = []

    def fail(self, case, error):
        """Add a failure."""
        self.counts["failures"] += 1
        if len(self.failures) < FOUND:
            last = traceback.format_exception(error)[-3:]
            self.failures.append(f"{case}: {''.join(last)[-1500:]}")

    def print(self):
        """Print everything as one line of JSON."""
        usage = (
            resource.getrusage(resource.RUSAGE_SELF),
            resource.getrusage(resource.RUSAGE_CHILDREN),
        )
        seconds = round(sum(one.ru_utime + one.ru_stime for one in usage), 1)
        report = {"counts": self.counts, "failures": self.failures, "cpu_seconds": seconds}
        print(json.dumps(report))  # noqa: T201  # what a worker is for


def record_crashes(workload, folder, shim):
    """Record a workload from an empty folder; return the log and the recorded root."""
    root, log = folder / "record", folder / "log"
    shutil.rmtree(root, ignore_errors=True)
    shim.watch(root)
    shim.record(log)
    context = workload.prepared(root)
    shim.mark("start")
    for step in workload.steps:
        shim.mark("begin")
        step(context)
        shim.mark("done")
    shim.record(None)
    shim.watch(folder / "none")
    return log, root


def check_crashes(names, folder, shim, options, report):
    """Check the states after a loss of power at each operation of each workload."""
    rng = random.Random(options.seed)
    for name in names:
        workload = WORKLOADS[name]
        contents = workload.contents(folder / "expected")
        log, root = record_crashes(workload, folder, shim)
        disk, operations = Disk(root), read_log(log)
        started, begun, done, seen = False, 0, 0, set()
        shim.watch(folder / "state")
        for place, operation in enumerate(operations):
            disk.follow(operation)
            begun += operation.kind == MARK and operation.first == "begin"
            done += operation.kind == MARK and operation.first == "done"
            started |= operation.kind == MARK and operation.first == "start"
            plain = operation.kind == OPEN and not operation.offset
            if operation.kind == CLOSE or plain or not started:
                continue
            report.counts["operations"] += 1
            kinds = iterate_states(disk, operation, rng, options.draws, options.every)
            for kind, state in kinds:
                if rng.random() >= options.share:
                    continue
                key = state_key(state, begun, done)
                if key in seen:
                    report.counts["equal states"] += 1
                    continue
                seen.add(key)
                report.counts["states"] += 1
                report.counts[f"states {kind}"] += 1
                report.counts[f"states of {name}"] += 1
                write_state(state, folder / "state")
                allowed = workload.allowed(contents, done, begun)
                try:
                    at = check_root(workload, folder / "state", allowed)
                    report.counts["states after" if at else "states before"] += 1
                except Exception as error:  # noqa: BLE001  # all of them are reported
                    report.fail(f"{name}, {kind}, operation {place} {operation.kind}", error)


def count_operations(workload, folder, shim, classes=CHANGES | SYNCS):
    """Return how many operations of these classes a workload's steps do."""
    shim.watch(folder / "case")
    context = workload.prepared(folder / "case")
    shim.arm(0, 0, classes=classes)
    for step in workload.steps:
        step(context)
    count = shim.counted
    shim.watch(folder / "none")
    return count


def check_kills(names, folder, shim, options, report):
    """Kill a child at each operation of each workload, and check what it leaves."""
    rng = random.Random(options.seed)
    for name in names:
        workload, root = WORKLOADS[name], folder / "case"
        contents = workload.contents(folder / "expected")
        count = count_operations(workload, folder, shim)
        cases = [(n, a) for n in range(1, count + 1) for a in (KILL_BEFORE, KILL_HALF, KILL_AFTER)]
        for at, action in _sample(cases, options, rng):
            done, begun, killed = _run_and_kill(workload, root, shim, at, action)
            report.counts["kills" if killed else "not reached"] += 1
            report.counts[f"kills of {name}"] += killed
            try:
                check_root(workload, root, workload.allowed(contents, done, begun))
            except Exception as error:  # noqa: BLE001  # all of them are reported
                report.fail(f"{name}, killed at {at} of {count}, action {action}", error)


def _sample(cases, options, rng):
    """Return the share of the cases that was asked for, at least one."""
    count = max(1, round(options.share * len(cases)))
    return [cases[at] for at in sorted(rng.sample(range(len(cases)), count))]


def _run_and_kill(workload, root, shim, at, action):
    """Run a workload in a child that is killed; return the steps done and begun, and if it was."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(read)
            shim.watch(root)
            context = workload.prepared(root)
            shim.arm(action, at)
            for step in workload.steps:
                os.write(write, b"b")
                step(context)
                os.write(write, b"d")
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        marks = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise AssertionError(f"{workload.name} ended with {status} instead of a kill at {at}")
    return marks.count(b"d"), marks.count(b"b"), status == -signal.SIGKILL


def check_failures(names, folder, shim, options, report):
    """Fail each operation of each workload, and check the error, the content and a repetition."""
    rng = random.Random(options.seed)
    classes = CHANGES | SYNCS | OPENS
    for name in names:
        workload = WORKLOADS[name]
        contents = workload.contents(folder / "expected")
        count = count_operations(workload, folder, shim, classes)
        cases = [
            (n, action, error)
            for n in range(1, count + 1)
            for action in (FAIL, FAIL_ON, SHORT)
            for error in (errno.ENOSPC, errno.EIO, errno.EMFILE)
            if action == FAIL or error == errno.ENOSPC
        ]
        for at, action, error in _sample(cases, options, rng):
            case = f"{name}, action {action}, errno {error} at {at} of {count}"
            try:
                fired = _run_and_fail(
                    workload, folder, shim, contents, (at, action, error, classes)
                )
                report.counts["failing calls"] += fired
                report.counts[f"failing calls of {name}"] += fired
            except Exception as error:  # noqa: BLE001  # all of them are reported
                report.fail(case, error)
            finally:
                shim.arm(0, 0)


def _run_and_fail(workload, folder, shim, contents, case):
    """Run a workload with a failing operation; return whether an operation failed."""
    root = folder / "case"
    shim.watch(root)
    context = workload.prepared(root)
    at, action, error, classes = case
    shim.arm(action, at, error=error, classes=classes)
    with warnings.catch_warnings():  # a segment that can't be read is rebuilt with a warning
        warnings.simplefilter("ignore", TwofoldWarning)
        return _run_steps(workload, context, shim, contents)


def _run_steps(workload, context, shim, contents):
    root = context.root
    for place, step in enumerate(workload.steps):
        try:
            step(context)
            refused = None
        except TwofoldError as raised:
            refused = raised
        fired = shim.hits > 0
        if not fired and refused is None:
            continue
        if fired:
            shim.disarm()
        if refused is not None and not fired:
            raise refused
        content = workload.content(root)
        after = content == contents[place + 1]
        if refused is None and not after:
            raise AssertionError(f"step {place} returned without having been done")
        if content not in workload.allowed(contents, place, place + 1):
            raise AssertionError(f"step {place} ({refused}) left another content")
        if refused is not None:
            _repeat(workload, context, step, after=after)
            if workload.content(root) != contents[place + 1]:
                raise AssertionError(f"step {place}, repeated after {refused}, was not done")
        for rest in workload.steps[place + 1 :]:
            rest(context)
        context.close()
        check_root(workload, root, contents[-1:])
        return True
    return False


def _repeat(workload, context, step, *, after):
    """Repeat a step that was refused; one that was done all the same may refuse to be repeated."""
    try:
        step(context)
    except InputError:
        if not after:
            raise


def check_reads(folder, shim, options, report):
    """Fail each read, open and mapping of an index's readers; the same object then answers."""
    rng = random.Random(options.seed)
    classes = READS | OPENS
    for name in ("upsert", "files", "reindex", "profiles"):
        workload, root = WORKLOADS[name], folder / "case"
        shim.watch(root)
        context = workload.prepared(root)
        for step in workload.steps[:2]:
            step(context)
        context.close()
        shim.arm(0, 0, classes=classes)
        with open_index(root / "index", read_only=True) as index:
            expected = answers_of(index)
        count = shim.counted
        report.counts[f"reads of {name}"] = count
        cases = [(at, error) for at in range(1, count + 1) for error in (errno.EIO, errno.EMFILE)]
        for at, error in _sample(cases, options, rng):
            shim.arm(FAIL, at, error=error, classes=classes)
            try:
                report.counts["refused reads"] += _read_with_failure(root, shim, expected)
            except Exception as found:  # noqa: BLE001  # all of them are reported
                report.fail(f"read {at} of {count} of {name}, errno {error}", found)
            report.counts["failing reads"] += shim.hits
        shim.arm(0, 0)


def _read_with_failure(root, shim, expected):
    """Open an index and read all answers while one read fails; return whether it was refused.

    If a query adapter can't be read, a warning says that it is not used until the index changes.
    """
    refused, index = False, None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            try:
                index = open_index(root / "index", read_only=True)
                found = answers_of(index)
            except TwofoldError:
                refused = True
            shim.disarm()
            degraded = any(issubclass(warning.category, DegradedWarning) for warning in caught)
            wanted = expected
            if any(issubclass(warning.category, RebuildWarning) for warning in caught):
                wanted = {**expected, "index type": Flat()}  # without a structure, all are scanned
            if not refused and not degraded:
                assert found in (expected, wanted), "other answers without an error"
            if index is not None and not degraded:
                assert answers_of(index) in (expected, wanted), "other answers after a failure"
        finally:
            if index is not None:
                index.close()
    with open_index(root / "index", read_only=True) as index:
        assert answers_of(index) == expected
    assert all(issubclass(warning.category, TwofoldWarning) for warning in caught)
    return refused


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--share", type=float, default=1.0, help="of all cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=1, help="random states of an operation")
    parser.add_argument("--every", type=int, default=8, help="sectors between torn writes")
    parser.add_argument("what", choices=["crashes", "kills", "failures", "reads", "flips"])
    parser.add_argument("names", nargs="*", default=[])
    options = parser.parse_args()
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    shim, report = Shim(), Report()
    shim.skip_sync(True)
    names = options.names or (REPEATABLE if options.what == "failures" else list(WORKLOADS))
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else options.folder
    with tempfile.TemporaryDirectory(dir=fast, prefix="reliability-") as folder:
        functions = {"crashes": check_crashes, "kills": check_kills, "failures": check_failures}
        if options.what == "flips":
            for name in options.names or VARIANTS:
                check_variant(name, Path(folder), options, report)
        elif options.what == "reads":
            check_reads(Path(folder), shim, options, report)
        else:
            functions[options.what](names, Path(folder), shim, options, report)
    report.print()


if __name__ == "__main__":
    main()
