"""Refuses blocking work on an event loop: blockbuster's calls, opened files, imports, compiling."""

import asyncio
import sys
import traceback
from contextlib import contextmanager
from itertools import islice

import blockbuster.blockbuster as blockbuster
from blockbuster import BlockingError, blockbuster_ctx
from numba.core import event as numba_events

_EVENTS = ("open", "import", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "sqlite3.connect")
_FRAMEWORKS = ("langchain_core", "langchain_classic", "langsmith", "llama_index")
_IMPORTLIB = "<frozen importlib"
_found = []
_state = {"watching": False, "hooked": False}


class RecordedError(BlockingError):
    """Is found even where somebody catches it."""

    def __init__(self, what):
        super().__init__(what)
        frames = (f"{f.f_code.co_filename}:{number}" for f, number in traceback.walk_stack(None))
        _found.append("\n  ".join([str(self), *islice(frames, 20)]))


def _runs_loop():
    return _state["watching"] and asyncio._get_running_loop() is not None


def _is_framework_import(event):
    """Return whether LangChain or LlamaIndex imports a module late, as both do on first use."""
    importer, inner = "", _IMPORTLIB if event == "import" else ""
    for frame, _ in traceback.walk_stack(sys._getframe(2)):
        outer = frame.f_code.co_filename
        if inner.startswith(_IMPORTLIB) and not outer.startswith(_IMPORTLIB):
            importer = outer  # the last one found is the outermost
        inner = outer
    return any(f"/{name}/" in importer for name in _FRAMEWORKS)


def _refuse_event(event, arguments):
    if event in _EVENTS and _runs_loop() and not _is_framework_import(event):
        raise RecordedError(f"{event}{arguments!r:.200}")


class _RefuseCompiling(numba_events.Listener):
    def on_start(self, event):
        if _runs_loop():
            raise RecordedError(f"numba, which compiles {event.data}")

    def on_end(self, event):
        pass


@contextmanager
def watched_loops():
    """Raise BlockingError for blocking work in any thread that runs an event loop, then again."""
    if not _state["hooked"]:  # a hook stays for the life of the process
        sys.addaudithook(_refuse_event)
        _state["hooked"] = True
    original, blockbuster.BlockingError = blockbuster.BlockingError, RecordedError
    _found.clear()
    with blockbuster_ctx(), numba_events.install_listener("numba:compile", _RefuseCompiling()):
        _state["watching"] = True
        try:
            yield
        finally:
            _state["watching"] = False
            blockbuster.BlockingError = original
    if _found:
        raise BlockingError("\n".join(_found))
