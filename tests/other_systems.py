"""Makes this process look like one on Windows where twofold asks: no fcntl, no folder handles."""

import os
import sys

NAMES = ("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "pwrite", "pread", "fork", "register_at_fork")


def pretend():
    """Block modules and functions that only POSIX systems have; call it before importing twofold.

    The lock is then a soft one of filelock, because the operating system is another one.
    """
    sys.modules["fcntl"] = None
    for name in NAMES:
        if hasattr(os, name):
            delattr(os, name)
    for name in ("open", "stat", "unlink"):
        setattr(os, name, _without_handles(getattr(os, name)))


def _without_handles(function):
    def call(*arguments, dir_fd=None, **others):
        if dir_fd is not None:
            raise NotImplementedError("dir_fd unavailable on this platform")
        return function(*arguments, **others)

    return call
