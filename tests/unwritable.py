"""Folders that may not be written, for programs that can't override permissions as root does."""

import ctypes
import json
import os
import stat
import subprocess
import sys

WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def drop_override():
    """Take root's right to ignore permissions from this process's program."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def run(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        preexec_fn=drop_override,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def forbid(path, rights):
    """Take rights from a file or from a folder and all in it."""
    found = [path, *path.rglob("*")] if path.is_dir() else [path]
    for each in found:
        each.chmod(each.stat().st_mode & ~rights)


def allow(path):
    """Give the owner all rights to a folder and all in it, so that it can be deleted."""
    for each in (path, *path.rglob("*")):
        each.chmod(0o700)
