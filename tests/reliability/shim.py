"""Compiles and controls the library that records, fails or interrupts file operations."""

import ctypes
import json
import os
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
OPEN, WRITE, TRUNCATE, SYNC, RENAME, EXCHANGE, UNLINK, MKDIR, RMDIR, CLOSE, MARK = range(1, 12)
CHANGES, SYNCS, OPENS, READS = 1, 2, 4, 8
NOTHING, FAIL, FAIL_ON, KILL_BEFORE, KILL_AFTER, KILL_HALF, SHORT = range(7)
_HEAD = struct.Struct("<6q")


def missing_reason():
    """Return why the shim can't be built here, None if it can."""
    if sys.platform != "linux":
        return "the shim replaces system calls of Linux"
    if shutil.which("cc") is None:
        return "the shim needs a C compiler named cc"
    return None


def build(folder):
    """Compile the library in a folder, and return its path."""
    library = Path(folder) / "shim.so"
    command = ["cc", "-O1", "-Wall", "-shared", "-fPIC", "-o", library, HERE / "shim.c"]
    subprocess.run([*command, "-lpthread"], check=True)
    return library


def run_worker(library, folder, *arguments):
    """Run ``worker.py`` under the shim, and return the report that it prints as JSON."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    words = [str(word) for word in arguments]
    command = [sys.executable, str(HERE / "worker.py"), "--folder", str(folder), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"the worker ended with {done.returncode}: {done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


class Shim:
    """The controls of the shim that this process was started with."""

    def __init__(self):
        self._library = ctypes.CDLL(None)
        for name in ("counted", "hits", "last_kind"):
            getattr(self._library, f"shim_{name}").restype = ctypes.c_long

    def watch(self, root):
        """Watch the files below a folder from now on."""
        self._library.shim_root(os.fsencode(root))

    def record(self, path):
        """Log all operations to a file; None ends the log."""
        if self._library.shim_record(None if path is None else os.fsencode(path)) != 0:
            raise OSError(f"{path} can't be written")

    def mark(self, text):
        """Add a mark to the log."""
        self._library.shim_mark(text.encode())

    def arm(self, action, at, *, error=0, classes=CHANGES | SYNCS):
        """Do ``action`` at operation ``at`` (from 1) of these classes, and count from now on."""
        self._library.shim_arm(action, ctypes.c_long(at), error, classes)

    def disarm(self):
        """Stop failing operations; the counts stay."""
        self._library.shim_disarm()

    def skip_sync(self, skip):
        """Choose whether synchronizations return at once."""
        self._library.shim_skip_sync(int(skip))

    @property
    def counted(self):
        """How many operations were counted since ``arm``."""
        return self._library.shim_counted()

    @property
    def hits(self):
        """How many operations were failed since ``arm``."""
        return self._library.shim_hits()


@dataclass(frozen=True)
class Operation:
    """An operation of the log."""

    kind: int
    handle: int
    offset: int
    first: str
    second: str
    data: bytes


def read_log(path):
    """Return the operations of a log."""
    data = Path(path).read_bytes()
    at, operations = 0, []
    while at < len(data):
        kind, handle, offset, *sizes = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        parts = []
        for size in sizes:
            parts.append(data[at : at + size])
            at += size
        first, second = (os.fsdecode(part) for part in parts[:2])
        operations.append(Operation(kind, handle, offset, first, second, parts[2]))
    return operations
