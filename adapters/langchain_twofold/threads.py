"""The threads in which a query runs that must not block an event loop."""

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from langchain_core.runnables.config import run_in_executor

from twofold.threads import callers

_Result = TypeVar("_Result")


async def in_thread(function: Callable[..., _Result], *args: Any, **kwargs: Any) -> _Result:
    """Return what a function gives in another thread, under the caller's context variables.

    As LangChain's ``run_in_executor``, whose own threads are more than there are cores, and fight
    for the interpreter with the loop.
    """
    run = partial(copy_context().run, function, *args, **kwargs)
    return await run_in_executor(callers(), run)
