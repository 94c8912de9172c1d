"""The command line in a process of its own."""

import subprocess
import sys


def command(*arguments):
    """Run a verb; return the finished process with what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "twofold", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
