"""Real Milvus servers, started and killed by the tests.

The last wheel with a server of its own is of version 2.3.5, which has no full-text search: it is
asked for dense search, filters and writes. Milvus Lite runs as a server as well.
"""

import contextlib
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest

from postgres_server import free_port


class OldServer:
    """A standalone Milvus 2.3.5."""

    def __init__(self):
        self._module = pytest.importorskip("milvus", reason="no wheel of Milvus for this platform")
        self.folder = Path(tempfile.mkdtemp(prefix="twofold-milvus-"))
        self.port = free_port()
        self._server = None

    @property
    def uri(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        """Start it, and wait until it answers."""
        self._server = self._module.MilvusServer()
        self._server.set_base_dir(str(self.folder))
        self._server.listen_port = self.port
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # it leaves a socket open
            self._server.start()
            gc.collect()
        self.port = self._server.listen_port  # the one before may be in use for a while
        return self

    def kill(self):
        """Kill it as by a loss of power, but for what the system still writes."""
        self._server.server_proc.kill()
        self._server.server_proc.wait()

    def stop(self):
        """Stop it, and delete its folder."""
        with contextlib.suppress(Exception):
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class LiteServer:
    """A Milvus Lite that other processes reach over TCP."""

    def __init__(self, folder):
        self.file = Path(folder) / "lite.db"
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process = None

    def start(self):
        """Start it, and wait until it answers."""
        command = [Path(sys.executable).parent / "milvus-lite", "server", "--data-dir", self.file]
        command += ["--host", "127.0.0.1"]
        self._process = subprocess.Popen(
            [*map(str, command), "--port", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return self
            assert self._process.poll() is None
            assert time.monotonic() < end, "Milvus Lite doesn't answer"
            time.sleep(0.05)

    def kill(self):
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def signal(self, number):
        """Send it a signal."""
        os.killpg(self._process.pid, number)

    stop = kill
