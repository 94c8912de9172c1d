"""Encoders that kill their process, or are another model there; importable by child processes."""

import os
import signal
import threading
from pathlib import Path

from twofold import HashingEncoder


class FatalEncoder(HashingEncoder):
    """Kills its process when it encodes, as often as a folder has files to take."""

    def __init__(self, folder, deaths):
        super().__init__()
        self.folder, self.parent = str(folder), os.getpid()
        Path(folder).mkdir()
        for at in range(deaths):
            (Path(folder) / str(at)).touch()

    def encode_passages(self, texts):
        if os.getpid() != self.parent:
            for file in Path(self.folder).iterdir():
                try:
                    file.unlink()
                except FileNotFoundError:
                    continue
                os.kill(os.getpid(), signal.SIGKILL)
        return super().encode_passages(texts)


class ChangingEncoder(HashingEncoder):
    """Another model in other processes than the one that made it."""

    def __init__(self):
        super().__init__()
        self.parent = os.getpid()

    def encode_passages(self, texts):
        vectors = super().encode_passages(texts)
        return vectors if os.getpid() == self.parent else vectors[:, ::-1].copy()


def exit_once(number):
    """Return a number; the worker of every other number dies soon after it."""
    if number % 2 == 0:
        threading.Timer(0.1, os._exit, (1,)).start()
    return number
