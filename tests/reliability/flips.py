"""Damages every byte of a small index, and compares its answers with those before."""

import os
import random
import struct
import traceback
import warnings

from reliability.crash_states import write_state
from reliability.workloads import SAVED, SmallEncoder, adapter, answer_functions, passages
from twofold import Index
from twofold.errors import RebuildWarning, TwofoldError, TwofoldWarning
from twofold.index.writing import commit_files

WITH_DEGRADATION = ("dense", "hybrid", "lexical")
"""Answers that the defaults give, with a warning, without the profile's query adapter."""
VARIANTS = ("plain", "plain log", "files", "files log")
SECTOR = 512


def make_variant(name, root):
    """Make an index; return its files by path: with segments as files, with SQLite's log."""
    commit_files.IN_CATALOG = 256 if name.startswith("files") else 1 << 18
    path = root / "index"
    index = Index.open(path, encoder=SmallEncoder())
    index.upsert(passages(0, 8))
    if name.startswith("files"):
        index.reindex("hnsw")
        index.query_adapters.save("trained", adapter())
        index.profiles.save("fast", SAVED, use=True)
    if not name.endswith("log"):
        index.close()
        index = Index.open(path, encoder=SmallEncoder())
    index.upsert(passages(2, 4, 1))
    index.delete(["p007"])
    state = None
    if name.endswith("log"):
        state = _read(root)
    index.close()
    return state if state is not None else _read(root)


def _read(folder):
    """Return the contents of a folder as ``write_state`` takes them."""
    return {
        path.name: _read(path) if path.is_dir() else path.read_bytes()
        for path in folder.iterdir()
        if not path.name.endswith("-shm")
    }


def files_of(state, prefix=()):
    """Yield the path (as names) and the content of every file of a state."""
    for name, content in sorted(state.items()):
        if isinstance(content, dict):
            yield from files_of(content, (*prefix, name))
        else:
            yield (*prefix, name), content


def replaced(state, path, content):
    """Return a state with another content of one file."""
    name, *rest = path
    if rest:
        content = replaced(state[name], rest, content)
    return {**state, name: content}


def damages(state, seed):
    """Yield the kind, the path and the new content of each damage: flips, cuts and zeros."""
    for path, content in files_of(state):
        rng = random.Random(f"{seed} {path[-1].split('-')[-1]}")
        for at in range(len(content)):
            flipped = bytes([content[at] ^ (1 << rng.randrange(8))])
            yield "flip", path, lambda c=content, a=at, f=flipped: c[:a] + f + c[a + 1 :]
        for at in range(0, len(content), SECTOR):
            zeros = bytes(min(SECTOR, len(content) - at))
            if content[at : at + SECTOR] != zeros:
                yield "zeros", path, lambda c=content, a=at, z=zeros: c[:a] + z + c[a + len(z) :]
            yield "cut", path, lambda c=content, a=at: c[:a]
        yield "longer", path, lambda c=content: c + b"\1"


def check_damage(state, folder, expected, *, read_only):
    """Open a damaged index and compare every answer; return the names of what came instead."""
    write_state(state, folder)
    seen = set()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with Index.open(folder / "index", create=False, read_only=read_only) as index:
                for name, answer in answer_functions(index).items():
                    _check_answer(name, answer, expected, caught, seen)
        except TwofoldError as error:
            seen.add(type(error).__name__)
    for warning in caught:
        if not issubclass(warning.category, TwofoldWarning):
            raise AssertionError(f"a warning that is none of the library: {warning.message}")
        seen.add(warning.category.__name__)
    return seen


def _check_answer(name, answer, expected, caught, seen):
    try:
        found = answer()
    except TwofoldError as error:
        seen.add(type(error).__name__)
        return
    if found == expected[name]:
        return
    categories = {warning.category.__name__ for warning in caught}
    degraded = name.startswith(WITH_DEGRADATION) and "DegradedWarning" in categories
    scanned = name == "index type" and RebuildWarning.__name__ in categories
    if not (degraded or scanned):
        raise AssertionError(f"{name} is {found!r:.300} instead of {expected[name]!r:.300}")


def check_variant(name, folder, options, report):
    """Damage one variant in child processes, so that a crash is seen."""
    state = make_variant(name, folder / name.replace(" ", "-"))
    write_state(state, folder / "intact")
    with Index.open(folder / "intact" / "index", create=False, read_only=True) as index:
        expected = {n: answer() for n, answer in answer_functions(index).items()}
    rng = random.Random(f"{options.seed} {name}")
    cases = []
    for kind, path, change in damages(state, options.seed):
        draw, read_only = rng.random(), rng.random() < 0.5
        share = options.share if kind == "flip" else min(1.0, 10 * options.share)
        if draw < share:
            cases.append((kind, path, change, read_only))
    sizes = {"/".join(path): len(content) for path, content in files_of(state)}
    report.counts[f"bytes of {name}"] = sum(sizes.values())
    done = 0
    while done < len(cases):
        done += _run_in_child(name, state, folder, expected, cases[done:], report)


def _run_in_child(name, state, folder, expected, cases, report):
    """Check cases in a forked child; return how many, with one that ended the child."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            for _, path, change, read_only in cases:
                damaged = replaced(state, path, change())
                try:
                    seen = check_damage(damaged, folder / "case", expected, read_only=read_only)
                    text = f"ok {','.join(sorted(seen)) or 'equal'}"
                except BaseException as error:  # noqa: BLE001  # all of them are reported
                    lines = traceback.format_exception(error)
                    text = f"bad {''.join(lines[:1] + lines[-4:])}"
                data = text.encode(errors="replace")[:2000]
                os.write(write, struct.pack("<i", len(data)) + data)
        finally:
            os._exit(0)
    os.close(write)
    done = 0
    with os.fdopen(read, "rb") as pipe:
        while head := pipe.read(4):
            text = pipe.read(struct.unpack("<i", head)[0]).decode(errors="replace")
            kind, path, _, read_only = cases[done]
            _count(name, kind, path, text, report, read_only=read_only)
            done += 1
    os.waitpid(child, 0)
    if done < len(cases):
        kind, path, _, read_only = cases[done]
        _count(name, kind, path, "bad the process ended", report, read_only=read_only)
        done += 1
    return done


def _count(name, kind, path, text, report, *, read_only):
    suffix = path[-1].split(".")[-1].split("-")[-1]
    report.counts[f"{kind} of {name}"] += 1
    report.counts["damages"] += 1
    report.counts[f"damages {kind}"] += 1
    report.counts[f"damages in {suffix}"] += 1
    verdict, _, rest = text.partition(" ")
    if verdict == "ok":
        report.counts["equal" if rest == "equal" else "noticed"] += 1
    else:
        mode = "read only" if read_only else "writable"
        report.fail(f"{name}, {kind} in {'/'.join(path)}, {mode}", AssertionError(rest))
